from __future__ import annotations

import json

import pytest

from devstack.hopsworks.home.errors import HopsworksError
from devstack.hopsworks.metadata.featuretypes import (
    avro_field,
    avro_schema,
    canonical_text,
    encoded_schema,
    java_string_hash,
    online_type,
    physical_schema,
    split_top_level,
)


@pytest.mark.parametrize(
    ("feature_type", "avro"),
    [
        ("tinyint", "int"),
        ("smallint", "int"),
        ("int", "int"),
        ("BIGINT", "long"),
        ("float", "float"),
        ("double", "double"),
        ("boolean", "boolean"),
        ("string", "string"),
        ("binary", "bytes"),
        ("date", {"type": "int", "logicalType": "date"}),
        ("timestamp", {"type": "long", "logicalType": "timestamp-micros"}),
        ("decimal( 10, 2 )", {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}),
        ("array<double>", {"type": "array", "items": ["null", "double"]}),
        ("array<array<int>>", {"type": "array", "items": ["null", {"type": "array", "items": ["null", "int"]}]}),
        ("map<string, bigint>", {"type": "map", "values": ["null", "long"]}),
    ],
)
def test_every_type_becomes_a_union_with_null_first(feature_type, avro):
    assert avro_field("f", feature_type) == {"name": "f", "type": ["null", avro]}


def test_struct_is_named_by_javas_hash_of_the_bare_type_and_nests_in_the_features_namespace():
    text = "struct<label:string,items:array<struct<n:int>>>"
    inner = f"r{abs(java_string_hash('struct<n:int>'))}"
    outer = f"r{abs(java_string_hash(text))}"
    struct = avro_field("s", "Struct<label: string, items: array<struct<n:int>>>")["type"][1]
    assert (struct["name"], struct["namespace"]) == (outer, "s")
    nested = struct["fields"][1]["type"][1]["items"][1]
    assert (nested["name"], nested["namespace"]) == (inner, f"s.{outer}")


def test_a_record_that_occurs_twice_is_named_the_second_time():
    struct = avro_field("s", "struct<a:struct<x:int>,b:struct<x:int>>")["type"][1]
    first, second = (member["type"][1] for member in struct["fields"])
    assert second == f"{first['namespace']}.{first['name']}"


@pytest.mark.parametrize(("text", "value"), [("", 0), ("a", 97), ("hello", 99162322), ("polygenelubricants", -(2**31))])
def test_java_string_hash(text, value):
    assert java_string_hash(text) == value


@pytest.mark.parametrize(
    ("feature_type", "code", "status"),
    [
        ("varchar(3)", 270151, 400),
        ("uniontype<int>", 270151, 400),
        ("map<int,string>", 270152, 400),
        ("decimal", 270153, 500),
        ("decimal(3)", 270153, 500),
        ("array<int", 270153, 500),
        ("map<string>", 270153, 500),
        ("struct<int>", 270153, 500),
        ("array<map<string,int>", 270153, 500),
    ],
)
def test_types_without_a_schema_are_refused_by_code(feature_type, code, status):
    with pytest.raises(HopsworksError) as refusal:
        avro_field("f", feature_type)
    assert (refusal.value.code, refusal.value.status) == (code, status)
    assert "f" in (refusal.value.detail or "")


def test_the_text_of_a_whole_schema():
    schema = avro_schema("cards_1", "demo_featurestore.db", [("cc_num", "bigint"), ("ts", "timestamp")])
    assert canonical_text(schema) == (
        '{"type":"record","name":"cards_1","namespace":"demo_featurestore.db","fields":['
        '{"name":"cc_num","type":["null","long"]},'
        '{"name":"ts","type":["null",{"type":"long","logicalType":"timestamp-micros"}]}]}'
    )


def test_encoded_and_physical_schemas_differ_from_the_full_one_where_they_must():
    full = avro_schema("g_1", "n.db", [("a", "array<int>"), ("s", "struct<x:int>"), ("d", "date"), ("b", "binary")])
    before = json.dumps(full)
    encoded = [field["type"][1] for field in encoded_schema(full)["fields"]]
    assert encoded == ["bytes", "bytes", {"type": "int", "logicalType": "date"}, "bytes"]
    assert [field["type"][1] for field in physical_schema(full)["fields"]] == ["bytes", "bytes", "int", "bytes"]
    assert json.dumps(full) == before


@pytest.mark.parametrize(
    ("offline", "online"),
    [
        ("boolean", "tinyint"),
        ("string", "varchar(100)"),
        ("binary", "varbinary(100)"),
        ("array<int>", "varbinary(100)"),
        ("timestamp", "timestamp"),
        ("decimal(10, 2)", "decimal(10,2)"),
        ("bigint", "bigint"),
    ],
)
def test_online_types(offline, online):
    assert online_type(offline) == online


def test_splitting_refuses_brackets_that_do_not_match():
    assert split_top_level("a<b,c>,d(e,f)") == ["a<b,c>", "d(e,f)"]
    with pytest.raises(ValueError, match="brackets"):
        split_top_level("a<b,c")
