"""Recordings and latents on disk, and how they are read: always whole episodes.

Nothing here knows a network: of the autoencoder only the facts of its latents.
"""
