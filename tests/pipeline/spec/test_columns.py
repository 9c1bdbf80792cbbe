"""How columns stand in the records: what a file may say about it, and what is refused."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline import json_values
from hopsworks_flink.pipeline.canary import Canary
from hopsworks_flink.pipeline.decoding import decoder
from hopsworks_flink.pipeline.resources import source_avro_schema
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.spec.source import Column
from hopsworks_flink.pipeline.spec.source.writing import Pattern
from hopsworks_flink.pipeline.sql.features import source_table
from hopsworks_flink.pipeline.sql.files import readable, source_tables
from hopsworks_flink.pipeline.state import state_signature
from hopsworks_flink.testing import evaluate
from tests.support.pipelines import MINIMAL


def spec(**source: Any) -> dict[str, Any]:
    """A pipeline that counts by card; the settings are the source's."""
    base = {"topic": "t", "format": "json", "schema": {"card": "bigint", "at": "timestamp"}}
    group = {"name": "g", "key": ["card"], "window": {"size": "1m"}, "aggregates": {"n": "count"}}
    return {
        "name": "p",
        "source": {**base, "event_time": {"column": "at"}, "max_disorder": "0s", **source},
        "feature_groups": [{**group, "event_time": "window_end"}],
    }


def timed(column: Any, **source: Any) -> dict[str, Any]:
    return spec(schema={"card": "bigint", "at": column}, **source)


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        ({"type": "string", "zone": "UTC"}, "zone: for a timestamp only, and the type is string"),
        ({"type": "timestamp", "zone": "Mars"}, "is no time zone, such as UTC or Europe/Stockholm (found: 'Mars')"),
        ({"type": "timestamp", "zone": "../../etc"}, "is no time zone"),
        *(
            (
                {"type": "timestamp", "zone": zone},
                "is no time zone of Java; name a region such as America/Panama, or an",
            )
            for zone in (
                "EST",
                "MST",
                "HST",
                "ROC",
                "Factory",
                "localtime",
                "posixrules",
                "right/UTC",
                "posix/Asia/Tokyo",
            )
        ),
        ({"type": "timestamp", "unit": "days"}, "must be one of 'seconds', 'milliseconds' or 'microseconds'"),
        ({"type": "timestamp", "unit": "seconds", "zone": "UTC"}, "unit is for a number, zone for a text; remove one"),
        ({"type": "timestamp", "pattern": "yyyy-MM-dd"}, "zone is needed, such as UTC: the pattern has no zone (X)"),
        ({"type": "timestamp", "pattern": "yyyy-MM-ddTHHX"}, "'T' means nothing: yyyy, MM"),
        ({"type": "timestamp", "pattern": "HH:mm X"}, "needs a year (yyyy), a month"),
        ({"type": "timestamp", "pattern": "yyyy-MM-dd ss X"}, "seconds without minutes"),
        ({"type": "timestamp", "pattern": "yyyy-MM-dd hh:mm X"}, "hh counts to 12 and needs a"),
        ({"type": "timestamp", "pattern": "yyyy-MM-dd dd X"}, "has d twice"),
        ({"type": "timestamp", "pattern": "yyyy-MM-dd [HH:mm"}, "its brackets do not match"),
        ({"type": "timestamp", "pattern": "yyyy-MM-dd 'T"}, "has a quote that is not closed"),
        ({"type": "timestamp", "patern": "yyyy"}, "unknown setting; remove it or check its spelling"),
        ({"type": "money"}, "must be one of boolean"),
        ({}, "is required"),
        ("datetime", "you may mean timestamp"),
    ],
)
def test_what_is_refused_of_a_column(column: Any, problem: str) -> None:
    with pytest.raises(PipelineError, match=r"source\.schema\.at") as refused:
        Pipeline.parse(timed(column))
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("event_time", "problem"),
    [
        ({"expression": "card * 1.5"}, "event_time.expression: must be bigint or timestamp, and is double"),
        ({"expression": "other"}, "event_time.expression: "),
        ({"expression": "at", "unit": "seconds"}, "is timestamp, and event_time.unit is for integers; remove unit"),
        ({"expression": "at", "column": "at"}, "has column and expression; remove one of them"),
        ({"expression": ""}, "source.event_time.expression: "),
        ("at", "write {column: …} with a column of the schema, {expression: …}, or kafka_timestamp"),
    ],
)
def test_what_is_refused_of_an_event_time(event_time: Any, problem: str) -> None:
    with pytest.raises(PipelineError) as refused:
        Pipeline.parse(spec(event_time=event_time))
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"a": "a b"}, "schema.a.path: is no path"),
        ({"a": ".b"}, "schema.a.path: is no path"),
        ({"a": "b..c"}, "schema.a.path: is no path"),
        ({"a": "b[x]"}, "schema.a.path: is no path"),
        ({"a": "b['c'd"}, "schema.a.path: is no path"),
        ({"a": "[0].b"}, "schema.a.path: begins with a place in an array"),
        ({"a": "x.y", "b": "x.y"}, "schema.b: x.y is a value for it, and a value for a"),
        ({"a": "x.y", "b": "x"}, "schema.b: x is a value for it, and an object for a"),
        ({"a": "x", "b": "x[0]"}, "schema.b: x is an array for it, and a value for a"),
        ({"a": "x.y", "b": "x[0]"}, "schema.b: x is an array for it, and an object for a"),
        ({"a": "card.id"}, "schema.a: card is an object for it, and a value for card"),
    ],
)
def test_what_is_refused_of_paths(columns: dict[str, str], problem: str) -> None:
    more = {name: {"type": "string", "path": path} for name, path in columns.items()}
    with pytest.raises(PipelineError) as refused:
        Pipeline.parse(spec(schema={"card": "bigint", "at": "timestamp", **more}))
    assert problem in str(refused.value)


