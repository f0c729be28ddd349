"""How games become recordings: an agent learns, and everything it sees is kept.

Nothing here knows the model.
"""
