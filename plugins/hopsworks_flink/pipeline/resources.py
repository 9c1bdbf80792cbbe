"""What a pipeline registers before its job can run: the source topic's schema and its feature groups."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple

from hopsworks_flink.pipeline.spec.pipeline import FeatureGroup, Pipeline
from hopsworks_flink.pipeline.types import TIMESTAMP, avro_type


class Feature(NamedTuple):
    """A feature's name, feature type and description."""

    name: str
    type: str
    description: str


def features(pipeline: Pipeline, group: FeatureGroup) -> list[Feature]:
    """Features of a group in their order: key columns, aggregates, and the event time if there is one."""
    columns = pipeline.source.all_columns
    result = [Feature(column, str(columns[column]), "") for column in group.key]
    for name, aggregate in group.aggregates.items():
        over = "events" if aggregate.column is None else aggregate.column
        description = aggregate.description or f"{aggregate.function} of {over}"
        result.append(Feature(name, str(aggregate.result_type(columns)), description))
    if group.event_time_feature:
        meaning = "end of the window, exclusive" if group.event_time == "window_end" else "time of the event"
        result.append(Feature(group.event_time_feature, str(TIMESTAMP), meaning))
    return result


def feature_group_arguments(pipeline: Pipeline, group: FeatureGroup) -> dict[str, Any]:
    """Arguments of `HopsworksCreateFeatureGroupOperator`, named as in the SDK's ``get_or_create_feature_group``."""
    ttl = {"ttl": group.ttl // timedelta(seconds=1)} if group.ttl is not None else {}
    return {
        "name": group.name,
        "version": group.version,
        "description": group.description,
        "primary_key": list(group.key),
        "event_time": group.event_time_feature,
        "online_enabled": group.online,
        "features": [feature._asdict() for feature in features(pipeline, group)],
        **ttl,
    }


def source_avro_schema(pipeline: Pipeline) -> dict[str, Any]:
    """Avro schema of the source topic: every column nullable, null first, as Flink's Avro format reads it.

    A topic of JSON objects has one as well, which names their fields: the platform wants a schema for every topic.
    """
    note = {} if pipeline.source.format == "avro" else {"doc": "Records are JSON objects with these fields."}
    return {
        "type": "record",
        "name": avro_name(pipeline.source.topic),
        **note,
        "fields": [{"name": name, "type": avro_type(kind)} for name, kind in pipeline.source.columns.items()],
    }


def source_topic_arguments(pipeline: Pipeline) -> dict[str, Any]:
    """Arguments of `HopsworksCreateTopicOperator` for the source topic.

    A column more at the end leaves JSON records readable: what is missing is null.
    """
    return {
        "topic": pipeline.source.topic,
        "schema": source_avro_schema(pipeline),
        "partitions": pipeline.source.partitions,
        "replication": pipeline.source.replication,
        "on_drift": "append" if pipeline.source.format == "json" else "fail",
    }


def avro_name(text: str) -> str:
    """A topic's name as an Avro record name, which allows letters, digits and underscores only."""
    name = "".join(character if character.isalnum() and character.isascii() else "_" for character in text)
    return name if not name[0].isdigit() else f"_{name}"


def feature_group_avro_schema(pipeline: Pipeline, group: FeatureGroup, feature_store: str) -> dict[str, Any]:
    """Avro schema that the platform makes for a group; ``feature_store`` is e.g. ``demo_featurestore``."""
    return {
        "type": "record",
        "name": group.full_name,
        "namespace": f"{feature_store}.db",
        "fields": [{"name": f.name, "type": avro_type(f.type)} for f in features(pipeline, group)],
    }
