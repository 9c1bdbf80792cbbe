"""Bulk decoding against the decoder that takes one record at a time; rounds; what decides over a record."""

from __future__ import annotations

import datetime
import io
from decimal import Context, Decimal

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from devstack.hopsworks.metadata.featuretypes import (
    avro_schema,
    canonical_text,
    encoded_schema,
    is_complex,
    physical_schema,
)
from devstack.hopsworks.metadata.wire import DecodeError, value_decoder
from devstack.hopsworks.offline.bulkavro import BulkDecoder
from devstack.hopsworks.offline.checkpoint import Checkpoint, load_checkpoint
from devstack.hopsworks.offline.collector import PIECE, _Decoder
from devstack.hopsworks.offline.columns import OFFSET, PARTITION, TableBuilder
from devstack.hopsworks.offline.rounds import Rounds
from devstack.hopsworks.offline.table import Written, merge
from devstack.hopsworks.offline.topicreader import CODE_NAMES, RouteCodes
from tests.devstack.hopsworks.samples import SMALL, SMALL_TEXT, make_group, make_table, read_table, small

INT, LONG = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
TIME = st.datetimes(
    datetime.datetime(1, 1, 2), datetime.datetime(9999, 12, 30), timezones=st.just(datetime.timezone.utc)
)
EXACT = Context(prec=40)
DOUBLE = st.floats(allow_nan=False)
TYPES = {
    "boolean": st.booleans(),
    "tinyint": INT,
    "bigint": LONG,
    "float": st.floats(allow_nan=False, width=32),
    "double": DOUBLE,
    "string": st.text(),
    "binary": st.binary(),
    "date": st.dates(),
    "timestamp": TIME,
    "decimal(5,2)": st.decimals("-999.99", "999.99", places=2),
    "decimal(38,10)": st.integers(1 - 10**38, 10**38 - 1).map(lambda unscaled: Decimal(unscaled).scaleb(-10, EXACT)),
    "array<double>": st.lists(st.none() | DOUBLE),
    "map<string,array<int>>": st.dictionaries(st.text(), st.none() | st.lists(INT)),
    "struct<a:int,b:struct<c:string,d:decimal(3,1)>>": st.fixed_dictionaries(
        {
            "a": st.none() | INT,
            "b": st.none()
            | st.fixed_dictionaries({"c": st.none() | st.text(), "d": st.none() | st.decimals(-9, 9, places=1)}),
        }
    ),
}
FEATURES = [(f"f{number}", kind) for number, kind in enumerate(TYPES)]
SCHEMA = avro_schema("g_1", "demo_featurestore.db", FEATURES)
TEXT = canonical_text(SCHEMA)
ROW = st.fixed_dictionaries({name: st.none() | TYPES[kind] for name, kind in FEATURES})
_PLAIN = {field["name"]: fastavro.parse_schema(field["type"]) for field in SCHEMA["fields"]}
_ENCODED = fastavro.parse_schema(encoded_schema(SCHEMA))


def encode(row) -> bytes:
    row = dict(row)
    for name, kind in FEATURES:
        if is_complex(kind) and row[name] is not None:
            inner = io.BytesIO()
            fastavro.schemaless_writer(inner, _PLAIN[name], row[name])
            row[name] = inner.getvalue()
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, _ENCODED, row)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def bulk():
    return BulkDecoder(make_group(*FEATURES), TEXT)


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=5))
def test_in_bulk_as_one_by_one(bulk, rows):
    values = [encode(row) for row in rows]
    expected = TableBuilder(make_group(*FEATURES), TEXT).columns([value_decoder(TEXT)(value) for value in values])
    decoded = bulk.decode(values)
    assert decoded.schema == expected.schema
    assert decoded.equals(expected)


@settings(max_examples=25, deadline=None)
@given(row=ROW, data=st.data())
def test_bytes_of_any_kind_are_decoded_or_refused(bulk, row, data):
    good = encode(row)
    cut = data.draw(st.integers(0, len(good)))
    broken = good[:cut] + data.draw(st.binary(max_size=20)) + good[cut + data.draw(st.integers(0, 3)) :]
    try:
        one_by_one = TableBuilder(make_group(*FEATURES), TEXT).columns([value_decoder(TEXT)(broken)])
    except (DecodeError, pa.ArrowException, OverflowError):
        one_by_one = None
    table, reasons = _Decoder(make_group(*FEATURES), TEXT).decode([good, broken, good])
    assert len(table) + len(reasons) == 3
    assert table.slice(0, 1).equals(bulk.decode([good]))
    if reasons:
        assert set(reasons) == {1}
        assert one_by_one is None


