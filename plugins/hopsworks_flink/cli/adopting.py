"""``hopsworks-flink adopt``: a pipeline file for a feature group and a topic that are there already, with blanks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hopsworks_flink.exceptions import ConfigurationError
from hopsworks_flink.pipeline.spec.aggregates import Aggregate
from hopsworks_flink.pipeline.spec.group.times import NAMES
from hopsworks_flink.pipeline.types import AVRO_TYPES, TYPE_NAMES, FeatureType, decimal

#: Stands where only people know; a file with it is refused, naming each place.
BLANK = "FILL_IN"
# Words in features' names, and what they may be.
_WORDS = {
    r"avg|mean|average": "avg",
    r"min|lowest|low": "min",
    r"max|highest|high": "max",
    r"count|num|number|cnt|n": "count",
    r"sum|total": "sum",
    r"stdev|stddev|std|sd": "stddev_samp",
    r"var|variance": "var_samp",
    r"first|open": "first_value",
    r"last|close|latest": "last_value",
    r"median": "median",
    r"distinct|unique": "count_distinct",
}


@dataclass(frozen=True)
class Registered:
    """A registered feature group, as far as a file may say it.

    :param features: name → type and description.
    :param settings: of the group, by their names in the file.
    """

    name: str
    version: int
    key: Sequence[str]
    event_time: str | None
    features: Mapping[str, tuple[str, str]]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, group: Any) -> Registered:
        """The SDK's feature group."""
        partition = [feature.name for feature in group.columns if feature.partition]
        settings = {
            "description": group.description,
            "partition_key": partition,
            "topic_name": group.topic_name,
            "ttl": f"{group.ttl}s" if group.ttl_enabled and group.ttl else None,
            "online": None if group.online_enabled else False,
            "time_travel_format": (group.time_travel_format or "NONE").upper(),
        }
        if settings["time_travel_format"] == "HUDI":
            del settings["time_travel_format"]
        return cls(
            group.name,
            group.version,
            [feature.name for feature in group.columns if feature.primary],
            group.event_time,
            {feature.name: (str(feature.type), feature.description or "") for feature in group.columns},
            {name: value for name, value in settings.items() if value not in (None, "", [])},
        )


def adopt(name: str, version: int, topic: str, schema_file: str | None, output: str | None, conn_id: str) -> str:
    """The file's text; it is also written, where a name is given.

    :param schema_file: with the topic's Avro schema; None: the one that the platform has for it.
    :raises ConfigurationError: the schema cannot be read, or the output is there already.
    :raises HopsworksNotFoundError: there is no such group.
    """
    from hopsworks_flink.hooks.hopsworks import HopsworksHook

    if output and Path(output).exists():
        raise ConfigurationError(f"{output}: there already; nothing was written.")
    with HopsworksHook(conn_id).session() as session:
        group = Registered.of(session.get_feature_group(name, version))
        known = None if schema_file else session.topics.schema(topic)
    if schema_file:
        try:
            known = Path(schema_file).read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{schema_file} cannot be read: {error.strerror}.") from None
    if known is None:
        raise ConfigurationError(f"The platform has no schema for topic {topic!r}: give one with --schema FILE.")
    text = adopted(group, topic, columns_of(known))
    if output:
        Path(output).write_text(text, encoding="utf-8")
    return text


def columns_of(schema: str) -> dict[str, str]:
    """Columns of an Avro record schema with their types in a file; of those that have none, `BLANK` and why.

    :raises ConfigurationError: it is no record schema.
    """
    try:
        record = json.loads(schema)
        fields = record["fields"] if record["type"] == "record" else None
    except (ValueError, KeyError, TypeError):
        fields = None
    if not fields:
        raise ConfigurationError("The schema is not an Avro record with fields.")
    return {str(one["name"]): _type_of(one["type"]) for one in fields}


def _type_of(avro: Any) -> str:
    optional = isinstance(avro, list)
    kinds = [kind for kind in avro if kind != "null"] if optional else [avro]
    if len(kinds) != 1:
        return f"{BLANK}  # {json.dumps(avro)}: one value of several types"
    note = "" if optional else "  # not a union with null there: such records cannot be read as they are"
    (kind,) = kinds
    logical = kind.get("logicalType") if isinstance(kind, Mapping) else None
    if logical == "decimal" and kind.get("type") == "bytes":
        return f"{decimal(kind['precision'], kind.get('scale', 0))}{note}"
    plain = kind["type"] if isinstance(kind, Mapping) and logical not in ("date", "timestamp-micros") else kind
    for name in reversed(TYPE_NAMES):
        # Of several with one Avro type the widest: int.
        known = AVRO_TYPES.get(name)
        same = known == plain or (isinstance(known, Mapping) and logical == known["logicalType"])
        if known and same:
            unit = "  # milliseconds" if logical == "timestamp-millis" else ""
            return f"{name}{unit}{note}"
    return f"{BLANK}  # {json.dumps(kind)}: a pipeline reads scalar values"


