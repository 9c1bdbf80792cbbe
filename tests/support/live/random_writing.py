"""Random ways in which the records of a source may be written, and the records: the same for the same seed."""

from __future__ import annotations

import base64
import io
import json
import random
import struct
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import fastavro

from hopsworks_flink.pipeline.canary import nested
from hopsworks_flink.pipeline.resources import source_avro_schema
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.spec.source import Column
from hopsworks_flink.pipeline.spec.source.columns import path_of
from hopsworks_flink.pipeline.spec.source.writing import Path, Pattern
from hopsworks_flink.pipeline.types import STRING, avro_type
from tests.support import protobuf

SCHEMA_ID = 7
PLACES = ["payload.{}", "payload.deep.{}", "moved_{}", "list[1].{}", "pair[0][2].{}"]
# In Protobuf what is repeated is a message, and not itself repeated.
PLACES_OF_PROTOBUF = [place for place in PLACES if "][" not in place]
NAMES_OF_JSON = ["payload['a b'].{}", "@{}", "äöü.{}", "event-{}"]
# A message beside columns, and types for the others: several are written alike.
KINDS_OF_PROTOBUF = {
    "boolean": ["bool", "google.protobuf.BoolValue"],
    "tinyint": ["int32", "sint64", "sfixed32"],
    "smallint": ["sint32", "int64"],
    "int": ["int32", "sfixed64", "google.protobuf.Int32Value"],
    "bigint": ["int64", "sint64", "sfixed64"],
    "float": ["float"],
    "double": ["double", "google.protobuf.DoubleValue"],
    "binary": ["bytes"],
    "timestamp": ["google.protobuf.Timestamp"],
}
MESSAGE = "sameness.Record"
# Of what can say microseconds and needs no hour twice.
TIMES: list[dict[str, str]] = [
    {},
    {"unit": "microseconds"},
    {"zone": "UTC"},
    {"zone": "Asia/Kolkata"},
    {"pattern": "dd.MM.yyyy HH:mm:ss.SSSSSS X"},
    {"pattern": "yyyy-MM-dd'T'h:mm:ss[.SSSSSS] a", "zone": "UTC"},
]
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Record(NamedTuple):
    """What is sent."""

    value: bytes
    key: bytes | None
    headers: list[tuple[str, bytes]]


def random_writing(chance: random.Random, format_: str, columns: Mapping[str, str]) -> dict[str, Any]:
    """Settings of a source: how its columns are written, and in what."""
    named = format_ != "avro" or chance.random() < 0.5
    declared: dict[str, Any] = {}
    for name, kind in columns.items():
        more = chance.choice(TIMES) if kind == "timestamp" else {}
        if named and chance.random() < 0.4:
            places = PLACES_OF_PROTOBUF if format_ == "protobuf" else PLACES
            more = {**more, "path": chance.choice(places + (NAMES_OF_JSON if format_ == "json" else [])).format(name)}
        declared[name] = {"type": kind, **more} if more else kind
    for name, place in (("tiny", {"key": True}), ("shop", {"header": "shop"}), ("price", {"header": "the price"})):
        if chance.random() < 0.5:
            declared[name] = {"type": columns[name], **place}
    source: dict[str, Any] = {"format": format_, "schema": declared}
    if format_ != "json" and chance.random() < 0.5:
        source |= {"framing": "confluent", "schema_ids": [SCHEMA_ID]}
    if named and chance.random() < 0.5:
        source["unwrap"] = "debezium"
    if format_ == "avro" and named:
        source["avro_schema"] = _schema(declared, source.get("unwrap"))
    if format_ == "protobuf":
        kinds = _kinds(declared, source.get("unwrap"), lambda column: _kind_of_protobuf(chance, column))
        messages: dict[str, dict[str, str]] = {}
        _messages(kinds, "Record", messages)
        descriptor = protobuf.content(protobuf.files("sameness", messages))
        source |= {"descriptor": descriptor, "message": MESSAGE}
    return source


def _kinds(declared: Mapping[str, Any], unwrap: Any, kind: Callable[[Column], Any]) -> dict[Path, Any]:
    """Types of what is written, by their places."""
    columns = {name: Column.model_validate(column) for name, column in declared.items()}
    kinds = {path_of(name, column, unwrap): kind(column) for name, column in columns.items() if not column.is_beside}
    return kinds | ({("op",): "string"} if unwrap else {})


def _kind_of_protobuf(chance: random.Random, column: Column) -> str:
    if column.unit:
        return "int64"
    kinds = ["string"] if column.is_text else KINDS_OF_PROTOBUF.get(column.type.name, ["string"])
    return chance.choice(kinds)


