"""Joins for a random pipeline, with versions for their topics: the same for the same seed."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from tests.support.live.random_events import COLUMNS, HOUR, MINUTE, SECOND, START
from tests.support.live.random_pipelines import Case
from tests.support.live.random_writing import SCHEMA_ID, random_writing

JOIN, OTHER = "known", "weighed"
#: Connection of the schema registry.
REGISTRY = "sameness_registry"


# Columns of events by which the other one belongs to them.
BY = [["shop"], ["tiny"], ["price"], ["huge"], ["day"], ["shop", "flag"], ["whole", "day", "tiny"]]
FILTERS = ["bound IS NULL OR bound < 20", "called IS NULL OR called <> 'Zürich'"]
MADE = [{"max": "bound"}, {"min": "called"}, {"count": "used"}, {"count": "*", "where": "amount > bound"}]
MADE_OF_OTHER = [{"sum": "weight"}, {"max": "word"}, {"count": "*", "where": "weight < 3 AND word IS NOT NULL"}]


def with_join(case: Case) -> Case:
    """The case, with what is joined to its events in some of its groups; all versions come before the events."""
    chance = random.Random(f"{case.seed} versions")
    spec = {**case.spec, "source": dict(case.spec["source"])}
    columns = {"most": "double", "name": "string", "since": "bigint"}
    written = random_writing(chance, chance.choice(["json", "avro", "protobuf"]), columns, {}, wrapped=False)
    schemas = {}
    if "avro_schema" in written and chance.random() < 0.7:
        schemas[SCHEMA_ID] = written.pop("avro_schema")
        written.pop("schema_ids", None)
        written |= {"framing": "confluent", "registry": REGISTRY}
    spec["source"]["join"] = {
        JOIN: {
            "topic": "known",
            **written,
            "schema": {"card": {"type": "bigint", "key": True}, **written["schema"]},
            "event_time": chance.choice([{"column": "since"}, "kafka_timestamp"]),
            "by": "card",
            "columns": {"bound": "most", "called": "name"},
            "required": chance.random() < 0.3,
        }
    }
    versions = {JOIN: [_version(chance) for _ in range(60)]}
    made, features = list(MADE), {"bound": "bound", "called": "called"}
    if chance.random() < 0.6:
        by = chance.choice(BY)
        spec["source"]["join"][OTHER] = _other(chance, by)
        versions[OTHER] = _versions_of(chance, case.events, by)
        made += MADE_OF_OTHER
        features |= {"weight": "weight", "word": "word"}
    if "where" not in spec["source"] and chance.random() < 0.4:
        spec["source"]["where"] = chance.choice(FILTERS)
    derived = {"used": {"expression": "amount / bound", "type": "double"}}
    spec["source"]["derive"] = {**derived, **spec["source"]["derive"]}
    groups = []
    for group in spec["feature_groups"]:
        part = "features" if "features" in group else "aggregates"
        more = features if part == "features" else {"joined": chance.choice(made)}
        if part == "aggregates" and chance.random() < 0.15:
            group = {**group, "key": chance.choice([["called"], ["card", "called"]])}
        groups.append({**group, part: {**group[part], **more}})
    return replace(case, spec={**spec, "feature_groups": groups}, versions=versions, schemas=schemas)


def _other(chance: random.Random, by: list[str]) -> dict[str, Any]:
    """A join by columns that are part of its topic's records."""
    columns = {**{name: COLUMNS[name] for name in by}, "weight": "int", "word": "string", "since": "bigint"}
    return {
        "topic": "weighed",
        **random_writing(chance, chance.choice(["json", "avro", "protobuf"]), columns, {}, wrapped=False),
        "event_time": chance.choice([{"column": "since", "unit": "milliseconds"}, "kafka_timestamp"]),
        "by": by,
        "columns": ["weight", "word"],
    }


def _versions_of(chance: random.Random, events: list[dict[str, Any]], by: list[str]) -> list[dict[str, Any]]:
    """Versions of what belongs to some of these events."""
    found = []
    known = [event for event in events if all(event[name] is not None for name in by)]
    for event in chance.choices(known, k=80) if known else []:
        at = _time(chance)
        values = {"weight": chance.choice([None, 0, 2, -7]), "word": chance.choice(["", "ß", None])}
        since = chance.choice([at, at - MINUTE, None])
        found.append({**{name: event[name] for name in by}, **values, "since": since, "__kafka_timestamp": at})
    return found


def _time(chance: random.Random) -> int:
    at = START + chance.randrange(-HOUR, 3 * HOUR)
    # On the edge of a window, and at one time with others.
    return at - at % chance.choice([1, SECOND, MINUTE, 10 * MINUTE])


def _version(chance: random.Random) -> dict[str, Any]:
    at = _time(chance)
    card = {"card": chance.randrange(5), "__kafka_timestamp": at}
    if chance.random() < 0.2:
        return {**card, "__tombstone": True}
    name = chance.choice(["", "Zürich", None])
    since = chance.choice([at, at, at + MINUTE, None])
    return {**card, "most": chance.choice([None, 0.0, 5.5, 40.0]), "name": name, "since": since}
