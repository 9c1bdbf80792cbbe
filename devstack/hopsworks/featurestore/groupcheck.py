"""Validation of new and changed feature groups: pure checks in the platform's order, with its error codes."""

from __future__ import annotations

import re

from devstack.hopsworks.home import errors
from devstack.hopsworks.metadata.featuretypes import EVENT_TIME_TYPES, avro_field, normalise, online_bytes, online_type
from devstack.hopsworks.metadata.models import CACHED, STREAM, Feature, FeatureGroup, FeatureGroupRequest

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
TOPIC_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}\Z")
ONLINE_TYPE = re.compile(
    r"(?:boolean|tinyint|smallint|mediumint|int|bigint|float|double|date|time|datetime|timestamp|tinytext|text|"
    r"mediumtext|longtext|tinyblob|blob|mediumblob|longblob"
    r"|(?:time|datetime|timestamp)\([0-6]\)|(?:var)?(?:char|binary)\([0-9]{1,5}\)|decimal(?:\([0-9]{1,2}(?:,[0-9]{1,2})?\))?)\Z"
)
# Of RonDB's tables, and of a Delta table here.
MOST_ONLINE_FEATURES, MOST_FEATURES = 512, 4096
MOST_ONLINE_BYTES, MOST_KEY_BYTES = 30_000, 3_072
MAX_DESCRIPTION = 256
TIME_TRAVEL_FORMATS = ("DELTA", "HUDI", "NONE")


def check_new(request: FeatureGroupRequest) -> None:
    """Refuse a body of ``POST featuregroups`` that Hopsworks would refuse (existence is checked elsewhere)."""
    _check_supported(request)
    _check_duplicates(request.features)
    _check_names(request)
    for feature in request.features:
        check_feature(feature)
    _check_event_time(request)
    for feature in request.features:
        # Only to check that the type has an Avro type.
        avro_field(feature.name, feature.type or "")
    if request.online_enabled:
        _check_online_table(request.features)
    _check_version(request.version)
    _check_statistics(request)
    _check_defaults_and_key(request)


def _check_supported(request: FeatureGroupRequest) -> None:
    if request.type not in (STREAM, CACHED):
        raise errors.ILLEGAL_ARGUMENT(f"type {request.type!r}: this server keeps {STREAM} and {CACHED} only.")
    if (request.time_travel_format or "DELTA") not in TIME_TRAVEL_FORMATS:
        allowed = ", ".join(TIME_TRAVEL_FORMATS)
        raise errors.ILLEGAL_ARGUMENT(f"timeTravelFormat {request.time_travel_format!r}: allowed are {allowed}.")
    check_topic(request.topic_name)
    _check_number(request.features, bool(request.online_enabled))
    unsupported = {
        "embeddingIndex": request.embedding_index,
        "transformationFunctions": request.transformation_functions,
    }
    for name, value in unsupported.items():
        if value:
            raise errors.ILLEGAL_ARGUMENT(f"{name}: this local server does not support it; leave it out.")


def _check_number(features: list[Feature], online: bool) -> None:
    most = MOST_ONLINE_FEATURES if online else MOST_FEATURES
    if len(features) > most:
        raise errors.ILLEGAL_ARGUMENT(f"{len(features)} features: at most {most} are taken.")


def check_topic(name: str | None) -> None:
    """Refuse a topic name that Kafka would refuse."""
    if name and (not TOPIC_NAME.match(name) or name in (".", "..")):
        raise errors.ILLEGAL_ARGUMENT(f"topicName {name!r}: letters, digits, '.', '_' and '-', at most 249.")


def _check_duplicates(features: list[Feature]) -> None:
    names = [feature.name for feature in features]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise errors.DUPLICATE_FEATURE(f"features {', '.join(twice)}")


def _check_names(request: FeatureGroupRequest) -> None:
    if not NAME.match(request.name):
        raise errors.ILLEGAL_ENTITY_NAME(
            f"name {request.name!r}: lower case letters, digits and underscores, a letter first, at most 63."
        )
    if request.name.startswith("sqlite_"):
        raise errors.ILLEGAL_ENTITY_NAME(f"name {request.name!r}: the online store here reserves names with sqlite_.")
    check_description(request.description)


def check_description(description: str | None) -> None:
    if len(description or "") > MAX_DESCRIPTION:
        raise errors.ILLEGAL_ENTITY_DESCRIPTION(f"description: at most {MAX_DESCRIPTION} characters.")


