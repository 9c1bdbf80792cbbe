"""OnlineFS' rules, record by record, against a real SQLite file."""

from __future__ import annotations

import io
import json

import fastavro
import pytest

from devstack.hopsworks.metadata.featuretypes import physical_schema
from devstack.hopsworks.metadata.models import Feature
from devstack.hopsworks.metadata.store import MetadataStore
from devstack.hopsworks.metadata.wire import HeaderError, Route, parse_headers
from devstack.hopsworks.online.store import (
    UserDataError,
    add_results,
    connect_online_store,
    converter,
    ingestion_results,
    load_offsets,
    save_offsets,
    upsert_sql,
)
from devstack.hopsworks.online.writer import OnlineWriter, Record, Targets
from tests.devstack.hopsworks.samples import CARD_SCHEMA, card
from tests.support.hopsworks_fixtures import GROUPS

HOUR = 3_600_000_000


class Store:
    """A feature group with its online table, and a writer on it."""

    def __init__(self, client, layout, body) -> None:
        self.client = client
        self.group = client.post(GROUPS, json=body).json()
        self.subject = client.get("project/119/kafka/subjects/cards_1/versions/latest").json()["id"]
        self.online = connect_online_store(layout)
        self.writer = OnlineWriter(Targets(MetadataStore(layout), self.online), self.online)

    def store_schema(self):
        return self.client.get("project/119/kafka/subjects/cards_1/versions/latest").json()["schema"]

    def headers(self, **changes):
        values = {"projectId": 119, "featureGroupId": self.group["id"], "subjectId": self.subject, **changes}
        return [(name, str(value).encode()) for name, value in values.items() if value is not None]

    def apply(self, *values, **headers):
        records = [Record("t", 0, n, self.headers(onlineIngestionId=9, **headers), v) for n, v in enumerate(values)]
        return {status: rows for (_, status), rows in self.writer.apply(records).items() if rows}

    def rows(self):
        return [tuple(row) for row in self.online.execute("SELECT * FROM cards_1 ORDER BY cc_num")]


def encoded(schema, value):
    """A card with one more feature."""
    buffer = io.BytesIO()
    row = {"cc_num": 1, "ts": None, "city": None, "amounts": None, "f": value}
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(physical_schema(schema)), row)
    return buffer.getvalue()


@pytest.fixture
def store(client, layout, cards):
    return Store(client, layout, cards)


def test_the_last_record_of_a_key_wins_and_values_look_like_mysqls(store):
    assert store.apply(card(1, 5 * HOUR + 999_999, "a"), card(2, None, None), card(1, HOUR, "b")) == {"UPSERTED": 3}
    assert store.rows() == [(1, "1970-01-01 01:00:00", "b", None), (2, None, None, None)]


def test_offline_rows_are_ignored_online(store):
    assert store.apply(card(1), storage="offline") == {"IGNORED": 1}
    assert store.apply(card(1), storage="0") == {"IGNORED": 1}
    assert store.apply(card(2), storage="online") == {"UPSERTED": 1}
    assert store.apply(card(3), storage="1") == {"UPSERTED": 1}
    assert [row[0] for row in store.rows()] == [2, 3]


def test_deletes(store):
    store.apply(card(1), card(2))
    assert store.apply(card(1, None, None), operation="delete") == {"DELETED": 1}
    assert [row[0] for row in store.rows()] == [2]


def test_upsert_if_newer_reports_older_rows_as_ignored(store):
    store.apply(card(1, 5 * HOUR, "stored"))
    assert store.apply(card(1, 4 * HOUR, "old"), card(2, HOUR, "new"), upsertIfNewer=1) == {
        "UPSERTED": 1,
        "IGNORED": 1,
    }
    assert store.apply(card(1, 5 * HOUR, "same time"), upsertIfNewer=1) == {"UPSERTED": 1}
    assert [row[2] for row in store.rows()] == ["same time", "new"]


