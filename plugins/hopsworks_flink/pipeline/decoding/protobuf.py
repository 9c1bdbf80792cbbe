"""Decodes messages of Protobuf, as far as columns lie in them. Pure.

The bytes are those of https://protobuf.dev/programming-guides/encoding/. A library's parser lets pass what is wrong
here: numbers that it cuts off, a field of another type (for it an unknown one, so that the field is 0), in old messages
texts that are no UTF-8.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from hopsworks_flink.pipeline import json_values
from hopsworks_flink.pipeline.decoding.places import UndecodableError, bytes_are, looks_like_json
from hopsworks_flink.pipeline.decoding.written import held, shown_written
from hopsworks_flink.pipeline.spec.source import Column
from hopsworks_flink.pipeline.spec.source.protobuf import Field, Message, Value

_DEEPEST = 100
_LARGEST_NUMBER = (1 << 29) - 1
_VARINT, _FIXED64, _SIZED, _BEGIN, _END, _FIXED32 = range(6)
_WIRE_TYPES = {
    **dict.fromkeys(("fixed64", "sfixed64", "double"), _FIXED64),
    **dict.fromkeys(("fixed32", "sfixed32", "float"), _FIXED32),
    **dict.fromkeys(("string", "bytes", "message"), _SIZED),
    "group": _BEGIN,
}
_CODES = {"fixed64": "<Q", "sfixed64": "<q", "double": "<d", "fixed32": "<I", "sfixed32": "<i", "float": "<f"}
_RANGES = {**dict.fromkeys(("int32", "sint32", "enum"), (-(1 << 31), 1 << 31)), "uint32": (0, 1 << 32)}
_DEFAULTS: dict[str, Any] = {"double": 0.0, "float": 0.0, "bool": False, "string": "", "bytes": b""}
_FRAMING = "; a zero byte in front is the framing of a schema registry (framing: confluent)"


def decode_message(
    value: bytes, message: Message, columns: Mapping[str, Column], *, indexed: bool = False
) -> dict[str, Any]:
    """The event of a record. What stands nowhere in it is null, or its type's default where Protobuf says so.

    :param message: what is read of it.
    :param indexed: whether framing says in front which message of its schema it is.
    :raises UndecodableError: it is no message, or holds what a column cannot.
    """
    reader = _Reader(value, columns)
    if indexed:
        reader.expect_indexes(message.indexes)
    try:
        reader.read(message.value, len(value), 0)
    except UndecodableError as problem:
        if not indexed and looks_like_json(value):
            raise UndecodableError(f"{problem}; it looks like JSON") from None
        raise
    return reader.event


class _Reader:
    def __init__(self, value: bytes, columns: Mapping[str, Column]) -> None:
        self._value = value
        self._columns = columns
        self._position = 0
        self._end = len(value)
        self.event: dict[str, Any] = dict.fromkeys(columns)

    def expect_indexes(self, wanted: tuple[int, ...]) -> None:
        """Read past the indexes of the message's type in its schema, which must be these."""
        where = "the message indexes"
        count = self._zigzag(where)
        if not 0 <= count <= self._end - self._position:
            raise UndecodableError(
                f"{where}: there are {count} of them, and {bytes_are(self._end - self._position)} left"
            )
        # The first message of a file is written shorter.
        found = tuple(self._zigzag(where) for _ in range(count)) or (0,)
        if found != wanted:
            raise UndecodableError(
                f"it is the message with the indexes {_listed(found)} of its schema, "
                f"and source.message has {_listed(wanted)}"
            )

    def read(self, inside: Value, end: int, group: int) -> None:
        """Read a message.

        :param end: where it ends at the latest.
        :param group: number of the field that it is a group of, which then ends it; 0: it is none.
        """
        outer, self._end = self._end, end
        seen: dict[Any, int] = {}
        while group or self._position < end:
            number, wire = self._tag(group)
            if wire == _END:
                break
            field = inside.fields.get(number)
            if field is None:
                self._skip(number, wire, 0)
                continue
            slot = field.oneof or number
            if slot in seen and (field.value or field.oneof):
                what = f"oneof {field.oneof}" if field.oneof else f"field {field.name}"
                raise UndecodableError(f"{what} stands in it twice")
            before = seen.get(slot, 0)
            seen[slot] = before + self._field(field, number, wire, before, seen)
        for number, field in inside.fields.items():
            if field.implicit and number not in seen and field.value is not None:
                self._take(field, field.value, _DEFAULTS.get(field.kind, 0))
        self._end = outer

    def _field(self, field: Field, number: int, wire: int, before: int, seen: dict[Any, int]) -> int:
        """Read a field, of which so many were there before. The number of those that it is now.

        :param seen: takes the keys of maps that were read.
        """
        if field.value is None and not field.items and not field.keys:
            self._skip(number, wire, 0)
            return 1
        wanted = _SIZED if field.keys else _WIRE_TYPES.get(field.kind, _VARINT)
        if field.items and wire == _SIZED and wanted in (_VARINT, _FIXED32, _FIXED64):
            end, count = self._sized(field.name), 0
            outer, self._end = self._end, end
            while self._position < end:
                self._one(field, field.items.get(before + count), number)
                count += 1
            self._end = outer
            return count
        if wire != wanted:
            raise UndecodableError(f"field {field.name} is {field.kind}, and is written with the wire type {wire}")
        if field.keys:
            self._entry(field, seen)
        else:
            self._one(field, field.value or field.items.get(before), number)
        return 1

    def _one(self, field: Field, value: Value | None, number: int) -> None:
        """Read a value; None: nothing of it is wanted."""
        if value is None:
            self._skip(number, _WIRE_TYPES.get(field.kind, _VARINT), 0)
        elif field.kind == "group":
            self.read(value, self._end, number)
        elif field.kind == "message":
            self._message(field, value, self._sized(field.name))
        else:
            self._take(field, value, self._raw(field))

    def _message(self, field: Field, value: Value, end: int) -> None:
        if value.column is not None:
            self._moment(field, value, end)
        else:
            self.read(value, end, 0)

    def _entry(self, field: Field, seen: dict[Any, int]) -> None:
        """Read an entry of a map: its key may stand behind its value."""
        end = self._sized(field.name)
        outer, self._end = self._end, end
        key, begin = "", -1
        while self._position < end:
            number, wire = self._tag()
            if number == 1 and wire == _SIZED:
                key = self._text(field.name)
            elif number == 2:
                wanted = _WIRE_TYPES.get(field.kind, _VARINT)
                if wire != wanted:
                    raise UndecodableError(
                        f"field {field.name} is {field.kind}, and is written with the wire type {wire}"
                    )
                begin = self._position
                self._skip(number, wire, 0)
            else:
                self._skip(number, wire, 0)
        value = field.keys.get(key)
        if value is not None and seen.setdefault((field, key), end) != end:
            raise UndecodableError(f"field {field.name} has one of its keys twice")
        if value is not None and begin >= 0:
            self._position = begin
            self._one(field, value, 2)
        elif value is not None and field.kind == "message":
            self._message(field, value, end)
        elif value is not None:
            self._take(field, value, _DEFAULTS.get(field.kind, 0))
        self._position, self._end = end, outer

    def _moment(self, field: Field, value: Value, end: int) -> None:
        parts = {1: Field(f"{field.name}.seconds", "int64"), 2: Field(f"{field.name}.nanos", "int32")}
        found = {1: 0, 2: 0}
        outer, self._end = self._end, end
        while self._position < end:
            number, wire = self._tag()
            if number not in found:
                self._skip(number, wire, 0)
                continue
            if number not in parts:
                raise UndecodableError(f"field {field.name} has one of its parts twice")
            part = parts.pop(number)
            if wire != _VARINT:
                raise UndecodableError(f"field {part.name} is {part.kind}, and is written with the wire type {wire}")
            found[number] = self._raw(part)
        self._end = outer
        assert value.column is not None
        seconds, nanos = found[1], found[2]
        try:
            if not 0 <= nanos < 1_000_000_000:
                raise ValueError("no part of a second")
            self.event[value.column] = json_values.since_epoch(seconds * 1_000_000 + nanos // 1000)
        except (ValueError, OverflowError):
            raise UndecodableError(
                f"column {value.column} is timestamp and holds {seconds} seconds and {nanos} nanoseconds"
            ) from None

    def _take(self, field: Field, value: Value, found: Any) -> None:
        assert value.column is not None
        column = self._columns[value.column]
        if field.kind == "enum":
            if found not in field.symbols:
                raise UndecodableError(f"field {field.name}: its enum has no symbol {found}")
            found = field.symbols[found]
        try:
            self.event[value.column] = held(found, field.written, column)
        except (ValueError, OverflowError):
            shown = shown_written(found)
            raise UndecodableError(f"column {value.column} is {column.type} and holds {shown}") from None

    def _raw(self, field: Field) -> Any:
        """A value that is no message, as it is written."""
        kind, where = field.kind, f"field {field.name}"
        if (code := _CODES.get(kind)) is not None:
            return struct.unpack(code, self._bytes(struct.calcsize(code), where))[0]
        if kind == "string":
            return self._text(field.name)
        if kind == "bytes":
            return self._bytes(self._sized(field.name) - self._position, where)
        number = self._varint(where)
        if kind == "bool":
            if number > 1:
                raise UndecodableError(f"{where}: its bool reads as {number}, not false or true")
            return number == 1
        if kind in ("sint32", "sint64"):
            number = (number >> 1) ^ -(number & 1)
        elif kind not in ("uint32", "uint64"):
            number -= (number >> 63) << 64
        least, most = _RANGES.get(kind, (number, number + 1))
        if not least <= number < most:
            raise UndecodableError(f"{where} is {kind} and reads as {number}")
        return number

    def _skip(self, number: int, wire: int, depth: int) -> None:
        where = f"field {number}"
        if wire == _VARINT:
            self._varint(where)
        elif wire in (_FIXED32, _FIXED64):
            self._bytes(4 if wire == _FIXED32 else 8, where)
        elif wire == _SIZED:
            self._position = self._sized(str(number))
        else:
            if depth == _DEEPEST:
                raise UndecodableError(f"{where} is nested more than {_DEEPEST} levels deep")
            while True:
                inner, wire = self._tag(number)
                if wire == _END:
                    return
                self._skip(inner, wire, depth + 1)

    def _tag(self, group: int = 0) -> tuple[int, int]:
        """Number and wire type of the field that begins here.

        :param group: the only one that may end here.
        """
        begin = self._position
        tag = self._varint("the number of a field")
        number, wire = tag >> 3, tag & 7
        if not 0 < number <= _LARGEST_NUMBER:
            hint = "" if begin or number else _FRAMING
            raise UndecodableError(f"it has a field {number}, which no message has{hint}")
        if wire > _FIXED32:
            raise UndecodableError(f"field {number} has the wire type {wire}, which does not exist")
        if wire == _END and number != group:
            raise UndecodableError(f"field {number} ends a group that did not begin")
        return number, wire

    def _text(self, name: str) -> str:
        try:
            return self._bytes(self._sized(name) - self._position, f"field {name}").decode()
        except UnicodeDecodeError:
            raise UndecodableError(f"field {name} is no UTF-8 text") from None

    def _sized(self, name: str) -> int:
        """Where that ends which begins with its length here."""
        length, left = self._varint(f"field {name}"), self._end - self._position
        if length > left:
            raise UndecodableError(f"field {name}: its length reads as {length}, and {bytes_are(left)} left")
        return self._position + length

    def _zigzag(self, where: str) -> int:
        number = self._varint(where)
        return (number >> 1) ^ -(number & 1)

    def _varint(self, where: str) -> int:
        """A number of variable length, without its sign. Some writers make it longer than need be."""
        number = shift = 0
        while True:
            byte = self._bytes(1, where)[0]
            if shift == 63 and byte > 1:
                raise UndecodableError(f"{where}: its bytes are no number of Protobuf")
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7

    def _bytes(self, count: int, where: str) -> bytes:
        if self._end - self._position < count:
            raise UndecodableError(f"it ends in {where}")
        self._position += count
        return self._value[self._position - count : self._position]


def _listed(indexes: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, indexes))}]"
