"""Offsets, de-duplication and the Delta table of a materialization."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from devstack.hopsworks.metadata.featuretypes import avro_schema, canonical_text
from devstack.hopsworks.offline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, start_offsets
from devstack.hopsworks.offline.columns import OFFSET, PARTITION, TableBuilder, arrow_type
from devstack.hopsworks.offline.materialize import Arguments, MaterializationError
from devstack.hopsworks.offline.table import Written, drop_null_keys, latest_per_key, merge
from tests.devstack.hopsworks.samples import card, make_group, make_table, read_table

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
        ("t,0:9,1:9", None, {0: 9, 1: 9}),
        ("t,0:5,1:10", None, {0: 2, 1: 0}),
        ("t,0:5", "t,0:10", {0: 2, 1: 0}),
    ],
)
def test_where_a_run_begins(saved, initial, start):
    def parse(text):
        return Checkpoint.parse(text) if text else None

    assert start_offsets("t", {0: 2, 1: 0}, {0: 9, 1: 9}, parse(saved), parse(initial)) == start


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
    builder = TableBuilder(make_group(*features), canonical_text(avro_schema("g_1", "n", features)))
    # A map of one pair "k": 7, in its own encoding.
    row = {"b": True, "d": -1, "t": -1, "n": b"\x92", "m": b"\x02\x02\x02k\x02\x0e\x00"}
    table = builder.build([row, dict.fromkeys(row)], [0, 0], [1, 2])
    assert table["d"].to_pylist() == [datetime.date(1969, 12, 31), None]
    assert table["t"].to_pylist() == [datetime.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), None]
    assert table["n"].to_pylist() == [Decimal("-1.10"), None]
    assert table["m"].to_pylist() == [[("k", 7)], None]


def test_arrays_are_decoded_out_of_their_inner_encoding():
    features = [("cc_num", "bigint"), ("ts", "timestamp"), ("city", "string"), ("amounts", "array<double>")]
    from devstack.hopsworks.metadata.wire import value_decoder

    text = canonical_text(avro_schema("cards_1", "demo_featurestore.db", features))
    rows = [value_decoder(text)(card(1, amounts=[3.0, None])), value_decoder(text)(card(2))]
    table = TableBuilder(make_group(*features), text).build(rows, [0, 0], [0, 1])
    assert table["amounts"].to_pylist() == [[3.0, None], None]


# --- the table -----------------------------------------------------------------------------------------------


def test_merging_inserts_updates_and_is_idempotent(tmp_path):
    place = tmp_path / "a" / "g_1"
    moment = datetime.datetime(2024, 1, 1, tzinfo=UTC)
    first = make_table(id=[1, 2], t=[moment, None], v=[1.0, None])
    assert merge(place, first, ["id"]) == Written(2, 0, 2)
    assert merge(place, first, ["id"]) == Written(0, 2, 2)
    assert merge(place, make_table(id=[2, 3], t=[moment] * 2, v=[2.0, 3.0]), ["id"]) == Written(1, 1, 3)
    assert read_table(place) == [
        {"id": 1, "t": moment, "v": 1.0},
        {"id": 2, "t": moment, "v": 2.0},
        {"id": 3, "t": moment, "v": 3.0},
    ]


def test_columns_appended_later_are_null_in_older_rows(tmp_path):
    merge(tmp_path / "g_1", make_table(id=[1]), ["id"])
    merge(tmp_path / "g_1", make_table(id=[2], v=[2.0]), ["id"])
    assert read_table(tmp_path / "g_1") == [{"id": 1, "v": None}, {"id": 2, "v": 2.0}]


def test_a_table_made_by_the_sdk_keeps_its_column_types(tmp_path):
    place = tmp_path / "g_1"
    place.mkdir()
    DeltaTable.create(str(place), schema=pa.schema([("id", pa.int32()), ("t", pa.timestamp("us"))]))
    merge(place, make_table(id=[1], t=[datetime.datetime(2024, 1, 1, tzinfo=UTC)]), ["id"])
    assert read_table(place) == [{"id": 1, "t": datetime.datetime(2024, 1, 1)}]


DECIMALS = [(5, 2), (15, 2), (15, 0), (16, 2), (17, 17), (18, 0), (20, 5), (38, 0), (38, 10), (38, 38)]


def largest(precision, scale) -> Decimal:
    return Decimal((0, (9,) * precision, -scale))


@pytest.mark.parametrize(("precision", "scale"), DECIMALS)
def test_decimals_up_to_their_type_s_limit_are_read_back_and_found(tmp_path, precision, scale):
    value = largest(precision, scale)
    kind = pa.decimal128(precision, scale)
    smallest = value.copy_negate()
    values = [value, smallest, Decimal((0, (1,), -scale)), None]
    # One file for each row, so that readers could skip files.
    for number, one in enumerate(values):
        merge(tmp_path / "t", pa.table({"id": [number], "n": pa.array([one], kind)}), ["id"])
    merge(tmp_path / "t", pa.table({"id": [0], "n": pa.array([value], kind)}), ["id"])
    assert [row["n"] for row in read_table(tmp_path / "t")] == values
    wanted = f"CAST('{value}' AS DECIMAL({precision},{scale}))"
    for condition, ids in ((f"n >= {wanted}", [0]), (f"n <= -{wanted}", [1]), ("n IS NULL", [3])):
        assert [row["id"] for row in read_table(tmp_path / "t", condition)] == ids


@pytest.mark.parametrize(("precision", "scale"), DECIMALS)
def test_decimals_can_be_keys(tmp_path, precision, scale):
    value = largest(precision, scale)
    kind = pa.decimal128(precision, scale)
    for _ in range(2):
        rows = pa.table({"n": pa.array([value, value.copy_negate()], kind), "id": [1, 2]})
        merge(tmp_path / "t", rows, ["n"])
    assert [row["n"] for row in read_table(tmp_path / "t")] == [value, value.copy_negate()]


def test_nested_decimals_are_read_back(tmp_path):
    nested = pa.struct([("n", pa.decimal128(16, 2))])
    value = largest(16, 2)
    rows = pa.table({"id": [1, 2], "s": pa.array([{"n": value}, {"n": -value}], nested)})
    merge(tmp_path / "t", rows, ["id"])
    assert [row["s"]["n"] for row in read_table(tmp_path / "t")] == [value, -value]


def test_columns_added_to_a_table_of_the_sdk_are_read_back(tmp_path):
    write_deltalake(str(tmp_path / "t"), pa.table({"id": pa.array([1], pa.int64())}))
    value = largest(16, 2)
    merge(tmp_path / "t", pa.table({"id": [2], "n": pa.array([value], pa.decimal128(16, 2))}), ["id"])
    assert [row["n"] for row in read_table(tmp_path / "t")] == [None, value]
