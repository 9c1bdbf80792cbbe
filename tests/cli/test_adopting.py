"""A file out of what is registered: what it says, what it leaves to people, and filled in it is that very group."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hopsworks_flink.cli import main
from hopsworks_flink.cli.adopting import BLANK, columns_of
from hopsworks_flink.exceptions import ConfigurationError, PipelineError
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.pipeline.resources import feature_group_arguments, source_avro_schema
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.types import TYPE_NAMES, avro_type
from tests.support.hopsworks_server import LocalHopsworks

SOURCE = {
    "topic": "ticks",
    "schema": {"symbol": "string", "ts": "bigint", "price": "double", "on": "boolean"},
    "event_time": {"column": "ts"},
}
WINDOWS: dict[str, Any] = {
    "name": "prices",
    "version": 3,
    "description": "Prices, by symbol",
    "key": ["symbol"],
    "window": {"size": "10m"},
    "event_time": {"feature": "timestamp", "is": "window_end", "type": "bigint"},
    "ttl": "7d",
    "topic_name": "prices_onlinefs",
    "aggregates": {
        "min_price": {"min": "price", "type": "float", "description": "The least"},
        "mean_price": {"avg": "price"},
        "n": "count",
        "whatever": {"sum": "price", "type": "float"},
    },
}
ROWS: dict[str, Any] = {
    "name": "ticks_clean",
    "key": ["symbol"],
    "features": {"price": {"expression": "price", "type": "float"}, "on": '"on"'},
    "event_time": "event",
}


def register(group: dict[str, Any]) -> Pipeline:
    pipeline = Pipeline.parse({"name": "ticks", "source": SOURCE, "feature_groups": [group]})
    with HopsworksHook().session() as session:
        session.create_feature_group(**feature_group_arguments(pipeline, pipeline.feature_groups[0]))
        session.topics.create("ticks", source_avro_schema(pipeline), partitions=1, replication=1)
    return pipeline


def adopted(capsys: pytest.CaptureFixture[str], name: str, version: int = 1, **options: str) -> str:
    words = [word for pair in options.items() for word in pair]
    assert main(["adopt", name, str(version), "--topic", "ticks", *words]) == 0
    return capsys.readouterr().out


def test_a_group_with_windows(hopsworks: LocalHopsworks, capsys: pytest.CaptureFixture[str]) -> None:
    register(WINDOWS)
    text = adopted(capsys, "prices", 3)
    spec = yaml.safe_load(text)
    assert spec["source"]["schema"] == SOURCE["schema"]
    assert "event_time: {column: ts, unit: milliseconds}  # guessed" in text
    (group,) = spec["feature_groups"]
    assert group["aggregates"]["min_price"] == WINDOWS["aggregates"]["min_price"]
    assert (group["aggregates"]["mean_price"]["avg"], group["aggregates"]["n"]["count"]) == ("price", "*")
    assert group["aggregates"]["whatever"][BLANK] == BLANK
    # As it is, it is refused, and every blank is named.
    with pytest.raises(PipelineError, match=r"(?s)window\.size: .*'FILL_IN'.*whatever: unknown function 'FILL_IN'"):
        Pipeline.parse(spec)
    group["window"] = {"size": "10m"}
    group["aggregates"]["whatever"] = {"sum": "price", "type": "float"}
    filled = Pipeline.parse(spec)
    with HopsworksHook().session() as session:
        found = session.get_feature_group("prices", 3)
        arguments = feature_group_arguments(filled, filled.feature_groups[0])
        session.check_feature_group(found, arguments)
        assert session.missing_words(found, arguments).told() == []


def test_a_group_of_rows_needs_nothing(
    hopsworks: LocalHopsworks, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    register(ROWS)
    file = tmp_path / "ticks.yaml"
    assert adopted(capsys, "ticks_clean", **{"--output": str(file)}).strip() == str(file)
    pipeline = Pipeline.from_yaml(file)
    (group,) = pipeline.feature_groups
    assert {name: feature.expression for name, feature in group.features.items()} == {"price": "price", "on": "on"}
    with HopsworksHook().session() as session:
        found = session.get_feature_group("ticks_clean", 1)
        session.check_feature_group(found, feature_group_arguments(pipeline, group))
    assert main(["adopt", "ticks_clean", "1", "--topic", "ticks", "--output", str(file)]) == 1
    assert "there already" in capsys.readouterr().err


def test_what_is_not_there(hopsworks: LocalHopsworks, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["adopt", "nothing", "1", "--topic", "ticks"]) == 1
    assert "does not exist" in capsys.readouterr().err
    register(ROWS)
    assert main(["adopt", "ticks_clean", "1", "--topic", "others"]) == 1
    assert "no schema for topic 'others': give one with --schema FILE" in capsys.readouterr().err
    schema = tmp_path / "others.avsc"
    fields = [{"name": "symbol", "type": "string"}, {"name": "at", "type": {"type": "long"}}]
    schema.write_text(json.dumps({"type": "record", "name": "o", "fields": fields}))
    assert main(["adopt", "ticks_clean", "1", "--topic", "others", "--schema", str(schema)]) == 0
    text = capsys.readouterr().out
    nowhere = tmp_path / "none" / "file.yaml"
    given = ["adopt", "ticks_clean", "1", "--topic", "others", "--schema", str(schema), "--output", str(nowhere)]
    assert main(given) == 1
    assert capsys.readouterr().err == f"error: {nowhere}: No such file or directory.\n"
    assert "    symbol: string  # not a union with null there" in text
    assert f"window: {{size: {BLANK}}}" in text


def test_types_of_an_avro_schema() -> None:
    kinds = ["decimal(10,2)", *(name for name in TYPE_NAMES if name not in ("decimal", "tinyint", "smallint"))]
    fields = [{"name": kind.split("(")[0], "type": avro_type(kind)} for kind in kinds]
    more = {
        "millis": ["null", {"type": "long", "logicalType": "timestamp-millis"}],
        "either": ["null", "string", "long"],
        "nested": ["null", {"type": "array", "items": "string"}],
    }
    fields += [{"name": name, "type": kind} for name, kind in more.items()]
    found = columns_of(json.dumps({"type": "record", "name": "r", "fields": fields}))
    assert list(found.values())[: len(kinds)] == kinds
    assert found["millis"] == "bigint  # milliseconds"
    assert found["either"].startswith(f"{BLANK}  # ")
    assert found["nested"].endswith("a pipeline reads scalar values")
    with pytest.raises(ConfigurationError, match="not an Avro record"):
        columns_of('"string"')
