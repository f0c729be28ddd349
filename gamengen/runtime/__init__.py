"""What a stage runs in: device, parameters, artifacts, checkpoints, interrupts, errors.

Nothing here knows games, pictures or models.
"""
