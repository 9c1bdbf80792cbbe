"""Schemas that Avro records were written with, and which columns can be read from them. Pure.

The rules of https://avro.apache.org/docs/1.12.0/specification/ for names and types; defaults and aliases say nothing
about the bytes of a record. The format that the jobs read with (flink_jobs/java) has the same rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hopsworks_flink.pipeline.spec.source.columns import Column, Unwrap, path_of
from hopsworks_flink.pipeline.spec.source.writing import Path, shown_path
from hopsworks_flink.pipeline.types import TIMESTAMP

PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
#: Microseconds of what a timestamp counts; of nanoseconds, a part of one.
TIMESTAMPS = {"timestamp-millis": 1000.0, "timestamp-micros": 1.0, "timestamp-nanos": 0.001}


@dataclass(eq=False)
class AvroType:
    """A type of a writer's schema.

    :param kind: a primitive, ``record``, ``enum``, ``fixed``, ``array``, ``map`` or ``union``.
    :param logical: its logical type, if it is one that means something here.
    :param scale: of a decimal.
    :param fields: of a record, in order.
    :param inner: of an array or map: its values' type.
    :param branches: of a union.
    :param symbols: of an enum.
    :param size: of a fixed, in bytes.
    """

    kind: str
    logical: str = ""
    scale: int = 0
    fields: list[tuple[str, AvroType]] = field(default_factory=list)
    inner: AvroType | None = None
    branches: list[AvroType] = field(default_factory=list)
    symbols: list[str] = field(default_factory=list)
    size: int = 0

    def __str__(self) -> str:
        return self.logical or self.kind


def parse_schema(schema: Any) -> AvroType:
    """The type of a schema (JSON data), which must be a record. Raises ValueError for what is none."""
    try:
        parsed = _parse(schema, "", {})
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"is no schema of Avro ({type(error).__name__}: {error})") from None
    if parsed.kind != "record":
        raise ValueError(f"is the schema of {parsed}, and records are records")
    return parsed


def _parse(schema: Any, space: str, named: dict[str, AvroType]) -> AvroType:
    if isinstance(schema, list):
        return AvroType("union", branches=[_parse(branch, space, named) for branch in schema])
    if isinstance(schema, str):
        if schema in PRIMITIVES:
            return AvroType(schema)
        found = named.get(_full_name(schema, space)) or named.get(schema)
        if found is None:
            raise ValueError(f"is no schema of Avro: {schema!r} is not defined before it is used")
        return found
    kind = schema["type"]
    if not isinstance(kind, str):
        return _parse(kind, space, named)
    if kind in ("array", "map"):
        return AvroType(kind, inner=_parse(schema["items" if kind == "array" else "values"], space, named))
    if kind not in ("record", "error", "enum", "fixed"):
        made = _parse(kind, space, named)
        return _logical(made, schema) if kind in PRIMITIVES else made
    name = _full_name(schema["name"], schema.get("namespace", space))
    made = AvroType("record" if kind == "error" else kind)
    if kind == "fixed":
        made.size = int(schema["size"])
        made = _logical(made, schema)
    named[name] = made
    if kind == "enum":
        made.symbols = [str(symbol) for symbol in schema["symbols"]]
    if made.kind == "record":
        inner = name.rpartition(".")[0]
        made.fields = [(str(one["name"]), _parse(one["type"], inner, named)) for one in schema["fields"]]
    return made


def _full_name(name: str, space: str | None) -> str:
    return name if "." in name or not space else f"{space}.{name}"


def _logical(made: AvroType, schema: Mapping[str, Any]) -> AvroType:
    logical = schema.get("logicalType")
    wanted = {"int": ("date",), "long": tuple(TIMESTAMPS), "bytes": ("decimal",), "fixed": ("decimal",)}
    if logical in wanted.get(made.kind, ()):
        made.logical = str(logical)
        made.scale = int(schema.get("scale", 0)) if logical == "decimal" else 0
    return made


def holds(written: AvroType, column: Column) -> bool:
    """Whether values of a type can be a column's. Of numbers, each of them must fit still."""
    kind = column.type
    if written.kind in ("string", "enum"):
        return kind.is_decimal or kind.name in ("string", "date") or (kind == TIMESTAMP and column.unit is None)
    if written.kind in ("bytes", "fixed"):
        return kind.is_decimal if written.logical else kind.name == "binary"
    if written.kind in ("int", "long"):
        if written.logical == "date":
            return kind.name == "date" or kind.is_integer
        if kind == TIMESTAMP:
            return bool(written.logical) if column.unit is None else not written.logical
        return kind.is_integer or (not written.logical and (kind.is_floating or kind.is_decimal))
    if written.kind in ("float", "double"):
        return kind.is_floating
    return written.kind == "boolean" and kind.name == "boolean"


def reading_problems(schema: AvroType, columns: Mapping[str, Column | None], unwrap: Unwrap | None) -> Iterator[str]:
    """Which columns cannot be read from records of a schema."""
    for name, column in columns.items():
        if column is not None and (problem := _reading_problem(schema, path_of(name, column, unwrap), column)):
            yield f"schema.{name}: {problem}"


def _reading_problem(schema: AvroType, path: Path, column: Column) -> str | None:
    places = [schema]
    for length, step in enumerate(path, 1):
        found = [inner for place in places if (inner := _below(place, step)) is not None]
        if not found:
            return f"avro_schema has no {shown_path(path[:length])}{_offered(places, path[: length - 1])}"
        places = [one for inner in found for one in _branches(inner) if one.kind != "null"]
    if not any(holds(place, column) for place in places):
        return f"is {column.type}, and avro_schema has {' or '.join(map(str, places)) or 'null'} there"
    return None


def _branches(written: AvroType) -> list[AvroType]:
    return written.branches if written.kind == "union" else [written]


def _below(place: AvroType, step: str | int) -> AvroType | None:
    if isinstance(step, int):
        return place.inner if place.kind == "array" else None
    if place.kind == "map":
        return place.inner
    return dict(place.fields).get(step)


def _offered(places: list[AvroType], path: Path) -> str:
    names = [name for place in places for name, _ in place.fields]
    kinds = ", ".join(map(str, places))
    return f"; {shown_path(path) or 'the record'} has {', '.join(names)}" if names else f"; it is {kinds}"
