"""The canary: which pipelines can have one, what its event is, and what a number of measurements comes to."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import pytest

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.canary import Canary, Freshness
from hopsworks_flink.pipeline.resources import source_avro_schema
from hopsworks_flink.pipeline.spec import Pipeline

GROUP: dict[str, Any] = {
    "name": "slow",
    "key": ["cc"],
    "event_time": "window_end",
    "window": {"size": "10m"},
    "aggregates": {"n": "count"},
}
W = 1_700_000_001_234


def spec(kind: str = "bigint", *, groups: list[dict[str, Any]] | None = None, **source: Any) -> dict[str, Any]:
    return {
        "name": "cards",
        "freshness": "5m",
        "source": {
            "topic": "cards",
            "schema": {"cc": kind, "at": "bigint", "amount": "double"},
            "event_time": {"column": "at"},
            **source,
        },
        "feature_groups": groups or [GROUP],
    }


def canary(*args: Any, **kwargs: Any) -> Canary:
    return Canary.of(Pipeline.parse(spec(*args, **kwargs)))


@pytest.mark.parametrize(
    ("kind", "value"),
    [("string", "__canary__"), ("bigint", -9223372036854775807), ("int", -2147483647)],
)
def test_the_event_has_the_reserved_key_a_time_and_nothing_else(kind: str, value: Any) -> None:
    bird = canary(kind)
    schema = fastavro.parse_schema(source_avro_schema(bird.pipeline))
    assert fastavro.schemaless_reader(io.BytesIO(bird.value_at(W)), schema, None) == {
        "cc": value,
        "at": W,
        "amount": None,
    }


@pytest.mark.parametrize(
    ("schema", "event_time", "written"),
    [
        ("bigint", {"column": "at", "unit": "seconds"}, W // 1000),
        ("bigint", {"column": "at", "unit": "microseconds"}, W * 1000),
        ("timestamp", {"column": "at"}, "2023-11-14T22:13:21.234Z"),
        ("bigint", "kafka_timestamp", None),
    ],
)
def test_the_event_time_as_the_source_has_it(schema: str, event_time: Any, written: Any) -> None:
    bird = canary(format="json", schema={"cc": "string", "at": schema}, event_time=event_time)
    expected = {"cc": "__canary__"} | ({} if written is None else {"at": written})
    assert json.loads(bird.value_at(W)) == expected


def test_it_is_never_ahead_of_what_its_partition_has_seen() -> None:
    assert canary(max_disorder="7s").event_time(W) == W + 7000
    assert canary(event_time={"column": "at", "unit": "seconds"}, max_disorder="0s").event_time(W) == W // 1000 * 1000


def test_it_is_read_where_windows_close_most_often() -> None:
    fast = {**GROUP, "name": "fast", "window": {"size": "10m", "slide": "1m"}}
    timeless = {**GROUP, "name": "timeless", "event_time": None, "window": {"size": "1s"}}
    assert canary(groups=[GROUP, fast, timeless]).group.name == "fast"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (spec(where="amount > 0"), "freshness: source.where would leave the canary's event out"),
        (spec(groups=[{**GROUP, "event_time": None}]), "freshness: it is measured in a feature group that is online"),
        (spec(groups=[{**GROUP, "online": False}]), "there is none"),
        (spec(groups=[{**GROUP, "key": ["cc", "at"]}]), "whose key is one column"),
        (spec("boolean"), "of type string, bigint, int; there is none"),
        (spec(derive={"k": {"expression": "cc", "type": "bigint"}}, groups=[{**GROUP, "key": ["k"]}]), "there is none"),
        ({**spec(), "freshness": "10ms"}, "freshness is 10ms; it must be 1s or more"),
        ({**spec(), "freshness": 300}, "a duration is a number with a unit"),
    ],
)
def test_pipelines_that_can_have_none(data: dict[str, Any], text: str) -> None:
    with pytest.raises(PipelineError, match=text):
        Pipeline.parse(data)


def test_percentiles_are_values_that_were_measured() -> None:
    samples = [{"seconds": float(n), "missed": False} for n in range(1, 101)]
    result = Freshness.of(samples)
    assert (result.measured, result.missed, result.p50, result.p99) == (100, 0, 50.0, 99.0)
    one = Freshness.of([{"seconds": 300.0, "missed": True}])
    assert str(one) == "p50 300.0 s, p99 300.0 s of 1 canaries, 1 of them not in time"


ROWS = {"name": "rows", "key": ["cc"], "event_time": "event", "features": ["amount"]}


def test_a_group_without_windows_is_measured_where_there_is_no_other() -> None:
    alone, beside = canary(groups=[ROWS]), canary(groups=[ROWS, GROUP])
    assert (alone.group.name, beside.group.name) == ("rows", "slow")
    with pytest.raises(PipelineError, match="or event, with features"):
        canary(groups=[{**ROWS, "event_time": None}])


def test_which_row_a_canary_has_made() -> None:
    rows, windows = canary(groups=[ROWS]), canary(groups=[GROUP])
    # The online store keeps whole seconds of a row's own time; a window ends behind its events.
    assert [rows.is_shown(W - back, W) for back in (235, 234, 0, -1000)] == [False, True, True, True]
    assert [windows.is_shown(W - back, W) for back in (234, 0, -1)] == [False, False, True]
