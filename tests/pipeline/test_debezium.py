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
    assert value_check(pipeline)(deleted) is None
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
