"""One Accelerate script per DVC stage; importing gamengen first settles which back end is used."""

import gamengen  # noqa: F401