def check_feature(feature: Feature) -> None:
    """Name, description and type of one feature."""
    if not NAME.match(feature.name):
        raise errors.ILLEGAL_FEATURE_NAME(
            f"feature {feature.name!r}: lower case letters, digits and underscores, a letter first, at most 63."
        )
    if len(feature.description or "") > MAX_DESCRIPTION:
        raise errors.ILLEGAL_FEATURE_DESCRIPTION(f"feature {feature.name}: at most {MAX_DESCRIPTION} characters.")
    if not (feature.type or "").strip():
        raise errors.OFFLINE_TYPE_MISSING(f"feature {feature.name}: give it a type, e.g. bigint.")
    if feature.online_type is not None and not ONLINE_TYPE.match(normalise(feature.online_type)):
        # It becomes part of a statement.
        raise errors.ILLEGAL_ARGUMENT(
            f"feature {feature.name}: onlineType {feature.online_type[:100]!r} is none, e.g. bigint, varchar(200)."
        )


def _check_event_time(request: FeatureGroupRequest) -> None:
    if not request.event_time:
        return
    feature = next((f for f in request.features if f.name == request.event_time), None)
    if feature is None:
        raise errors.EVENT_TIME_NOT_FOUND(f"eventTime {request.event_time!r}")
    if normalise(feature.type or "") not in EVENT_TIME_TYPES:
        allowed = ", ".join(sorted(EVENT_TIME_TYPES))
        raise errors.EVENT_TIME_TYPE(f"eventTime {feature.name!r} is {feature.type!r}; allowed are {allowed}.")


def _check_online_table(features: list[Feature]) -> None:
    """What RonDB takes: no text or blob as a key, and so many bytes of a key and of a row."""
    features = [feature for feature in features if not feature.offline_only]
    types = {f.name: normalise(f.online_type or online_type(f.type or "")) for f in features}
    key = {f.name: types[f.name] for f in features if f.primary}
    if large := [name for name, declared in key.items() if declared.endswith(("text", "blob"))]:
        raise errors.ILLEGAL_ARGUMENT(f"primary key {', '.join(large)} cannot be {key[large[0]]} online.")
    for what, columns, most in (("primary key", key, MOST_KEY_BYTES), ("row", types, MOST_ONLINE_BYTES)):
        if (size := sum(map(online_bytes, columns.values()))) > most:
            raise errors.ILLEGAL_ARGUMENT(f"the {what} takes {size} bytes online, at most {most} are taken.")


def _check_version(version: int | None) -> None:
    if version is not None and version < 1:
        raise errors.VERSION_INVALID(f"version {version}")


def _check_statistics(request: FeatureGroupRequest) -> None:
    columns = request.statistics_config.columns if request.statistics_config else []
    unknown = sorted(set(columns) - {feature.name for feature in request.features})
    if unknown:
        raise errors.STATISTICS_COLUMN(f"columns {', '.join(unknown)}")


def _check_defaults_and_key(request: FeatureGroupRequest) -> None:
    for feature in request.features:
        if feature.default_value is not None:
            raise errors.DEFAULT_VALUE(f"feature {feature.name}")
    keyed = request.type == STREAM or request.time_travel_format == "HUDI" or request.online_enabled
    if keyed and not any(feature.primary for feature in request.features):
        raise errors.PRIMARY_KEY_REQUIRED(f"feature group {request.name!r} has no primary key.")
    offline_key = [f.name for f in request.features if f.primary and f.offline_only]
    if offline_key:
        raise errors.ILLEGAL_ARGUMENT(f"primary key {', '.join(offline_key)} cannot be offlineOnly.")


def appended_features(stored: FeatureGroup, sent: list[Feature]) -> list[Feature]:
    """The new features of an update, in the sender's order.

    Raises fault 270114 when an existing feature is missing or changed, or when a new one is a key; 120001 for a default
    value, which no store here would give to the rows that are there, and for more than the stores take.
    """
    _check_duplicates(sent)
    by_name = {feature.name: feature for feature in sent}
    for feature in stored.features:
        other = by_name.get(feature.name)
        if other is None:
            raise errors.ILLEGAL_FEATURE_CHANGE(f"feature {feature.name} is missing.")
        same_key = bool(other.primary) == bool(feature.primary) and bool(other.partition) == bool(feature.partition)
        if normalise(other.type or "") != normalise(feature.type or "") or not same_key:
            raise errors.ILLEGAL_FEATURE_CHANGE(f"feature {feature.name} differs from the stored {feature.type}.")
    new = [feature for feature in sent if stored.feature(feature.name) is None]
    for feature in new:
        check_feature(feature)
        avro_field(feature.name, feature.type or "")
        if feature.primary or feature.partition:
            raise errors.ILLEGAL_FEATURE_CHANGE(f"feature {feature.name}: a new feature cannot be part of a key.")
        if feature.default_value is not None:
            raise errors.ILLEGAL_ARGUMENT(
                f"feature {feature.name}: this local server has no default values; append it without: it is null in "
                "the rows that are there."
            )
    _check_number([*stored.features, *new], stored.online_enabled)
    if new and stored.online_enabled:
        _check_online_table([*stored.features, *new])
    return new
