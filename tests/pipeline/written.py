"""Records as libraries write them, and pipelines over them."""

from __future__ import annotations

import io
import struct
from typing import Any

import fastavro


def written(event: dict[str, Any], schema: dict[str, Any], number: int | None = None) -> bytes:
    """A record as a library writes it, in framing if there is a number."""
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(schema), event)
    return (b"" if number is None else b"\0" + struct.pack(">I", number)) + buffer.getvalue()


def spec(columns: dict[str, Any], **source: Any) -> dict[str, Any]:
    key = next(name for name, kind in columns.items() if "int" in str(kind))
    return {
        "name": "p",
        "source": {"topic": "t", "schema": columns, "event_time": "kafka_timestamp", **source},
        "feature_groups": [{"name": "g", "key": [key], "window": {"size": "1m"}, "aggregates": {"n": "count"}}],
    }
