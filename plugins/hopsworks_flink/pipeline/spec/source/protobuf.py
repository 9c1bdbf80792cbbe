"""Messages of Protobuf: what of their descriptor the columns read. Pure.

Meanings are those of https://protobuf.dev/programming-guides/field_presence/ and
https://protobuf.dev/programming-guides/encoding/. What is made here goes to both decoders, in Python and in
flink_jobs/java, neither of which sees the descriptor.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from hopsworks_flink.pipeline.spec.source.avro import AvroType, holds
from hopsworks_flink.pipeline.spec.source.columns import OPERATION, Column, Unwrap, envelope_columns, path_of
from hopsworks_flink.pipeline.spec.source.writing import Path, shown_path
from hopsworks_flink.pipeline.types import TIMESTAMP

#: What the content of a descriptor begins with where it stands in place of its path.
CONTENT = "base64:"
#: Far beyond the descriptors of a company's messages; and what of them one message may need, which goes with the file.
MOST_BYTES, MOST_NEEDED = 16 * 1024 * 1024, 256 * 1024

_MOST_SHOWN = 30
_GOOGLE = "google.protobuf"
_MOMENT = f"{_GOOGLE}.Timestamp"
_WRAPPERS = {
    f"{_GOOGLE}.{name}Value"
    for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
}
_AVRO = {"double": "double", "float": "float", "bool": "boolean", "string": "string", "bytes": "bytes", "enum": "enum"}


@dataclass(eq=False)
class Value:
    """What is read of a value: it is a column's, or columns are in it. A message that is a column's is a timestamp."""

    column: str | None = None
    fields: dict[int, Field] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        """For Java, JSON-safe."""
        if self.column is not None:
            return {"column": self.column}
        return {"fields": {str(number): inner.options() for number, inner in sorted(self.fields.items())}}


@dataclass(eq=False)
class Field:
    """A field of a message that is read, or of which one may be that excludes it.

    :param name: its path from the record on, for messages.
    :param kind: its type in Protobuf's words.
    :param oneof: name of the oneof that it belongs to, if that has other fields.
    :param implicit: whether a message without it means its type's default value.
    :param symbols: of an enum, by their numbers.
    :param value: what is read of it, if it stands there once.
    :param items: what is read of it, if it is repeated, by place.
    :param keys: what is read of it, if it is a map, by key.
    """

    name: str
    kind: str
    oneof: str = ""
    implicit: bool = False
    symbols: dict[int, str] = field(default_factory=dict)
    value: Value | None = None
    items: dict[int, Value] = field(default_factory=dict)
    keys: dict[str, Value] = field(default_factory=dict)

    @property
    def written(self) -> AvroType:
        """The type of Avro that columns take in the same way."""
        return AvroType(_AVRO.get(self.kind, "long"))

    def options(self) -> dict[str, Any]:
        """For Java, JSON-safe."""
        made: dict[str, Any] = {"name": self.name, "kind": self.kind}
        if self.oneof:
            made["oneof"] = self.oneof
        if self.implicit:
            made["implicit"] = True
        if self.symbols:
            made["symbols"] = {str(number): symbol for number, symbol in sorted(self.symbols.items())}
        if self.value is not None:
            made["value"] = self.value.options()
        for name, values in (("items", self.items), ("keys", self.keys)):
            if values:
                made[name] = {str(step): value.options() for step, value in sorted(values.items())}
        return made


class Message(NamedTuple):
    """What of a record is read.

    :param indexes: of its type in its file, and in the messages around it: what framing has behind the schema's id.
    :param value: the record.
    """

    indexes: tuple[int, ...]
    value: Value

    def options(self) -> dict[str, Any]:
        """For Java, JSON-safe."""
        return {"indexes": list(self.indexes), **self.value.options()}


def shipped(content: bytes, message: str | None) -> str:
    """A descriptor's content as the file takes it along: of the files in it those that the message needs.

    :param message: None if the file lacks it, which is told later; then nothing is needed.
    :raises ValueError: it is no set of file descriptors, does not have the message, or too much of it is needed.
    """
    files = {file.name: file for file in _parsed(content).file}
    wanted: set[str] = set()
    waiting = [name for name, file in files.items() if message is not None and _declares(file, message)]
    if message is not None and not waiting:
        raise ValueError(_no_message(message, files.values()))
    while waiting:
        name = waiting.pop()
        if name in files and name not in wanted:
            wanted.add(name)
            waiting += files[name].dependency
    kept = type(_parsed(b""))()
    for name, file in files.items():
        # Comments and calls say nothing about records.
        if name in wanted:
            file.ClearField("source_code_info")
            del file.service[:]
            kept.file.append(file)
    made: bytes = kept.SerializeToString(deterministic=True)
    if len(made) > MOST_NEEDED:
        raise ValueError(
            f"has {len(made)} bytes of what the message needs, and at most {MOST_NEEDED} travel with a pipeline; "
            "let the message's file import less"
        )
    return CONTENT + base64.b64encode(made).decode()


def _declares(file: Any, message: str) -> bool:
    outer = message.removeprefix(f"{file.package}.") if file.package else message
    return any(one.name == outer.split(".")[0] for one in file.message_type)


def _parsed(content: bytes) -> Any:
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from google.protobuf.message import DecodeError

    try:
        return FileDescriptorSet.FromString(content)
    except DecodeError:
        raise ValueError("is no set of file descriptors, as protoc --include_imports -o FILE writes it") from None


@lru_cache(maxsize=100)
def _descriptor(content: str, message: str) -> Any:
    """The message's descriptor. Raises ValueError where there is none."""
    from google.protobuf.descriptor_pool import DescriptorPool

    if not content.startswith(CONTENT):
        raise ValueError(f"names a file, which only a pipeline file can; here stands its content, {CONTENT}…")
    try:
        files = _parsed(base64.b64decode(content.removeprefix(CONTENT), validate=True)).file
    except binascii.Error:
        raise ValueError("is no base64") from None
    pool = DescriptorPool()
    known = {file.name for file in files}
    for file in files:
        if missing := [name for name in file.dependency if name not in known]:
            raise ValueError(f"lacks {missing[0]}, which {file.name} imports; make it with protoc --include_imports")
    try:
        for file in files:
            pool.Add(file)
    except TypeError as error:
        raise ValueError(f"cannot be used: {error}") from None
    try:
        return pool.FindMessageTypeByName(message)
    except KeyError:
        raise ValueError(_no_message(message, files)) from None


