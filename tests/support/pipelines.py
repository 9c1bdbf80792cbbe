"""Pipelines as data, and what the platform says about their feature groups."""

import copy
import json
from typing import Any

import pytest

from hopsworks_flink.pipeline.plan import FeatureGroupRef
from hopsworks_flink.pipeline.resources import feature_group_avro_schema, written_type
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.types import FeatureType
from tests.support import REPOSITORY

REFERENCE = REPOSITORY / "dags" / "pipelines" / "card_transactions.yaml"
PLAIN = {"bootstrap.servers": "broker:9092", "security.protocol": "PLAINTEXT"}


def registered(pipeline, **changes):
    """What the platform would say after the pipeline's feature groups were created in project 119."""
    refs = []
    for number, group in enumerate(pipeline.feature_groups):
        schema = feature_group_avro_schema(pipeline, group, "demo_featurestore")
        facts = {
            "project_id": 119,
            "feature_group_id": 13 + number,
            "name": group.name,
            "version": group.version,
            "topic": "demo_onlinefs",
            "subject_id": 5 + number,
            "avro_schema": json.dumps(schema),
        }
        refs.append(FeatureGroupRef(**{**facts, **changes}))
    for number, join in enumerate(one for one in pipeline.source.join.values() if one.feature_group):
        name, _, version = join.feature_group.rpartition("_")
        schema = {"fields": [{"name": one, "type": written_type(of)} for one, of in join.value_columns.items()]}
        refs.append(FeatureGroupRef(119, 70 + number, name, int(version), join.topic, 90, json.dumps(schema)))
    return refs


EVERYTHING = REPOSITORY / "tests" / "pipeline" / "examples" / "everything.yaml"
MINIMAL = {
    "name": "cards",
    "source": {
        "topic": "transactions",
        "schema": {"tid": "string", "datetime": "bigint", "cc_num": "bigint", "amount": "double", "ok": "boolean"},
        "event_time": {"column": "datetime"},
    },
    "feature_groups": [
        {
            "name": "cards_10m",
            "key": ["cc_num"],
            "window": {"size": "10m", "slide": "1m"},
            "aggregates": {"n": "count", "mean": {"avg": "amount"}},
        }
    ],
}


@pytest.fixture
def minimal():
    """Smallest useful pipeline as data, free to be broken by a test."""
    return copy.deepcopy(MINIMAL)


COLUMNS = {
    name: FeatureType.parse(kind)
    for name, kind in {
        "n": "int",
        "big": "bigint",
        "tiny": "tinyint",
        "x": "double",
        "f": "float",
        "amount": "decimal(10,2)",
        "wide": "decimal(38,10)",
        "name": "string",
        "ok": "boolean",
        "day": "date",
        "ts": "timestamp",
        "raw": "binary",
        "datetime": "bigint",
    }.items()
}


def pipeline(encoding: str, schema: dict[str, Any], appended: int = 0) -> Pipeline:
    """:param appended: so many of the last columns are missing in older records."""
    more = {"appended": list(schema)[-appended:]} if appended else {}
    return Pipeline.parse(
        {
            "name": "p",
            "source": {"topic": "t", "format": encoding, "schema": schema, "event_time": "kafka_timestamp", **more},
            "feature_groups": [
                {"name": "g", "key": [_key(schema)], "window": {"size": "1m"}, "aggregates": {"n": "count"}}
            ],
        }
    )


def _key(schema: dict[str, Any]) -> str:
    kinds = {name: kind["type"] if isinstance(kind, dict) else kind for name, kind in schema.items()}
    return next(name for name, kind in kinds.items() if kind in ("int", "bigint"))


def named_by_words(words):
    """A pipeline whose columns and features have these names, wherever a name may stand."""
    columns = {word: "bigint" for word in words}
    return {
        "name": "words",
        "source": {
            "topic": "words",
            "schema": {**columns, "at": "bigint"},
            "event_time": {"column": "at"},
            "derive": {f"d_{word}": {"expression": f'"{word}" + 1', "type": "bigint"} for word in words},
            "where": " AND ".join(f'"{word}" > 0' for word in words[:50]),
        },
        "feature_groups": [
            {
                "name": "words",
                "key": [words[0]],
                "window": {"size": "1m"},
                "aggregates": {
                    **{word: {"max": word, "where": f'"{word}" < 1000'} for word in words[1:]},
                    **{f"f_{word}": {"sum": f"d_{word}"} for word in words[1:]},
                },
            }
        ],
    }
