"""What a model is worth on held-out episodes: measures, their intervals, the report.

Nothing here trains or is played.
"""
