"""How far events come: each one ends where the evaluation loses it."""

from __future__ import annotations

from typing import Any

import pytest

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.testing import evaluate
from hopsworks_flink.testing.tracing import Stage, Trace, trace

NOON = 1_780_056_000_000


def pipeline(**source: Any) -> Pipeline:
    return Pipeline.parse(
        {
            "name": "cards",
            "source": {
                "topic": "cards",
                "schema": {"id": "string", "card": "bigint", "at": "bigint", "amount": "double"},
                "event_time": {"column": "at"},
                **source,
            },
            "feature_groups": [
                {"name": "cards", "key": ["card"], "window": {"size": "1m"}, "aggregates": {"n": "count"}}
            ],
        }
    )


def event(name: str, after: int = 0, **more: Any) -> dict[str, Any]:
    return {"id": name, "card": 1, "at": NOON + after, "amount": 2.0, "__kafka_timestamp": NOON, **more}


def test_columns_that_duckdb_cannot_tell_apart_are_refused() -> None:
    pipe = pipeline(schema={"id": "string", "Card": "bigint", "card": "bigint", "at": "bigint"})
    with pytest.raises(PipelineError, match=r"'Card' and 'card', which DuckDB does not tell apart"):
        trace(pipe, pipe.feature_groups[0], [{"id": "a", "Card": 7, "card": 1, "at": NOON}])


def test_each_stage() -> None:
    pipe = pipeline(deduplicate={"by": "id", "within": "1m"}, where="amount > 1")
    events = [
        event("a"),
        event("a", 10),
        event("b", amount=0.5),
        event("c", at=None),
        event("d", card=None),
        event("a", 90_000),
    ]
    (group,) = pipe.feature_groups
    assert trace(pipe, group, events) == [
        Trace(Stage.COUNTED, NOON, (1,)),
        Trace(Stage.DUPLICATE, NOON + 10, (1,)),
        Trace(Stage.LEFT_OUT, NOON, (1,)),
        Trace(Stage.REFUSED),
        Trace(Stage.COUNTED, NOON, (None,)),
        Trace(Stage.COUNTED, NOON + 90_000, (1,)),
    ]
    counted = sum(row["n"] for row in evaluate(pipe, events)["cards_1"])
    assert counted == sum(way.stage is Stage.COUNTED and way.key != (None,) for way in trace(pipe, group, events))


def test_an_event_without_a_feature_that_is_required() -> None:
    features = {"id": "id", "large": {"expression": "amount * 2", "required": True}, "at": {"expression": "at"}}
    spec = pipeline(where="amount > 1 OR amount IS NULL").model_dump(by_alias=True, exclude_unset=True)
    pipe = Pipeline.parse({**spec, "feature_groups": [{"name": "cards", "key": ["card"], "features": features}]})
    events = [event("a"), event("b", amount=None), event("c", amount=0.5)]
    (group,) = pipe.feature_groups
    assert trace(pipe, group, events) == [
        Trace(Stage.COUNTED, NOON, (1,)),
        Trace(Stage.INCOMPLETE, NOON, (1,), "large"),
        Trace(Stage.LEFT_OUT, NOON, (1,)),
    ]
    assert [row["id"] for row in evaluate(pipe, events)["cards_1"]] == ["a"]


def test_an_event_without_the_version_that_it_needs() -> None:
    limits = {"topic": "limits", "schema": {"card": "bigint", "most": "double"}, "by": "card", "required": True}
    pipe = pipeline(join={"limits": limits}, where="amount < most")
    versions = {"limits": [{"card": 1, "most": 5.0, "__kafka_timestamp": NOON + 5}]}
    events = [event("a"), event("b", 10), event("c", 10, amount=7.0), event("d", at=None)]
    stages = [way.stage for way in trace(pipe, pipe.feature_groups[0], events, versions)]
    assert stages == [Stage.WITHOUT_VERSION, Stage.COUNTED, Stage.LEFT_OUT, Stage.REFUSED]


def test_nothing_to_trace() -> None:
    pipe = pipeline()
    assert trace(pipe, pipe.feature_groups[0], []) == []
