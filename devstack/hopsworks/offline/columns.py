"""Decoded records to Arrow columns of the offline store's types."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.compute as pc

from devstack.hopsworks.metadata.featuretypes import is_complex, normalise, split_top_level
from devstack.hopsworks.metadata.models import Feature, FeatureGroup
from devstack.hopsworks.metadata.wire import DecodeError

# The place of a row in the topic, until it is written.
PARTITION, OFFSET = "__partition", "__offset"
# The default context rounds to 28 digits; decimal(38,s) has more.
_EXACT = Context(prec=40)
# The years 1 to 9999, as microseconds and as days: a later moment in a Delta table's statistics makes it unreadable.
_MOMENTS, _DAYS = (-62_135_596_800_000_000, 253_402_300_799_999_999), (-719_162, 2_932_896)
_PRIMITIVES = {
    "tinyint": pa.int32(),
    "smallint": pa.int32(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "string": pa.string(),
    "binary": pa.binary(),
    "date": pa.date32(),
}


def arrow_type(feature_type: str) -> pa.DataType:
    """The column type of a feature in the offline table; timestamps are microseconds in UTC."""
    plain = normalise(feature_type)
    if plain in _PRIMITIVES:
        return _PRIMITIVES[plain]
    if plain.startswith("timestamp"):
        return pa.timestamp("us", "UTC")
    outer, _, rest = plain.replace("(", "<").replace(")", ">").partition("<")
    parts = split_top_level(plain.partition("<")[2][:-1] if outer != "decimal" else rest[:-1])
    if outer == "decimal":
        return pa.decimal128(int(parts[0]), int(parts[1]))
    if outer == "array":
        return pa.list_(arrow_type(parts[0]))
    if outer == "map":
        return pa.map_(pa.string(), arrow_type(parts[1]))
    if outer == "struct":
        members = (part.partition(":") for part in parts)
        return pa.struct([pa.field(name, arrow_type(member)) for name, _, member in members])
    raise ValueError(f"feature type {feature_type!r} has no offline column type")


def column_builder(feature: Feature, field_schema: Any) -> Callable[[list[Any]], pa.Array]:
    """From the decoded values of one column (numbers, text, bytes as on the wire) to its Arrow array."""
    feature_type = feature.type or ""
    target, plain = arrow_type(feature_type), normalise(feature_type)
    if plain.startswith("timestamp"):
        return lambda values: in_calendar(feature.name, pa.array(values, pa.int64()).cast(target))
    if plain == "date":
        return lambda values: in_calendar(feature.name, pa.array(values, pa.int32()).cast(target))
    if plain.startswith("decimal"):
        scale = target.scale
        return lambda values: pa.array([_decimal(value, scale) for value in values], target)
    if is_complex(plain):
        schema = fastavro.parse_schema(field_schema)
        as_pairs = plain.startswith("map")
        return lambda values: pa.array([_nested(value, schema, as_pairs) for value in values], target)
    return lambda values: pa.array(values, target)


def in_calendar(name: str, column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """A column as it is. Raises DecodeError if it has a moment or a day outside of the years 1 to 9999."""
    if not pa.types.is_temporal(column.type):
        return column
    numbers, bounds = (pa.int32(), _DAYS) if pa.types.is_date(column.type) else (pa.int64(), _MOMENTS)
    for value in pc.min_max(column.cast(numbers)).values():
        if value.is_valid and not bounds[0] <= value.as_py() <= bounds[1]:
            raise DecodeError(f"{name}: {value.as_py()} is outside of the years 1 to 9999")
    return column


def _decimal(raw: bytes | None, scale: int) -> Decimal | None:
    return None if raw is None else Decimal(int.from_bytes(raw, "big", signed=True)).scaleb(-scale, _EXACT)


def _nested(raw: bytes | None, schema: Any, as_pairs: bool) -> Any:
    """A complex value out of its own encoding."""
    if raw is None:
        return None
    try:
        value = fastavro.schemaless_reader(io.BytesIO(raw), schema, None)
    except Exception as error:
        raise DecodeError(f"complex value: {type(error).__name__}: {error}") from error
    return list(value.items()) if as_pairs and isinstance(value, dict) else value


class TableBuilder:
    """Turns records that were decoded one by one into Arrow tables."""

    def __init__(self, group: FeatureGroup, schema_text: str) -> None:
        fields = {field["name"]: field["type"] for field in json.loads(schema_text)["fields"]}
        self._columns = [(f.name, column_builder(f, fields[f.name])) for f in group.features if f.name in fields]

    def columns(self, rows: list[dict[str, Any]]) -> pa.Table:
        """One table of ``rows``."""
        return pa.table({name: build([row[name] for row in rows]) for name, build in self._columns})

    def build(self, rows: list[dict[str, Any]], partitions: list[int], offsets: list[int]) -> pa.Table:
        """One table of ``rows`` with their places in the topic beside them."""
        places = {PARTITION: pa.array(partitions, pa.int32()), OFFSET: pa.array(offsets, pa.int64())}
        table = self.columns(rows)
        for name, place in places.items():
            table = table.append_column(name, place)
        return table
