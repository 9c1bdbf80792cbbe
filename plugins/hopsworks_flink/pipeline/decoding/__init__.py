"""Decodes a record of a pipeline's source topic as its Flink job does, or says why that cannot be. Pure.

For the search after a failure, for tests and for curiosity. The format that the jobs read with (flink_jobs/java) has
the same rules and sentences; tests hold both against each other.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from hopsworks_flink.pipeline import json_values
from hopsworks_flink.pipeline.decoding.places import Place, UndecodableError, bytes_are, looks_like_json, shown, tree
from hopsworks_flink.pipeline.decoding.protobuf import decode_message
from hopsworks_flink.pipeline.decoding.written import decode_written
from hopsworks_flink.pipeline.spec.source import Column, Records
from hopsworks_flink.pipeline.spec.source.avro import AvroType, parse_schema
from hopsworks_flink.pipeline.spec.source.columns import IMAGE, OPERATION, envelope_columns, path_of
from hopsworks_flink.pipeline.spec.source.protobuf import Message
from hopsworks_flink.pipeline.spec.source.writing import shown_path
from hopsworks_flink.pipeline.types import TIMESTAMP

#: From a record's value to what is wrong with it; None if nothing is.
Check = Callable[[bytes | None], str | None]
#: From a schema's id in the registry to the schema (JSON data); None: there is none of that id. It raises ValueError
#: for one that no record is read with, as `parse_schema` does.
Schemas = Callable[[int], Any]

__all__ = ["Check", "Schemas", "UndecodableError", "decoder", "value_check"]

# What a change may be: create, read (of a snapshot), update; delete, truncate, message.
_TAKEN, _LEFT_OUT = ("c", "r", "u"), ("d", "t", "m")
# What stands for a value that the database did not tell of, as it had not changed and lies elsewhere.
_UNAVAILABLE = "__debezium_unavailable_value"
_SPACE = " \t\n\r"
_DEEPEST = 100
_FRAMING = 5
_NULLABLE = 'columns must be nullable unions ["null", T]'
# How a field is written: the bytes of its union's index for null and for a value.
_NULL_FIRST, _NULL_LAST, _PLAIN = (0, 2), (2, 0), None


def value_check(records: Records, registry: Schemas | None = None) -> Check:
    """What tells whether a record's value can be decoded as such a record.

    A record without a value (a tombstone) is no event, and no failure either.

    :param registry: as for `decoder`.
    """
    decode = decoder(records, registry)

    def check(value: bytes | None) -> str | None:
        try:
            if value is not None:
                decode(value)
        except UndecodableError as problem:
            return str(problem)
        return None

    return check


def decoder(records: Records, registry: Schemas | None = None) -> Callable[[bytes], dict[str, Any] | None]:
    """What makes an event of a record's value, column to value, without those of key and headers.

    It raises UndecodableError for what is none, and gives None for a change that is left out.

    :param registry: the schemas of the records' registry; needed if they have one.
    """
    if records.envelope is not None:
        return _unwrapping(records, registry)
    return _decoder(records, records.value_columns, registry)


def _unwrapping(records: Records, registry: Schemas | None) -> Callable[[bytes], dict[str, Any] | None]:
    decode = _decoder(records, envelope_columns(records.value_columns, records.envelope), registry)
    of_row = {
        name for name, column in records.value_columns.items() if path_of(name, column, records.envelope)[0] == IMAGE
    }

    def unwrap(value: bytes) -> dict[str, Any] | None:
        event = decode(value)
        operation = event.pop(OPERATION)
        if operation in _TAKEN:
            unavailable = (_UNAVAILABLE, _UNAVAILABLE.encode())
            return {n: None if n in of_row and found in unavailable else found for n, found in event.items()}
        if operation in _LEFT_OUT:
            return None
        raise UndecodableError(
            "it is no change event of Debezium: it has no op"
            if operation is None
            else f"its op is {shown(operation)}, which no change event of Debezium has"
        )

    return unwrap


def _decoder(
    records: Records, columns: Mapping[str, Column], registry: Schemas | None
) -> Callable[[bytes], dict[str, Any]]:
    places = tree(columns, records.envelope)
    if records.format == "json":
        return lambda value: _json_event(value, columns, places)
    if (message := records.protobuf_message) is not None:
        return lambda value: _message_event(value, records, message, columns)
    required = len(columns) - len(records.appended)
    fixed = parse_schema(records.avro_schema) if records.avro_schema is not None else None
    known: dict[int, AvroType | str] = {}

    def of_registry(number: int) -> AvroType:
        assert registry is not None, "the records have a registry"
        # A stray producer may have sent many such records: what is wrong with its schema is asked for once as well.
        found = known[number] = known.get(number) or _registered(registry, number)
        if isinstance(found, str):
            raise UndecodableError(found)
        return found

    def decode(value: bytes) -> dict[str, Any]:
        written = fixed
        if records.framing is not None:
            value, number = _unframed(value, records.schema_ids)
            if records.registry is not None:
                written = of_registry(number)
        if written is not None:
            return decode_written(value, written, columns, places)
        return _avro_event(value, columns, required)

    return decode


def _registered(registry: Schemas, number: int) -> AvroType | str:
    """The schema of an id, or why no record is read with it."""
    try:
        schema = registry(number)
        return f"the registry knows no schema {number}" if schema is None else parse_schema(schema)
    except ValueError as error:
        return f"schema {number} of the registry {error}"


def _message_event(value: bytes, records: Records, message: Message, columns: Mapping[str, Column]) -> dict[str, Any]:
    if records.framing is None:
        return decode_message(value, message, columns)
    value, _ = _unframed(value, records.schema_ids)
    return decode_message(value, message, columns, indexed=True)


def _unframed(value: bytes, known: Sequence[int]) -> tuple[bytes, int]:
    """A record without the framing of a schema registry, and the schema's id."""
    if len(value) < _FRAMING or value[0] != 0:
        raise UndecodableError(
            "it does not begin with the framing of a schema registry, a zero byte and the schema's id"
        )
    number = int.from_bytes(value[1:_FRAMING], "big")
    if known and number not in known:
        wanted = ", ".join(map(str, known))
        raise UndecodableError(
            f"it was written with schema {number} of the registry, and source.schema_ids has {wanted}"
        )
    return value[_FRAMING:], number


