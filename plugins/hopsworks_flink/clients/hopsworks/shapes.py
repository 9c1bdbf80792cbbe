"""How a registered feature group or schema differs from the wanted one. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

ONLY_THERE = "exists there only"


@dataclass(frozen=True)
class FeatureGroupShape:
    """The part of a feature group that is compared.

    :param features: name -> feature type.
    :param primary_key: names; their order carries no meaning.
    :param ttl: seconds for which a row counts, None for ever.
    :param online_types: name -> type of the online column. Wanted ones are those that somebody named: of the others any
        registered type is right.
    :param fixed: settings that stay as the group was made with them, by the names of the SDK's arguments; of those that
        nobody named any is right.
    """

    features: Mapping[str, str]
    primary_key: frozenset[str]
    event_time: str | None
    online_enabled: bool
    ttl: int | None = None
    online_types: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        features: Sequence[Mapping[str, Any]],
        primary_key: Sequence[str],
        event_time: str | None,
        online_enabled: bool,
        ttl: int | None = None,
    ) -> FeatureGroupShape:
        """From arguments named like the SDK's; names are lower-cased as the SDK does it."""
        return cls(
            features={_name(feature["name"]): _type(feature["type"]) for feature in features},
            primary_key=frozenset(_name(name) for name in primary_key),
            event_time=_name(event_time) if event_time else None,
            online_enabled=online_enabled,
            ttl=ttl,
            online_types={_name(f["name"]): _type(f["online_type"]) for f in features if f.get("online_type")},
        )

    def differences(self, existing: FeatureGroupShape) -> list[str]:
        """How ``existing`` differs, one sentence part each."""
        found = []
        for name in [*self.features, *(name for name in existing.features if name not in self.features)]:
            here, there = self.features.get(name), existing.features.get(name)
            if there is None:
                found.append(f"feature {name!r} ({here}) is missing there")
            elif here is None:
                found.append(f"feature {name!r} ({there}) {ONLY_THERE}")
            elif here != there:
                found.append(f"feature {name!r} is {there}, wanted {here}")
            online, known = self.online_types.get(name), existing.online_types.get(name)
            if there is not None and existing.online_enabled and online not in (None, known):
                found.append(
                    f"feature {name!r} is {known or 'of no type'} online, wanted {online} (the type of an online "
                    "column stays: that takes a new version of the group)"
                )
        if self.primary_key != existing.primary_key:
            found.append(f"the primary key is {sorted(existing.primary_key)}, wanted {sorted(self.primary_key)}")
        if self.event_time != existing.event_time:
            found.append(f"the event time is {existing.event_time!r}, wanted {self.event_time!r}")
        if self.online_enabled != existing.online_enabled:
            found.append(f"online_enabled is {existing.online_enabled}, wanted {self.online_enabled}")
        if self.ttl != existing.ttl:
            found.append(f"the ttl is {existing.ttl}, wanted {self.ttl} (seconds)")
        for name, wanted in self.fixed.items():
            if not _covers(existing.fixed.get(name), wanted):
                known = existing.fixed.get(name)
                found.append(f"{name} is {known!r}, wanted {wanted!r} (it stays as the group was made)")
        return found

    def appended(self, existing: FeatureGroupShape) -> list[str]:
        """Names of the features that ``existing`` lacks, in the wanted order."""
        return [name for name in self.features if name not in existing.features]

    def beyond_appending(self, existing: FeatureGroupShape) -> list[str]:
        """The differences that appending features would not remove."""
        new = self.appended(existing)
        features = {**existing.features, **{name: self.features[name] for name in new}}
        online_types = {
            **existing.online_types,
            **{name: kind for name, kind in self.online_types.items() if name in new},
        }
        return self.differences(replace(existing, features=features, online_types=online_types))


_FIXED = ("parents", "partition_key", "time_travel_format", "topic_name", "online_config")


def wanted_shape(arguments: Mapping[str, Any]) -> FeatureGroupShape:
    """The shape that a group's arguments of creation ask for."""
    shape = FeatureGroupShape.of(
        arguments["features"],
        arguments["primary_key"],
        arguments["event_time"],
        arguments["online_enabled"],
        arguments.get("ttl"),
    )
    return replace(shape, fixed={name: arguments[name] for name in _FIXED if arguments.get(name)})


