"""Two feature groups, and two Avro schemas, held against each other."""

from __future__ import annotations

from typing import Any

import pytest

from hopsworks_flink.clients.hopsworks.shapes import (
    FeatureGroupShape,
    appended_fields,
    same_schema,
    with_null_defaults,
)


def schema(*names: str, **changes: Any) -> dict[str, Any]:
    fields = [{"name": name, "type": ["null", "string"]} for name in names]
    return {"type": "record", "name": "event", "fields": fields, **changes}


@pytest.mark.parametrize(
    ("wanted", "more"),
    [
        (schema("a", "b", "c"), ["c"]),
        (schema("a", "b", "c", "d"), ["c", "d"]),
        (schema("a", "b"), []),
        (schema("a"), []),
        (schema("b", "a", "c"), []),
        (schema("c", "a", "b"), []),
        (schema("a", "b", "c", name="another"), []),
    ],
)
def test_fields_at_the_end(wanted: dict[str, Any], more: list[str]) -> None:
    assert appended_fields(schema("a", "b"), wanted) == more


def test_only_fields_with_a_default_of_null_where_the_schema_has_such() -> None:
    for optional, more in [(["c", "d"], ["c", "d"]), (["d"], []), (["b"], [])]:
        assert appended_fields(schema("a", "b"), with_null_defaults(schema("a", "b", "c", "d"), optional)) == more


def test_a_registered_default_of_null_is_no_difference() -> None:
    evolved = with_null_defaults(schema("a", "b"), ["b"])
    assert evolved["fields"] == [schema("a")["fields"][0], {**schema("b")["fields"][0], "default": None}]
    assert same_schema(evolved, schema("a", "b"))
    assert appended_fields(evolved, schema("a", "b", "c")) == ["c"]
    assert not same_schema(evolved, schema("a", "c"))


def group(online: bool = True, **online_types: str | None) -> FeatureGroupShape:
    features = [{"name": name, "type": "string", "online_type": kind} for name, kind in online_types.items()]
    return FeatureGroupShape.of(features, ["url"], None, online)


def test_a_named_online_type_is_held_against_the_registered_one() -> None:
    wanted = group(url="varchar(500)")
    (difference,) = wanted.differences(group(url="varchar(100)"))
    assert difference.startswith("feature 'url' is varchar(100) online, wanted varchar(500) (the type of an online")
    assert wanted.differences(group(url="VARCHAR (500)")) == []
    assert "is of no type online, wanted varchar(500)" in wanted.differences(group(url=None))[0]
    assert wanted.beyond_appending(group(url="varchar(100)")) == [difference]


def test_any_online_type_is_right_where_none_is_named() -> None:
    assert group(url=None).differences(group(url="varchar(500)")) == []
    assert len(group(url="text").differences(group(online=False, url=None))) == 1, "the flag, not the type"


def test_a_new_feature_may_name_its_online_type() -> None:
    wanted = group(url=None, last="text")
    assert wanted.beyond_appending(group(url="varchar(100)")) == []
    assert wanted.differences(group(url="varchar(100)")) == ["feature 'last' (string) is missing there"]