def _avro_event(value: bytes, columns: Mapping[str, Column], required: int) -> dict[str, Any]:
    if not value:
        raise UndecodableError("the value is empty")
    reader = _AvroReader(value, columns, required)
    try:
        event = reader.read(0, _NULL_FIRST)
    except UndecodableError as problem:
        raise UndecodableError(f"{problem}; {_cause(value, columns, required, longer=False)}") from None
    if left := reader.left:
        cause = _cause(value, columns, required, longer=True)
        raise UndecodableError(f"{bytes_are(left)} left after the record; {cause}")
    return event


def _cause(value: bytes, columns: Mapping[str, Column], required: int, *, longer: bool) -> str:
    """Why a value is probably no record, in plain words."""

    def reads(begin: int, fields: tuple[int, int] | None, may_be_longer: bool = False) -> bool:
        reader = _AvroReader(value, columns, required)
        try:
            reader.read(begin, fields)
        except UndecodableError:
            return False
        return may_be_longer or not reader.left

    framed = value[0] == 0 and len(value) > _FRAMING
    if framed and (reads(_FRAMING, _NULL_FIRST, not longer) or reads(_FRAMING, _NULL_LAST) or reads(_FRAMING, _PLAIN)):
        schema = int.from_bytes(value[1:_FRAMING], "big")
        return f"it begins with the framing of a schema registry (id {schema}), which is no part of an Avro record"
    if longer:
        return "the producer's schema is longer"
    if reads(0, _PLAIN):
        return f"{_NULLABLE}: the first field reads as a plain {next(iter(columns.values())).type}"
    if reads(0, _NULL_LAST):
        return f"{_NULLABLE}: here null stands last"
    if looks_like_json(value):
        return "it looks like JSON"
    return f"it was written with another schema: {_NULLABLE} in the order of the pipeline's schema"


class _AvroReader:
    """Reads the fields of one record, which may end behind the first ``required`` ones."""

    def __init__(self, value: bytes, columns: Mapping[str, Column], required: int) -> None:
        self._value = value
        self._columns = columns
        self._required = required
        self._position = 0

    @property
    def left(self) -> int:
        return len(self._value) - self._position

    def read(self, begin: int, fields: tuple[int, int] | None) -> dict[str, Any]:
        self._position = begin
        event: dict[str, Any] = dict.fromkeys(self._columns)
        for number, (name, column) in enumerate(self._columns.items()):
            if number >= self._required and not self.left:
                break
            if fields is not None:
                self._need(1, name)
                union = self._value[self._position]
                if union not in fields:
                    index = self._number(name)
                    raise UndecodableError(
                        f"column {name}: its union index reads as {index}, not 0 (null) or 1 ({column.type})"
                    )
                self._position += 1
                if union == fields[0]:
                    continue
            event[name] = self._field(name, column)
        return event

    def _field(self, name: str, column: Column) -> Any:
        kind = column.type
        if kind.name == "boolean":
            written = self._take(1, name)[0]
            if written > 1:
                raise UndecodableError(f"column {name}: its boolean reads as {written}, not 0 or 1")
            return written == 1
        if kind.is_floating:
            code, size = ("<f", 4) if kind.name == "float" else ("<d", 8)
            return struct.unpack(code, self._take(size, name))[0]
        if kind.is_integer or kind.name == "date" or (kind == TIMESTAMP and not column.is_text):
            number = self._number(name)
            try:
                return _held(number, column)
            except (ValueError, OverflowError):
                raise UndecodableError(f"column {name} is {kind} and holds {number}") from None
        return self._sized(name, column)

    def _sized(self, name: str, column: Column) -> Any:
        kind = column.type
        length = self._number(name)
        if not 0 <= length <= self.left:
            left = bytes_are(self.left)
            raise UndecodableError(f"column {name}: its length reads as {length}, and {left} left")
        found = self._take(length, name)
        if kind.name == "binary":
            return found
        if kind.name in ("string", "timestamp"):
            try:
                text = found.decode()
                return text if kind.name == "string" else json_values.moment(text, column)
            except UnicodeDecodeError:
                raise UndecodableError(f"column {name} is no UTF-8 text") from None
            except ValueError:
                raise UndecodableError(f"column {name} is {kind} and holds {_shown(text)}") from None
        if not found:
            raise UndecodableError(f"column {name} is {kind} and has no bytes")
        unscaled = int.from_bytes(found, "big", signed=True)
        if abs(unscaled) >= 10**kind.precision:
            raise UndecodableError(f"column {name} is {kind} and holds more digits")
        return Decimal(f"{unscaled}E-{kind.scale}")

    def _number(self, name: str) -> int:
        """A number of variable length, as short as it can be."""
        zigzag = shift = 0
        while True:
            byte = self._take(1, name)[0]
            if (shift == 63 and byte > 1) or (byte == 0 and shift):
                raise UndecodableError(f"column {name}: its bytes are no number of Avro")
            zigzag |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (zigzag >> 1) ^ -(zigzag & 1)
            shift += 7

    def _take(self, count: int, name: str) -> bytes:
        self._need(count, name)
        self._position += count
        return self._value[self._position - count : self._position]

    def _need(self, count: int, name: str) -> None:
        if self.left < count:
            raise UndecodableError(f"the record ends in column {name}")


