"""What decoders share: where columns lie in a record, and how values are shown. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hopsworks_flink.pipeline import json_values
from hopsworks_flink.pipeline.spec.source import Column
from hopsworks_flink.pipeline.spec.source.columns import Unwrap, path_of
from hopsworks_flink.pipeline.spec.source.writing import Path

_SHOWN = 40


class UndecodableError(ValueError):
    """A value is not exactly one record of the source's schema; the text says why."""


@dataclass
class Place:
    """A place in a record: a column's, or one that columns lie below."""

    path: Path
    column: str | None = None
    below: dict[str | int, Place] = field(default_factory=dict)


def tree(columns: Mapping[str, Column], unwrap: Unwrap | None = None) -> Place:
    """The places of the columns in a record; with an envelope also where that is in another one, with its schema."""
    root = Place(())
    for name, column in columns.items():
        path = path_of(name, column, unwrap)
        for whole in (path, ("payload", *path)) if unwrap else (path,):
            place = root
            for step in whole:
                place = place.below.setdefault(step, Place((*place.path, step)))
            place.column = name
    return root


def shown(found: Any) -> str:
    """A value that is no array or object, for messages."""
    text = ("false", "true")[found] if isinstance(found, bool) else str(found)
    if len(text) > _SHOWN:
        text = text[: _SHOWN - 1] + "…"
    if not json_values.is_unicode(text):
        return "text with half a character"
    return text if isinstance(found, (json_values.Number, bool)) else f'"{text}"'


def bytes_are(count: int) -> str:
    """``3 bytes are``, for messages."""
    return f"{count} byte is" if count == 1 else f"{count} bytes are"


def looks_like_json(value: bytes) -> bool:
    """Whether a record is probably an object of JSON."""
    stripped = value.strip(b" \t\n\r")
    return len(stripped) > 1 and stripped.startswith(b"{") and stripped.endswith(b"}")
