"""Records of Avro by the schema of their writer, in the framing of a registry or not: both decoders, held against each
other and against what a library writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime, timezone
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devstack.hopsworks.home.certificates import write_certificates
from hopsworks_flink.clients.registry import RegistryConnection, schema_of
from hopsworks_flink.exceptions import KafkaError, PipelineError
from hopsworks_flink.pipeline.decoding import UndecodableError, decoder, value_check
from hopsworks_flink.pipeline.resources import source_avro_schema
from hopsworks_flink.pipeline.spec import Pipeline
from tests.pipeline.strict_format import JavaFormat, texts
from tests.pipeline.written import spec, written
from tests.support.registry_stub import RegistryStub, registry_stub

relaxed = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
READING: dict[str, Any] = {
    "type": "record",
    "name": "Reading",
    "namespace": "plant",
    "fields": [
        {
            "name": "sensor",
            "type": {
                "type": "record",
                "name": "Sensor",
                "fields": [
                    {"name": "id", "type": "long"},
                    {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["HOT", "COLD"]}},
                    {"name": "parent", "type": ["null", "Sensor"]},
                ],
            },
        },
        {"name": "taken", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "values", "type": {"type": "array", "items": ["null", "double", "int"]}},
        {"name": "tags", "type": {"type": "map", "values": "string"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 3}},
        {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 4}},
        {"name": "note", "type": [{"type": "string", "avro.java.string": "String"}, "null"]},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "ok", "type": "boolean"},
        {"name": "ratio", "type": "float"},
        {"name": "nanos", "type": ["null", {"type": "long", "logicalType": "timestamp-nanos"}]},
    ],
}
COLUMNS: dict[str, Any] = {
    "id": {"type": "bigint", "path": "sensor.id"},
    "kind": {"type": "string", "path": "sensor.kind"},
    "parent": {"type": "int", "path": "sensor.parent.id"},
    "taken": "timestamp",
    "second": {"type": "double", "path": "values[1]"},
    "site": {"type": "string", "path": "tags['site.name']"},
    "price": "decimal(6,2)",
    "hash": "binary",
    "note": "string",
    "day": "date",
    "ok": "boolean",
    "ratio": "double",
    "nanos": "timestamp",
}
EVENT: dict[str, Any] = {
    "sensor": {"id": 7, "kind": "COLD", "parent": {"id": 3, "kind": "HOT", "parent": None}},
    "taken": datetime(2025, 3, 1, 12, 0, 0, 123000, tzinfo=timezone.utc),
    "values": [1.5, 2, None],
    "tags": {"a": "b", "site.name": "Väst"},
    "price": Decimal("12.500"),
    "hash": b"\0\1\2\3",
    "note": "ü",
    "day": date(2025, 3, 1),
    "ok": True,
    "ratio": 0.5,
    "nanos": 1_740_830_400_123_456_789,
}
ROW = {
    "id": 7,
    "kind": "COLD",
    "parent": 3,
    "taken": datetime(2025, 3, 1, 12, 0, 0, 123000),
    "second": 2.0,
    "site": "Väst",
    "price": Decimal("12.50"),
    "hash": b"\0\1\2\3",
    "note": "ü",
    "day": date(2025, 3, 1),
    "ok": True,
    "ratio": 0.5,
    "nanos": datetime(2025, 3, 1, 12, 0, 0, 123456),
}


def judged(columns: dict[str, Any], value: bytes, schemas: Any = None, **source: Any) -> dict[str, Any]:
    """What the decoder in Python says, in the words of the Java one."""
    decode = decoder(Pipeline.parse(spec(columns, **source)).source, schemas)
    try:
        return {"row": texts(decode(value), columns)}
    except UndecodableError as problem:
        return {"reason": str(problem)}


@pytest.fixture(scope="module")
def flink() -> Iterator[JavaFormat]:
    format_ = JavaFormat()
    yield format_
    format_.close()


@pytest.fixture
def registry() -> Iterator[RegistryStub]:
    with registry_stub() as stub:
        yield stub


def test_columns_are_read_from_wherever_they_are_written(flink: JavaFormat) -> None:
    assert judged(COLUMNS, written(EVENT, READING), avro_schema=READING) == {"row": texts(ROW, COLUMNS)}
    assert flink.decode("avro", COLUMNS, [written(EVENT, READING)], written=READING) == [{"row": texts(ROW, COLUMNS)}]


def test_what_is_said_beside_a_type_s_name_is_not_said_of_the_type(flink: JavaFormat) -> None:
    again = {"type": "M", "logicalType": "decimal", "precision": 4, "scale": 2}
    schema = one({"type": "fixed", "name": "M", "size": 2}, again, "int")
    columns, value = {"v": "binary", "f0": "binary", "f1": "int"}, b"\0\1\1\0\2"
    (found,) = flink.decode("avro", columns, [value], written=schema)
    assert found == judged(columns, value, avro_schema=schema)
    assert found == {"row": texts({"v": b"\0\1", "f0": b"\1\0", "f1": 1}, columns)}


def one(kind: Any, *further: Any) -> dict[str, Any]:
    """A schema with one field, and others."""
    fields = [{"name": "v", "type": kind}, *({"name": f"f{n}", "type": k} for n, k in enumerate(further))]
    return {"type": "record", "name": "r", "fields": fields}


LONG = {"type": "long", "logicalType": "timestamp-micros"}
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
ENUM = {"type": "enum", "name": "e", "symbols": ["A"]}
LEAST = "column v is timestamp and holds -9223372036854775808"
MORE, NONE = "column v is decimal(2,1) and holds more digits", "column v is decimal(2,1) and holds no bytes"


def digits(scale: int) -> dict[str, Any]:
    return {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": scale}


SINGLE: list[tuple[Any, Any, str, Any]] = [
    # Written type, column, bytes, row or reason.
    ("int", "tinyint", "fe01", 127),
    ("int", "tinyint", "8002", "column v is tinyint and holds 128"),
    ("long", "double", "04", 2.0),
    ("long", "double", "8280808080808020", "column v is double and holds 9007199254740993"),
    ("long", "float", "82808010", "column v is float and holds 16777217"),
    ("long", "decimal(4,2)", "c601", Decimal("99.00")),
    ("long", "decimal(4,2)", "c801", "column v is decimal(4,2) and holds 100"),
    ("double", "float", "000000000000f83f", 1.5),
    ("double", "float", "9a9999999999b93f", "column v is float and holds a number between two of them"),
    ("double", "float", "000000000000f07f", float("inf")),
    ("float", "double", "0000c03f", 1.5),
    ("string", "decimal(4,2)", "08312e3530", Decimal("1.50")),
    ("string", "decimal(4,2)", "06312f32", 'column v is decimal(4,2) and holds "1/2"'),
    ("string", "date", "14323032352d30332d3031", date(2025, 3, 1)),
    ("string", "timestamp", "04c3bc", 'column v is timestamp and holds "ü"'),
    ("string", "string", "02ff", "field v is no UTF-8 text"),
    ("string", "string", "03", "field v: its length reads as -2, and 0 bytes are left"),
    ("string", "string", "0a61", "field v: its length reads as 5, and 1 byte is left"),
    ("boolean", "boolean", "02", "field v: its boolean reads as 2, not 0 or 1"),
    (
        {"type": "enum", "name": "e", "symbols": ["A"]},
        "string",
        "02",
        "field v: its symbol reads as 1, and there are 1 symbols",
    ),
    (
        {"type": "bytes", "logicalType": "decimal", "scale": 1},
        "decimal(2,1)",
        "040100",
        "column v is decimal(2,1) and holds more digits",
    ),
    (digits(3), "decimal(2,1)", "0405dc", Decimal("1.5")),
    (
        {"type": "bytes", "logicalType": "decimal", "scale": 1},
        "decimal(2,1)",
        "00",
        "column v is decimal(2,1) and holds no bytes",
    ),
    (LONG, "timestamp", "ffffffffffffffffff01", LEAST),
    (LONG, "bigint", "06", 3),
    ("long", {"type": "timestamp", "unit": "seconds"}, "80b892fc0c", datetime(2025, 3, 1)),
    (
        {"type": "long", "logicalType": "timestamp-millis"},
        "timestamp",
        "ffffffffffffffffff01",
        "column v is timestamp and holds -9223372036854775808",
    ),
    (["null", "string"], "string", "04", "field v: its union index reads as 2, and there are 2 branches"),
    (["null", "string", "int"], "string", "0402", "column v is string and is written as int"),
    (["null", "long"], "bigint", "00", None),
    ("long", "bigint", "8000", "field v: its bytes are no number of Avro"),
    ("long", "bigint", "80", "the record ends in field v"),
    ("long", "bigint", "0200", "1 byte is left after the record"),
    ("long", "bigint", "", "the record ends in field v"),
]


@pytest.mark.parametrize(("kind", "column", "value", "wanted"), SINGLE, ids=lambda part: str(part)[:40])
def test_what_each_type_gives(flink: JavaFormat, kind: Any, column: Any, value: str, wanted: Any) -> None:
    columns, schema = {"v": column, "k": "int"}, one(kind)
    schema["fields"] += [{"name": "k", "type": "null"}]
    expected = {"reason": wanted} if isinstance(wanted, str) else {"row": texts({"v": wanted, "k": None}, columns)}
    assert flink.decode("avro", columns, [bytes.fromhex(value)], written=schema) == [expected]
    # As a registry's, which is judged when its records come.
    registered = {"framing": "confluent", "registry": "r"}
    framed = b"\0\0\0\0\1" + bytes.fromhex(value)
    assert judged(columns, framed, {1: schema}.get, **registered) == expected


def test_a_column_that_the_writer_has_not_is_null(flink: JavaFormat, registry: RegistryStub) -> None:
    columns = {"k": "bigint", "v": "string", "deep": {"type": "int", "path": "a[3].b"}}
    registry.schemas = {4: one("string", "int"), 5: {**one("string"), "fields": [{"name": "k", "type": "int"}]}}
    values = [written({"v": "x", "f0": 1}, registry.schemas[4], 4), written({"k": 9}, registry.schemas[5], 5)]
    rows = [{"k": None, "v": "x", "deep": None}, {"k": 9, "v": None, "deep": None}]
    wanted = [{"row": texts(row, columns)} for row in rows]
    assert flink.decode("avro", columns, values * 2, framed=True, registry=registry.url) == wanted * 2
    assert [path for path, _ in registry.requests] == ["/schemas/ids/4", "/schemas/ids/5"], "each is asked for once"
    found = [judged(columns, value, registry.schemas.get, framing="confluent", registry="r") for value in values]
    assert found == wanted


ITEM = {"type": "record", "name": "i", "fields": [{"name": "p", "type": "int"}]}


@pytest.mark.parametrize(
    ("kind", "path", "value", "wanted"),
    [
        ({"type": "array", "items": ITEM}, "v[0].p", [{"p": 1}], 1),
        ({"type": "array", "items": ITEM}, "v[1].p", [{"p": 1}], None),
        ({"type": "map", "values": ITEM}, "v.k.p", {"k": {"p": 1}}, 1),
        (["null", ITEM], "v[0].p", None, None),
        (ITEM, "v.q", {"p": 1}, None),
        (ITEM, "v[0].p", {"p": 1}, "field v is written as record, not as an array"),
        ({"type": "map", "values": ITEM}, "v[0].p", {"0": {"p": 1}}, "field v is written as map, not as an array"),
        ({"type": "array", "items": ITEM}, "v.p", [{"p": 1}], "field v is written as array, not as an object"),
        ({"type": "array", "items": "int"}, "v[0].p", [1], "field v is written as int, not as an object"),
        (["int", ITEM], "v.p", 1, "field v is written as int, not as an object"),
    ],
)
def test_what_has_become_something_else_on_the_way_to_a_column(
    flink: JavaFormat, registry: RegistryStub, kind: Any, path: str, value: Any, wanted: Any
) -> None:
    columns, registry.schemas = {"c": {"type": "int", "path": path}}, {1: one(kind)}
    record = written({"v": value}, registry.schemas[1], 1)
    expected = {"reason": wanted} if isinstance(wanted, str) else {"row": texts({"c": wanted}, columns)}
    assert flink.decode("avro", columns, [record], framed=True, registry=registry.url) == [expected]
    assert judged(columns, record, registry.schemas.get, framing="confluent", registry="r") == expected


def test_what_is_wrong_with_a_framing(flink: JavaFormat, registry: RegistryStub) -> None:
    columns = {"k": "bigint"}
    registry.schemas = {1: ["null", "string"], 2: one("Y")}
    none = "it does not begin with the framing of a schema registry, a zero byte and the schema's id"
    for value, reason in (
        (b"", none),
        (b"\0\0\0\1", none),
        (b"\1\0\0\0\1\2", none),
        (b"\0\0\0\0\7\2", "the registry knows no schema 7"),
        (b"\0\xff\0\0\7\2", "the registry knows no schema 4278190087"),
        (b"\0\0\0\0\1\2", "schema 1 of the registry is the schema of union, and records are records"),
        (b"\0\0\0\0\2\2", "schema 2 of the registry is no schema of Avro: 'Y' is not defined before it is used"),
    ):
        assert flink.decode("avro", columns, [value], framed=True, registry=registry.url) == [{"reason": reason}]
        assert judged(columns, value, registry.schemas.get, framing="confluent", registry="r") == {"reason": reason}


def test_schemas_that_are_not_read(flink: JavaFormat, registry: RegistryStub) -> None:
    text, references = json.dumps(one("long")), [{"name": "a", "subject": "a", "version": 1}]
    of, refers, none = "is of {}, not of Avro", "refers to others, which is not read", "is no schema of Avro"
    not_read: list[tuple[Any, str]] = [
        ({"schema": "syntax = 'proto3';", "schemaType": "PROTOBUF"}, of.format("PROTOBUF")),
        ({"schema": "{}", "schemaType": "JSON"}, of.format("JSON")),
        ({"schema": text, "schemaType": "JSON", "references": references}, of.format("JSON")),
        ({"schema": "{}", "references": references}, refers),
        ({"schema": text, "schemaType": "AVRO", "references": references}, refers),
        ({"schema": "no JSON"}, none),
        ({"schema": None}, none),
        ({"other": text}, none),
        ([text], none),
    ]
    read = [{"schema": text, "schemaType": "AVRO", "references": []}, {"schema": text, "schemaType": None}]
    registry.answers = dict(enumerate([*(answer for answer, _ in not_read), *read]))
    wanted: list[dict[str, Any]] = [
        {"reason": f"schema {number} of the registry {reason}"} for number, (_, reason) in enumerate(not_read)
    ]
    wanted += [{"row": {"v": "1"}}] * len(read)
    values = [b"\0\0\0\0" + bytes([number]) + b"\2" for number in registry.answers]
    assert flink.decode("avro", {"v": "bigint"}, values, framed=True, registry=registry.url) == wanted
    registered = partial(schema_of, RegistryConnection(registry.url))
    found = [judged({"v": "bigint"}, value, registered, framing="confluent", registry="r") for value in values]
    assert found == wanted


def test_a_schema_that_is_not_read_is_asked_for_once(registry: RegistryStub) -> None:
    registry.answers = {1: {"schema": "syntax = 'proto3';", "schemaType": "PROTOBUF"}}
    source = Pipeline.parse(spec({"v": "bigint"}, framing="confluent", registry="r")).source
    check = value_check(source, partial(schema_of, RegistryConnection(registry.url)))
    for _ in range(3):
        assert check(b"\0\0\0\0\1\2") == "schema 1 of the registry is of PROTOBUF, not of Avro"
        assert check(b"\0\0\0\0\2\2") == "the registry knows no schema 2"
    assert [path for path, _ in registry.requests] == ["/schemas/ids/1", "/schemas/ids/2"]


def test_a_registry_that_stumbles_is_asked_again(flink: JavaFormat, registry: RegistryStub) -> None:
    registry.schemas, registry.failures = {4: one("long")}, [500, 503]
    found = flink.decode("avro", {"v": "bigint"}, [b"\0\0\0\0\4\2"], framed=True, registry=registry.url)
    assert found == [{"row": {"v": "1"}}]
    assert len(registry.requests) == 3


def test_a_registry_behind_tls(flink: JavaFormat, tmp_path: Path) -> None:
    ours, others = tmp_path / "ours", tmp_path / "others"
    for folder, names in ((ours, ["127.0.0.1"]), (others, ["registry.example"])):
        folder.mkdir()
        write_certificates(folder, "nobody", names, names)
    value, columns = b"\0\0\0\0\4\2", {"v": "bigint"}
    with registry_stub(ours) as registry, registry_stub(others) as elsewhere:
        registry.schemas = elsewhere.schemas = {4: one("long")}

        def asked(stub: RegistryStub, ca: Path | None) -> tuple[dict[str, Any], Any]:
            text = (ca / "ca.pem").read_text() if ca else None
            (found,) = flink.decode("avro", columns, [value], framed=True, registry=stub.url, ca=text)
            try:
                return found, schema_of(RegistryConnection(stub.url, ca_path=ca and str(ca / "ca.pem")), 4)
            except KafkaError as error:
                return found, str(error)

        assert asked(registry, ours) == ({"row": {"v": "1"}}, one("long"))
        for stub, ca in ((registry, None), (registry, others), (elsewhere, others)):
            found, error = asked(stub, ca)
            assert found["failed"].startswith(f"Schema 4 of the registry {stub.url}: javax.net.ssl.SSL")
            assert "cannot be read" in error
            assert "certificate" in error.lower()


def test_a_password_that_is_renewed(flink: JavaFormat) -> None:
    columns, asked = {"v": "bigint"}, [b"\0\0\0\0\4\2"]
    passwords = {"Basic old"}
    with registry_stub(passwords=passwords) as registry:
        registry.schemas = {4: one("long")}
        old, new = (
            {"framed": True, "registry": registry.url, "authorization": f"Basic {word}"} for word in ("old", "new")
        )
        assert flink.decode("avro", columns, asked, **old) == [{"row": {"v": "1"}}]
        passwords.add("Basic new")
        passwords.discard("Basic old")
        failed = {"failed": f"Schema 4 of the registry {registry.url}: it answers 401"}
        assert flink.decode("avro", columns, asked, **old) == [failed]
        assert flink.decode("avro", columns, asked, **new) == [{"row": {"v": "1"}}]


def test_framing_with_the_columns_or_a_schema_of_the_file(flink: JavaFormat) -> None:
    flat = {"k": "bigint", "v": "string"}
    plain = {
        "type": "record",
        "name": "r",
        "fields": [{"name": n, "type": ["null", k]} for n, k in (("k", "long"), ("v", "string"))],
    }
    for schema, source in ((None, {}), (plain, {"avro_schema": plain})):
        for ids, wanted in (
            ([], {"row": {"k": "5", "v": "x"}}),
            ([17], {"row": {"k": "5", "v": "x"}}),
            ([18, 19], {"reason": "it was written with schema 17 of the registry, and source.schema_ids has 18, 19"}),
        ):
            value = written({"k": 5, "v": "x"}, plain, 17)
            assert flink.decode("avro", flat, [value], framed=True, ids=ids, written=schema) == [wanted]
            assert judged(flat, value, framing="confluent", schema_ids=ids, **source) == wanted


def reading(event: dict[str, Any]) -> bytes:
    return written(event, READING)


READINGS = st.fixed_dictionaries(
    {
        "sensor": st.fixed_dictionaries(
            {"id": st.integers(-(2**63), 2**63 - 1), "kind": st.sampled_from(["HOT", "COLD"]), "parent": st.none()}
        ),
        "taken": st.datetimes(datetime(1, 1, 2), timezones=st.just(timezone.utc)),
        "values": st.lists(st.none() | st.floats(allow_nan=False) | st.integers(-5, 5), max_size=4),
        "tags": st.dictionaries(st.sampled_from(["site.name", "a", "ü"]), st.text(max_size=4), max_size=3),
        "price": st.integers(-(10**10), 10**10).map(lambda cents: Decimal(cents).scaleb(-3)),
        "hash": st.binary(min_size=4, max_size=4),
        "note": st.none() | st.text(max_size=20),
        "day": st.dates(),
        "ok": st.booleans(),
        "ratio": st.floats(width=32),
        "nanos": st.none() | st.integers(-(2**63), 2**63 - 1),
    }
)


@st.composite
def damaged(draw: Any) -> bytes:
    value = reading(draw(READINGS))
    begin = draw(st.integers(0, len(value)))
    end = min(len(value), begin + draw(st.integers(0, 2)))
    return bytes(value[:begin] + draw(st.binary(max_size=3)) + value[end:])


@relaxed
@given(st.lists(READINGS.map(reading) | damaged() | st.binary(max_size=40), min_size=1, max_size=20))
def test_both_judge_alike(flink: JavaFormat, values: list[bytes]) -> None:
    wanted = [judged(COLUMNS, value, avro_schema=READING) for value in values]
    assert flink.decode("avro", COLUMNS, values, written=READING) == wanted


@pytest.mark.parametrize(
    ("columns", "source", "problem"),
    [
        ({"k": "bigint"}, {"format": "json", "framing": "confluent"}, "framing is about Avro, and format is json"),
        ({"k": "bigint"}, {"registry": "r"}, "registry: the schemas' ids stand in front of the records; add framing"),
        ({"k": "bigint"}, {"schema_ids": [1]}, "schema_ids is for framing without a registry"),
        ({"k": "bigint"}, {"framing": "glue"}, "source.framing: must be one of 'confluent'"),
        ({"k": "bigint"}, {"framing": "confluent", "registry": "r", "schema_ids": [1]}, "schema_ids is for framing"),
        (
            {"k": "bigint"},
            {"avro_schema": {"type": "int"}},
            "avro_schema is the schema of int, and records are records",
        ),
        ({"k": "bigint"}, {"avro_schema": {"name": "x"}}, "avro_schema is no schema of Avro"),
        ({"k": "bigint"}, {"avro_schema": READING, "framing": "confluent", "registry": "r"}, "remove one of them"),
        ({"id": "bigint"}, {"avro_schema": READING}, "schema.id: avro_schema has no id; the record has sensor, taken"),
        (
            {"id": {"type": "bigint", "path": "sensor.no"}},
            {"avro_schema": READING},
            "schema.id: avro_schema has no sensor.no; sensor has id, kind, parent",
        ),
        (
            {"id": {"type": "bigint", "path": "taken.no"}},
            {"avro_schema": READING},
            "schema.id: avro_schema has no taken.no; it is timestamp-millis",
        ),
        (
            {"k": {"type": "int", "path": "sensor.id"}, "note": "double"},
            {"avro_schema": READING},
            "schema.note: is double, and avro_schema has string there",
        ),
        (
            {"k": "bigint", "v": "int"},
            {"framing": "confluent", "registry": "r", "appended": ["v"]},
            "appended is about plain Avro",
        ),
    ],
)
def test_what_is_refused(columns: dict[str, Any], source: dict[str, Any], problem: str) -> None:
    with pytest.raises(PipelineError) as refused:
        Pipeline.parse(spec(columns, **source))
    assert problem in str(refused.value)


def test_the_topic_of_such_records_has_their_schema() -> None:
    assert source_avro_schema(Pipeline.parse(spec(COLUMNS, avro_schema=READING))) == READING
    registered = source_avro_schema(Pipeline.parse(spec(COLUMNS, framing="confluent", registry="r")))
    assert registered["doc"] == "Records are Avro of a registry's schemas; these are the columns read."
    assert json.dumps(Pipeline.parse(spec(COLUMNS, avro_schema=READING)).to_dict())
