"""The one exception of the local stack: its text is meant for the person at the terminal."""

from __future__ import annotations


class DevstackError(RuntimeError):
    """What went wrong and what to do about it, in a sentence or two."""
