"""Which strings may be longer than their columns in the online store, and what is said about them."""

from __future__ import annotations

from typing import Any

import pytest

from hopsworks_flink.pipeline.expressions.lengths import longest_text
from hopsworks_flink.pipeline.resources import feature_group_arguments, online_warnings, short_columns
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.types import FeatureType

COLUMNS = {
    name: FeatureType.parse(kind)
    for name, kind in {"url": "string", "code": "string", "n": "int", "ok": "boolean", "day": "date"}.items()
}


@pytest.mark.parametrize(
    ("expression", "most"),
    [
        ("url", None),
        ("code", 20),
        ("'large'", 5),
        ("NULL", 0),
        ("LEFT(url, 20)", 20),
        ("LEFT(code, 90)", 20),
        ("RIGHT(url, 7)", 7),
        ("SUBSTRING(url, 3, 8)", 8),
        ("SUBSTRING(url, 3)", None),
        ("SUBSTRING(code, 3)", 20),
        ("TRIM(code)", 20),
        ("UPPER(code)", 60),
        ("LOWER(url)", None),
        ("REPLACE(code, 'a', 'bb')", None),
        ("LEFT(UPPER(url), 9)", 9),
        ("CONCAT(code, '-', LEFT(url, 3))", 24),
        ("code || '-' || code", 41),
        ("CONCAT(code, url)", None),
        ("CASE WHEN ok THEN 'yes' WHEN n > 1 THEN code END", 20),
        ("CASE WHEN ok THEN 'yes' ELSE url END", None),
        ("IF(ok, 'yes', 'no')", 3),
        ("COALESCE(code, 'nothing')", 20),
        ("COALESCE(code, url)", None),
        ("NULLIF(code, 'a')", 20),
        ("GREATEST(code, 'a')", 20),
        ("(code)", 20),
        ("CAST(n AS string)", 11),
        ("CAST(day AS string)", 10),
        ("n + 1", 20),
        ("ok", 5),
    ],
)
def test_how_long_a_text_can_be(expression: str, most: int | None) -> None:
    assert longest_text(expression, COLUMNS, {"url": None, "code": 20}) == most


def clicks(**group: Any) -> Pipeline:
    return Pipeline.parse(
        {
            "name": "clicks",
            "source": {
                "topic": "clicks",
                "schema": {"url": "string", "at": "bigint"},
                "event_time": {"column": "at"},
                "derive": {
                    "site": {"expression": "LEFT(url, 20)", "type": "string"},
                    "long": {"expression": "CONCAT(LEFT(url, 150), '…')", "type": "string"},
                },
            },
            "feature_groups": [
                {"name": "clicks", "key": ["url"], "window": {"size": "1m"}, "aggregates": {"n": "count"}, **group}
            ],
        }
    )


def warnings(registered: dict[str, str] | None = None, **group: Any) -> list[str]:
    pipeline = clicks(**group)
    return online_warnings(pipeline, pipeline.feature_groups[0], registered or {})


def test_a_key_from_the_source_may_be_longer_than_its_column() -> None:
    (warning,) = warnings()
    assert warning == (
        "clicks_1: key column 'url' is varchar(100) online, and its strings may be of any length: rows with a longer "
        "one are dropped there. If there can be one, name a longer type (online_types: {url: varchar(500)}), or cut "
        "the string: LEFT(url, 100)."
    )


def test_a_registered_column_stays_as_it_is() -> None:
    (warning,) = warnings({"url": "varchar(30)"})
    assert "'url' is varchar(30) online" in warning
    assert "(online_types: {url: varchar(500)}), in a new version of the group, or cut" in warning


@pytest.mark.parametrize(
    "group",
    [
        {"online_types": {"url": "varchar(100)"}},
        {"online_types": {"url": "varchar(500)"}},
        {"key": ["site"]},
        {"key": ["site"], "aggregates": {"last": {"last_value": "site", "default": "none"}}},
        {"key": ["site"], "aggregates": {"last": {"last_value": "url"}}, "online_types": {"last": "text"}},
        {"key": ["long"], "online_types": {"long": "varchar(151)"}},
        {"online": False},
    ],
)
def test_what_somebody_has_thought_of_or_cannot_happen_is_not_told(group: dict[str, Any]) -> None:
    assert warnings(**group) == []


def test_a_string_that_is_known_to_be_longer_is_told_whatever_is_named() -> None:
    (warning,) = warnings(key=["long"], online_types={"long": "varchar(120)"})
    assert "key column 'long' is varchar(120) online, and its strings may have 151 characters" in warning
    (default,) = warnings(key=["site"], aggregates={"last": {"last_value": "site", "default": "x" * 600}})
    assert "feature 'last'" in default
    assert default.endswith("(online_types: {last: varchar(600)}), or cut the string: LEFT(site, 100).")


def test_columns_that_may_be_short_by_their_registered_types() -> None:
    pipeline = clicks(aggregates={"n": "count", "last": {"last_value": "site"}}, online_types={"url": "varchar(500)"})
    registered = {"url": "varchar(500)", "n": "bigint", "last": "varchar(10)"}
    assert short_columns(pipeline, pipeline.feature_groups[0], registered) == ["url varchar(500)", "last varchar(10)"]


def test_only_named_types_are_sent() -> None:
    pipeline = clicks(online_types={"url": "varchar(500)"})
    key, count = feature_group_arguments(pipeline, pipeline.feature_groups[0])["features"]
    assert key["online_type"] == "varchar(500)"
    assert "online_type" not in count
