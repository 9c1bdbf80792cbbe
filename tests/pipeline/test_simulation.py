from datetime import datetime, timezone

import pytest

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.simulation import EventTimeRange, event_time_range, simulator_arguments
from hopsworks_flink.pipeline.spec import Pipeline
from transaction_simulator import parse_arguments, statements

NOW = 1_700_000_000_000
HOUR = 3_600_000


def test_the_first_simulation_fills_the_last_hours():
    assert event_time_range(now=NOW, newest=None, events=1000, rate=100) == EventTimeRange(NOW - 3 * HOUR, 3 * 360.0)


def test_the_next_one_begins_where_the_topic_ends():
    assert event_time_range(now=NOW, newest=NOW - 60_001, events=1000, rate=100) == EventTimeRange(NOW - 60_000, 6.0)


def test_time_never_runs_slower_than_the_clock():
    assert event_time_range(now=NOW, newest=NOW, events=1000, rate=100).speed_up == 1.0


def test_an_endless_simulation_is_live():
    assert event_time_range(now=NOW, newest=NOW - HOUR, events=0, rate=5) == EventTimeRange(NOW, 1.0)


def test_start_and_speed_can_be_said():
    start = datetime(2023, 11, 14, tzinfo=timezone.utc)
    times = event_time_range(now=NOW, newest=None, events=10, rate=10, start=start, speed_up=3)
    assert times == EventTimeRange(int(start.timestamp()) * 1000, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"events": -1}, "events must be 0 or more"),
        ({"rate": 0}, "rate and speed_up positive"),
        ({"speed_up": 0.0}, "speed_up positive"),
        ({"start": datetime(2023, 11, 15, tzinfo=timezone.utc), "speed_up": 9000.0}, "hours in the future"),
    ],
)
def test_impossible_ranges_are_refused(change, message):
    with pytest.raises(PipelineError, match=message):
        event_time_range(**{"now": NOW, "newest": None, "events": 1000, "rate": 100, **change})


def test_the_program_understands_its_arguments(minimal):
    times = EventTimeRange(NOW, 2.5)
    options = {"cards": 3, "events": 10, "rate": 5, "disorder": 1.5, "skew": 2.0, "seed": 7}
    settings, _ = parse_arguments(simulator_arguments(Pipeline.parse(minimal), times, **options))
    assert settings.topic == "transactions"
    assert settings.key == ("cc_num",)
    assert (settings.start, settings.speed_up, settings.seed) == (NOW, 2.5, 7)
    assert settings.problems() == []


def test_json_has_decimals_and_timestamps(minimal):
    schema = {"at": "timestamp", "cc_num": "bigint", "amount": "decimal(10,2)", "share": "decimal(2,2)"}
    minimal["source"].update(format="json", schema=schema, event_time={"column": "at"})
    minimal["feature_groups"][0]["aggregates"] = {"n": "count"}
    options = {"cards": 3, "events": 10, "rate": 5, "disorder": 1.5, "skew": 2.0, "seed": 7}
    arguments = simulator_arguments(Pipeline.parse(minimal), EventTimeRange(NOW, 2.5), **options)
    settings, _ = parse_arguments(arguments)
    assert settings.problems() == []
    tables, insert = statements(settings)
    assert "`at` STRING,\n  `cc_num` BIGINT,\n  `amount` DECIMAL(10, 2),\n  `share` DECIMAL(2, 2)" in tables[1]
    assert "'value.format' = 'json'" in tables[1]
    assert "CAST(ROUND(1 + 999 * POWER(amount, 3), 2) AS DECIMAL(10, 2)) AS `amount`" in insert
    assert "CAST(0.9 * amount AS DECIMAL(2, 2)) AS `share`" in insert


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"format": "json", "schema": {"datetime": "bigint", "cc_num": "date"}},
            "column 'cc_num' is date, and in json values are made for",
        ),
        (
            {"format": "json", "schema": {"datetime": "bigint", "cc_num": "decimal(5,2)"}},
            "the key 'cc_num' is a decimal",
        ),
        ({"event_time": "kafka_timestamp"}, "event_time is Kafka's timestamp"),
        ({"derive": {"cc_num": {"expression": "datetime % 10", "type": "int"}}}, "the key 'cc_num' is derived"),
        ({"schema": {"datetime": "bigint", "cc_num": "decimal(5,2)"}}, r"column 'cc_num' is decimal\(5,2\)"),
    ],
)
def test_events_that_the_simulator_cannot_make_are_refused(minimal, change, message):
    if "derive" in change:
        del minimal["source"]["schema"]["cc_num"]
    minimal["source"].update(change)
    minimal["feature_groups"][0]["aggregates"] = {"n": "count"}
    times = EventTimeRange(start=0, speed_up=1.0)
    with pytest.raises(PipelineError, match=message):
        simulator_arguments(Pipeline.parse(minimal), times, cards=1, events=1, rate=1, disorder=0.0, skew=1.0, seed=1)


def test_a_key_of_a_joined_topic_is_refused(minimal):
    schema = {"card": {"type": "bigint", "key": True}, "region": "string"}
    minimal["source"]["join"] = {"regions": {"topic": "regions", "schema": schema, "by": {"cc_num": "card"}}}
    minimal["feature_groups"][0]["key"] = ["region"]
    times = EventTimeRange(start=0, speed_up=1.0)
    with pytest.raises(PipelineError, match="the key 'region' is a column of a joined topic"):
        simulator_arguments(Pipeline.parse(minimal), times, cards=1, events=1, rate=1, disorder=0.0, skew=1.0, seed=1)
