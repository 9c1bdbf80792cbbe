"""Change events of Debezium, by both decoders: of inserts and updates the row, of the others nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.health.refusal import refused_of
from hopsworks_flink.pipeline.decoding import UndecodableError, decoder, value_check
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.sql.features import source_table
from tests.pipeline.strict_format import JavaFormat, texts
from tests.pipeline.written import spec, written

COLUMNS: dict[str, Any] = {
    "id": "bigint",
    "name": {"type": "string", "path": "full.name"},
    "changed": {"type": "timestamp", "unit": "milliseconds", "path": "$.source.ts_ms"},
}
ROW = {"type": "record", "name": "Value", "fields": [{"name": "id", "type": "int"}, {"name": "n", "type": "string"}]}
ENVELOPE = {
    "type": "record",
    "name": "Envelope",
    "fields": [
        {"name": "before", "type": ["null", ROW], "default": None},
        {"name": "after", "type": ["null", "Value"], "default": None},
        {"name": "op", "type": "string"},
        {"name": "ts_ms", "type": ["null", "long"], "default": None},
    ],
}


@pytest.fixture(scope="module")
def flink() -> Iterator[JavaFormat]:
    format_ = JavaFormat()
    yield format_
    format_.close()


def judged(columns: dict[str, Any], value: bytes, **source: Any) -> dict[str, Any]:
    decode = decoder(Pipeline.parse(spec(columns, unwrap="debezium", **source)).source)
    try:
        event = decode(value)
    except UndecodableError as problem:
        return {"reason": str(problem)}
    return {} if event is None else {"row": texts(event, columns)}


def change(op: Any, after: Any = None, **more: Any) -> dict[str, Any]:
    return {"before": {"id": 0}, "after": after, "op": op, "source": {"ts_ms": 1_740_830_400_123, "table": "t"}, **more}


AFTER = {"id": 7, "full": {"name": "ü"}}
EVENT = {"row": {"id": "7", "name": "ü", "changed": "1740830400123000"}}


@pytest.mark.parametrize(
    ("record", "wanted"),
    [
        (change("c", AFTER), EVENT),
        (change("r", AFTER), EVENT),
        (change("u", AFTER), EVENT),
        ({"schema": {"fields": [{"field": "after"}]}, "payload": change("u", AFTER)}, EVENT),
        (change("d"), {}),
        (change("t"), {}),
        (change("m", AFTER), {}),
        ({"schema": None, "payload": change("d")}, {}),
        (change("c", {"id": None}), {"row": {"id": None, "name": None, "changed": "1740830400123000"}}),
        (change("x", AFTER), {"reason": 'its op is "x", which no change event of Debezium has'}),
        (change(None, AFTER), {"reason": "it is no change event of Debezium: it has no op"}),
        (AFTER, {"reason": "it is no change event of Debezium: it has no op"}),
        (change("c", [1]), {"reason": "after holds an array, not an object"}),
        (change("c", {"id": "7"}), {"reason": 'column id is bigint and holds "7"'}),
        ({"payload": change("c", {"id": "7"})}, {"reason": 'column id is bigint and holds "7"'}),
        ({"payload": {"after": 3}}, {"reason": "payload.after holds 3, not an object"}),
        (change(5, AFTER), {"reason": "column __op is string and holds 5"}),
    ],
    ids=str,
)
def test_json(flink: JavaFormat, record: Any, wanted: dict[str, Any]) -> None:
    value = json.dumps(record).encode()
    assert judged(COLUMNS, value, format="json") == wanted
    assert flink.decode("json", COLUMNS, [value], unwrap="debezium") == [wanted]


# As the connectors for PostgreSQL and MySQL write them, with data of our own.
SOURCE = """{"version":"3.0.0.Final","connector":"%s","name":"shop","ts_ms":1740830400123,"snapshot":"%s","db":"shop",
"sequence":"[\\"24023119\\",\\"24023128\\"]","ts_us":1740830400123456,"ts_ns":1740830400123456000,"schema":"public",
"table":"orders","txId":555,"lsn":24023128,"xmin":null}"""
ENDS = '"source":%s,"transaction":null,"op":"%s","ts_ms":1740830400200,"ts_us":1740830400200001'
SCHEMA = """{"type":"struct","fields":[{"type":"struct","fields":[{"type":"int32","optional":false,"field":"id"},
{"type":"string","optional":true,"field":"note"}],"optional":true,"name":"shop.public.orders.Value","field":"before"},
{"type":"struct","fields":[{"type":"int32","optional":false,"field":"id"}],"optional":true,"field":"after"},
{"type":"string","optional":false,"field":"op"}],"optional":false,"name":"shop.public.orders.Envelope","version":2}"""
NEW = '{"id":7,"note":"ü","price":"12.50","made":1740830400123456,"day":20148,"raw":"AAE="}'
LACKING = '{"id":7,"note":"__debezium_unavailable_value","price":null,"made":null,"day":null,"raw":"%s"}'
NOTHING_KNOWN = "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="
OF_ORDERS: dict[str, Any] = {
    "id": "int",
    "note": "string",
    "price": "decimal(9,2)",
    "made": {"type": "timestamp", "unit": "microseconds"},
    "day": "int",
    "raw": "binary",
    "before": {"type": "string", "path": "$.before.note"},
    "table": {"type": "string", "path": "$.source.table"},
}
MADE = {"id": "7", "note": "ü", "price": "12.50", "made": "1740830400123456", "day": "20148", "raw": "AAE="}
UNKNOWN = {**dict.fromkeys(MADE), "id": "7"}
HOLDS = "__debezium_unavailable_value"
DOCUMENTED: list[tuple[str, str, dict[str, Any]]] = [
    ("create", f'{{"before":null,"after":{NEW},{ENDS % (SOURCE % ("postgresql", "false"), "c")}}}', {**MADE}),
    ("snapshot", f'{{"before":null,"after":{NEW},{ENDS % (SOURCE % ("mysql", "first"), "r")}}}', {**MADE}),
    (
        "update",
        f'{{"before":{NEW.replace("ü", "old")},"after":{NEW},{ENDS % (SOURCE % ("mysql", "false"), "u")}}}',
        {**MADE, "before": "old"},
    ),
    (
        "update without the long values",
        f'{{"before":{{"id":7,"note":"{HOLDS}"}},"after":{LACKING % NOTHING_KNOWN},'
        f"{ENDS % (SOURCE % ('postgresql', 'false'), 'u')}}}",
        {**UNKNOWN, "before": HOLDS},
    ),
    ("delete", f'{{"before":{NEW},"after":null,{ENDS % (SOURCE % ("postgresql", "false"), "d")}}}', {}),
    ("truncate", f"{{{ENDS % (SOURCE % ('postgresql', 'false'), 't')}}}", {}),
    (
        "message",
        f'{{{ENDS % (SOURCE % ("postgresql", "false"), "m")},"message":{{"prefix":"p","content":"aGVsbG8="}}}}',
        {},
    ),
]


@pytest.mark.parametrize("enveloped", [False, True], ids=["bare", "with its schema"])
@pytest.mark.parametrize(("what", "text", "event"), DOCUMENTED, ids=[what for what, _, _ in DOCUMENTED])
def test_events_as_the_connectors_write_them(
    flink: JavaFormat, what: str, text: str, event: dict[str, Any], enveloped: bool
) -> None:
    value = (f'{{"schema":{SCHEMA},"payload":{text}}}' if enveloped else text).encode()
    wanted = {"row": {"before": None, "table": "orders", **event}} if event else {}
    assert judged(OF_ORDERS, value, format="json") == wanted
    assert flink.decode("json", OF_ORDERS, [value], unwrap="debezium") == [wanted]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        # A heartbeat and a transaction's end have topics of their own, and stay conspicuous if they are sent here.
        ('{"ts_ms":1740830400123}', "it is no change event of Debezium: it has no op"),
        ('{"status":"END","id":"555:24023128","event_count":2}', "it is no change event of Debezium: it has no op"),
        # decimal.handling.mode: precise.
        ('{"after":{"id":7,"price":"BNI="},"op":"c"}', 'column price is decimal(9,2) and holds "BNI="'),
        # The connector for MongoDB has the document as a text.
        ('{"after":"{\\"id\\": 7}","op":"c"}', 'after holds "{"id": 7}", not an object'),
    ],
)
def test_what_is_no_change_of_a_row(flink: JavaFormat, text: str, reason: str) -> None:
    for value in (text.encode(), f'{{"schema":null,"payload":{text}}}'.encode()):
        told = {"reason": reason.replace("after holds", "payload.after holds") if b"payload" in value else reason}
        assert judged(OF_ORDERS, value, format="json") == told
        assert flink.decode("json", OF_ORDERS, [value], unwrap="debezium") == [told]


def test_avro(flink: JavaFormat) -> None:
    columns = {"id": "bigint", "n": "string", "at": {"type": "bigint", "path": "$.ts_ms"}}
    inserted = written({"after": {"id": 7, "n": "x"}, "op": "c", "ts_ms": 5}, ENVELOPE)
    deleted = written({"before": {"id": 7, "n": "x"}, "op": "d"}, ENVELOPE)
    wanted = [{"row": {"id": "7", "n": "x", "at": "5"}}, {}]
    assert [judged(columns, value, avro_schema=ENVELOPE) for value in (inserted, deleted)] == wanted
    assert flink.decode("avro", columns, [inserted, deleted], written=ENVELOPE, unwrap="debezium") == wanted


def test_what_is_left_out_is_no_failure_and_not_refused() -> None:
    pipeline = Pipeline.parse(spec(COLUMNS, format="json", unwrap="debezium"))
    deleted = json.dumps(change("d")).encode()
    assert value_check(pipeline.source)(deleted) is None
    assert refused_of(pipeline, [(deleted, 1_740_830_400_000)]).count == 0
    assert not pipeline.canary_groups


def test_the_format_is_told_where_columns_lie() -> None:
    source = source_table(Pipeline.parse(spec(COLUMNS, format="json", unwrap="debezium")))
    assert "'hopsworks-events.unwrap' = 'debezium'" in source
    paths = '"id": {"path": ["after", "id"]}, "name": {"path": ["after", "full", "name"]}'
    assert f'{{"changed": {{"path": ["source", "ts_ms"], "unit": "milliseconds"}}, {paths}}}' in source


def test_what_is_refused() -> None:
    with pytest.raises(PipelineError, match="unwrap reads an envelope by the names of its fields, which plain"):
        Pipeline.parse(spec({"id": "bigint"}, unwrap="debezium"))
    with pytest.raises(PipelineError, match=r"schema\.no: avro_schema has no after\.no; after has id, n"):
        Pipeline.parse(spec({"no": "bigint"}, unwrap="debezium", avro_schema=ENVELOPE))
