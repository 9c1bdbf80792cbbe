"""Recomputing the past: intervals, what they need, and the plan."""

from __future__ import annotations

import json
import string
from datetime import date, datetime, timedelta, timezone

import pendulum
import pytest

from hopsworks_flink.exceptions import ConfigurationError, PipelineError
from hopsworks_flink.pipeline import recompute as history
from hopsworks_flink.pipeline.interval import Interval, arrivals_over, refuse_future, resolve_interval
from hopsworks_flink.pipeline.plan import FeatureGroupRef, compile_plan
from hopsworks_flink.pipeline.recompute import PartitionHistory, Reach
from hopsworks_flink.pipeline.resources import feature_group_avro_schema
from hopsworks_flink.pipeline.spec import Pipeline

HOUR = 3_600_000
DAY = (datetime(2025, 3, 1, tzinfo=timezone.utc), datetime(2025, 3, 2, tzinfo=timezone.utc))


@pytest.fixture
def pipeline(minimal):
    minimal["feature_groups"][0]["event_time"] = "window_end"
    minimal["feature_groups"].append(
        {**minimal["feature_groups"][0], "version": 2, "window": {"size": "30m"}, "event_time": None}
    )
    return Pipeline.parse(minimal)


def registered(pipeline):
    return [
        FeatureGroupRef(
            119, 13 + n, g.name, g.version, "demo_onlinefs", 7 + n, _text(feature_group_avro_schema(pipeline, g, "fs"))
        )
        for n, g in enumerate(pipeline.feature_groups)
    ]


def _text(schema):
    return json.dumps(schema)


# --- which interval -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "run", "expected"),
    [
        # A scheduled run, a run of a backfill, or one by hand of a DAG with intervals: the run's own.
        (None, None, DAY, DAY),
        (None, None, tuple(pendulum.instance(moment) for moment in DAY), DAY),
        ("", "None", DAY, DAY),
        # The form overrides either side.
        ("2025-03-01T06:00:00Z", None, DAY, (datetime(2025, 3, 1, 6, tzinfo=timezone.utc), DAY[1])),
        (None, "2025-03-01T06:00:00", DAY, (DAY[0], datetime(2025, 3, 1, 6, tzinfo=timezone.utc))),
        # Started by an asset or without a logical date: what was given.
        ("2025-03-01", date(2025, 3, 2), None, DAY),
        ("2025-03-01T01:00:00+01:00", datetime(2025, 3, 2), None, DAY),
    ],
)
def test_interval_of_a_run(start, end, run, expected):
    interval = resolve_interval(start, end, run)
    assert (interval.start, interval.end) == expected
    assert interval.end_ms > interval.start_ms


@pytest.mark.parametrize(
    ("start", "end", "run", "problem"),
    [
        (None, None, None, "start and end must be given: the run has no data interval"),
        ("2025-03-01", "", None, r"^end must be given"),
        ("yesterday", None, DAY, "start must be a time in ISO 8601.*not 'yesterday'"),
        ("2025-03-02", "2025-03-01", None, "is empty: start must be before end"),
        ("2025-03-03", None, DAY, "is empty: start must be before end"),
        (None, None, (DAY[0], DAY[0]), "no length.*CronDataIntervalTimetable"),
    ],
)
def test_intervals_that_cannot_be(start, end, run, problem):
    with pytest.raises(ConfigurationError, match=problem):
        resolve_interval(start, end, run)


def test_when_all_events_can_be_there():
    five, hours = timedelta(seconds=5), timedelta(hours=2)
    assert arrivals_over(None, "1h30m", five, DAY[1]) == "2025-03-02T01:30:05+00:00"
    assert arrivals_over(None, "1h30m", hours, DAY[1]) == "2025-03-02T03:30:00+00:00"
    assert arrivals_over("2025-03-01T12:00", "0s", timedelta(), None) == "2025-03-01T12:00:00+00:00"
    with pytest.raises(ConfigurationError, match=r"^end must be given"):
        arrivals_over("", "1h", five, None)
    with pytest.raises(ConfigurationError, match=r"arrival_margin 'soon': a duration is"):
        arrivals_over(None, "soon", five, DAY[1])


def test_an_end_in_the_future_is_refused():
    # Clocks may differ by five minutes.
    refuse_future(DAY[1], DAY[1] - timedelta(minutes=5))
    with pytest.raises(ConfigurationError, match=r"^end lies in the future \(2025-03-02T00:00:00\+00:00\): only what"):
        refuse_future(DAY[1], DAY[1] - timedelta(minutes=5, seconds=1))


def test_interval_in_milliseconds_and_words():
    interval = Interval(*DAY)
    assert (interval.start_ms, interval.end_ms) == (1_740_787_200_000, 1_740_873_600_000)
    assert str(interval) == "[2025-03-01T00:00:00+00:00, 2025-03-02T00:00:00+00:00)"