@pytest.mark.parametrize(
    "broken",
    [small(1) + b"\x00", small(1) + small(2), small(1)[:-1], b"", None, b"\x02\x02\x02\x04\xff\xfe"],
    ids=["one byte more", "two records", "one byte less", "empty", "no value", "not UTF-8"],
)
def test_the_broken_record_is_found_among_many(broken):
    number = 2 * PIECE + 5
    values = [small(n) for n in range(number)]
    values[PIECE + 7] = broken
    table, reasons = _Decoder(make_group(*SMALL), SMALL_TEXT).decode(values)
    assert set(reasons) == {PIECE + 7}
    assert table["id"].to_pylist() == [n for n in range(number) if n != PIECE + 7]


@settings(max_examples=100, deadline=None)
@given(random=st.randoms(use_true_random=True))
def test_bytes_left_behind_a_record_never_hold_up_the_reader(random):
    mark = random.randbytes(8)
    for broken in (small(1) + b"\x00", small(1) + mark[:5], small(1)[:-1]):
        with pytest.raises(DecodeError):
            BulkDecoder(make_group(*SMALL), SMALL_TEXT, mark).decode([small(1), small(2), broken, small(3)])


def test_only_the_own_records_of_the_latest_schema_that_are_not_online_only_are_kept():
    codes = RouteCodes(13, 5)

    def code(**changes):
        values = {"projectId": "119", "featureGroupId": "13", "subjectId": "5", **changes}
        return CODE_NAMES[codes[tuple((name, value.encode()) for name, value in values.items())]]

    assert code() == code(storage="offline") == code(storage="0") == code(storage="1") == "kept"
    assert code(onlineIngestionId="7", upsertIfNewer="1") == "kept"
    assert code(featureGroupId="14") == "other_group"
    assert code(subjectId="4") == "other_subject"
    assert code(storage="online") == "online_only"
    assert code(operation="delete") == "deletes"
    assert code(featureGroupId="x") == "no_headers"
    assert CODE_NAMES[codes[()]] == "no_headers"


@pytest.mark.parametrize("unscaled", [10**16, -(10**16), 10**17, 10**39])
def test_a_decimal_with_more_digits_than_its_type_is_undecodable(unscaled):
    features = [("id", "bigint"), ("n", "decimal(16,2)")]
    schema = avro_schema("g_1", "n", features)

    def record(number) -> bytes:
        buffer = io.BytesIO()
        raw = number.to_bytes(20, "big", signed=True)
        fastavro.schemaless_writer(buffer, fastavro.parse_schema(physical_schema(schema)), {"id": 1, "n": raw})
        return buffer.getvalue()

    decoded, reasons = _Decoder(make_group(*features), canonical_text(schema)).decode(
        [record(10**16 - 1), record(unscaled), record(1 - 10**16)]
    )
    assert decoded["n"].to_pylist() == [Decimal("99999999999999.99"), Decimal("-99999999999999.99")]
    assert list(reasons) == [1]


@pytest.mark.parametrize(
    ("kind", "first", "last"),
    [("timestamp", -62_135_596_800_000_000, 253_402_300_799_999_999), ("date", -719_162, 2_932_896)],
)
def test_a_moment_beyond_the_calendar_is_undecodable_and_does_not_cost_the_table(tmp_path, kind, first, last):
    features = [("id", "bigint"), ("at", kind)]
    schema = avro_schema("g_1", "n", features)

    def record(key, moment) -> bytes:
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, fastavro.parse_schema(physical_schema(schema)), {"id": key, "at": moment})
        return buffer.getvalue()

    wrong = [first - 1, last + 1, 2**31 - 1 if kind == "date" else 2**63 - 1]
    values = [record(1, first), *(record(2, moment) for moment in wrong), record(3, last), record(4, None)]
    for _ in range(2):
        decoded, reasons = _Decoder(make_group(*features), canonical_text(schema)).decode(values)
        merge(tmp_path, decoded, ["id"])
    assert list(reasons) == [1, 2, 3]
    assert all("outside of the years 1 to 9999" in reason for reason in reasons.values())
    assert [row["id"] for row in read_table(tmp_path)] == [1, 3, 4]


