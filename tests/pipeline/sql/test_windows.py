"""Rows of windows of several lengths: what a file may ask for, its SQL, and what the job's neighbours make of it."""

from datetime import datetime, timedelta, timezone

import pytest

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.interval import Interval
from hopsworks_flink.pipeline.plan import Begin, begin_values, compile_plan, replay_since
from hopsworks_flink.pipeline.recompute import reach
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support.pipelines import registered

LENGTHS = {
    "n": "count",
    "n_5m": {"count": "*", "window": "5m", "where": "amount > 0"},
    "mean_5m": {"avg": "amount", "window": "5m", "default": -1},
    "most_1m": {"max": "amount", "window": "1m"},
}


def of(minimal, **group):
    minimal["feature_groups"][0].update({"window": {"size": "10m", "slide": "1m"}, **group})
    return Pipeline.parse(minimal)


def statements(pipeline):
    plan = compile_plan(pipeline, registered(pipeline))
    return "\n\n".join([*plan.statements[2:-1], *plan.inserts])


@pytest.mark.parametrize("on_empty", [None, "zero", "null"])
def test_sql_of_windows_of_several_lengths(minimal, snapshot, on_empty):
    assert statements(of(minimal, aggregates=LENGTHS, event_time="window_end", on_empty=on_empty)) == snapshot


def test_sql_of_a_tumbling_window_that_empties(minimal, snapshot):
    assert statements(of(minimal, window={"size": "1h"}, aggregates={"n": "count"}, on_empty="null")) == snapshot


def test_a_length_that_is_the_size_changes_nothing(minimal):
    plain = statements(of(minimal, aggregates={"n": "count"}))
    assert statements(of(minimal, aggregates={"n": {"count": "*", "window": "10m"}})) == plain


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (
            {"aggregates": {"n": {"count": "*", "window": "90s"}}},
            r"aggregates.n.window: 1m30s must be a multiple of window.s",
        ),
        (
            {"aggregates": {"n": {"count": "*", "window": "0s"}}},
            "n.window: 0s must be a multiple of window.slide, which is 1m",
        ),
        ({"aggregates": {"n": {"count": "*", "window": "1h"}}}, "1h is longer than window.size 10m, .*; make that 1h"),
        ({"aggregates": {"n": {"count": "*", "window": "x"}}}, "a duration is a number with a unit"),
        (
            {"window": {"size": "1d", "step": "1h"}, "aggregates": {"n": {"count": "*", "window": "1h"}}},
            "a window that grows",
        ),
        ({"window": {"size": "1d", "step": "1h"}, "on_empty": "zero"}, "on_empty: a window that grows .*; remove it"),
        (
            {"window": {"size": "1h"}, "emit": "on_event", "on_empty": "null"},
            "on_empty: emit: on_event looks back by one",
        ),
        ({"on_empty": "nothing"}, "on_empty: must be 'zero' or 'null'|on_empty: .*zero"),
        (
            {"window": {"size": "1h"}, "emit": "on_event", "aggregates": {"n": {"count": "*", "window": "5m"}}},
            r"aggregates.n.window: emit: on_event looks back by one length, window.size; remove it, or make another",
        ),
    ],
)
def test_what_cannot_be_combined_is_refused(minimal, group, message):
    with pytest.raises(PipelineError, match=message):
        of(minimal, **group)


def test_native_windows_leave_it_to_sql_and_say_why(minimal):
    minimal["engine"] = "native"
    pipeline = of(minimal, aggregates=LENGTHS)
    assert pipeline.left_to_sql == {"cards_10m_1": "its features look back from a window's end by more than one length"}


