"""How fast this machine plays the model, and what a back end's arithmetic costs.

It sits on top of everything: nothing imports it.
"""