def shape_of(group: Any, parents: Sequence[str] = ()) -> FeatureGroupShape:
    """The shape of the SDK's feature group.

    :param parents: what it is made of, by full names.
    """
    shape = FeatureGroupShape.of(
        [{"name": f.name, "type": f.type, "online_type": f.online_type} for f in group.columns],
        [feature.name for feature in group.columns if feature.primary],
        group.event_time,
        bool(group.online_enabled),
        group.ttl if group.ttl_enabled else None,
    )
    fixed = {
        "parents": list(parents),
        "partition_key": [feature.name for feature in group.columns if feature.partition],
        "time_travel_format": (group.time_travel_format or "NONE").upper(),
        "topic_name": group.topic_name,
        "online_config": _plain(group.online_config),
    }
    return replace(shape, fixed=fixed)


def _plain(config: Any) -> dict[str, Any]:
    """A configuration of the SDK by the names of its arguments."""
    return {name.lstrip("_"): value for name, value in vars(config).items()} if config else {}


def _covers(known: Any, wanted: Any) -> bool:
    """Whether a registered setting is as wanted; of a configuration, in the parts that are named."""
    if isinstance(wanted, Mapping):
        return all(_covers((known or {}).get(name), value) for name, value in wanted.items())
    return bool(known == wanted) or (isinstance(wanted, list) and sorted(known or []) == sorted(wanted))


@dataclass(frozen=True)
class Words:
    """What is registered about a group for people and for statistics: a deployment may change it at any time.

    Of a wanted one only what somebody has named counts.

    :param features: name -> description.
    """

    description: str
    features: Mapping[str, str]
    tags: Mapping[str, Any]
    statistics_config: Mapping[str, Any]

    @classmethod
    def wanted(cls, arguments: Mapping[str, Any]) -> Words:
        """What a group's arguments of creation ask for."""
        described = {_name(f["name"]): f["description"] for f in arguments["features"] if f.get("description")}
        statistics = arguments.get("statistics_config") or {}
        return cls(arguments.get("description") or "", described, arguments.get("tags") or {}, statistics)

    @classmethod
    def of(cls, group: Any, tags: Mapping[str, Any]) -> Words:
        """Those of the SDK's feature group."""
        described = {feature.name: feature.description or "" for feature in group.columns}
        return cls(group.description or "", described, tags, _plain(group.statistics_config))

    def missing_in(self, registered: Words) -> Words:
        """What differs there."""
        same = _covers(registered.statistics_config, self.statistics_config)
        return Words(
            "" if self.description == registered.description else self.description,
            {name: text for name, text in self.features.items() if registered.features.get(name) not in (None, text)},
            {name: value for name, value in self.tags.items() if registered.tags.get(name) != value},
            {} if same else {**registered.statistics_config, **self.statistics_config},
        )

    def told(self) -> list[str]:
        """What it says, sentence parts."""
        found = [f"description: {self.description!r}"] if self.description else []
        found += [f"description of {name!r}: {text!r}" for name, text in self.features.items()]
        found += [f"tag {name!r}: {value!r}" for name, value in self.tags.items()]
        return found + ([f"statistics_config: {dict(self.statistics_config)}"] if self.statistics_config else [])


def _name(text: str) -> str:
    return text.lower().replace(" ", "_")


def _type(text: str | None) -> str:
    return "".join((text or "").lower().split())


def same_schema(one: str | Mapping[str, Any], other: str | Mapping[str, Any]) -> bool:
    """Whether two Avro schemas mean the same, whatever their spacing, order of keys and defaults of null."""
    return _parsed(one) == _parsed(other)


def appended_fields(known: str | Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Names of the fields that a wanted record schema has after all those of the known one; empty if it is no such.

    A schema that gives some fields a default of null says by that which ones may be missing: no others then.
    """
    before, after = _parsed(known), _parsed(wanted)
    fields = before.get("fields") or []
    if {**after, "fields": (after.get("fields") or [])[: len(fields)]} != before:
        return []
    more = [str(field["name"]) for field in after["fields"][len(fields) :]]
    optional = {str(field["name"]) for field in wanted["fields"] if field.get("default", 0) is None}
    return more if not optional or optional.issuperset(more) else []


def with_null_defaults(schema: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The record schema with a default of null for some fields: a registry takes only such ones into a new version."""
    fields = [{**field, "default": None} if field["name"] in names else field for field in schema["fields"]]
    return {**schema, "fields": fields}


def _parsed(schema: str | Mapping[str, Any]) -> Any:
    parsed = json.loads(schema) if isinstance(schema, str) else json.loads(json.dumps(schema))
    for one in parsed.get("fields") or []:
        if one.get("default", 0) is None:
            del one["default"]
    return parsed
