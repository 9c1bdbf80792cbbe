"""Rows of windows of several lengths: what a file may ask for, its SQL, and what the job's neighbours make of it."""

from datetime import datetime, timedelta, timezone

import pytest

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.interval import Interval
from hopsworks_flink.pipeline.plan import (
    Begin,
    begin_values,
    compile_plan,
    feature_statements,
    record_headers,
    replay_since,
)
from hopsworks_flink.pipeline.recompute import reach
from hopsworks_flink.pipeline.resources import feature_group_arguments, feature_group_avro_schema
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
    return Pipeline.parse({"engine": "sql", **minimal})


def statements(pipeline):
    plan = compile_plan(pipeline, registered(pipeline))
    return "\n\n".join([*plan.statements[2:-1], *plan.inserts])


@pytest.mark.parametrize("on_empty", [{}, {"on_empty": "zero"}, {"on_empty": "null"}], ids=["None", "zero", "null"])
def test_sql_of_windows_of_several_lengths(minimal, snapshot, on_empty):
    assert statements(of(minimal, aggregates=LENGTHS, event_time="window_end", **on_empty)) == snapshot


def test_sql_of_a_tumbling_window_that_empties(minimal, snapshot):
    assert statements(of(minimal, window={"size": "1h"}, aggregates={"n": "count"}, on_empty="null")) == snapshot


@pytest.mark.parametrize("on_empty", ["zero", "null"])
def test_a_window_is_found_empty_where_all_features_look_back_less_far(minimal, on_empty):
    aggregates = {"paid": {"sum": "amount", "window": "5m"}}
    text = statements(of(minimal, aggregates=aggregates, on_empty=on_empty))
    assert text.count("FALSE AS `__empty`") == (on_empty == "zero")
    assert ("`__empty`" in text) == (on_empty == "zero")


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
        ({"window": {"gap": "1m", "slide": "1m"}}, "gap is for sessions, which have no slide and no step"),
        ({"window": {"gap": "1d"}}, "gap 1d must be shorter than size 1d, the longest session"),
        ({"window": {"gap": "500ms"}}, "gap is 500ms; it must be a whole number of seconds"),
        (
            {"window": {"gap": "1m"}, "on_empty": "zero"},
            "on_empty: a session is as long as it is, and is not found empty",
        ),
        ({"window": {"gap": "1m"}, "emit": "on_event"}, "window has a size, no slide, no step and no gap"),
        (
            {"window": {"gap": "1m"}, "aggregates": {"n": {"count": "*", "window": "5m"}}},
            "n.window: a session is as long",
        ),
        ({"on_empty": "nothing"}, "on_empty: must be 'zero' or 'null'|on_empty: .*zero"),
        ({"on_empty": None}, "on_empty: must be one of 'zero' or 'null'; .* write \"null\" in quotes"),
        (
            {"window": {"size": "1h"}, "emit": "on_event", "aggregates": {"n": {"count": "*", "window": "5m"}}},
            r"aggregates.n.window: emit: on_event looks back by one length, window.size; remove it, or make another",
        ),
    ],
)
def test_what_cannot_be_combined_is_refused(minimal, group, message):
    with pytest.raises(PipelineError, match=message):
        of(minimal, **group)


@pytest.mark.parametrize("on_empty", [{}, {"on_empty": "zero"}], ids=["None", "zero"])
def test_native_windows_make_all_lengths_of_the_same_panes(minimal, snapshot, on_empty):
    minimal["engine"] = "native"
    pipeline = of(minimal, aggregates=LENGTHS, **on_empty)
    assert not pipeline.left_to_sql
    plan = compile_plan(pipeline, registered(pipeline))
    assert [*plan.statements[2:-1], *plan.inserts] == snapshot


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
    "recent": {"last_n": "amount", "n": 5},
    "first": {"first_n": "cc_num", "n": 1, "where": "amount > 0"},
    "known": {"collect_distinct": "amount", "n": 10},
    "top": {"top_k": "cc_num", "n": 3},
}


def with_condition(minimal):
    minimal["source"]["derive"] = {"large": {"expression": "amount > 100", "type": "boolean"}}
    return minimal


def test_sql_of_functions_in_java(minimal, snapshot):
    assert statements(of(with_condition(minimal), aggregates=IN_JAVA)) == snapshot


@pytest.mark.parametrize("aggregate", [name for name in IN_JAVA if name != "share"])
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
        ({"percentile": "amount", "p": None}, "percentile wants a p from 0 to 1"),
        ({"percentile": "amount", "p": 95}, "less than or equal to 1|p: "),
        ({"median": "amount", "p": 0.5}, "median has no p"),
        ({"last_n": "amount"}, r"last_n wants an n, how many at most: \{last_n: page, n: 5\}"),
        ({"last_n": "amount", "n": None}, "last_n wants an n, how many at most"),
        ({"last_n": "amount", "n": 0}, "x.n: "),
        ({"mode": "amount", "n": 1}, "mode has no n"),
        ({"top_k": "cc_num", "n": 1, "default": 1}, "default: an array has none; remove default"),
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


