"""Messages of Protobuf, as a library writes them: their descriptors are made here, which takes no protoc."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from hopsworks_flink.pipeline.spec.source.protobuf import CONTENT

IMPORTED = (timestamp_pb2, wrappers_pb2)
_FIELD = re.compile(r"(?:(?P<label>repeated|optional|required|oneof \w+) )?(?P<type>\S+)(?: = (?P<number>\d+))?")
_SCALARS = {value.name for value in FieldDescriptorProto.Type.DESCRIPTOR.values}
_MAP = re.compile(r"map<(\w+),(\S+)>")


def files(
    package: str,
    messages: Mapping[str, Mapping[str, str]],
    enums: Mapping[str, Mapping[str, int]] | None = None,
    syntax: str = "proto3",
) -> FileDescriptorSet:
    """What ``protoc --include_imports`` makes of one file.

    :param messages: their fields: ``string``, ``optional int32``, ``repeated Item``, ``map<string,int64>``,
        ``oneof price double = 7``, each numbered in its order unless it says a number.
    """
    file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax=syntax)
    made = FileDescriptorSet()
    for module in IMPORTED:
        module.DESCRIPTOR.CopyToProto(made.file.add())
        file.dependency.append(module.DESCRIPTOR.name)
    for name, values in (enums or {}).items():
        kind = file.enum_type.add(name=name)
        for symbol, number in values.items():
            kind.value.add(name=symbol, number=number)
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for number, (field, written) in enumerate(fields.items(), 1):
            _add(message, package, field, written, number, dict(enums or {}))
        # As protoc has `optional` of proto3: alone in a oneof of its own, behind the others.
        for field in message.field if syntax == "proto3" else ():
            if fields.get(field.name, "").startswith("optional "):
                field.proto3_optional, field.oneof_index = True, len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field.name}")
    made.file.append(file)
    return made


def _add(message: DescriptorProto, package: str, name: str, written: str, number: int, enums: dict[str, Any]) -> None:
    found = _FIELD.fullmatch(written)
    assert found, written
    label, kind = found["label"] or "", found["type"]
    field = message.field.add(name=name, number=int(found["number"] or number))
    field.label = FieldDescriptorProto.LABEL_REPEATED if label == "repeated" else FieldDescriptorProto.LABEL_OPTIONAL
    if label == "required":
        field.label = FieldDescriptorProto.LABEL_REQUIRED
    if label.startswith("oneof"):
        oneof = label.split()[1]
        if oneof not in [one.name for one in message.oneof_decl]:
            message.oneof_decl.add(name=oneof)
        field.oneof_index = [one.name for one in message.oneof_decl].index(oneof)
    if of_map := _MAP.fullmatch(kind):
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _add(entry, package, "key", of_map[1], 1, enums)
        _add(entry, package, "value", of_map[2], 2, enums)
        kind, field.label = f"{message.name}.{entry.name}", FieldDescriptorProto.LABEL_REPEATED
    if f"TYPE_{kind.upper()}" in _SCALARS:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
        return
    field.type = FieldDescriptorProto.TYPE_ENUM if kind in enums else FieldDescriptorProto.TYPE_MESSAGE
    field.type_name = f".{kind}" if kind.startswith("google.") else f".{package}.{kind}"


def message_class(made: FileDescriptorSet, name: str) -> Any:
    """The library's class of a message."""
    pool = DescriptorPool()
    for file in made.file:
        pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(name))


def message_of(content_: str, name: str) -> Any:
    """The class of a message of a descriptor's content."""
    parsed = FileDescriptorSet.FromString(base64.b64decode(content_.removeprefix(CONTENT)))
    return message_class(parsed, name)


def content(made: FileDescriptorSet) -> str:
    """The descriptor as a pipeline without a file has it."""
    return CONTENT + base64.b64encode(made.SerializeToString()).decode()


def read(path: Path) -> FileDescriptorSet:
    """What a file of protoc holds."""
    return FileDescriptorSet.FromString(path.read_bytes())


def write(made: FileDescriptorSet, path: Path) -> None:
    """The file that protoc writes."""
    path.write_bytes(made.SerializeToString())