def test_a_record_of_plain_avro_has_no_paths() -> None:
    columns = {"card": {"type": "bigint", "path": "a.card"}, "at": "timestamp"}
    with pytest.raises(PipelineError, match=r"schema\.card\.path: a record of plain Avro is the columns in"):
        Pipeline.parse(spec(format="avro", schema=columns))


def test_a_canary_of_nested_json() -> None:
    columns = {"card": {"type": "bigint", "path": "who[1].card"}, "at": {"type": "timestamp", "path": "meta.@at"}}
    canary = Canary.of(Pipeline.parse(spec(schema=columns)))
    value = canary.value_at(1_751_371_234_567)
    assert json.loads(value) == {"who": [None, {"card": canary.value}], "meta": {"@at": "2025-07-01T12:00:34.567Z"}}
    assert decoder(canary.pipeline.source)(value)["card"] == canary.value


def test_a_file_reads_back_as_it_was_written() -> None:
    column = {"type": "timestamp", "pattern": "yyyy-MM-dd", "zone": "UTC"}
    written = timed(column, event_time={"expression": "card * 1000", "unit": "microseconds"})
    source = Pipeline.parse(Pipeline.parse(written).to_dict()).to_dict()["source"]
    assert source["schema"] == {"card": "bigint", "at": column}
    assert source["event_time"] == {"expression": "card * 1000", "unit": "microseconds"}


def test_the_schema_of_a_topic_of_avro_has_texts_and_numbers() -> None:
    columns = {"a": {"type": "timestamp", "zone": "UTC"}, "b": {"type": "timestamp", "unit": "seconds"}}
    columns["c"] = {"type": "timestamp", "pattern": "yyyyMMdd X"}
    data = spec(format="avro", schema={"card": "bigint", "at": "timestamp", **columns})
    fields = {field["name"]: field["type"] for field in source_avro_schema(Pipeline.parse(data))["fields"]}
    assert [fields[name] for name in "abc"] == [["null", "string"], ["null", "long"], ["null", "string"]]


def test_another_meaning_of_a_time_is_another_state() -> None:
    signatures = {
        state_signature(Pipeline.parse(timed(column))).source
        for column in (
            "timestamp",
            {"type": "timestamp", "zone": "UTC"},
            {"type": "timestamp", "zone": "Europe/Stockholm"},
            {"type": "timestamp", "unit": "seconds"},
        )
    }
    assert len(signatures) == 4