def test_arrays_in_both_stores(minimal):
    pipeline = of(with_condition(minimal), aggregates=IN_JAVA, online_types={"top": "varbinary(90)"})
    group = pipeline.feature_groups[0]
    features = {one["name"]: one for one in feature_group_arguments(pipeline, group)["features"]}
    assert (features["recent"]["type"], features["recent"]["online_type"]) == ("array<double>", "varbinary(49)")
    assert (features["top"]["type"], features["top"]["online_type"]) == ("array<bigint>", "varbinary(90)")
    assert "online_type" not in features["usual"]
    schema = {field["name"]: field["type"] for field in feature_group_avro_schema(pipeline, group, "s")["fields"]}
    assert schema["known"] == ["null", {"type": "array", "items": ["null", "double"]}]


def test_an_array_that_no_row_holds_is_refused(minimal):
    minimal["source"]["schema"]["page"] = "string"
    with pytest.raises(PipelineError, match=r"a row takes 30[0-9]{3} bytes online, and 30000 are allowed"):
        of(minimal, aggregates={"pages": {"last_n": "page", "n": 1000}})
    with pytest.raises(PipelineError, match=r"online_types.n: the feature is bigint, which is always bigint online"):
        of(minimal, aggregates={"n": "count"}, online_types={"n": "varbinary(9)"})


def test_a_column_is_no_array(minimal):
    minimal["source"]["schema"]["pages"] = "array<string>"
    with pytest.raises(PipelineError, match="a pipeline handles scalar types only"):
        Pipeline.parse(minimal)


@pytest.mark.parametrize("bounded", [False, True])
def test_sql_of_sessions(minimal, snapshot, bounded):
    p = of(
        minimal, window={"gap": "30m"}, event_time="window_end", aggregates={"n": "count", "mean": {"avg": "amount"}}
    )
    _, _, inserts = feature_statements(p, p.feature_groups, registered(p), record_headers, bounded=bounded)
    assert inserts == snapshot


def steps(pipeline, *, bounded):
    _, statements, _ = feature_statements(
        pipeline, pipeline.feature_groups, registered(pipeline), record_headers, bounded=bounded
    )
    return [one for one in statements if not isinstance(one, str)]


def beside_windows(pipeline, engine):
    """The pipeline with a second group of fixed windows."""
    (group,) = pipeline.to_dict()["feature_groups"]
    other = {**group, "name": "hourly", "window": {"size": "1h"}, "emit": "on_window", "event_time": "window_end"}
    return Pipeline.parse({**pipeline.to_dict(), "engine": engine, "feature_groups": [group, other]})


def test_sessions_wait_for_events_at_their_end(minimal):
    """In the stream a step holds the watermark back; all that reads the events beside it shares them."""
    p = of(minimal, window={"gap": "30m"}, aggregates={"n": "count"})
    (step,) = steps(p, bounded=False)
    assert step["sessions"]["view"] == f"{step['sessions']['table']} for sessions"
    assert steps(p, bounded=True) == []
    for engine, kinds in {"sql": ["share", "sessions"], "native": ["share", "sessions", "windows"]}.items():
        two = beside_windows(p, engine)
        assert [kind for one in steps(two, bounded=False) for kind in one] == kinds
        assert steps(two, bounded=True) == []


def test_sqls_rows_of_events_leave_out_what_is_late(minimal):
    """In the stream a step does so, which remembers the watermark; the windows beside them count a late event."""
    p = of({**minimal, "engine": "sql"}, window={"size": "30m"}, emit="on_event", aggregates={"n": "count"})
    (step,) = steps(p, bounded=False)
    assert step["on_time"]["view"] == f"{step['on_time']['table']} on time"
    assert steps(p, bounded=True) == []
    for engine, kinds in {"sql": ["share", "on_time"], "native": ["share", "windows", "windows"]}.items():
        two = beside_windows(p, engine)
        assert [kind for one in steps(two, bounded=False) for kind in one] == kinds
        assert steps(two, bounded=True) == []
    _, _, (rows, windows) = feature_statements(
        two := beside_windows(p, "sql"), two.feature_groups, registered(two), record_headers
    )
    assert "on time`" in rows
    assert "on time`" not in windows


def test_a_session_needs_what_came_before_it(minimal):
    pipeline = of(minimal, window={"gap": "30m", "size": "4h"})
    assert pipeline.feature_groups[0].reach == timedelta(hours=4, minutes=30)
    assert begin_values(pipeline, Begin(watermark=0))["windows_from_cards_10m_1"].startswith("1970-01-01 00:00:00")
    native = of({**minimal, "engine": "native"}, window={"gap": "30m"})
    assert native.left_to_sql == {"cards_10m_1": "sessions are no panes"}


def test_the_order_of_aggregates_in_the_file_is_not_the_plans(minimal):
    aggregates = {**LENGTHS, "about": {"approx_count_distinct": "cc_num"}, "usual": {"mode": "cc_num", "window": "5m"}}
    before = of(minimal, aggregates=aggregates)
    after = of(minimal, aggregates=dict(reversed(aggregates.items())))
    told = registered(before)
    assert compile_plan(after, told).hash == compile_plan(before, told).hash
