"""A join for a random pipeline, with versions for its topic: the same for the same seed."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from tests.support.live.random_events import HOUR, MINUTE, SECOND, START
from tests.support.live.random_pipelines import Case
from tests.support.live.random_writing import SCHEMA_ID, random_writing

JOIN = "known"
#: Connection of the schema registry.
REGISTRY = "sameness_registry"


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
        }
    }
    derived = {"used": {"expression": "amount / bound", "type": "double"}}
    spec["source"]["derive"] = {**derived, **spec["source"]["derive"]}
    made = [{"max": "bound"}, {"min": "called"}, {"count": "used"}, {"count": "*", "where": "amount > bound"}]
    groups = []
    for group in spec["feature_groups"]:
        part = "features" if "features" in group else "aggregates"
        more = {"bound": "bound", "called": "called"} if part == "features" else {"joined": chance.choice(made)}
        groups.append({**group, part: {**group[part], **more}})
    versions = [_version(chance) for _ in range(60)]
    return replace(case, spec={**spec, "feature_groups": groups}, versions={JOIN: versions}, schemas=schemas)


def _version(chance: random.Random) -> dict[str, Any]:
    at = START + chance.randrange(-HOUR, 3 * HOUR)
    # On the edge of a window, and at one time with others.
    at -= at % chance.choice([1, SECOND, MINUTE, 10 * MINUTE])
    card = {"card": chance.randrange(5), "__kafka_timestamp": at}
    if chance.random() < 0.2:
        return {**card, "__tombstone": True}
    name = chance.choice(["", "Zürich", None])
    since = chance.choice([at, at, at + MINUTE, None])
    return {**card, "most": chance.choice([None, 0.0, 5.5, 40.0]), "name": name, "since": since}
