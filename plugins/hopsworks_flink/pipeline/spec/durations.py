"""Durations as people write them: ``500ms``, ``5s``, ``10m``, ``7d``, ``1h30m``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

_UNIT = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_PART = re.compile(r"([0-9]+)(ms|[dhms])")
_DURATION = re.compile(r"(?:[0-9]+(?:ms|[dhms]))+")
_LONGEST = timedelta(days=3650)


def parse_duration(value: Any) -> timedelta:
    """Duration of a text such as ``10m``. Raises ValueError for anything without a unit or beyond ten years."""
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or not _DURATION.fullmatch(value.strip()):
        raise ValueError("a duration is a number with a unit, such as 500ms, 30s, 10m, 1h or 1h30m")
    total = timedelta()
    for count, unit in _PART.findall(value):
        # Compared before it is multiplied: what a timedelta cannot hold is another error.
        if len(count) > 15 or int(count) > (_LONGEST - total) / _UNIT[unit]:
            raise ValueError("a duration of more than ten years is surely a mistake")
        total += int(count) * _UNIT[unit]
    return total


def format_duration(value: timedelta) -> str:
    """Shortest text that `parse_duration` reads back as the same duration."""
    rest = value // timedelta(milliseconds=1)
    parts = []
    for unit, size in _UNIT.items():
        count, rest = divmod(rest, size // timedelta(milliseconds=1))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def milliseconds(value: timedelta) -> int:
    """Whole milliseconds of a duration."""
    return value // timedelta(milliseconds=1)


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration, return_type=str)]