# --- rounds --------------------------------------------------------------------------------------------------


def _round(first, last, moment, value, offset=0):
    number = last - first
    table = make_table(id=range(first, last), t=[moment] * number, v=[value] * number)
    places = pa.array(np.arange(offset, offset + number))
    return [table.append_column(PARTITION, pa.array([0] * number)).append_column(OFFSET, places)]


def test_later_rounds_append_and_update_and_save_their_offsets(tmp_path):
    noon = datetime.datetime(2024, 1, 1, 12, tzinfo=datetime.timezone.utc)
    rounds = Rounds(tmp_path / "g", "t", ["id", "t"])
    rounds.submit(_round(0, 4, noon, 1.0), {0: 4})
    rounds.submit(_round(3, 6, noon, 2.0), {0: 7})
    rounds.submit([], {0: 9})
    rounds.wait()
    assert rounds.written == Written(6, 1, 6)
    assert [row["v"] for row in read_table(tmp_path / "g")] == [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]
    assert load_checkpoint(tmp_path / "g") == Checkpoint("t", {0: 9})


def test_a_round_that_fails_leaves_its_offsets_where_they_were(tmp_path):
    rounds = Rounds(tmp_path / "g", "t", ["id"])
    rounds.submit(_round(0, 2, None, 1.0), {0: 2})
    rounds.submit([pa.table({"id": ["not a number"], PARTITION: [0], OFFSET: [2]})], {0: 3})
    with pytest.raises(pa.ArrowInvalid):
        rounds.wait()
    assert load_checkpoint(tmp_path / "g") == Checkpoint("t", {0: 2})
    assert rounds.written == Written(2, 0, 2)


# --- append or merge -----------------------------------------------------------------------------------------


def _operations(place) -> list[str]:
    return [commit["operation"] for commit in reversed(DeltaTable(str(place)).history())]


def test_new_keys_are_appended_and_only_known_ones_are_merged(tmp_path):
    day = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
    keys, place = ["id", "t"], tmp_path / "g"
    merge(place, make_table(id=[1, 2], t=[day, day], v=[1.0, 1.0]), keys)
    later = day + datetime.timedelta(days=1)
    assert merge(place, make_table(id=[1, 2], t=[later, later], v=[2.0, 2.0]), keys) == Written(2, 0, 4)
    assert _operations(place) == ["CREATE TABLE", "WRITE", "WRITE"]
    assert merge(place, make_table(id=[1, 3], t=[later, later], v=[3.0, 3.0]), keys) == Written(1, 1, 5)
    assert _operations(place) == ["CREATE TABLE", "WRITE", "WRITE", "MERGE", "WRITE"]
    assert sorted((row["id"], row["t"], row["v"]) for row in read_table(place)) == [
        (1, day, 1.0), (1, later, 3.0), (2, day, 1.0), (2, later, 2.0), (3, later, 3.0),
    ]  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(
    kind=st.sampled_from(
        [pa.int32(), pa.int64(), pa.timestamp("us", "UTC"), pa.date32(), pa.string(), pa.bool_(), pa.decimal128(9, 2)]
    ),
    batches=st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=5, unique=True), min_size=1, max_size=4),
)
def test_upserts_by_keys_of_any_type_leave_one_row_per_key(tmp_path_factory, kind, batches):
    place = tmp_path_factory.mktemp("g")
    expected = {}
    for number, batch in enumerate(batches):
        keys = [_key(kind, n) for n in batch]
        if len(set(keys)) < len(keys):
            continue
        merge(place, pa.table({"id": pa.array(keys, kind), "v": pa.array([number] * len(keys))}), ["id"])
        expected.update(dict.fromkeys(keys, number))
    if expected:
        assert {row["id"]: row["v"] for row in read_table(place)} == expected
        assert len(read_table(place)) == len(expected)


def _key(kind, number):
    if pa.types.is_timestamp(kind):
        return datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(microseconds=number)
    if pa.types.is_date(kind):
        return datetime.date(1970, 1, 1) + datetime.timedelta(days=number)
    if pa.types.is_decimal(kind):
        return Decimal(number) / 4
    return {pa.string(): f"k{number}'\"", pa.bool_(): number > 0}.get(kind, number)
