"""Events that are sent twice: what is left out, and the SQL of it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.interval import Interval
from hopsworks_flink.pipeline.plan import compile_plan, replay_since
from hopsworks_flink.pipeline.recompute import PartitionHistory, compile_recompute, reach, recomputable
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.state import state_outcome, state_signature
from hopsworks_flink.testing import evaluate
from tests.support.pipelines import registered

MINUTE = 60_000
START = 1_740_830_400_000
DAY = Interval(datetime(2025, 3, 1, tzinfo=timezone.utc), datetime(2025, 3, 2, tzinfo=timezone.utc))


def spec(by: Any = "tid", within: str = "10m", **source: Any) -> dict[str, Any]:
    columns = {"card": "bigint", "at": "bigint", "tid": "string", "part": "int", "v": "double"}
    return {
        "name": "p",
        "source": {
            "topic": "t",
            "schema": columns,
            "event_time": {"column": "at"},
            "deduplicate": {"by": by, "within": within},
            **source,
        },
        "feature_groups": [
            {
                "name": "g",
                "key": ["card"],
                "window": {"size": "1h"},
                "event_time": "window_end",
                "aggregates": {"n": "count", "v": {"sum": "v"}},
            }
        ],
    }


def counted(events: list[tuple[float, str | None, float]], **source: Any) -> float | None:
    """The sum of those that count; each is a minute, a name and a value."""
    rows = [{"card": 1, "at": START + int(at * MINUTE), "tid": tid, "v": v} for at, tid, v in events]
    (row,) = evaluate(spec(**source), rows)["g_1"]
    found: float | None = row["v"]
    return found


@pytest.mark.parametrize(
    ("events", "wanted"),
    [
        ([(0, "a", 1), (0, "a", 2), (0, "b", 4)], 5),
        ([(0, "a", 1), (10, "a", 2)], 1),
        ([(0, "a", 1), (10.001, "a", 2)], 3),
        # Whatever comes first.
        ([(5, "a", 1), (0, "a", 2)], 2),
        # Each leaves out the next.
        ([(0, "a", 1), (8, "a", 2), (16, "a", 4), (27, "a", 8)], 9),
        ([(0, None, 1), (0, None, 2), (1, None, 4)], 7),
    ],
)
def test_what_counts(events: list[tuple[float, str | None, float]], wanted: float) -> None:
    assert counted(events) == wanted


def test_a_refused_event_leaves_nothing_out() -> None:
    events = [{"card": 1, "at": 0, "tid": "a"}, {"card": 1, "at": START, "tid": "a"}]
    (row,) = evaluate(spec(within="3650d"), events)["g_1"]
    assert row["n"] == 1


def test_names_of_several_columns() -> None:
    events = [{"card": 1, "at": START, "tid": "a", "part": part} for part in (1, 2, 1, None, None)]
    (row,) = evaluate(spec(by=["tid", "part"]), events)["g_1"]
    assert row["n"] == 4


def test_what_left_out_events_say_does_not_matter() -> None:
    rows = [{"card": 1, "at": START, "tid": "a", "v": -1.0}, {"card": 1, "at": START + 1, "tid": "a", "v": 2.0}]
    # It is a duplicate of an event that `where` leaves out.
    assert evaluate(spec(where="v > 0"), rows)["g_1"] == []


def test_sql(snapshot: Any) -> None:
    pipeline = Pipeline.parse(spec(refused="quarantine"))
    stream = compile_plan(pipeline, registered(pipeline))
    assert stream.statements[1] == {
        "on_time": {"table": "t", "view": "t on time", "event_time": "__event_time"},
    }
    assert stream.statements[2] == snapshot
    assert stream.statements[3] == {"share": {"table": "t read", "view": "t prepared", "event_time": "__event_time"}}
    interval = DAY
    partitions = [PartitionHistory(0, 0, 0, 1, None)]
    batch = compile_recompute(pipeline, registered(pipeline), recomputable(pipeline), interval, partitions)
    assert batch.statements[1] == snapshot


def test_files_have_no_place_to_order_by() -> None:
    """Their partition and offset are constants, by which alone Flink's ROW_NUMBER does not order."""
    pipeline = Pipeline.parse({**spec(format="json"), "history": {"path": "/past/*.json", "format": "json"}})
    plan = compile_recompute(pipeline, registered(pipeline), recomputable(pipeline), DAY, None)
    assert "`__kafka_offset` AS CAST(0 AS BIGINT)" in str(plan.statements[0])
    assert "PARTITION BY `tid`, `__at` ORDER BY `__event_time`, `__kafka_partition`" in str(plan.statements[2])


def test_what_happened_before_is_read_as_well() -> None:
    pipeline = Pipeline.parse(spec())
    plain = Pipeline.parse({**spec(), "source": {**spec()["source"], "deduplicate": None}})
    assert replay_since(plain, START) - replay_since(pipeline, START) == 10 * MINUTE
    interval = DAY
    needs = [reach(one, recomputable(one), interval, timedelta(0)).since for one in (plain, pipeline)]
    assert needs[0] - needs[1] == 10 * MINUTE
    assert state_signature(pipeline).source != state_signature(plain).source


def test_events_wait_with_all_their_columns() -> None:
    """Their state fits no others; where two columns only change their places, one would be taken for the other."""
    json = {"format": "json"}
    columns = {"card": "bigint", "at": "bigint", "tid": "string", "part": "int", "v": "double"}
    running = state_signature(Pipeline.parse(spec(refused="quarantine", **json))).marks()
    for changes in (
        {"schema": {**columns, "more": "string"}},
        {"schema": dict(reversed(columns.items()))},
        {"schema": {**columns, "part": "bigint"}},
        {"on_decode_error": "quarantine"},
    ):
        wanted = state_signature(Pipeline.parse(spec(**json, **{"refused": "quarantine", **changes}))).marks()
        assert state_outcome(wanted, running)[0] == "rewarms", changes
    wanted = state_signature(Pipeline.parse(spec(refused="quarantine", max_disorder="9s", **json))).marks()
    assert state_outcome(wanted, running) == ("keeps", [])


def test_late_events_are_told_of_where_they_still_are() -> None:
    pipeline = Pipeline.parse(spec(late="topic"))
    plan = compile_plan(pipeline, registered(pipeline))
    assert plan.inserts[-1].endswith("FROM `t late`")
    (late,) = [one["late"] for one in plan.statements if not isinstance(one, str) and "late" in one]
    assert late == {"table": "t arrived", "view": "t late", "event_time": "__event_time", "watermark": "__watermark"}
    # The topic is read once.
    read, timely = plan.statements[1:3]
    assert read == {"share": {"table": "t", "view": "t arrived", "event_time": "__event_time"}}
    assert timely == {"on_time": {"table": "t arrived", "view": "t on time", "event_time": "__event_time"}}
    assert not [one for one in [*plan.statements[3:], *plan.inserts] if "FROM `t`\n" in one or "FROM `t` " in one]


@pytest.mark.parametrize(
    ("by", "within", "problem"),
    [
        ("id", "10m", "deduplicate.by 'id' is not in schema, which has card, at, tid, part, v"),
        (["tid", "v"], "10m", "deduplicate.by 'v' is double; it needs values that compare exactly"),
        ("tid", "0s", "deduplicate.within must be positive, e.g. 10m"),
        ([], "10m", "source.deduplicate.by: "),
    ],
)
def test_what_is_refused(by: Any, within: str, problem: str) -> None:
    with pytest.raises(PipelineError) as refused:
        Pipeline.parse(spec(by, within))
    assert problem in str(refused.value)
