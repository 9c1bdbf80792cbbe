"""Offsets, de-duplication and the Delta table of a materialization."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from devstack.hopsworks.columns import OFFSET, PARTITION, TableBuilder, arrow_type
from devstack.hopsworks.featuretypes import avro_schema, canonical_text
from devstack.hopsworks.materialize import Arguments, MaterializationError
from devstack.hopsworks.offline import Written, drop_null_keys, latest_per_key, merge
from devstack.hopsworks.offsets import Checkpoint, load_checkpoint, save_checkpoint, start_offsets
from tests.support.hopsworks_records import encode
from tests.support.hopsworks_tables import feature_group, rows_of, table_of

UTC = datetime.timezone.utc


# --- offsets -------------------------------------------------------------------------------------------------


def test_checkpoint_text():
    assert Checkpoint.parse("demo_onlinefs,0:5,1:7") == Checkpoint("demo_onlinefs", {0: 5, 1: 7})
    assert str(Checkpoint("t", {1: 7, 0: 5})) == "t,0:5,1:7"
    for wrong in ("", "t,0", "t,x:1", "t,0:y", ",0:1"):
        with pytest.raises(ValueError, match="checkpoint"):
            Checkpoint.parse(wrong)


@pytest.mark.parametrize(
    ("saved", "initial", "start"),
    [
        (None, None, {0: 2, 1: 0}),
        ("t,0:5", None, {0: 5, 1: 0}),
        ("t,0:1", None, {0: 2, 1: 0}),
        ("t,0:5,1:5", "t,0:3,1:4", {0: 3, 1: 4}),
        ("other,0:5", None, {0: 2, 1: 0}),
        ("t,0:5", "other,0:9", {0: 2, 1: 0}),
        ("t,0:5,1:6,2:9", None, {0: 5, 1: 6}),
    ],
)
def test_where_a_run_begins(saved, initial, start):
    def parse(text):
        return Checkpoint.parse(text) if text else None

    assert start_offsets("t", {0: 2, 1: 0}, parse(saved), parse(initial)) == start


def test_saved_offsets_come_back(tmp_path):
    assert load_checkpoint(tmp_path / "g") is None
    for offset in (1, 2):
        save_checkpoint(tmp_path / "g", Checkpoint("t", {0: offset}))
    assert load_checkpoint(tmp_path / "g") == Checkpoint("t", {0: 2})
    assert [path.name for path in (tmp_path / "g").iterdir()] == ["_kafka_offsets"]


def test_arguments():
    text = "-op offline_fg_materialization -path hdfs:///Projects/demo/x -initialCheckPointString t,0:1"
    assert Arguments.parse(text) == Arguments("hdfs:///Projects/demo/x", Checkpoint("t", {0: 1}))
    for wrong in ("", "-op other -path x", f"{text} -surprise 1", "-op offline_fg_materialization -path 'x"):
        with pytest.raises(MaterializationError, match="arguments"):
            Arguments.parse(wrong)


# --- rows ----------------------------------------------------------------------------------------------------


def _rows(*rows):
    names = ["id", "ts", "v", PARTITION, OFFSET]
    return pa.table({name: [row[i] for row in rows] for i, name in enumerate(names)})


def test_the_highest_offset_of_a_key_wins():
    table = _rows((1, 1, "old", 0, 3), (1, 1, "new", 0, 9), (1, 2, "other time", 0, 4), (2, 1, "only", 1, 1))
    result = latest_per_key(table, ["id", "ts"]).sort_by([("id", "ascending"), ("ts", "ascending")])
    assert result.column_names == ["id", "ts", "v"]
    assert result["v"].to_pylist() == ["new", "other time", "only"]
    assert sorted(latest_per_key(table, ["id"])["v"].to_pylist()) == ["new", "only"]


def test_rows_without_a_key_are_left_out():
    table = _rows((None, 1, "a", 0, 1), (1, None, "b", 0, 2), (1, 1, "c", 0, 3))
    assert drop_null_keys(table, ["id", "ts"])["v"].to_pylist() == ["c"]


@pytest.mark.parametrize(
    ("feature_type", "expected"),
    [
        ("tinyint", pa.int32()),
        ("bigint", pa.int64()),
        ("timestamp", pa.timestamp("us", "UTC")),
        ("decimal(10, 2)", pa.decimal128(10, 2)),
        ("array<int>", pa.list_(pa.int32())),
        ("map<string,array<double>>", pa.map_(pa.string(), pa.list_(pa.float64()))),
        ("struct<a:int,b:decimal(3,1)>", pa.struct([("a", pa.int32()), ("b", pa.decimal128(3, 1))])),
    ],
)
def test_column_types(feature_type, expected):
    assert arrow_type(feature_type) == expected


def test_columns_of_every_kind():
    features = [("b", "boolean"), ("d", "date"), ("t", "timestamp"), ("n", "decimal(5,2)"), ("m", "map<string,int>")]
    builder = TableBuilder(feature_group(*features), canonical_text(avro_schema("g_1", "n", features)))
    # A map of one pair "k": 7, in its own encoding.
    row = {"b": True, "d": -1, "t": -1, "n": b"\x92", "m": b"\x02\x02\x02k\x02\x0e\x00"}
    table = builder.build([row, dict.fromkeys(row)], [0, 0], [1, 2])
    assert table["d"].to_pylist() == [datetime.date(1969, 12, 31), None]
    assert table["t"].to_pylist() == [datetime.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), None]
    assert table["n"].to_pylist() == [Decimal("-1.10"), None]
    assert table["m"].to_pylist() == [[("k", 7)], None]


def test_arrays_are_decoded_out_of_their_inner_encoding():
    features = [("cc_num", "bigint"), ("ts", "timestamp"), ("city", "string"), ("amounts", "array<double>")]
    from devstack.hopsworks.wire import value_decoder

    text = canonical_text(avro_schema("cards_1", "demo_featurestore.db", features))
    rows = [value_decoder(text)(encode(1, amounts=[3.0, None])), value_decoder(text)(encode(2))]
    table = TableBuilder(feature_group(*features), text).build(rows, [0, 0], [0, 1])
    assert table["amounts"].to_pylist() == [[3.0, None], None]


# --- the table -----------------------------------------------------------------------------------------------


def test_merging_inserts_updates_and_is_idempotent(tmp_path):
    place = tmp_path / "a" / "g_1"
    moment = datetime.datetime(2024, 1, 1, tzinfo=UTC)
    first = table_of(id=[1, 2], t=[moment, None], v=[1.0, None])
    assert merge(place, first, ["id"]) == Written(2, 0, 2)
    assert merge(place, first, ["id"]) == Written(0, 2, 2)
    assert merge(place, table_of(id=[2, 3], t=[moment] * 2, v=[2.0, 3.0]), ["id"]) == Written(1, 1, 3)
    assert rows_of(place) == [
        {"id": 1, "t": moment, "v": 1.0},
        {"id": 2, "t": moment, "v": 2.0},
        {"id": 3, "t": moment, "v": 3.0},
    ]


def test_columns_appended_later_are_null_in_older_rows(tmp_path):
    merge(tmp_path / "g_1", table_of(id=[1]), ["id"])
    merge(tmp_path / "g_1", table_of(id=[2], v=[2.0]), ["id"])
    assert rows_of(tmp_path / "g_1") == [{"id": 1, "v": None}, {"id": 2, "v": 2.0}]


def test_a_table_made_by_the_sdk_keeps_its_column_types(tmp_path):
    place = tmp_path / "g_1"
    place.mkdir()
    DeltaTable.create(str(place), schema=pa.schema([("id", pa.int32()), ("t", pa.timestamp("us"))]))
    merge(place, table_of(id=[1], t=[datetime.datetime(2024, 1, 1, tzinfo=UTC)]), ["id"])
    assert rows_of(place) == [{"id": 1, "t": datetime.datetime(2024, 1, 1)}]
