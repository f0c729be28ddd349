"""The error a user can act on."""


class InputError(ValueError):
    """Something the user gave is wrong: names the file, the field, the value and what is right."""
