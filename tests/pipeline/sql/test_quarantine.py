"""What is compiled for records and events that do not count."""

from __future__ import annotations

from typing import Any

import pytest

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.plan import compile_plan, feature_statements, record_headers
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.sql.quarantine import quarantine_topic_arguments
from hopsworks_flink.pipeline.state import state_outcome, state_signature
from tests.support.pipelines import registered


def source(minimal: dict[str, Any], **settings: Any) -> Pipeline:
    return Pipeline.parse({**minimal, "source": {**minimal["source"], **settings}})


def test_nothing_is_written_by_default(minimal: dict[str, Any]) -> None:
    p = Pipeline.parse(minimal)
    assert p.quarantine_topic is None
    assert "quarantine" not in compile_plan(p, registered(p)).to_json()
    with pytest.raises(ValueError, match="has no quarantine topic"):
        quarantine_topic_arguments(p)


def test_refused_events_are_written_with_the_first_reason(minimal: dict[str, Any]) -> None:
    p = source(minimal, refused="quarantine")
    plan = compile_plan(p, registered(p))
    *_, insert = plan.inserts
    reasons = [
        "WHEN `datetime` IS NULL THEN 'datetime is null'",
        "WHEN `datetime` < 1 THEN 'datetime is not after 1970'",
        "THEN 'datetime is further behind the Kafka timestamp than max_past'",
        "THEN 'datetime is further ahead of the Kafka timestamp than max_future'",
        "WHEN `cc_num` IS NULL THEN 'cc_num is null'",
    ]
    assert sorted(insert.index(reason) for reason in reasons) == [insert.index(reason) for reason in reasons]
    assert "`__problem`" not in plan.to_json()
    assert "'hopsworks-events.on-error' = 'fail'" in plan.statements[0]


def test_without_a_bound_no_event_is_too_old(minimal: dict[str, Any]) -> None:
    assert (
        "max_past"
        not in compile_plan(p := source(minimal, refused="quarantine", max_past=None), registered(p)).inserts[-1]
    )
    assert "315360000000" not in compile_plan(p, registered(p)).statements[0]


@pytest.mark.parametrize("format_", ["avro", "json"])
def test_the_age_of_a_timestamp_is_that_of_its_microseconds(minimal: dict[str, Any], format_: str) -> None:
    schema = {**minimal["source"]["schema"], "datetime": "timestamp"}
    p = source(minimal, refused="quarantine", format=format_, schema=schema, event_time={"column": "datetime"})
    # Behind the view that makes numbers of JSON's texts.
    assert (
        "INTERVAL '0.001' SECOND * (`datetime` / 1000 + 315360000000) < `__kafka_timestamp`"
        in (compile_plan(p, registered(p)).inserts[-1])
    )


@pytest.mark.parametrize("format_", ["avro", "json"])
def test_undecodable_records_pass_conditions_but_never_count(minimal: dict[str, Any], format_: str) -> None:
    p = source(minimal, on_decode_error="quarantine", format=format_, where="amount > 0")
    plan = compile_plan(p, registered(p))
    topic = p.source.topic
    assert "'format' = 'hopsworks-events'" in plan.statements[0]
    assert f"'hopsworks-events.encoding' = '{format_}'" in plan.statements[0]
    assert "'hopsworks-events.on-error' = 'quarantine'" in plan.statements[0]
    lines = [line.strip() for line in plan.statements[0].splitlines()]
    at = lines.index("`__undecodable` BYTES,")
    # The format takes the last two physical columns of the table.
    assert lines[at + 1] == "`__problem` STRING,"
    assert all("METADATA" in line or " AS " in line for line in lines[at + 2 : lines.index(") WITH (")])
    views = {s.split("`")[1]: s for s in plan.statements[1:] if isinstance(s, str)}
    assert views[f"{topic} read"].endswith("OR `__problem` IS NOT NULL")
    by_key = views[f"{topic} by cc_num"]
    assert "`__event_time` > TO_TIMESTAMP_LTZ(0, 3)" in by_key
    assert "WHEN `__problem` IS NOT NULL THEN 'undecodable'" in plan.inserts[-1]


@pytest.mark.parametrize(
    "event_time",
    [
        "kafka_timestamp",
        {"column": "sent"},
        {"column": "number"},
        {"expression": "COALESCE(datetime, sent)"},
    ],
)
def test_a_time_beside_the_value_is_none_of_an_undecodable_record(minimal: dict[str, Any], event_time: Any) -> None:
    schema = {
        **minimal["source"]["schema"],
        "cc_num": {"type": "bigint", "header": "card"},
        "sent": {"type": "bigint", "header": "sent"},
        "number": {"type": "bigint", "key": True},
    }
    p = source(minimal, on_decode_error="quarantine", event_time=event_time, schema=schema)
    guarded = "`__event_time` AS CASE WHEN `__problem` IS NULL THEN CASE WHEN "
    assert guarded in compile_plan(p, registered(p)).statements[0]
    # Nor need be told otherwise where all of the time is in the value, or nothing is kept.
    for other in (
        source(minimal, on_decode_error="quarantine", schema=schema),
        source(minimal, event_time=event_time, schema=schema),
    ):
        assert guarded not in compile_plan(other, registered(other)).statements[0]


def test_history_reads_as_the_stream_and_writes_no_quarantine(minimal: dict[str, Any]) -> None:
    p = source(minimal, on_decode_error="quarantine")
    table, _, inserts = feature_statements(p, p.feature_groups, registered(p), record_headers, bounded=True)
    # New partitions are looked for by the stream only.
    stream = compile_plan(p, registered(p)).statements[0].splitlines()
    assert table.splitlines() == [line for line in stream if "partition-discovery" not in line]
    assert len(inserts) == 1


def test_pipelines_over_one_topic_share_its_quarantine(minimal: dict[str, Any]) -> None:
    one = source(minimal, refused="quarantine")
    columns = {"datetime": "bigint", "cc_num": "bigint", "amount": "float"}
    other = source({**minimal, "name": "other"}, refused="quarantine", schema=columns)
    assert quarantine_topic_arguments(one) == quarantine_topic_arguments(other)
    assert quarantine_topic_arguments(one)["topic"] == "transactions_quarantine"


def test_between_the_decoders_state_stays_while_the_topic_is_there(minimal: dict[str, Any]) -> None:
    native, both = source(minimal, refused="quarantine"), source(minimal, on_decode_error="quarantine")
    running = state_signature(both).marks()
    assert state_outcome(state_signature(native).marks(), running) == ("keeps", [])
    assert state_outcome(state_signature(Pipeline.parse(minimal)).marks(), running)[0] == "rewarms"
    assert state_signature(Pipeline.parse(minimal)).source == state_signature(source(minimal, refused="drop")).source


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"on_decode_error": "skip"}, r"source\.on_decode_error: must be one of 'fail' or 'quarantine'"),
        ({"refused": "topic"}, r"source\.refused: must be one of 'drop' or 'quarantine'"),
        ({"refused": "drop", "on_decode_error": "quarantine"}, "refused: drop contradicts"),
        ({"refused": "quarantine", "topic": "t" * 240}, "too long for its quarantine topic"),
    ],
)
def test_bad_settings(minimal: dict[str, Any], settings: dict[str, Any], text: str) -> None:
    with pytest.raises(PipelineError, match=text):
        source(minimal, **settings)


def test_settings_survive_their_way_through_airflow(minimal: dict[str, Any]) -> None:
    p = source(minimal, on_decode_error="quarantine")
    assert Pipeline.parse(p.to_dict()) == p