def test_order_is_kept_where_kinds_of_records_alternate(store):
    upsert, delete = store.headers(), store.headers(operation="delete")
    values = [
        (upsert, card(1, city="a")),
        (delete, card(1)),
        (upsert, card(1, city="c")),
        (delete, card(2)),
    ]
    store.writer.apply([Record("t", 0, n, headers, value) for n, (headers, value) in enumerate(values)])
    assert [row[:3:2] for row in store.rows()] == [(1, "c")]


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (None, {}),
        (b"", {}),
        (b"\xff" * 40, {}),
        (card(1) + b"\x00", {}),
        (b"\x00\x00\x00\x00\x01" + card(1), {}),
        (card(None), {}),
        (card(1, city="x" * 101), {}),
        (card(1, amounts=[1.0] * 50), {}),
        (card(1, ts=9_000_000_000_000_000_000), {}),
        (card(1), {"projectId": 120}),
        (card(1), {"featureGroupId": 4711}),
        (card(1), {"featureGroupId": "x"}),
        (card(1), {"subjectId": 4711}),
        (card(1), {"subjectId": None}),
    ],
)
def test_a_record_that_cannot_be_written_fails_alone(store, value, headers):
    good = Record("t", 0, 1, store.headers(onlineIngestionId=9), card(7))
    bad = Record("t", 0, 0, store.headers(onlineIngestionId=9, **headers), value)
    counts = store.writer.apply([bad, good])
    assert sum(rows for (_, status), rows in counts.items() if status == "FAILED") == 1
    assert [row[0] for row in store.rows()] == [7]


def test_a_record_without_headers_fails_alone(store):
    counts = store.writer.apply([Record("t", 0, 0, None, card(1))])
    assert counts == {(None, "FAILED"): 1}


def test_complex_values_keep_their_encoding_and_an_inner_null_is_null(store):
    store.apply(card(1, amounts=[3.0]))
    outer_null, inner_null = card(2), card(3)[:-1] + b"\x02\x02\x00"
    store.apply(outer_null, inner_null)
    first, *others = [row[3] for row in store.rows()]
    assert first[:3] == b"\x02\x02\x02"
    assert others == [None, None]


def test_new_columns_and_deleted_groups_are_seen_at_the_next_batch(store):
    store.apply(card(1))
    url = f"{GROUPS}/{store.group['id']}"
    features = [*store.group["features"], {"name": "extra", "type": "double"}]
    store.client.put(f"{url}?updateMetadata=True", json={**store.group, "features": features})
    assert store.apply(card(2)) == {"UPSERTED": 1}
    assert [row[4] for row in store.rows()] == [None, None]
    store.client.delete(url)
    assert store.apply(card(3)) == {"FAILED": 1}


def test_a_half_appended_feature_does_not_end_the_consumer(store, app, monkeypatch):
    def killed(_):
        raise MemoryError

    features = [*store.group["features"], {"name": "extra", "type": "double"}]
    with monkeypatch.context() as server:
        server.setattr(app.state.context.store, "update_feature_group", killed)
        url = f"{GROUPS}/{store.group['id']}?updateMetadata=True"
        assert store.client.put(url, json={**store.group, "features": features}).status_code == 500
    store.subject = json.loads(store.client.get("project/119/kafka/subjects/cards_1/versions/latest").text)["id"]
    assert store.apply(card(1) + b"\x00") == {"UPSERTED": 1}


def test_results_accumulate_and_offsets_are_replaced(store):
    for _ in range(2):
        add_results(store.online, [(9, "UPSERTED", 3)])
        save_offsets(store.online, [("t", 0, 5), ("t", 1, 7)])
    assert ingestion_results(store.online, 9) == [{"onlineIngestionId": 9, "status": "UPSERTED", "rows": 6}]
    assert load_offsets(store.online) == {("t", 0): 5, ("t", 1): 7}


# --- pure parts ----------------------------------------------------------------------------------------------


def test_headers():
    headers = [("projectId", b"119"), ("featureGroupId", b"13"), ("subjectId", b"2"), ("onlineIngestionId", b"4")]
    assert parse_headers(headers) == Route(119, 13, 2, 4)
    full = parse_headers([*headers, ("storage", b"offline"), ("operation", b"delete"), ("upsertIfNewer", b"1")])
    assert (full.online, full.offline, full.delete, full.upsert_if_newer) == (False, False, True, True)
    with pytest.raises(HeaderError, match="subjectId is missing"):
        parse_headers(headers[:2])
    with pytest.raises(HeaderError, match="UTF-8"):
        parse_headers([("projectId", b"\xff")])


def feature_type(online_type):
    """A feature's type whose values the column holds."""
    if online_type.startswith("decimal"):
        return online_type
    if "int" in online_type:
        return "bigint"
    return "timestamp" if "time" in online_type else online_type if online_type == "date" else "string"