def test_times_of_every_writing_are_evaluated_alike() -> None:
    ends = set()
    for column, text in (
        ("timestamp", "2025-07-01T12:00:30Z"),
        ({"type": "timestamp", "zone": "Europe/Stockholm"}, "2025-07-01T14:00:30"),
        ({"type": "timestamp", "pattern": "d/M/yyyy H:mm:ss", "zone": "Asia/Kolkata"}, "1/7/2025 17:30:30"),
        ({"type": "timestamp", "unit": "seconds"}, 1751371230),
    ):
        (row,) = evaluate(timed(column), [{"card": 1, "at": text}])["g_1"]
        ends.add(row["window_end"])
    assert ends == {datetime(2025, 7, 1, 12, 1, tzinfo=timezone.utc)}


def test_an_event_time_by_an_expression() -> None:
    data = spec(
        schema={"card": "bigint", "paid": "timestamp", "made": "timestamp"},
        event_time={"expression": "COALESCE(paid, made)"},
    )
    events = [
        {"card": 1, "paid": "2025-07-01T12:00:30Z", "made": "2025-07-01T11:00:00Z"},
        {"card": 2, "made": "2025-07-01T11:00:00Z"},
        {"card": 3},
    ]
    found = {row["card"]: row["window_end"].hour for row in evaluate(data, events)["g_1"]}
    assert found == {1: 12, 2: 11}
    data["source"] |= {"schema": {"card": "bigint", "day": "int", "second": "double"}}
    data["source"]["event_time"] = {"expression": "day * 86400 + CAST(second AS bigint)", "unit": "seconds"}
    (row,) = evaluate(data, [{"card": 1, "day": 20270, "second": 61.5}])["g_1"]
    assert row["window_end"] == datetime(2025, 7, 1, 0, 2, tzinfo=timezone.utc)


ZONES = [None, "UTC", "Europe/Stockholm", "America/New_York", "Asia/Kolkata"]
PATTERNS = ["yyyy-MM-dd HH:mm:ss.SSSSSS", "d MMM yyyy h:mm:ss.SSS a", "yyyyMMdd'T'HHmmss[.SSSSSS]X", "dd.M.yyyy H:m:s"]


