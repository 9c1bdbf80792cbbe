"""Values of records, and what is wrong with them (None: nothing, for Flink's formats)."""

from __future__ import annotations

import io
import json
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


def _huge() -> bytes:
    """A text that claims a gigabyte."""
    before = avro({**EVENT, "note": None})[:-4]
    return before + b"\x02" + b"\x80\xa8\xd6\xb9\x07" + b"short"


def _json(**changes: Any) -> bytes:
    return json.dumps({**EVENT, **changes}).encode()


AVRO: dict[str, tuple[bytes | None, str | None]] = {
    "whole": (avro(EVENT), None),
    "tombstone": (None, None),
    "more bytes behind": (avro(EVENT) + b"\x00\x01", "2 more bytes follow"),
    "broken utf-8": (avro({**EVENT, "note": b"\xff\xfe"}, note="bytes"), None),
    "empty": (b"", "no Avro record"),
    "cut off": (avro(EVENT)[:-4], "no Avro record"),
    "json instead": (_json(), "no Avro record"),
    "a length beyond all bounds": (_huge(), "no Avro record"),
    "no such branch": (b"\x08" + avro(EVENT)[1:], "no Avro record"),
    "confluent's header": (b"\x00\x00\x00\x00\x01" + avro(EVENT), "no Avro record"),
    "a long for an int": (avro({**EVENT, "card": 4_000_000_000_000_000}, card="long"), "card is int"),
}

JSON: dict[str, tuple[bytes | None, str | None]] = {
    "whole": (_json(), None),
    "tombstone": (None, None),
    "other fields": (_json(more=[1, {"a": 2}]), None),
    "nothing": (b"{}", None),
    "numbers in texts": (_json(at="1700000000000", amount=" 1.5 ", card="7"), None),
    "numbers that are cut": (_json(at=1.9, card=7.2), None),
    "text of something else": (_json(note={"a": 1}), None),
    "cut off": (_json()[:-4], "no JSON"),
    "avro instead": (avro(EVENT), "no JSON"),
    "not a number": (b'{"amount": NaN}', "no JSON"),
    "a text": (b'"event"', "not a JSON object"),
    "word for a number": (_json(at="soon"), "at is bigint"),
    "boolean for a number": (_json(card=True), "card is int"),
    "list for a number": (_json(amount=[1]), "amount is double"),
    "too large for an int": (_json(card=4_000_000_000), "card is int"),
    "no base64": (_json(raw="ü"), "raw is binary"),
}
