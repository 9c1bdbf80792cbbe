"""Events behind the watermark: written to a topic of their own, beside the features."""

from __future__ import annotations

from typing import Any

from hopsworks_flink.pipeline.resources import avro_name
from hopsworks_flink.pipeline.spec import LATE_COLUMNS, Pipeline
from hopsworks_flink.pipeline.sql import names
from hopsworks_flink.pipeline.sql.aggregates import EVENT_TIME, epoch_milliseconds
from hopsworks_flink.pipeline.sql.events import KAFKA_TIMESTAMP, OFFSET, PARTITION, Step, events_with_late
from hopsworks_flink.pipeline.sql.features import SINK_KAFKA, create_table
from hopsworks_flink.pipeline.types import FeatureType, avro_type, sql_identifier

WATERMARK = "__watermark"


def late_topic_arguments(pipeline: Pipeline) -> dict[str, Any]:
    """Arguments of `HopsworksCreateTopicOperator` for the topic of late events.

    :raises ValueError: the pipeline drops them.
    """
    if pipeline.late_topic is None:
        raise ValueError(f"pipeline {pipeline.name} has no topic for late events: source.late is drop")
    return {
        "topic": pipeline.late_topic,
        "schema": late_avro_schema(pipeline),
        "partitions": pipeline.source.partitions,
        "replication": pipeline.source.replication,
        # What the source gets at its end this topic gets there as well.
        "on_drift": "append",
    }


def late_avro_schema(pipeline: Pipeline) -> dict[str, Any]:
    """Avro schema of the topic: how late an event was, where it lies in the source topic, and its columns."""
    columns = {**{name: FeatureType.parse(kind) for name, kind in LATE_COLUMNS.items()}, **pipeline.source.columns}
    return {
        "type": "record",
        "name": avro_name(f"{pipeline.name}_late"),
        "fields": [{"name": name, "type": avro_type(kind)} for name, kind in columns.items()],
    }


def late_table(pipeline: Pipeline) -> str:
    """DDL of the topic of late events, on the feature store's broker."""
    kinds = {name: FeatureType.parse(kind).sql for name, kind in LATE_COLUMNS.items()}
    kinds |= {name: kind.sql for name, kind in pipeline.source.columns.items()}
    options = {
        "connector": "kafka",
        "topic": str(pipeline.late_topic),
        "format": "avro",
        "sink.delivery-guarantee": "at-least-once",
    }
    lines = [f"{sql_identifier(name)} {kind}" for name, kind in kinds.items()]
    return create_table(str(pipeline.late_topic), lines, options, SINK_KAFKA)


def late_step(pipeline: Pipeline) -> Step:
    """A view of the events that arrive behind the watermark, which is beside them; after a restart too."""
    view = names.late_view(pipeline.source)
    return {
        "late": {"table": events_with_late(pipeline), "view": view, "event_time": EVENT_TIME, "watermark": WATERMARK}
    }


def late_insert(pipeline: Pipeline) -> str:
    """INSERT of these events.

    Such an event may still count in windows that are open: late is not the same as lost.
    """
    made = {
        "lateness_ms": f"{sql_identifier(WATERMARK)} - ({epoch_milliseconds(sql_identifier(EVENT_TIME))})",
        "kafka_partition": sql_identifier(PARTITION),
        "kafka_offset": sql_identifier(OFFSET),
        "kafka_timestamp": f"({epoch_milliseconds(sql_identifier(KAFKA_TIMESTAMP))}) * 1000",
    }
    selected = [f"{expression} AS {sql_identifier(name)}" for name, expression in made.items()]
    selected += [sql_identifier(name) for name in pipeline.source.columns]
    select_list = ",\n  ".join(selected)
    return (
        f"INSERT INTO {sql_identifier(str(pipeline.late_topic))}\nSELECT\n  {select_list}\n"
        f"FROM {sql_identifier(names.late_view(pipeline.source))}"
    )