def _no_message(message: str, files: Iterable[Any]) -> str:
    names = [f"{file.package}.{one.name}" for file in files for one in file.message_type if file.package != _GOOGLE]
    shown = ", ".join(name.removeprefix(".") for name in names[:_MOST_SHOWN])
    return f"has no message {message}; it has {shown or 'none'}{', …' if len(names) > _MOST_SHOWN else ''}"


def parse_message(
    content: str, message: str, columns: Mapping[str, Column | None], unwrap: Unwrap | None
) -> tuple[Message, list[str]]:
    """What of a record the columns read, and which of them cannot be read from it, in words.

    :param content: the descriptor, as `shipped` makes it.
    :param message: full name of the records' message.
    :param columns: those of the record's value; of a wrong one, which is told elsewhere, None.
    :raises ValueError: the descriptor is none, or has no such message.
    """
    record = _descriptor(content, message)
    read, problems = Message(_indexes(record), Value()), []
    for name, column in envelope_columns(columns, unwrap).items():
        if column is None:
            continue
        path = path_of(name, column, unwrap)
        try:
            _read(read.value, record, path, 0, name, column)
        except ValueError as problem:
            problems.append(f"{'unwrap' if name == OPERATION else f'schema.{name}'}: {problem}")
    return read, problems


def _indexes(message: Any) -> tuple[int, ...]:
    outer = message.containing_type
    if outer is None:
        return (list(message.file.message_types_by_name).index(message.name),)
    return (*_indexes(outer), [one.name for one in outer.nested_types].index(message.name))