# --- which groups ---------------------------------------------------------------------------------------------------


def test_groups_without_event_time_are_left_out(pipeline):
    assert [group.full_name for group in history.select_groups(pipeline, None)] == ["cards_10m_1"]
    assert [group.full_name for group in history.select_groups(pipeline, ["cards_10m_1"])] == ["cards_10m_1"]


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["cards_10m_2"], "'cards_10m_2' has no event time, so it has no past; those that can.*cards_10m_1"),
        (["nothing_1"], "'nothing_1' is not in the pipeline"),
        ([], "feature_groups is empty"),
    ],
)
def test_groups_that_cannot_be_recomputed(pipeline, names, problem):
    with pytest.raises(PipelineError, match=problem):
        history.select_groups(pipeline, names)


def test_a_group_that_is_online_only(minimal):
    minimal["feature_groups"] *= 2
    minimal["feature_groups"][0] = {**minimal["feature_groups"][0], "event_time": "window_end"}
    minimal["feature_groups"][1] = {**minimal["feature_groups"][0], "version": 2, "offline": False}
    pipeline = Pipeline.parse(minimal)
    assert [group.version for group in history.select_groups(pipeline, None)] == [1]
    with pytest.raises(PipelineError, match=r"'cards_10m_2' is online only"):
        history.select_groups(pipeline, ["cards_10m_2"])


def test_a_pipeline_without_any_past(minimal):
    with pytest.raises(PipelineError, match=r"no feature group in the offline store has an event time"):
        history.select_groups(Pipeline.parse(minimal), None)


# --- which records --------------------------------------------------------------------------------------------------


def test_reach_is_the_longest_window_and_both_margins(pipeline):
    interval = Interval(*DAY)
    needs = history.reach(pipeline, pipeline.feature_groups, interval, timedelta(minutes=20))
    assert needs.warm_up == timedelta(minutes=90)
    assert needs.since == interval.start_ms - 90 * 60_000
    assert needs.until == interval.end_ms + 20 * 60_000 + 5_000


def test_records_are_read_as_long_as_the_stream_counts_events(minimal):
    minimal["feature_groups"][0]["event_time"] = "window_end"
    minimal["source"]["max_disorder"] = "2h"
    pipeline, interval = Pipeline.parse(minimal), Interval(*DAY)
    needs = history.reach(pipeline, pipeline.feature_groups, interval, timedelta(hours=1))
    # An event of 23:50 that comes at 01:30 lies behind others of 00:30, which is no more than the stream allows.
    assert needs.until == interval.end_ms + 3 * HOUR
    # The run waits until then, and no shorter: what comes meanwhile would be left out.
    waits = arrivals_over(None, "1h", pipeline.source.max_disorder, interval.end)
    assert datetime.fromisoformat(waits).timestamp() * 1000 == needs.until


def needs(since=10 * HOUR):
    return Reach(since, 20 * HOUR, timedelta(hours=2))


INTERVAL = Interval(
    datetime(1970, 1, 1, 12, tzinfo=timezone.utc),
    datetime(1970, 1, 1, 19, tzinfo=timezone.utc),
)


@pytest.mark.parametrize(
    ("partition", "kept_since"),
    [
        # Nothing was deleted: younger than the interval is all that there ever was.
        (PartitionHistory(0, 0, 0, 9, 15 * HOUR), None),
        (PartitionHistory(0, 0, 0, 0, None), None),
        # What was deleted is older than what is needed.
        (PartitionHistory(0, 5, 5, 9, 10 * HOUR), None),
        (PartitionHistory(0, 5, 7, 9, 9 * HOUR), None),
        # Emptied, but the retention proves that nothing needed was in it.
        (PartitionHistory(0, 5, 5, 5, None), 10 * HOUR),
    ],
)
def test_enough_is_left(partition, kept_since):
    history.refuse_deleted("t", [partition], INTERVAL, needs(), kept_since)


def test_deleted_records_are_named_with_the_earliest_start():
    partitions = [
        PartitionHistory(0, 5, 5, 9, 10 * HOUR + 1),
        PartitionHistory(1, 3, 3, 9, 13 * HOUR),
        PartitionHistory(2, 0, 3, 9, 19 * HOUR),
    ]
    with pytest.raises(
        ConfigurationError, match=r"first records are of 1970-01-01T13:00.*start possible is 1970-01-01T15:00"
    ):
        history.refuse_deleted("t", partitions, INTERVAL, needs())


