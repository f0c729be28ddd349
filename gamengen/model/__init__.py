"""The networks and the maths of diffusion; nothing here knows a data set."""
