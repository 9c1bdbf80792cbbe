"""A column of the source: its type, and how its values stand in the records where that is not plain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar

from pydantic import Field, field_validator, model_serializer, model_validator

from hopsworks_flink.pipeline.spec.base import Model
from hopsworks_flink.pipeline.spec.problems import refuse
from hopsworks_flink.pipeline.spec.source.writing import Path, Pattern, check_zone, parse_path, shown_path
from hopsworks_flink.pipeline.types import STRING, TIMESTAMP, FeatureType, Type

#: An envelope that records are in.
Unwrap = Literal["debezium"]
#: Where the envelope has the row as it is after the change.
IMAGE = "after"
#: The column beside the file's that says what a change is.
OPERATION = "__op"
C = TypeVar("C")
Unit = Literal["seconds", "milliseconds", "microseconds"]


class Column(Model):
    """A column of the source; in the file its type alone, where nothing else is to be said.

    :param type: what it holds.
    :param path: where it stands in the record: ``payload.items[0].price``; None: under its own name.
    :param key: whether it is the record's key, a text, and no part of its value.
    :param header: name of the record's header that it is, a text, and no part of its value.
    :param pattern: of a ``timestamp`` that is a text in the records: ``yyyy-MM-dd HH:mm:ss``; None: ISO 8601.
    :param zone: of a ``timestamp`` that is a text: where texts without a zone are local time; None: there are none.
    :param unit: of a ``timestamp`` that is a number: what it counts since the epoch (UTC).
    """

    type: Type
    path: str | None = Field(default=None, min_length=1, max_length=1000)
    key: bool = False
    header: str | None = Field(default=None, min_length=1, max_length=1000)
    pattern: str | None = Field(default=None, min_length=1, max_length=100)
    zone: str | None = Field(default=None, min_length=1, max_length=100)
    unit: Unit | None = None

    @model_validator(mode="before")
    @classmethod
    def _type_alone(cls, data: Any) -> Any:
        return data if isinstance(data, (Mapping, Column)) else {"type": FeatureType.parse(data)}

    @model_serializer
    def _as_written(self) -> str | dict[str, Any]:
        more = self.more
        return {"type": str(self.type), **more} if more else str(self.type)

    @property
    def more(self) -> dict[str, Any]:
        """What is said beside the type."""
        return {name: value for name in type(self).model_fields if name != "type" and (value := getattr(self, name))}

    @property
    def is_beside(self) -> bool:
        """Whether it stands beside the record's value: in the key, or in a header."""
        return self.key or self.header is not None

    @property
    def is_text(self) -> bool:
        """Whether it is a timestamp that stands in the records as a text, also in Avro."""
        return self.pattern is not None or self.zone is not None

    @field_validator("path")
    @classmethod
    def _path(cls, path: str | None) -> str | None:
        if path is not None:
            parse_path(path)
        return path

    @field_validator("pattern")
    @classmethod
    def _pattern(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            Pattern.of(pattern)
        return pattern

    @field_validator("zone")
    @classmethod
    def _zone(cls, zone: str | None) -> str | None:
        if zone is not None:
            check_zone(zone)
        return zone

    @model_validator(mode="after")
    def _consistent(self) -> Column:
        refuse(self._problems())
        return self

    def _problems(self) -> Iterator[str]:
        if self.is_beside:
            others = [name for name in self.more if name not in ("key", "header")]
            if self.key and self.header is not None:
                yield "has key and header; remove one of them"
            if others:
                yield f"{others[0]} is about the record's value, and the column is none of it; remove {others[0]}"
            if self.type.name in ("date", "timestamp"):
                yield (
                    f"is {self.type}, and keys and headers are read as texts: declare it string or bigint, "
                    "and derive what it means"
                )
            return
        times = [name for name in ("pattern", "zone", "unit") if getattr(self, name) is not None]
        if times and self.type != TIMESTAMP:
            yield f"{', '.join(times)}: for a timestamp only, and the type is {self.type}"
        elif self.unit is not None and len(times) > 1:
            yield f"unit is for a number, {times[0]} for a text; remove one of them"
        elif self.pattern is not None and self.zone is None and "X" not in Pattern.of(self.pattern).fields:
            yield "zone is needed, such as UTC: the pattern has no zone (X), so its times are local somewhere"

    def options(self, path: Path | None = None) -> dict[str, Any]:
        """What the Java that reads it has to know beside its type, JSON-safe.

        :param path: where it stands, if that is not what the column says.
        """
        result: dict[str, Any] = {name: value for name, value in self.more.items() if name in ("zone", "unit")}
        if path is not None or self.path is not None:
            result["path"] = path or path_of("", self)
        if self.pattern is not None:
            pattern = Pattern.of(self.pattern)
            result |= {"expression": pattern.expression, "fields": pattern.fields}
        return result


def path_of(name: str, column: Column, unwrap: Unwrap | None = None) -> Path:
    """Where a column stands in the record: of an envelope in its image, or (``$.…``) in the envelope itself."""
    path = parse_path(column.path) if column.path is not None else (name,)
    if path[0] == "$" and len(path) > 1:
        return path[1:]
    return path if unwrap is None else (IMAGE, *path)


def envelope_columns(columns: Mapping[str, C], unwrap: Unwrap | None) -> dict[str, C | Column]:
    """The columns of a record, with what its envelope says of the change."""
    return dict(columns) if unwrap is None else {**columns, OPERATION: Column(type=STRING, path="$.op")}


def path_problems(columns: Mapping[str, Column | None], unwrap: Unwrap | None) -> Iterator[str]:
    """What is wrong between the paths of columns, of which some may be wrong themselves."""
    # Step by step: the column that a place belongs to, and what is there.
    seen: dict[Path, tuple[str, str]] = {}
    for name, column in columns.items():
        if column is None or column.is_beside:
            continue
        path = path_of(name, column, unwrap)
        for length in range(1, len(path) + 1):
            place = path[:length]
            kind = "a value" if length == len(path) else "an object" if isinstance(path[length], str) else "an array"
            other, found = seen.setdefault(place, (name, kind))
            if other != name and (found != kind or kind == "a value"):
                yield f"schema.{name}: {shown_path(place)} is {kind} for it, and {found} for {other}"
                break
