"""Records of the online topic: meaning of the headers, decoding of the value."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import fastavro

from devstack.hopsworks.metadata.featuretypes import physical_schema

# Newer clients write words; SDK 5.0 wrote "0" for offline only and "1" for both.
OFFLINE_ONLY = frozenset({"offline", "0"})
ONLINE_ONLY = frozenset({"online"})
Headers = Sequence[tuple[str, bytes]] | None


class HeaderError(ValueError):
    """Headers that do not assign the record to a feature group."""


@dataclass(frozen=True)
class Route:
    """Where a record belongs, by its headers."""

    project_id: int
    feature_group_id: int
    subject_id: int
    ingestion_id: int | None = None
    storage: str | None = None
    operation: str | None = None
    upsert_if_newer: bool = False

    @property
    def online(self) -> bool:
        return self.storage not in OFFLINE_ONLY

    @property
    def offline(self) -> bool:
        return self.storage not in ONLINE_ONLY and self.operation != "delete"

    @property
    def delete(self) -> bool:
        return self.operation == "delete"


def parse_headers(headers: Headers) -> Route:
    """Read the headers of one record. Raises :class:`HeaderError` naming the header that is missing or wrong."""
    try:
        values = {name: value.decode() for name, value in headers or () if value is not None}
    except UnicodeDecodeError as error:
        raise HeaderError(f"headers are not UTF-8: {error}") from error

    def number(name: str) -> int:
        text = values.get(name)
        if text is None or not text.isdigit():
            raise HeaderError(f"header {name} is {'missing' if text is None else repr(text)}, a number is needed")
        return int(text)

    return Route(
        project_id=number("projectId"),
        feature_group_id=number("featureGroupId"),
        subject_id=number("subjectId"),
        ingestion_id=number("onlineIngestionId") if "onlineIngestionId" in values else None,
        storage=values.get("storage"),
        operation=values.get("operation"),
        upsert_if_newer=values.get("upsertIfNewer") == "1",
    )


class HeaderCache:
    """Parses each distinct set of headers once: a topic has a handful of them, and millions of records."""

    def __init__(self, limit: int = 10_000) -> None:
        self._known: dict[tuple[tuple[str, bytes], ...], Route | HeaderError] = {}
        self._limit = limit

    def route(self, headers: Headers) -> Route:
        key = tuple(headers or ())
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= self._limit:
                self._known.clear()
            try:
                known = parse_headers(headers)
            except HeaderError as error:
                known = error
            self._known[key] = known
        if isinstance(known, HeaderError):
            raise known
        return known


class DecodeError(ValueError):
    """A value that is not one record of the schema."""


def value_decoder(schema_text: str) -> Callable[[bytes | None], dict[str, Any]]:
    """A function from the value's bytes to plain numbers, text and bytes by field name.

    Logical types are left as they are on the wire (microseconds, days, unscaled decimals); complex features stay
    encoded. Bytes left over are an error: they mean that the record was written with another schema.
    """
    schema = fastavro.parse_schema(physical_schema(json.loads(schema_text)))
    read, stream = fastavro.schemaless_reader, io.BytesIO

    def decode(value: bytes | None) -> dict[str, Any]:
        if value is None:
            raise DecodeError("the record has no value")
        buffer = stream(value)
        try:
            record: dict[str, Any] = read(buffer, schema, None)  # type: ignore[assignment]
        except Exception as error:  # arbitrary bytes make the reader fail in any way
            raise DecodeError(f"{type(error).__name__}: {error}") from error
        if buffer.tell() != len(value):
            raise DecodeError(f"{len(value) - buffer.tell()} bytes are left after the record")
        return record

    return decode
