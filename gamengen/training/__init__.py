"""What the training stages share: the objective, LPIPS, the loop that survives a kill.

A stage decides what is trained; nothing here does.
"""
