"""What a model of the game is worth: pictures, videos, actions, beside their baselines."""
