"""Figures as people say them. Pure."""

from __future__ import annotations

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


def duration(seconds: float) -> str:
    """Two digits and a unit: ``45 s``, ``3 h``; below ten seconds with one decimal place."""
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if 0 < seconds < 9.95 else f"{seconds:.0f} s"


def number(value: float) -> str:
    """A count or a rate: ``12``, ``1.5``, ``4,210``, ``3.2 M``."""
    if value >= 1_000_000:
        return f"{value / 1_000_000:,.1f} M"
    return f"{value:.1f}" if 0 < value < 10 and value != int(value) else f"{value:,.0f}"
