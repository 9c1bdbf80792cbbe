"""Features under the names, types and order that a registered group has."""

import copy
import json
from datetime import datetime, timezone

import pytest

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.interval import Interval
from hopsworks_flink.pipeline.plan import compile_plan
from hopsworks_flink.pipeline.recompute import PartitionHistory, compile_recompute
from hopsworks_flink.pipeline.resources import feature_group_arguments
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.testing import evaluate
from tests.support.pipelines import registered

NOON = 1_735_732_800_000
SPEC = {
    "name": "tickers",
    "source": {
        "topic": "ticks",
        "schema": {"symbol": "string", "at": "bigint", "price": "double", "size": "int", "day": "date"},
        "event_time": {"column": "at"},
    },
    "feature_groups": [
        {
            "name": "price_10m",
            "key": ["symbol"],
            "window": {"size": "10m", "step": "5m"},
            "event_time": {"feature": "timestamp", "is": "window_end", "type": "bigint"},
            "window_start": {"feature": "began"},
            "order": ["timestamp", "symbol", "began", "mean", "n", "total", "last"],
            "aggregates": {
                "mean": {"avg": "price", "type": "float", "default": 0.5},
                "n": {"count": "*", "type": "tinyint"},
                "total": {"sum": "size", "type": "string"},
                "last": {"last_value": "day", "type": "timestamp"},
            },
        }
    ],
}


def changed(**group):
    spec = copy.deepcopy(SPEC)
    spec["feature_groups"][0].update(group)
    return spec


def test_a_group_of_that_shape():
    pipeline = Pipeline.parse(SPEC)
    arguments = feature_group_arguments(pipeline, pipeline.feature_groups[0])
    assert arguments["event_time"] == "timestamp"
    assert {feature["name"]: feature["type"] for feature in arguments["features"]} == {
        "timestamp": "bigint",
        "symbol": "string",
        "began": "timestamp",
        "mean": "float",
        "n": "tinyint",
        "total": "string",
        "last": "timestamp",
    }
    assert [feature["name"] for feature in arguments["features"]] == SPEC["feature_groups"][0]["order"]
    assert Pipeline.parse(json.loads(json.dumps(pipeline.to_dict()))) == pipeline


def test_short_forms_are_what_they_were():
    pipeline = Pipeline.parse(changed(event_time="window_end", window_start=True, order=[]))
    (written,) = pipeline.to_dict()["feature_groups"]
    assert (written["event_time"], written["window_start"]) == ("window_end", True)
    assert list(pipeline.feature_groups[0].times) == ["window_start", "window_end"]
    long = Pipeline.parse(changed(event_time={"is": "window_end", "feature": "window_end"}, window_start={}, order=[]))
    assert long == pipeline


def test_the_statement(snapshot):
    for engine in ("native", "sql"):
        pipeline = Pipeline.parse({**SPEC, "engine": engine})
        assert compile_plan(pipeline, registered(pipeline)).inserts[0] == snapshot(name=engine)


def test_a_recompute_bounds_the_event_time_in_its_unit():
    pipeline = Pipeline.parse(SPEC)
    day = Interval(datetime(2025, 1, 1, tzinfo=timezone.utc), datetime(2025, 1, 2, tzinfo=timezone.utc))
    group = pipeline.feature_groups[0]
    plan = compile_recompute(pipeline, registered(pipeline), [group], day, [PartitionHistory(0, 0, 0, 9, None)])
    assert plan.inserts[0].endswith(f"WHERE `timestamp` > {day.start_ms} AND `timestamp` <= {day.end_ms}")


def test_evaluated_rows_have_these_features():
    events = [
        {"symbol": "a", "at": NOON, "price": 1e39, "size": 3, "day": "2025-01-01"},
        *({"symbol": "b", "at": NOON + 300_000, "price": 0.1} for _ in range(128)),
    ]
    rows = evaluate(Pipeline.parse(SPEC), events)["price_10m_1"]
    began = datetime(2025, 1, 1, 12, tzinfo=timezone.utc)
    early = {"symbol": "a", "began": began, "mean": 0.5, "n": 1, "total": "3"}
    assert list(rows[0]) == SPEC["feature_groups"][0]["order"]
    assert rows == [
        {**early, "timestamp": NOON + 300_000, "last": began.replace(hour=0)},
        {**early, "timestamp": NOON + 600_000, "last": began.replace(hour=0)},
        # 128 is no tinyint.
        {
            "timestamp": NOON + 600_000,
            "symbol": "b",
            "began": began,
            "mean": pytest.approx(0.1, rel=1e-7),
            "n": None,
            "total": None,
            "last": None,
        },
    ]
    assert rows[2]["mean"] != 0.1, "a float has fewer digits"


@pytest.mark.parametrize(
    ("window", "began"),
    [({"size": "10m"}, 0), ({"size": "20m", "slide": "10m"}, -600_000), ({"gap": "1m"}, 7_000)],
)
def test_the_start_of_other_windows(window, began):
    spec = changed(
        window=window, window_start={"feature": "began", "type": "bigint"}, event_time="window_end", order=[]
    )
    event = {"symbol": "a", "at": NOON + 7_000, "price": 1.0}
    row = evaluate(Pipeline.parse(spec), [event, {**event, "at": NOON + 17_500}])["price_10m_1"][0]
    assert row["began"] == NOON + began


@pytest.mark.parametrize(
    ("group", "told"),
    [
        ({"event_time": "arrival"}, r"event_time: must be window_end or event, or \{feature: …, is: window_end"),
        ({"event_time": {"feature": "t"}}, r"event_time\.is: is required"),
        ({"event_time": {"is": "start"}}, r"event_time\.is: must be one of 'window_end' or 'event'"),
        (
            {"event_time": {"is": "window_end", "type": "date"}},
            r"event_time\.type: must be one of 'timestamp' or 'bigi",
        ),
        ({"event_time": {"is": "window_end", "feature": "n"}}, "event_time adds a feature 'n'; rename the other one"),
        ({"window_start": {"feature": "timestamp"}}, "window_start adds a feature 'timestamp'; rename the other one"),
        ({"window_start": False}, r"window_start: write true, \{feature: …, type: …\}, or leave it out"),
        (
            {"order": ["symbol"]},
            "order must name each feature once: symbol, mean, n, total, last, timestamp, began; it",
        ),
        (
            {"aggregates": {"x": {"avg": "price", "type": "decimal(9,2)"}}},
            r"x: type: .*cannot be cast to decimal\(9,2\)",
        ),
        ({"aggregates": {"x": {"count": "*", "type": "text"}}}, r"aggregates\.x\.type: must be one of"),
        (
            {"aggregates": {"x": {"avg": "price", "type": "int", "default": 0.5}}},
            r"x: default: 0\.5 is not a whole number, which int needs",
        ),
        (
            {"emit": "on_event", "window": {"size": "10m"}, "event_time": "event"},
            "window_start is for windows, and on_event has none; remove it",
        ),
    ],
)
def test_what_is_refused(group, told):
    with pytest.raises(PipelineError, match=told):
        Pipeline.parse(changed(**group))
