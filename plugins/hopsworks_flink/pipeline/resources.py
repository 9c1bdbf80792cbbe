"""What a pipeline registers before its job can run: the source topic's schema and its feature groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from hopsworks_flink.pipeline.spec.base import Model
from hopsworks_flink.pipeline.spec.online_types import default_online_type, longest
from hopsworks_flink.pipeline.spec.pipeline import FeatureGroup, Pipeline
from hopsworks_flink.pipeline.spec.source import Column
from hopsworks_flink.pipeline.types import BIGINT, STRING, FeatureType, avro_type

# Settings of a group that the SDK has under the same names, and that are left out where the file does not say.
_REGISTERED = (
    "tags",
    "parents",
    "partition_key",
    "time_travel_format",
    "topic_name",
    "online_config",
    "statistics_config",
)


class Feature(NamedTuple):
    """A feature's name, feature type and description, and the type of its online column if the file names one.

    :param meaning: stands in place of a description when the feature is made; one that is registered keeps its own.
    """

    name: str
    type: str
    description: str = ""
    meaning: str = ""
    online_type: str | None = None

    def arguments(self) -> dict[str, str]:
        """As the operator that creates feature groups takes it."""
        return {name: value for name, value in self._asdict().items() if value}


def features(pipeline: Pipeline, group: FeatureGroup) -> list[Feature]:
    """Features of a group in their order."""
    meanings: dict[str, str] = {}
    for name, aggregate in group.aggregates.items():
        meanings[name] = f"{aggregate.function} of {' and '.join(aggregate.columns) or 'events'}"
    if group.window_start:
        meanings[group.window_start.feature] = "start of the window"
    if group.event_time:
        ends = group.event_time.is_ == "window_end"
        meanings[group.event_time.feature] = "end of the window, exclusive" if ends else "time of the event"
    described = {name: aggregate.description for name, aggregate in group.aggregates.items()}
    described |= {name: feature.description for name, feature in group.features.items()}
    return [
        Feature(name, str(kind), described.get(name, ""), meanings.get(name, ""), group.online_type(name, kind))
        for name, kind in group.feature_types(pipeline.source.all_columns).items()
    ]


def feature_group_arguments(pipeline: Pipeline, group: FeatureGroup) -> dict[str, Any]:
    """Arguments of `HopsworksCreateFeatureGroupOperator`, named as in the SDK's ``get_or_create_feature_group``."""
    settings: dict[str, Any] = {name: getattr(group, name) for name in _REGISTERED if getattr(group, name)}
    settings |= {
        name: value.model_dump(exclude_unset=True) for name, value in settings.items() if isinstance(value, Model)
    }
    if group.ttl is not None:
        settings["ttl"] = group.ttl // timedelta(seconds=1)
    return {
        "name": group.name,
        "version": group.version,
        "description": group.description,
        "primary_key": list(group.key),
        "event_time": group.event_time_feature,
        "online_enabled": group.online,
        "features": [feature.arguments() for feature in features(pipeline, group)],
        **settings,
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

    A topic of JSON or Protobuf, or whose records have schemas of a registry, has one as well, which names the columns:
    the platform wants a schema for every topic.
    Columns that older records lack have a default, as Avro wants it for such fields.
    """
    source = pipeline.source
    if source.avro_schema is not None:
        return source.avro_schema
    what = "JSON objects" if source.format == "json" else "Avro of a registry's schemas" if source.registry else None
    if source.format == "protobuf":
        what = f"Protobuf's messages {source.message}"
    note = {"doc": f"Records are {what}; these are the columns read."} if what else {}
    return {
        "type": "record",
        "name": avro_name(pipeline.source.topic),
        **note,
        "fields": [
            {
                "name": name,
                "type": written_type(column),
                **({"default": None} if name in pipeline.source.appended else {}),
            }
            for name, column in pipeline.source.value_columns.items()
        ],
    }


def written_type(column: Column) -> list[Any]:
    """Avro union of a column as it stands in the records."""
    if column.is_text:
        return avro_type(STRING)
    return avro_type(BIGINT if column.unit else column.type)


def source_topic_arguments(pipeline: Pipeline) -> dict[str, Any]:
    """Arguments of `HopsworksCreateTopicOperator` for the source topic.

    A column more at the end leaves records of JSON and Protobuf readable: what is missing is null. So it does
    plain Avro records, where the source says that older ones lack it.
    """
    source = pipeline.source
    return {
        "topic": source.topic,
        "schema": source_avro_schema(pipeline),
        "partitions": source.partitions,
        "replication": source.replication,
        "on_drift": "append" if source.format != "avro" or source.registry or source.appended else "fail",
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