def test_an_emptied_partition_is_refused_unless_its_retention_tells():
    emptied = [PartitionHistory(1, 5, 5, 5, None)]
    with pytest.raises(ConfigurationError, match=r"lost all records of partition 1.*allow_deleted"):
        history.refuse_deleted("t", emptied, INTERVAL, needs())
    with pytest.raises(ConfigurationError, match=r"The earliest start possible is 1970-01-01T13:00"):
        history.refuse_deleted("t", emptied, INTERVAL, needs(), 11 * HOUR)


def test_records_that_are_deleted_before_they_are_read():
    read = {"0": [5, 9], "1": [7, 7], "2": [0, 3]}
    # Before what is read; where nothing is; and a topic that was deleted when the job had finished.
    for lows in ({0: 5, 1: 0, 2: 0}, {0: 0, 1: 8, 2: 0}, {}):
        history.refuse_deleted_meanwhile("t", read, lows)
    lost = r"partition 0 begins at offset 6, and was to be read from 5; partition 2 begins at offset 3, .* from 0\."
    with pytest.raises(ConfigurationError, match=rf"Topic t has lost records .*: {lost} .*do not materialize"):
        history.refuse_deleted_meanwhile("t", read, {0: 6, 1: 8, 2: 3})


@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
def test_a_compacted_topic_is_refused(policy):
    with pytest.raises(ConfigurationError, match=f"Topic t has cleanup.policy={policy}: .*history of files.*allow_del"):
        history.refuse_compacted("t", policy, INTERVAL)
    history.refuse_compacted("t", None, INTERVAL)


# --- the plan -------------------------------------------------------------------------------------------------------


PARTITIONS = [PartitionHistory(0, 0, 3, 9, 1), PartitionHistory(1, 0, 0, 0, None)]


def plan_of(pipeline, partitions=PARTITIONS):
    groups = history.select_groups(pipeline, None)
    return history.compile_recompute(pipeline, registered(pipeline), groups, Interval(*DAY), partitions)


def test_plan_is_the_streams_sql_in_batch_between_two_bounds(pipeline):
    pipeline = pipeline.model_copy(update={"engine": "sql"})
    plan, stream = plan_of(pipeline), compile_plan(pipeline, registered(pipeline))
    assert plan.runtime_mode == "batch"
    assert plan.job_name == "cards__recompute__20250301T000000Z__20250302T000000Z" == plan.table_config["pipeline.name"]
    source = plan.statements[0]
    assert "'scan.startup.specific-offsets' = 'partition:0,offset:3;partition:1,offset:0'" in source
    assert "'scan.bounded.specific-offsets' = 'partition:0,offset:9;partition:1,offset:0'" in source
    assert "partition-discovery" not in source
    assert "'properties.isolation.level' = 'read_committed'" in source
    # But for its bounds the source is the stream's, and so are the views and the sinks.
    assert source.partition("WITH")[0] == stream.statements[0].partition("WITH")[0]
    assert plan.statements[1:] == [s for s in stream.statements[1:] if "cards_10m v2" not in s]
    (insert,) = plan.inserts
    query = stream.inserts[0].partition("\n")[2]
    assert query.partition("MAP[")[0] in insert
    assert query.partition("'UTF-8')]")[2] in insert
    assert insert.endswith("WHERE `window_end` > 1740787200000000 AND `window_end` <= 1740873600000000")
    assert "'storage', ENCODE('offline', 'UTF-8')" in insert
    assert "onlineIngestionId" not in insert


def test_plan_depends_on_interval_and_offsets(pipeline):
    assert plan_of(pipeline).hash == plan_of(pipeline).hash
    assert plan_of(pipeline).hash != plan_of(pipeline, PARTITIONS[:1]).hash


def test_bindings_fill_every_placeholder_and_name_the_secrets(pipeline):
    kafka = {"bootstrap.servers": "b:1", "sasl.jaas.config": 'Login required password="marker-8714";'}
    bindings = history.history_bindings(pipeline, source_kafka=kafka, sink_kafka={"bootstrap.servers": "b:1"})
    plan = plan_of(pipeline)
    for statement in (*plan.statements, *plan.inserts):
        assert "${" not in string.Template(statement).substitute(bindings["values"])
    assert "marker-8714" in bindings["secrets"]
    assert "marker-8714" not in plan.to_json()


# --- the platform ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["5.1.0", "5.2.0", "6.0", "10.0.1-SNAPSHOT", "5.1-rc1"])
def test_platforms_that_know_offline_records(version):
    history.check_platform(version)


@pytest.mark.parametrize(
    ("version", "problem"),
    [
        ("5.0.1", "5.0.1 is too old.*5.1 or newer"),
        ("3.8.0-RC1", "too old"),
        (None, "does not say its version"),
        ("new", "not say"),
    ],
)
def test_platforms_that_would_serve_old_values(version, problem):
    with pytest.raises(ConfigurationError, match=problem):
        history.check_platform(version)
