"""The networks and the maths of diffusion: pure functions that training and sampling share.

Nothing here knows a data set, a loss's schedule, or who samples.
"""
