"""Plans with ``engine: native``, the default: which groups leave SQL, and what stands in its place."""

from __future__ import annotations

from typing import Any

import pytest

from hopsworks_flink.cli.compiling import compiled_text
from hopsworks_flink.pipeline.plan import compile_plan, feature_statements, record_headers
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.state import state_signature
from tests.support.pipelines import registered


def steps(pipeline: Pipeline) -> list[dict[str, Any]]:
    return [step for step in compile_plan(pipeline, registered(pipeline)).statements if isinstance(step, dict)]


def native(spec: dict[str, Any], **group: Any) -> Pipeline:
    spec["feature_groups"][0].update(group)
    return Pipeline.parse({**spec, "engine": "native"})


def test_windows_are_native_where_the_file_names_no_engine(minimal: dict[str, Any]) -> None:
    plain, named, sql = Pipeline.parse(minimal), native(minimal), Pipeline.parse({**minimal, "engine": "sql"})
    assert compile_plan(plain, registered(plain)).hash == compile_plan(named, registered(named)).hash
    assert (plain.native_groups, plain.left_to_sql) == (plain.feature_groups, {})
    assert not steps(sql)
    assert (sql.native_groups, sql.left_to_sql) == ([], {})


def test_plan_of_native_windows(minimal: dict[str, Any], snapshot: Any) -> None:
    aggregates = {
        "n": "count",
        "large": {"count": "*", "where": "amount > 100"},
        "mean": {"avg": "amount", "default": 0},
        "spread": {"stddev_samp": "amount"},
        "total": {"sum": "cc_num"},
        "first": {"first_value": "amount"},
        "most": {"max": "amount", "where": "cc_num = 1"},
    }
    p = native(minimal, aggregates=aggregates, event_time="window_end")
    plan = compile_plan(p, registered(p))
    assert [*plan.statements[1:], *plan.inserts] == snapshot


@pytest.mark.parametrize(
    ("window", "shape"),
    [
        ({"size": "10m", "slide": "1m"}, (60_000, 10, "SLIDE")),
        ({"size": "10m"}, (600_000, 1, "SLIDE")),
        ({"size": "1d", "step": "5m"}, (300_000, 288, "STEP")),
        ({"size": "6m", "slide": "90s"}, (90_000, 4, "SLIDE")),
        ({"size": "1h", "step": "1h"}, (3_600_000, 1, "SLIDE")),
    ],
)
def test_windows_are_made_of_panes(minimal: dict[str, Any], window: Any, shape: Any) -> None:
    (step,) = steps(native(minimal, window=window))
    assert (step["windows"]["pane"], step["windows"]["panes"], step["windows"]["emit"]) == shape


def test_plan_of_a_row_for_each_event(minimal: dict[str, Any], snapshot: Any) -> None:
    aggregates = {
        "n": "count",
        "mean": {"avg": "amount"},
        "spread": {"stddev_samp": "cc_num"},
        "first": {"min": "cc_num"},
    }
    p = native(minimal, window={"size": "10m"}, emit="on_event", event_time="event", aggregates=aggregates)
    plan = compile_plan(p, registered(p))
    assert [*plan.statements[1:], *plan.inserts] == snapshot


@pytest.mark.parametrize(
    ("group", "reason"),
    [
        ({"window": {"size": "1d", "slide": "30s"}}, "a window is 2880 slides long; native windows have at most 1440"),
        ({"aggregates": {"n": {"count_distinct": "amount"}}}, "n is a count_distinct"),
    ],
)
def test_what_is_left_to_sql(minimal: dict[str, Any], group: dict[str, Any], reason: str) -> None:
    p = native(minimal, **group)
    (why,) = p.left_to_sql.values()
    assert reason in why
    assert f"engine native: {p.feature_groups[0].full_name} is left to SQL: {why}" in compiled_text(p)
    sql = Pipeline.parse({**minimal, "engine": "sql"})
    assert not sql.left_to_sql
    assert compile_plan(p, registered(p)).hash == compile_plan(sql, registered(sql)).hash