def _read(inside: Value, message: Any, path: Path, at: int, name: str, column: Column) -> None:
    """Have a column read that lies at a path, of which so many steps lead to a message."""
    found = message.fields_by_name.get(path[at])
    if found is None:
        where = shown_path(path[:at]) or message.full_name
        offered = ", ".join(one.name for one in message.fields)
        raise ValueError(f"the message has no {shown_path(path[: at + 1])}; {where} has {offered or 'no fields'}")
    read = _field(inside, found, path[: at + 1])
    at += 1
    step = path[at] if at < len(path) else None
    is_map = found.message_type is not None and found.message_type.GetOptions().map_entry
    if is_map:
        value, found = _of_map(read, found, step)
        at += 1
    elif _is_repeated(found):
        if not isinstance(step, int):
            raise ValueError(f"{read.name} is repeated: name a place in it, such as {read.name}[0]")
        value = read.items.setdefault(step, Value())
        at += 1
    else:
        if isinstance(step, int):
            raise ValueError(f"{read.name} is not repeated; remove [{step}]")
        value = read.value = read.value or Value()
    if found.message_type is None:
        _scalar(read, value, found, path, at, name, column)
    elif at < len(path):
        _read(value, found.message_type, path, at, name, column)
    elif found.message_type.full_name in _WRAPPERS:
        _read(value, found.message_type, (*path, "value"), at, name, column)
    elif found.message_type.full_name == _MOMENT and column.type == TIMESTAMP and not (column.unit or column.is_text):
        value.column = name
    else:
        offered = ", ".join(one.name for one in found.message_type.fields)
        raise ValueError(f"is {column.type}, and {read.name} is a message {found.message_type.full_name}: {offered}")


def _field(inside: Value, found: Any, path: Path) -> Field:
    """The field as what is read of it stands in; with those of its oneof, one of which at most may be there."""
    siblings = found.containing_oneof.fields if found.containing_oneof is not None else [found]
    for one in siblings:
        if one.number not in inside.fields:
            inside.fields[one.number] = Field(
                name=shown_path((*path[:-1], one.name)),
                kind=_kind(one),
                oneof=found.containing_oneof.name if len(siblings) > 1 else "",
                implicit=not one.has_presence and not _is_repeated(one),
                symbols=_symbols(one),
            )
    return inside.fields[found.number]


def _of_map(read: Field, found: Any, step: str | int | None) -> tuple[Value, Any]:
    """What is read of a key of a map, and the field of its values."""
    of_key, of_value = (found.message_type.fields_by_name[name] for name in ("key", "value"))
    if _kind(of_key) != "string":
        raise ValueError(f"{read.name} is a map with keys of {_kind(of_key)}; maps are read by keys of string")
    if not isinstance(step, str):
        raise ValueError(f"{read.name} is a map: name a key of it, such as {read.name}.name")
    read.kind, read.symbols = _kind(of_value), _symbols(of_value)
    return read.keys.setdefault(step, Value()), of_value


def _scalar(read: Field, value: Value, found: Any, path: Path, at: int, name: str, column: Column) -> None:
    kind = _kind(found)
    if at < len(path):
        raise ValueError(f"{read.name} is {kind}, and nothing lies below it; remove {shown_path(path[at:])}")
    if not holds(AvroType(_AVRO.get(kind, "long")), column):
        raise ValueError(f"is {column.type}, and {read.name} is {kind}")
    value.column = name


def _kind(found: Any) -> str:
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto

    return str(FieldDescriptorProto.Type.Name(found.type)).removeprefix("TYPE_").lower()


def _symbols(found: Any) -> dict[int, str]:
    # Of aliases the first one names the number.
    return {one.number: one.name for one in reversed(found.enum_type.values)} if found.enum_type is not None else {}


def _is_repeated(found: Any) -> bool:
    # Older versions have no name for it.
    return bool(found.is_repeated if hasattr(found, "is_repeated") else found.label == found.LABEL_REPEATED)


def reading_problems(
    content: str | None, message: str | None, columns: Mapping[str, Column | None], unwrap: Unwrap | None
) -> Iterator[str]:
    """What is wrong with the descriptor, or between it and the columns."""
    for name, given, what in (
        ("descriptor", content, "the file that protoc --include_imports -o FILE makes of the messages"),
        ("message", message, "the full name of the records' message, such as shop.Order"),
    ):
        if given is None:
            yield f"{name} is needed with format: protobuf: {what}"
    if content is not None and message is not None:
        try:
            _, problems = parse_message(content, message, columns, unwrap)
        except ValueError as problem:
            yield f"descriptor {problem}"
        else:
            yield from problems
