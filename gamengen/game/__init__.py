"""ViZDoom, what it is worth to an agent, and what an engine is.

Nothing here knows how frames are kept or predicted; only ``doom`` knows ViZDoom.
"""
