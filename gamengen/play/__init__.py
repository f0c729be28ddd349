"""A person at the keyboard, or an agent in the dream; nothing else may know of it.

``dream`` plays the model as an engine; the rest is the page, its protocol and the blind test.
"""