@pytest.mark.parametrize(
    ("online_type", "value", "stored"),
    [
        ("timestamp", 1_700_000_000_999_999, "2023-11-14 22:13:20"),
        ("timestamp(3)", 1_700_000_000_123_456, "2023-11-14 22:13:20.123"),
        ("timestamp(6)", -1, "1969-12-31 23:59:59.999999"),
        ("date", 19675, "2023-11-14"),
        ("date", -1, "1969-12-31"),
        ("decimal(5,2)", (-110).to_bytes(2, "big", signed=True), "-1.10"),
        ("decimal(38,38)", (10**38 - 1).to_bytes(17, "big", signed=True), "0." + "9" * 38),
        ("decimal(38,0)", (1 - 10**38).to_bytes(17, "big", signed=True), "-" + "9" * 38),
        ("decimal(38,10)", b"\x01", "0.0000000001"),
        ("varchar(3)", "abc", "abc"),
        ("varchar(3)", "äöü", "äöü"),
        ("text", "ä" * 32767, "ä" * 32767),
        ("tinyint", -128, -128),
        ("smallint", 32767, 32767),
        ("int", -(2**31), -(2**31)),
        ("datetime(3)", 1_700_000_000_123_456, "2023-11-14 22:13:20.123"),
    ],
)
def test_conversion(online_type, value, stored):
    convert = converter(Feature(name="f", type=feature_type(online_type), online_type=online_type))
    assert convert is not None
    assert convert(value) == stored


@pytest.mark.parametrize(
    ("online_type", "value", "text"),
    [
        ("varchar(3)", "abcd", r"4 long.*varchar\(3\)"),
        ("text", "ä" * 32768, "longer than 65535 bytes.*text"),
        ("tinytext", "a" * 256, "longer than 255 bytes.*tinytext"),
        ("varbinary(3)", b"abcd", r"4 long.*varbinary\(3\)"),
        ("decimal(5,2)", (10**5).to_bytes(4, "big"), "more than 5 digits"),
        ("decimal(5,2)", (-(10**5)).to_bytes(4, "big", signed=True), "more than 5 digits"),
        ("tinyint", 128, "128.*tinyint"),
        ("smallint", -32769, "-32769.*smallint"),
        ("int", 2**31, "2147483648.*int"),
        ("timestamp", 2**62, "out of range"),
    ],
)
def test_conversion_refuses_what_the_column_cannot_hold(online_type, value, text):
    convert = converter(Feature(name="f", type=feature_type(online_type), online_type=online_type))
    assert convert is not None
    with pytest.raises(UserDataError, match=text):
        convert(value)


@pytest.mark.parametrize(
    ("online_type", "stored"), [("decimal(12,4)", "1.1500"), ("decimal(5,1)", "1.2"), ("decimal(5,0)", "1")]
)
def test_a_decimal_takes_the_scale_of_its_column(online_type, stored):
    convert = converter(Feature(name="f", type="decimal(10,2)", online_type=online_type))
    assert convert is not None
    assert convert((115).to_bytes(2, "big")) == stored


@pytest.mark.parametrize(
    ("kind", "online_type"),
    [
        ("bigint", "varchar(20)"),
        ("bigint", "timestamp"),
        ("bigint", "decimal(20,0)"),
        ("date", "timestamp"),
        ("string", "timestamp"),
        ("string", "bigint"),
        ("array<double>", "double"),
        ("double", "int"),
        ("decimal(10,2)", "double"),
    ],
)
def test_a_type_that_does_not_hold_the_features_values_fails_its_rows(client, layout, cards, kind, online_type):
    cards["features"].append({"name": "f", "type": kind, "onlineType": online_type})
    store = Store(client, layout, cards)
    schema = json.loads(store.store_schema())
    value = {"array<double>": b"\x00", "string": "x", "decimal(10,2)": b"\x01"}.get(kind, 1)
    assert store.apply(encoded(schema, value), encoded(schema, None)) == {"FAILED": 1, "UPSERTED": 1}
    assert store.rows() == [(1, None, None, None, None)]


def test_rows_that_are_too_long_are_failed_and_the_others_are_written(store):
    assert store.apply(card(1), card(2, city="x" * 101), card(3, city="y" * 100)) == {"UPSERTED": 2, "FAILED": 1}
    assert [row[0] for row in store.rows()] == [1, 3]


def test_a_plain_null_byte_is_data():
    convert = converter(Feature(name="f", type="binary", online_type="varbinary(100)"))
    assert convert is not None
    assert convert(b"\x00") == b"\x00"


def test_a_table_of_keys_only_is_upserted_without_update():
    assert upsert_sql("g_1", ["a"], ["a"]).endswith('ON CONFLICT ("a") DO NOTHING')


def test_the_schema_used_here_is_what_the_server_registers(store):
    latest = store.client.get("project/119/kafka/subjects/cards_1/versions/latest").json()
    assert json.loads(latest["schema"]) == CARD_SCHEMA
