"""How the commands print values."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from tabulate import tabulate


def as_json(value: Any) -> str:
    """Indented JSON; times as ISO text, decimals as their digits, bytes as base64; Infinity and NaN as texts."""
    return json.dumps(_finite(value), indent=2, default=_plain, ensure_ascii=False)


def as_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of equal keys below each other; null is empty."""
    shown = [{name: cell(value) for name, value in row.items()} for row in rows]
    return tabulate(shown, headers="keys", disable_numparse=True) if shown else "(none)"


def _finite(value: Any) -> Any:
    """JSON has no other numbers; the texts are those of Protobuf's JSON."""
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def cell(value: Any) -> str:
    """A value in a table; null is empty, an array as in JSON."""
    if value is None:
        return ""
    if isinstance(value, list):
        return json.dumps(_finite(value), default=_plain, ensure_ascii=False)
    return str(value) if isinstance(value, (str, bool, int, float)) else str(_plain(value))