def _messages(kinds: Mapping[Path, str], name: str, made: dict[str, dict[str, str]]) -> None:
    """Messages that have columns where they say, each of them known to be absent."""
    fields = made[name] = {}
    for step in dict.fromkeys(path[0] for path in kinds):
        below = {path[1:]: kind for path, kind in kinds.items() if path[0] == step}
        kind = f"M{len(made)}"
        if () in below:
            fields[str(step)] = below[()] if below[()].startswith("google.") else f"optional {below[()]}"
        elif any(isinstance(path[0], int) for path in below):
            fields[str(step)] = f"repeated {kind}"
            _messages({path[1:]: inner for path, inner in below.items()}, kind, made)
        else:
            fields[str(step)] = kind
            _messages(below, kind, made)


def _fill(message: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        field = message.DESCRIPTOR.fields_by_name[name]
        if value is None:
            continue
        if isinstance(value, dict):
            getattr(message, name).SetInParent()
            _fill(getattr(message, name), value)
        elif isinstance(value, list):
            for item in value:
                _fill(getattr(message, name).add(), item or {})
        elif isinstance(value, datetime):
            getattr(message, name).FromDatetime(value)
        elif field.message_type is not None:
            getattr(message, name).value = value
        else:
            setattr(message, name, str(value) if isinstance(value, date | Decimal) else value)


def _schema(declared: Mapping[str, Any], unwrap: Any) -> dict[str, Any]:
    """A writer's schema that has the columns where they say, each nullable."""
    made: dict[str, Any] = _type(_kinds(declared, unwrap, _kind), iter(range(1000)))
    return made


def _kind(column: Column) -> Any:
    if column.is_text:
        return ["string", "null"]
    if column.unit:
        return ["null", "long"]
    return avro_type(column.type)[::-1] if column.type == STRING else avro_type(column.type)


def _type(kinds: Mapping[Path, Any], numbers: Iterator[int]) -> Any:
    if () in kinds:
        return kinds[()]
    below: dict[str | int, dict[Path, Any]] = {}
    for path, kind in kinds.items():
        below.setdefault(path[0], {})[path[1:]] = kind
    types = {step: _type(inner, numbers) for step, inner in below.items()}
    if isinstance(next(iter(types)), int):
        (item,) = types.values()
        return {"type": "array", "items": ["null", item]}
    fields = [{"name": name, "type": kind} for name, kind in types.items()]
    return {"type": "record", "name": f"r{next(numbers)}", "fields": fields}


def encoder(pipeline: Pipeline) -> Callable[[Mapping[str, Any]], Record]:
    """What makes a record of an event."""
    source = pipeline.source
    places = {name: path_of(name, column, source.envelope) for name, column in source.value_columns.items()}
    schema = fastavro.parse_schema(source_avro_schema(pipeline)) if source.format == "avro" else None
    framing = b"\0" + struct.pack(">I", SCHEMA_ID) if source.framing else b""
    message = protobuf.message_of(str(source.descriptor), MESSAGE) if source.format == "protobuf" else None

    def encode(event: Mapping[str, Any]) -> Record:
        values = {places[name]: _held(column, event[name]) for name, column in source.value_columns.items()}
        if source.envelope:
            values[("op",)] = "u" if event["whole"] else "c"
        key, headers = None, []
        for name, column in source.beside_columns.items():
            if event[name] is None:
                continue
            text = str(event[name]).encode()
            if column.header is None:
                key = text
            else:
                headers.append((column.header, text))
        if message is not None:
            record = message()
            _fill(record, nested(values))
            # Framing says as well that it is the first message of its file.
            indexes = b"\0" if source.framing else b""
            return Record(framing + indexes + record.SerializeToString(), key, headers)
        if schema is None:
            return Record(_json(nested(values)).encode(), key, headers)
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, schema, nested(values))
        return Record(framing + buffer.getvalue(), key, headers)

    def _held(column: Column, value: Any) -> Any:
        if not isinstance(value, datetime) or not (column.is_text or column.unit):
            return value
        if column.unit:
            return (value - _EPOCH) // timedelta(microseconds=1)
        if column.pattern:
            return Pattern.written(column.pattern, value)
        return value.astimezone(ZoneInfo(str(column.zone))).replace(tzinfo=None).isoformat()

    return encode


def _json(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(name)}: {_json(inner)}' for name, inner in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_json, value))}]"
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bytes):
        value = base64.b64encode(value).decode()
    elif isinstance(value, datetime):
        # With either way to write UTC.
        written = value.isoformat(timespec="microseconds")
        value = written if value.second % 2 else written.replace("+00:00", "Z")
    elif isinstance(value, date):
        value = value.isoformat()
    return json.dumps(value, ensure_ascii=False)
