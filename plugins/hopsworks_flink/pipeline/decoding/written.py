"""Decodes Avro records by the schema that they were written with, as far as columns lie in them. Pure."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from hopsworks_flink.pipeline import json_values
from hopsworks_flink.pipeline.decoding.places import Place, UndecodableError, bytes_are, shown
from hopsworks_flink.pipeline.spec.source import Column
from hopsworks_flink.pipeline.spec.source.avro import TIMESTAMPS, AvroType, holds
from hopsworks_flink.pipeline.types import TIMESTAMP

_DEEPEST = 100
# What a path goes on in.
_SHAPES = {"record": "an object", "map": "an object", "array": "an array"}


def decode_written(value: bytes, written: AvroType, columns: Mapping[str, Column], places: Place) -> dict[str, Any]:
    """The event of a record; columns of which the schema has nothing are null.

    :param written: the writer's schema.
    :param places: where the columns lie.
    :raises UndecodableError: the value is not exactly one record of the schema, or holds what a column cannot.
    """
    reader = _Reader(value, columns)
    reader.read(written, places, "", 0)
    if left := reader.left:
        raise UndecodableError(f"{bytes_are(left)} left after the record")
    return reader.event


class _Reader:
    def __init__(self, value: bytes, columns: Mapping[str, Column]) -> None:
        self._value = value
        self._columns = columns
        self._position = 0
        self.event: dict[str, Any] = dict.fromkeys(columns)

    @property
    def left(self) -> int:
        return len(self._value) - self._position

    def read(self, written: AvroType, place: Place | None, where: str, depth: int) -> None:
        """Read a value, which lies at a place; None: nothing of it is wanted.

        :param where: name of the field that it is of, or belongs to.
        """
        if depth > _DEEPEST:
            raise UndecodableError(f"field {where} is nested more than {_DEEPEST} levels deep")
        if written.kind == "union":
            index = self._number(where)
            if not 0 <= index < len(written.branches):
                raise UndecodableError(
                    f"field {where}: its union index reads as {index}, and there are {len(written.branches)} branches"
                )
            self.read(written.branches[index], place, where, depth + 1)
        elif written.kind == "null":
            return
        elif place is not None and place.column is not None:
            self.event[place.column] = self._column(written, place.column, where)
        else:
            found = _SHAPES.get(written.kind)
            if found is None:
                self._raw(written, where, skip=True)
            if place is not None and place.below:
                wanted = "an object" if isinstance(next(iter(place.below)), str) else "an array"
                if found != wanted:
                    raise UndecodableError(f"field {where} is written as {written}, not as {wanted}")
            if written.kind == "record":
                for name, kind in written.fields:
                    self.read(kind, place.below.get(name) if place else None, name, depth + 1)
            elif found is not None:
                self._items(written, place, where, depth)

    def _items(self, written: AvroType, place: Place | None, where: str, depth: int) -> None:
        assert written.inner is not None
        index = 0
        while count := self._number(where):
            if count < 0:
                count = -count
                self._number(where)
            if count > self.left:
                raise UndecodableError(f"field {where}: it reads as {count} items, and {bytes_are(self.left)} left")
            for _ in range(count):
                step: str | int = index
                if written.kind == "map":
                    step = self._text(where)
                self.read(written.inner, place.below.get(step) if place else None, where, depth + 1)
                index += 1

    def _column(self, written: AvroType, name: str, where: str) -> Any:
        column = self._columns[name]
        if not holds(written, column):
            raise UndecodableError(f"column {name} is {column.type} and is written as {written}")
        found = self._raw(written, where)
        try:
            return held(found, written, column)
        except (ValueError, OverflowError):
            raise UndecodableError(f"column {name} is {column.type} and holds {shown_written(found)}") from None

    def _raw(self, written: AvroType, where: str, *, skip: bool = False) -> Any:
        """A value as it is written, or some bytes in its place if it is skipped."""
        kind = written.kind
        if kind == "boolean":
            found = self._take(1, where)[0]
            if found > 1:
                raise UndecodableError(f"field {where}: its boolean reads as {found}, not 0 or 1")
            return found == 1
        if kind in ("int", "long"):
            return self._number(where)
        if kind in ("float", "double"):
            code, size = ("<f", 4) if kind == "float" else ("<d", 8)
            return struct.unpack(code, self._take(size, where))[0]
        if kind == "enum":
            index = self._number(where)
            if not 0 <= index < len(written.symbols):
                raise UndecodableError(
                    f"field {where}: its symbol reads as {index}, and there are {len(written.symbols)} symbols"
                )
            return written.symbols[index]
        if kind == "fixed":
            return self._take(written.size, where)
        return self._text(where) if kind == "string" and not skip else self._sized(where)

    def _text(self, where: str) -> str:
        try:
            return self._sized(where).decode()
        except UnicodeDecodeError:
            raise UndecodableError(f"field {where} is no UTF-8 text") from None

    def _sized(self, where: str) -> bytes:
        length = self._number(where)
        if not 0 <= length <= self.left:
            raise UndecodableError(f"field {where}: its length reads as {length}, and {bytes_are(self.left)} left")
        return self._take(length, where)

    def _number(self, where: str) -> int:
        """A number of variable length, as short as it can be."""
        zigzag = shift = 0
        while True:
            byte = self._take(1, where)[0]
            if (shift == 63 and byte > 1) or (byte == 0 and shift):
                raise UndecodableError(f"field {where}: its bytes are no number of Avro")
            zigzag |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (zigzag >> 1) ^ -(zigzag & 1)
            shift += 7

    def _take(self, count: int, where: str) -> bytes:
        if self.left < count:
            raise UndecodableError(f"the record ends in field {where}")
        self._position += count
        return self._value[self._position - count : self._position]


def held(found: Any, written: AvroType, column: Column) -> Any:
    """A value, written as a type of Avro, as the column's; raises ValueError or OverflowError if it does not fit."""
    kind = column.type
    if isinstance(found, str):
        return found if kind.name == "string" else json_values.reader(column)(found)
    if isinstance(found, bytes):
        if not kind.is_decimal:
            return found
        if not found:
            raise ValueError("no digits")
        unscaled = int.from_bytes(found, "big", signed=True)
        return json_values.decimal(json_values.Number(f"{unscaled}e{-written.scale}"), kind)
    if isinstance(found, bool):
        return found
    if isinstance(found, float):
        return _floating(found, column)
    if kind.name == "date":
        return date(1970, 1, 1) + timedelta(days=found)
    if kind == TIMESTAMP:
        factor = TIMESTAMPS.get(written.logical)
        if factor is None:
            return json_values.since_epoch(found * json_values.microseconds(column.unit))
        return json_values.since_epoch(found * int(factor) if factor >= 1 else found // 1000)
    if kind.is_floating:
        return _floating(found, column)
    if kind.is_decimal:
        return json_values.decimal(Decimal(found), kind)
    return json_values.integer(found, kind)


def _floating(found: float | int, column: Column) -> float:
    number = float(found)
    if column.type.name == "float" and math.isfinite(number):
        (number,) = struct.unpack("<f", struct.pack("<f", number))
    if number != found and not (isinstance(found, float) and math.isnan(found)):
        raise ValueError("would be rounded")
    return number


def shown_written(found: Any) -> str:
    """A value that a column cannot hold, for messages."""
    if isinstance(found, str):
        return shown(found)
    if isinstance(found, bytes):
        return "more digits" if found else "no bytes"
    return "a number between two of them" if isinstance(found, float) else str(found)