@pytest.mark.parametrize("window", [None, "5m"])
def test_features_that_change_their_places_change_nothing(minimal: dict[str, Any], window: str | None) -> None:
    aggregates = {
        "mean": {"avg": "amount"},
        "n": "count",
        "most": {"max": "amount", "window": window},
        "all": {"sum": "cc_num"},
    }
    first = native(minimal, window={"size": "10m", "slide": "1m"}, aggregates=aggregates)
    refs = registered(first)
    other = native(minimal, aggregates=dict(reversed(aggregates.items())))
    assert compile_plan(first, refs).hash == compile_plan(other, refs).hash
    assert state_signature(first).groups == state_signature(other).groups


def test_groups_with_the_same_windows_share_them(minimal: dict[str, Any]) -> None:
    (group,) = minimal["feature_groups"]
    others = [
        {**group, "version": 7, "aggregates": {"m": {"avg": "amount"}, "n": "count", "o": {"min": "amount"}}},
        {**group, "version": 8, "window": {"size": "1h"}},
    ]
    minimal["feature_groups"] += others
    shared, same, longer = steps(native(minimal))
    assert list(shared) == ["share"]
    assert (same["windows"]["view"], longer["windows"]["view"]) == (
        f"{group['name']} v1 windows",
        f"{group['name']} v8 windows",
    )
    assert (same["windows"]["name"], longer["windows"]["name"]) == ("10 m every 1 m by cc_num", "1 h by cc_num")
    calls = [(call["function"], call["column"]) for call in same["windows"]["aggregates"]]
    assert len(calls) == len(set(calls))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"window": {"size": "10m"}}, {"window": {"size": "10m", "slide": "10m"}}),
        ({"window": {"size": "10m"}}, {"window": {"size": "10m", "step": "10m"}}),
        (
            {"window": {"size": "10m", "slide": "1m"}, "on_empty": "null"},
            {
                "window": {"size": "11m", "slide": "1m"},
                "aggregates": {"n": {"count": "*", "window": "10m"}},
            },
        ),
        (
            {
                "window": {"size": "1h", "slide": "1m"},
                "on_empty": "zero",
                "aggregates": {"n": {"sum": "amount", "window": "10m"}},
            },
            {
                "window": {"size": "1h", "slide": "1m"},
                "on_empty": "null",
                "aggregates": {"n": "count", "m": {"count": "*", "window": "10m"}},
            },
        ),
    ],
)
def test_windows_that_are_the_same_are_made_once_however_they_are_written(
    minimal: dict[str, Any], one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Java names an operator by its windows, and Flink refuses a job with two of one name."""
    (group,) = minimal["feature_groups"]
    group["aggregates"] = {"n": "count"}
    minimal["feature_groups"] = [{**group, **one}, {**group, "version": 7, **other}]
    assert [next(iter(step)) for step in steps(native(minimal))] == ["windows"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"late": "topic"}, ["share", "windows", "late"]),
        ({"refused": "quarantine"}, ["share", "windows"]),
        ({}, ["windows"]),
    ],
)
def test_events_are_read_once_for_all_who_read_them(
    minimal: dict[str, Any], change: dict[str, Any], expected: list[str]
) -> None:
    minimal["source"].update(change)
    p = native(minimal)
    plan = compile_plan(p, registered(p))
    assert [next(iter(one)) for one in plan.statements if not isinstance(one, str)] == expected
    texts = [text for text in (*plan.statements, *plan.inserts) if isinstance(text, str)]
    assert sum("FROM `transactions`\n" in f"{text}\n" for text in texts) == 1


def test_history_is_computed_by_sql(minimal: dict[str, Any]) -> None:
    p = native(minimal)
    sql = Pipeline.parse({**minimal, "engine": "sql"})
    computed = [
        feature_statements(one, one.feature_groups, registered(one), record_headers, bounded=True) for one in (p, sql)
    ]
    assert computed[0] == computed[1]