def _held(number: int, column: Column) -> Any:
    """An Avro number as the column's value; raises ValueError or OverflowError if it is out of range."""
    kind = column.type
    if kind.name == "date":
        return date(1970, 1, 1) + timedelta(days=number)
    if kind == TIMESTAMP:
        return json_values.since_epoch(number * json_values.microseconds(column.unit))
    limit = 1 << (kind.bits - 1)
    if not -limit <= number < limit:
        raise ValueError("out of range")
    return number


class _Object(list[tuple[str, Any]]):
    """Fields of a JSON object, in their order and as often as they stand there."""


def _json_event(value: bytes, columns: Mapping[str, Column], places: Place) -> dict[str, Any]:
    if not value:
        raise UndecodableError("the value is empty")
    try:
        text = value.decode().lstrip(_SPACE)
    except UnicodeDecodeError:
        raise UndecodableError("it is no UTF-8 text") from None
    if not text.startswith("{"):
        raise UndecodableError("it is not a JSON object")
    try:
        fields, end = _JSON.raw_decode(text)
        if _depth(fields) > _DEEPEST:
            raise ValueError("too deep")
    except (ValueError, RecursionError):
        raise UndecodableError("it is no JSON: broken, or cut off") from None
    if text[end:].strip(_SPACE):
        raise UndecodableError("more follows its JSON object")
    event: dict[str, Any] = dict.fromkeys(columns)
    _take_fields(fields, places, columns, event)
    return event


def _take_fields(fields: list[Any], place: Place, columns: Mapping[str, Column], event: dict[str, Any]) -> None:
    """Take the values of columns out of an object, or out of an array as if places were names."""
    seen = set()
    for name, found in fields if isinstance(fields, _Object) else enumerate(fields):
        if (inner := place.below.get(name)) is None:
            continue
        if name in seen:
            what = f"column {inner.column}" if inner.column else shown_path(inner.path)
            raise UndecodableError(f"{what} stands in it twice")
        seen.add(name)
        if found is not None:
            _take(found, inner, columns, event)


def _take(found: Any, place: Place, columns: Mapping[str, Column], event: dict[str, Any]) -> None:
    if place.column is None:
        in_object = isinstance(next(iter(place.below)), str)
        if not isinstance(found, list) or isinstance(found, _Object) != in_object:
            wanted = "an object" if in_object else "an array"
            raise UndecodableError(f"{shown_path(place.path)} holds {_shown(found)}, not {wanted}")
        _take_fields(found, place, columns, event)
        return
    column = columns[place.column]
    try:
        event[place.column] = json_values.reader(column)(found)
    except ValueError:
        raise UndecodableError(f"column {place.column} is {column.type} and holds {_shown(found)}") from None


def _shown(found: Any) -> str:
    if isinstance(found, list):
        return "an object" if isinstance(found, _Object) else "an array"
    return shown(found)


def _json_number(text: str) -> json_values.Number:
    if sum(character in "0123456789" for character in text) > json_values.LONGEST_NUMBER:
        raise ValueError("a number without end")
    return json_values.Number(text)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


_JSON = json.JSONDecoder(
    object_pairs_hook=_Object, parse_int=_json_number, parse_float=_json_number, parse_constant=_refuse_constant
)


def _depth(found: Any) -> int:
    inner = [value for _, value in found] if isinstance(found, _Object) else found
    return 1 + max(map(_depth, inner), default=0) if isinstance(found, list) else 0
