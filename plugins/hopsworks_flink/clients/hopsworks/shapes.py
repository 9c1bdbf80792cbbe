"""How a registered feature group or schema differs from the wanted one. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class FeatureGroupShape:
    """The part of a feature group that is compared.

    :param features: name -> feature type.
    :param primary_key: names; their order carries no meaning.
    :param ttl: seconds for which a row counts, None for ever.
    :param online_types: name -> type of the online column. Wanted ones are those that somebody named: of the others any
        registered type is right.
    """

    features: Mapping[str, str]
    primary_key: frozenset[str]
    event_time: str | None
    online_enabled: bool
    ttl: int | None = None
    online_types: Mapping[str, str] = field(default_factory=dict)

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
                found.append(f"feature {name!r} ({there}) exists there only")
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


def wanted_shape(arguments: Mapping[str, Any]) -> FeatureGroupShape:
    """The shape that a group's arguments of creation ask for."""
    return FeatureGroupShape.of(
        arguments["features"],
        arguments["primary_key"],
        arguments["event_time"],
        arguments["online_enabled"],
        arguments.get("ttl"),
    )


def shape_of(group: Any) -> FeatureGroupShape:
    """The shape of the SDK's feature group."""
    return FeatureGroupShape.of(
        [{"name": f.name, "type": f.type, "online_type": f.online_type} for f in group.columns],
        [feature.name for feature in group.columns if feature.primary],
        group.event_time,
        bool(group.online_enabled),
        group.ttl if group.ttl_enabled else None,
    )


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