def test_what_has_to_be_read_again_reaches_back_to_the_last_events_of_an_empty_window(minimal):
    start, minute = datetime(2025, 3, 1, tzinfo=timezone.utc), timedelta(minutes=1)
    plain, watched = of(minimal), of(minimal, on_empty="zero")
    watermark = int(start.timestamp() * 1000)
    assert replay_since(plain, watermark) - replay_since(watched, watermark) == 60_000
    interval = Interval(start, start + 60 * minute)
    needs = [reach(pipeline, pipeline.feature_groups, interval, minute).warm_up for pipeline in (plain, watched)]
    assert needs[1] - needs[0] == minute
    values = begin_values(watched, Begin(watermark=watermark))
    assert values["windows_from_cards_10m_1"] == "2025-03-01 00:00:00.000"


IN_JAVA = {
    "share": {"share": "large"},
    "quiet": {"time_since_last": "amount"},
    "together": {"corr": ["amount", "cc_num"], "where": "amount > 0"},
    "usual": {"mode": "amount"},
    "middle": {"median": "amount", "default": 0},
    "high": {"percentile": "cc_num", "p": 0.95},
    "about": {"approx_count_distinct": "cc_num"},
}


def with_condition(minimal):
    minimal["source"]["derive"] = {"large": {"expression": "amount > 100", "type": "boolean"}}
    return minimal


def test_sql_of_functions_in_java(minimal, snapshot):
    assert statements(of(with_condition(minimal), aggregates=IN_JAVA)) == snapshot


@pytest.mark.parametrize("aggregate", ["quiet", "together", "usual", "middle", "high", "about"])
def test_what_is_for_windows_only(minimal, aggregate):
    (function, *_) = IN_JAVA[aggregate]
    with pytest.raises(
        PipelineError, match=rf"aggregates.{aggregate}: {function} is for windows; remove emit: on_event"
    ):
        of(minimal, window={"size": "1h"}, emit="on_event", aggregates={aggregate: IN_JAVA[aggregate]})


@pytest.mark.parametrize("aggregate", IN_JAVA)
def test_native_windows_have_none_of_the_functions_in_java(minimal, aggregate):
    with_condition(minimal)["engine"] = "native"
    function = next(iter(IN_JAVA[aggregate]))
    why = {"cards_10m_1": f"{aggregate} is a {function}, which native windows do not have"}
    pipeline = of(minimal, aggregates={aggregate: IN_JAVA[aggregate]})
    assert pipeline.left_to_sql == ({} if function in ("share", "time_since_last") else why)


@pytest.mark.parametrize(
    ("aggregate", "message"),
    [
        ({"corr": "amount"}, r"corr wants the names of two columns, \[x, y\]"),
        ({"corr": ["amount", "amount", "amount"]}, "corr wants the names of two columns"),
        ({"corr": ["amount", "at"]}, "column 'at' is not in source.schema"),
        ({"corr": ["amount", "large"]}, "corr needs a numeric column, and 'large' is boolean"),
        ({"share": "amount"}, "share needs a boolean column, and 'amount' is double; derive one with the condition"),
        ({"percentile": "amount"}, "percentile wants a p from 0 to 1"),
        ({"percentile": "amount", "p": 95}, "less than or equal to 1|p: "),
        ({"median": "amount", "p": 0.5}, "median has no p"),
        ({"mode": "*"}, "mode wants the name of a column; only count and time_since_last are about events"),
        ({"approx_count_distinct": "amount"}, "needs values that compare exactly, and 'amount' is double"),
        ({"approx_count_distinct": "cc_num", "default": 1}, "approx_count_distinct is 0 where there is nothing"),
    ],
)
def test_aggregates_that_cannot_be_are_refused(minimal, aggregate, message):
    with pytest.raises(PipelineError, match=message):
        of(with_condition(minimal), aggregates={"x": aggregate})


def test_an_aggregate_is_written_as_it_was_read(minimal):
    pipeline = of(with_condition(minimal), aggregates=IN_JAVA)
    assert pipeline.to_dict()["feature_groups"][0]["aggregates"] == IN_JAVA
    assert Pipeline.parse(pipeline.to_dict()) == pipeline