@given(st.sampled_from(PATTERNS), st.datetimes(datetime(1971, 1, 1), datetime(2037, 1, 1)), st.sampled_from(ZONES[1:]))
def test_what_a_pattern_writes_it_reads(pattern: str, moment: datetime, zone: str) -> None:
    column = Column.model_validate({"type": "timestamp", "pattern": pattern, "zone": zone})
    local = moment.replace(tzinfo=timezone.utc).astimezone(ZoneInfo("UTC" if "X" in pattern else zone))
    read = json_values.reader(column)(Pattern.written(pattern, local))
    cut = next((10 ** (6 - digits) for digits in (6, 3) if "S" * digits in pattern), 10**6)
    expected = moment.replace(microsecond=moment.microsecond // cut * cut)
    # The hour that the clocks show twice cannot be told.
    assert read == expected or (local.fold and expected - read == timedelta(hours=1))


@pytest.mark.parametrize("encoding", ["json", "avro"])
@pytest.mark.parametrize(
    "column",
    [
        "timestamp",
        {"type": "timestamp", "zone": "Europe/Stockholm"},
        {"type": "timestamp", "unit": "seconds"},
        {"type": "timestamp", "unit": "milliseconds"},
        {"type": "timestamp", "pattern": "yyyy-MM-dd HH:mm", "zone": "Asia/Kolkata"},
        {"type": "timestamp", "pattern": "yyyy-MM-dd HH:mm:ss.SSS X"},
    ],
)
def test_a_canary_has_the_time_that_it_is_said_to_have(encoding: str, column: Any) -> None:
    canary = Canary.of(Pipeline.parse(timed(column, format=encoding)))
    time = canary.event_time(1_751_371_234_567)
    event = decoder(canary.pipeline.source)(canary.value_at(time))
    assert event == {"card": canary.value, "at": datetime(1970, 1, 1) + timedelta(milliseconds=time)}
    assert 1_751_371_234_567 - 60_000 < time <= 1_751_371_234_567


def test_there_is_no_canary_with_a_time_by_an_expression() -> None:
    data = {**MINIMAL, "freshness": "1m"}
    data["source"] = {**MINIMAL["source"], "event_time": {"expression": "datetime + 1"}}
    data["feature_groups"] = [{**MINIMAL["feature_groups"][0], "event_time": "window_end"}]
    with pytest.raises(PipelineError, match="freshness: it is measured in a feature group"):
        Pipeline.parse(data)


BESIDE = {
    "card": {"type": "bigint", "key": True},
    "at": "timestamp",
    "trace": {"type": "string", "header": "trace's id"},
    "share": {"type": "decimal(4,2)", "header": "share"},
    "raw": {"type": "binary", "header": "raw"},
}


def test_columns_of_keys_and_headers_in_sql() -> None:
    pipeline = Pipeline.parse(spec(schema=BESIDE))
    source = source_table(pipeline)
    assert "(\n  `__record_key` BYTES,\n  `at` BIGINT,\n" in source
    assert "  `__record_headers` MAP<STRING, BYTES> METADATA FROM 'headers' VIRTUAL,\n" in source
    raw = "`__record_headers`['trace''s id']"
    trace = f"CASE WHEN ENCODE(DECODE({raw}, 'UTF-8'), 'UTF-8') = {raw} THEN DECODE({raw}, 'UTF-8') END"
    assert f"`trace` AS {trace},\n  `share` AS CASE WHEN" in source
    assert "`raw` AS `__record_headers`['raw'],\n" in source
    assert "'key.format' = 'raw',\n  'key.fields' = '__record_key',\n  'value.fields-include' = 'EXCEPT_KEY'" in source
    assert "'value.format' = 'hopsworks-events',\n  'value.hopsworks-events.encoding' = 'json'" in source
    assert "`card` AS CASE WHEN" in source
    assert [field["name"] for field in source_avro_schema(pipeline)["fields"]] == ["at"]


def test_columns_of_keys_and_headers_are_no_part_of_the_value() -> None:
    pipeline = Pipeline.parse(spec(schema=BESIDE))
    assert list(decoder(pipeline.source)(b'{"card": "x", "trace": 1}')) == ["at"]
    assert not pipeline.canary_groups
    (row,) = evaluate(spec(schema=BESIDE), [{"card": 5, "at": "2025-07-01T12:00:30Z", "trace": "x"}])["g_1"]
    assert row["card"] == 5


def test_in_files_they_are_columns() -> None:
    data = {**spec(schema=BESIDE), "history": {"path": "/data/orders.csv", "format": "csv"}}
    readable_ = readable(Pipeline.parse(data))
    table, _ = source_tables(readable_, source_table(readable_, bounded=True), 0, 1000)
    assert "  `card` BIGINT,\n  `at` BIGINT,\n  `trace` STRING,\n  `share` DECIMAL(4, 2),\n  `raw` BYTES,\n" in table
    assert "METADATA" not in table


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"card": {"type": "bigint", "key": True, "header": "x"}}, "has key and header; remove one of them"),
        ({"card": {"type": "bigint", "key": True, "path": "x"}}, "path is about the record's value"),
        ({"card": {"type": "date", "header": "x"}}, "is date, and keys and headers are read as texts"),
        ({"card": {"type": "bigint", "key": True}, "b": {"type": "string", "key": True}}, "schema.b: card is the"),
    ],
)
def test_what_is_refused_of_keys_and_headers(columns: dict[str, Any], problem: str) -> None:
    with pytest.raises(PipelineError) as refused:
        Pipeline.parse(spec(schema={"at": "timestamp", **columns}))
    assert problem in str(refused.value)


def test_a_record_has_a_value() -> None:
    columns = {"card": {"type": "bigint", "key": True}}
    with pytest.raises(PipelineError, match="schema needs a column of the records' values"):
        Pipeline.parse(spec(schema=columns, event_time="kafka_timestamp"))
