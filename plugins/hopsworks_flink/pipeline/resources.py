"""What a pipeline registers before its job can run: the source topic's schema and its feature groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from hopsworks_flink.pipeline.spec.online_types import default_online_type, longest
from hopsworks_flink.pipeline.spec.pipeline import FeatureGroup, Pipeline
from hopsworks_flink.pipeline.spec.source import Column
from hopsworks_flink.pipeline.types import BIGINT, STRING, FeatureType, avro_type


class Feature(NamedTuple):
    """A feature's name, feature type and description, and the type of its online column if the file names one."""

    name: str
    type: str
    description: str
    online_type: str | None = None

    def arguments(self) -> dict[str, str]:
        """As the operator that creates feature groups takes it."""
        return {name: value for name, value in self._asdict().items() if value is not None}


def features(pipeline: Pipeline, group: FeatureGroup) -> list[Feature]:
    """Features of a group in their order: key columns, aggregates or features, and the event time if there is one."""
    meanings = dict.fromkeys(group.key, "")
    for name, aggregate in group.aggregates.items():
        over = " and ".join(aggregate.columns) or "events"
        meanings[name] = aggregate.description or f"{aggregate.function} of {over}"
    meanings |= {name: feature.description for name, feature in group.features.items()}
    if group.event_time_feature:
        ends = group.event_time == "window_end"
        meanings[group.event_time_feature] = "end of the window, exclusive" if ends else "time of the event"
    kinds = group.feature_types(pipeline.source.all_columns)
    return [Feature(name, str(kind), meanings[name], group.online_types.get(name)) for name, kind in kinds.items()]


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
        "features": [feature.arguments() for feature in features(pipeline, group)],
        **ttl,
    }


def online_warnings(pipeline: Pipeline, group: FeatureGroup, registered: Mapping[str, str]) -> list[str]:
    """Which strings the group's online columns may not hold: the online store drops such a row. One sentence each.

    A column whose type the file names is what somebody has thought about: only a string that is known to be longer is
    told of.

    :param registered: online types of the registered group by feature; empty if it is not registered.
    """
    warnings = []
    for name, kind, most in _lengths(pipeline, group) if group.online else ():
        online_type = group.online_types.get(name) or registered.get(name) or default_online_type(kind)
        limit = longest(online_type)
        if limit is None or (name in group.online_types if most is None else most <= limit):
            continue
        what, text = ("key column", name) if name in group.key else ("feature", _text_of(group, name))
        may_be = "may be of any length" if most is None else f"may have {most} characters"
        way_out = f"name a longer type (online_types: {{{name}: varchar({max(500, most or 0)})}})"
        if name in registered:
            way_out += ", in a new version of the group"
        warnings.append(
            f"{group.full_name}: {what} {name!r} is {online_type} online, and its strings {may_be}: rows with a longer "
            f"one are dropped there. If there can be one, {way_out}, or cut the string: LEFT({text}, {limit})."
        )
    return warnings


def short_columns(pipeline: Pipeline, group: FeatureGroup, registered: Mapping[str, str]) -> list[str]:
    """Registered online columns that a string may be too long for: ``url varchar(100)``."""
    return [
        f"{name} {registered[name]}"
        for name, _, most in _lengths(pipeline, group)
        if name in registered and (limit := longest(registered[name])) and (most is None or most > limit)
    ]


def _lengths(pipeline: Pipeline, group: FeatureGroup) -> Iterator[tuple[str, FeatureType, int | None]]:
    """A group's string features, with their types and the most characters that they have; None: any number."""
    columns = pipeline.source.all_columns
    lengths: dict[str, int | None] = dict.fromkeys(pipeline.source.columns)
    if pipeline.source.derive:
        # A pipeline without expressions does without their parser.
        from hopsworks_flink.pipeline.expressions.lengths import longest_text

        for name, derived in pipeline.source.derive.items():
            lengths[name] = longest_text(derived.expression, columns, lengths)
    for name, kind in group.feature_types(columns).items():
        if kind != STRING:
            continue
        aggregate, feature = group.aggregates.get(name), group.features.get(name)
        if feature and feature.expression not in lengths:
            from hopsworks_flink.pipeline.expressions.lengths import longest_text

            yield name, kind, longest_text(feature.expression, columns, lengths)
            continue
        most = lengths[_text_of(group, name)]
        if aggregate and most is not None:
            most = max(most, len(str(aggregate.default or "")))
        yield name, kind, most


def _text_of(group: FeatureGroup, name: str) -> str:
    """The column or expression that a key column or a feature takes its texts from."""
    if feature := group.features.get(name):
        return feature.expression
    aggregate = group.aggregates.get(name)
    return (aggregate.column if aggregate else None) or name


def source_avro_schema(pipeline: Pipeline) -> dict[str, Any]:
    """Avro schema of the source topic: every column nullable, null first, as Flink's Avro format reads it.

    A topic of JSON objects has one as well, which names their fields: the platform wants a schema for every topic.
    Columns that older records lack have a default, as Avro wants it for such fields.
    """
    note = {} if pipeline.source.format == "avro" else {"doc": "Records are JSON objects; these are the columns read."}
    return {
        "type": "record",
        "name": avro_name(pipeline.source.topic),
        **note,
        "fields": [
            {"name": name, "type": _written(column), **({"default": None} if name in pipeline.source.appended else {})}
            for name, column in pipeline.source.declared.items()
        ],
    }


def _written(column: Column) -> list[Any]:
    """Avro union of a column as it stands in the records."""
    if column.is_text:
        return avro_type(STRING)
    return avro_type(BIGINT if column.unit else column.type)


def source_topic_arguments(pipeline: Pipeline) -> dict[str, Any]:
    """Arguments of `HopsworksCreateTopicOperator` for the source topic.

    A column more at the end leaves JSON records readable: what is missing is null. So it does plain Avro records, where
    the source says that older ones lack it.
    """
    return {
        "topic": pipeline.source.topic,
        "schema": source_avro_schema(pipeline),
        "partitions": pipeline.source.partitions,
        "replication": pipeline.source.replication,
        "on_drift": "append" if pipeline.source.format == "json" or pipeline.source.appended else "fail",
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