def adopted(group: Registered, topic: str, columns: Mapping[str, str]) -> str:
    """The file's text.

    :param columns: of the topic, as `columns_of` gives them.
    """
    kinds = {name: kind.partition("  #")[0] for name, kind in columns.items()}
    times = [name for name in group.features if name == group.event_time]
    others = {name: facts for name, facts in group.features.items() if name not in (*group.key, *times)}
    by_event = all(name in kinds for name in others)
    lines = [*_head(group, topic), *_source(group, topic, columns, kinds)]
    lines += ["feature_groups:", f"  - name: {_plain(group.name)}", f"    version: {group.version}"]
    lines += [f"    {name}: {_plain(value)}" for name, value in group.settings.items()]
    lines.append(f"    key: {_plain(list(group.key))}{_missing([k for k in group.key if k not in kinds])}")
    if group.event_time:
        lines.append(f"    event_time: {_event_time(group, 'event' if by_event else 'window_end')}")
    lines += _features(others, kinds) if by_event else _aggregates(others, kinds)
    return "\n".join(lines) + "\n"


def _head(group: Registered, topic: str) -> Iterator[str]:
    yield f"# Feature group {group.name} version {group.version} out of topic {topic}, as both are registered."
    yield f"# Each {BLANK} is for you; what was guessed says so. Then: hopsworks-flink compile FILE, and plan FILE."
    yield f"name: {_plain(group.name)}"


def _source(group: Registered, topic: str, columns: Mapping[str, str], kinds: Mapping[str, str]) -> Iterator[str]:
    yield "source:"
    yield f"  topic: {_plain(topic)}"
    yield "  schema:"
    for name, kind in columns.items():
        yield f"    {_plain(name)}: {_kind(kind)}"
    able = [name for name, kind in kinds.items() if kind in ("bigint", "timestamp")]
    if len(able) == 1 or group.event_time in able:
        (column,) = able if len(able) == 1 else [group.event_time]
        unit = ", unit: milliseconds" if kinds[str(column)] == "bigint" else ""
        yield f"  event_time: {{column: {_plain(column)}{unit}}}  # guessed"
    else:
        among = f"one of {', '.join(able)}, or kafka_timestamp" if able else "or kafka_timestamp"
        yield f"  event_time: {{column: {BLANK}}}  # {among}"


def _kind(kind: str) -> str:
    name, mark, note = kind.partition("  #")
    return f"{_plain(name)}{mark}{note}"


def _event_time(group: Registered, is_: str) -> str:
    name, kind = str(group.event_time), group.features[str(group.event_time)][0]
    if kind not in ("timestamp", "bigint"):
        return f"{BLANK}  # {name} is {kind}; an event time is made as timestamp or bigint"
    if kind == "timestamp" and name == NAMES[is_]:
        return is_
    more = ", type: bigint" if kind == "bigint" else ""
    return f"{{feature: {_plain(name)}, is: {is_}{more}}}"


def _features(features: Mapping[str, tuple[str, str]], kinds: Mapping[str, str]) -> Iterator[str]:
    """A row for each event: all features are columns."""
    yield "    # A row for each event, as all features are columns of the topic; guessed."
    yield "    features:"
    for name, (kind, description) in features.items():
        settings = {} if kind == kinds[name] else {"type": kind}
        settings |= {"description": description} if description else {}
        yield f"      {_plain(name)}: {_plain({'expression': name, **settings}) if settings else _plain(name)}"


def _aggregates(features: Mapping[str, tuple[str, str]], kinds: Mapping[str, str]) -> Iterator[str]:
    yield f"    window: {{size: {BLANK}}}  # such as 10m; and slide: 1m, where windows overlap"
    yield "    aggregates:  # functions and columns are guessed from names"
    types = {name: FeatureType.parse(kind) for name, kind in kinds.items() if kind != BLANK}
    for name, (kind, description) in features.items():
        function, column = _guess(name, types)
        settings: dict[str, Any] = {function or BLANK: column}
        if not function or _result(function, column, types) != kind:
            settings["type"] = kind
        settings |= {"description": description} if description else {}
        yield f"      {_plain(name)}: {_plain(settings)}"


def _guess(name: str, types: Mapping[str, FeatureType]) -> tuple[str | None, str]:
    words = name.split("_")
    found = [function for word, function in _WORDS.items() if any(re.fullmatch(word, part) for part in words)]
    function = found[0] if len(found) == 1 else None
    if function == "count":
        return function, "*"
    column = max((known for known in types if known in name), key=len, default=None)
    if column is None:
        # Part of a column's name, such as amt of amount, is no clue that can be relied on.
        numbers = [known for known, kind in types.items() if kind.is_floating or kind.is_decimal]
        column = numbers[0] if len(numbers) == 1 and function else BLANK
    return function, column


def _result(function: str, column: str, types: Mapping[str, FeatureType]) -> str | None:
    if column == BLANK:
        return None
    aggregate = Aggregate.model_validate({function: column})
    return str(aggregate.result_type(types)) if not list(aggregate.problems(types)) else None


def _missing(names: Sequence[str]) -> str:
    return f"  # {', '.join(names)}: no column of the topic; derive it, or rename the column" if names else ""


def _plain(value: Any) -> str:
    """YAML on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")
