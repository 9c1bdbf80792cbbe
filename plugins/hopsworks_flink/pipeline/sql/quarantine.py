"""Records that cannot be decoded and events that are refused: written to a topic, with the reason.

The topic belongs to the source topic, not to a pipeline: its schema knows no column of the events, so that pipelines
that read one topic share it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hopsworks_flink.pipeline.resources import avro_name
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.sql.aggregates import EVENT_TIME, epoch_milliseconds, template_text
from hopsworks_flink.pipeline.sql.events import (
    KAFKA_TIMESTAMP,
    OFFSET,
    PARTITION,
    PROBLEM,
    UNDECODABLE,
    events_table,
    without_version,
)
from hopsworks_flink.pipeline.sql.features import SINK_KAFKA, create_table, fixed, time_value, too_old
from hopsworks_flink.pipeline.types import DATE, FeatureType, avro_type, sql_identifier, sql_literal

UNDECODED = "undecodable"
#: Why an event counts nowhere, by the name of the column.
NULL = "{} is null"
NOT_AFTER_1970 = "{} is not after 1970"
TOO_OLD = "{} is further behind the Kafka timestamp than max_past"
NO_VERSION = "join.{} has no version"
TOO_FAR_AHEAD = "{} is further ahead of the Kafka timestamp than max_future"

# Feature types as in a schema. `event` is JSON, `value` the bytes of a record that could not be decoded.
COLUMNS = {
    "pipeline": "string",
    "reason": "string",
    "detail": "string",
    "kafka_partition": "int",
    "kafka_offset": "bigint",
    "kafka_timestamp": "timestamp",
    "event": "string",
    "value": "binary",
}


def quarantine_topic_arguments(pipeline: Pipeline) -> dict[str, Any]:
    """Arguments of `HopsworksCreateTopicOperator` for the quarantine topic.

    :raises ValueError: the pipeline has none.
    """
    if pipeline.quarantine_topic is None:
        raise ValueError(
            f"pipeline {pipeline.name} has no quarantine topic: source.on_decode_error is fail, source.refused is drop"
        )
    return {
        "topic": pipeline.quarantine_topic,
        "schema": quarantine_avro_schema(pipeline),
        "partitions": pipeline.source.partitions,
        "replication": pipeline.source.replication,
    }


def quarantine_avro_schema(pipeline: Pipeline) -> dict[str, Any]:
    """Avro schema of the topic; the same for every pipeline over one source topic."""
    return {
        "type": "record",
        "name": avro_name(f"{pipeline.source.topic}_quarantine"),
        "fields": [{"name": name, "type": avro_type(kind)} for name, kind in COLUMNS.items()],
    }


def quarantine_table(pipeline: Pipeline) -> str:
    """DDL of the topic, on the feature store's broker."""
    lines = [f"{sql_identifier(name)} {FeatureType.parse(kind).sql}" for name, kind in COLUMNS.items()]
    options = {
        "connector": "kafka",
        "topic": str(pipeline.quarantine_topic),
        "format": "avro",
        "sink.delivery-guarantee": "at-least-once",
    }
    return create_table(str(pipeline.quarantine_topic), lines, options, SINK_KAFKA)


def quarantine_insert(pipeline: Pipeline) -> str:
    """INSERT of what does not count, each record once with the first reason that holds.

    An event that has no key for one feature group and one for another is written, and counts where it can.
    """
    reasons = list(_reasons(pipeline))
    undecodable = pipeline.source.on_decode_error == "quarantine"
    whens = "\n    ".join(f"WHEN {condition} THEN {sql_literal(reason)}" for condition, reason in reasons)
    event = f"JSON_OBJECT({', '.join(_json_pairs(pipeline))})"
    made = {
        "pipeline": sql_literal(pipeline.name),
        "reason": f"CASE\n    {whens}\n  END",
        "detail": sql_identifier(PROBLEM) if undecodable else "CAST(NULL AS STRING)",
        "kafka_partition": sql_identifier(PARTITION),
        "kafka_offset": sql_identifier(OFFSET),
        "kafka_timestamp": f"({epoch_milliseconds(sql_identifier(KAFKA_TIMESTAMP))}) * 1000",
        "event": f"CASE WHEN {sql_identifier(PROBLEM)} IS NULL THEN {event} END" if undecodable else event,
        "value": sql_identifier(UNDECODABLE) if undecodable else "CAST(NULL AS BYTES)",
    }
    selected = ",\n  ".join(f"{expression} AS {sql_identifier(name)}" for name, expression in made.items())
    refused = [f"{sql_identifier(EVENT_TIME)} <= TO_TIMESTAMP_LTZ(0, 3)", *_missing(pipeline).values()]
    return (
        f"INSERT INTO {sql_identifier(str(pipeline.quarantine_topic))}\nSELECT\n  {selected}\n"
        f"FROM {sql_identifier(events_table(pipeline))}\nWHERE " + "\n  OR ".join(refused)
    )


def _reasons(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    """Conditions in order, and what each of them means."""
    source = pipeline.source
    if source.on_decode_error == "quarantine":
        yield f"{sql_identifier(PROBLEM)} IS NOT NULL", UNDECODED
    refused = f"{sql_identifier(EVENT_TIME)} <= TO_TIMESTAMP_LTZ(0, 3)"
    if source.event_time.is_kafka_timestamp:
        yield refused, "no Kafka timestamp"
    else:
        time, _ = time_value(source)
        name = source.event_time.name
        yield f"{time} IS NULL", NULL.format(name)
        yield f"{time} < 1", NOT_AFTER_1970.format(name)
        if old := too_old(source):
            yield old, TOO_OLD.format(name)
        yield refused, TOO_FAR_AHEAD.format(name)
    for reason, condition in _missing(pipeline).items():
        yield condition, reason


def _missing(pipeline: Pipeline) -> dict[str, str]:
    """Conditions for an event that lacks what it has to have, by the reason: a key column, a version, a feature."""
    keys = [column for group in pipeline.feature_groups for column in group.key]
    missing = {NULL.format(column): f"{sql_identifier(column)} IS NULL" for column in keys}
    missing |= {NO_VERSION.format(name): condition for name, condition in without_version(pipeline).items()}
    columns = pipeline.source.all_columns
    for group in pipeline.feature_groups:
        for name in group.required:
            value = template_text(group.features[name].parsed(columns).sql("flink"))
            missing[NULL.format(f"{group.full_name}.{name}")] = f"{value} IS NULL"
    return missing


def _json_pairs(pipeline: Pipeline) -> Iterator[str]:
    for name, kind in pipeline.source.columns.items():
        column = sql_identifier(name)
        yield f"KEY {fixed(name)} VALUE {f'CAST({column} AS STRING)' if kind == DATE else column}"
