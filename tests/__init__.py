"""Tests; the package settles which back end is used before any other library is imported."""

import gamengen  # noqa: F401
