"""Two Avro schemas held against each other."""

from __future__ import annotations

from typing import Any

import pytest

from hopsworks_flink.clients.hopsworks.shapes import appended_fields, same_schema, with_null_defaults


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


def test_a_registered_default_of_null_is_no_difference() -> None:
    evolved = with_null_defaults(schema("a", "b"), ["b"])
    assert evolved["fields"] == [schema("a")["fields"][0], {**schema("b")["fields"][0], "default": None}]
    assert same_schema(evolved, schema("a", "b"))
    assert appended_fields(evolved, schema("a", "b", "c")) == ["c"]
    assert not same_schema(evolved, schema("a", "c"))
