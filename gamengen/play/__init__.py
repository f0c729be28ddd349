"""A person at the keyboard: the page on which the model is played, and its server."""
