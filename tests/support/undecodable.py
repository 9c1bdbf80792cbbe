"""A pipeline's columns, an event, and its record."""

from __future__ import annotations

import io
from typing import Any

import fastavro

SCHEMA = {"at": "bigint", "card": "int", "amount": "double", "note": "string", "ok": "boolean", "raw": "binary"}
_AVRO_TYPES = {
    "bigint": "long",
    "int": "int",
    "double": "double",
    "string": "string",
    "boolean": "boolean",
    "binary": "bytes",
}
EVENT = {"at": 1_700_000_000_000, "card": 7, "amount": 1.5, "note": "ü", "ok": True, "raw": None}


def avro(event: dict[str, Any], **types: str) -> bytes:
    """A record as Avro; ``types`` overrides the schema's."""
    fields = [{"name": name, "type": ["null", types.get(name, _AVRO_TYPES[kind])]} for name, kind in SCHEMA.items()]
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, {"type": "record", "name": "e", "fields": fields}, event)
    return buffer.getvalue()
