"""Rows of one group in both stores, read as the SDK asks for them: by the server's SQL online, by its query service."""

from __future__ import annotations

import datetime
import io
import json
from decimal import Decimal
from pathlib import Path

import fastavro
import pyarrow as pa
import pytest

from devstack.hopsworks.api.queryservice import payload, run_query
from devstack.hopsworks.metadata.featuretypes import encoded_schema
from devstack.hopsworks.metadata.store import MetadataStore
from devstack.hopsworks.metadata.wire import value_decoder
from devstack.hopsworks.offline.columns import TableBuilder
from devstack.hopsworks.offline.table import merge
from devstack.hopsworks.online.store import connect_online_store
from devstack.hopsworks.online.writer import OnlineWriter, Record, Targets
from tests.support.hopsworks_fixtures import GROUPS

QUERY = "project/119/featurestores/query"
UTC = datetime.timezone.utc
NINES = Decimal("9" * 28 + ".0123456789")
FEATURES = [
    {"name": "id", "type": "bigint", "primary": True},
    {"name": "amount", "type": "decimal(10,2)"},
    {"name": "large", "type": "decimal(38,10)"},
    {"name": "day", "type": "date"},
    {"name": "at", "type": "timestamp", "onlineType": "timestamp(3)"},
    {"name": "ok", "type": "boolean"},
    {"name": "ratio", "type": "double"},
    {"name": "words", "type": "array<string>"},
    {"name": "place", "type": "struct<city:string,tags:map<string,string>>"},
    {"name": "raw", "type": "binary"},
]
MIDNIGHT = datetime.datetime(2024, 1, 1, tzinfo=UTC)
HALF, NEXT = MIDNIGHT.replace(microsecond=500_000), MIDNIGHT + datetime.timedelta(1)
ROWS = [
    (
        1,
        Decimal("9.00"),
        NINES,
        datetime.date(2024, 1, 1),
        MIDNIGHT,
        True,
        0.5,
        ["a", None],
        {"city": "x", "tags": {"k": "v"}},
        b"x",
    ),
    (2, Decimal("10.50"), -NINES, datetime.date(2024, 1, 2), HALF, False, 2.0, [], None, b""),
    (3, Decimal("-3.00"), Decimal(0), datetime.date(2024, 1, 3), NEXT, None, 3.0, None, None, None),
]


class Stores:
    """A feature group, and both of its stores."""

    def __init__(self, client, layout) -> None:
        self.client = client
        body = {"name": "values", "version": 1, "type": "streamFeatureGroupDTO", "onlineEnabled": True}
        self.group = client.post(GROUPS, json={**body, "timeTravelFormat": "HUDI", "features": FEATURES}).json()
        self.groups = client.app.state.context.groups
        self.online = connect_online_store(layout)
        self.store = MetadataStore(layout)
        self.location = Path(self.group["location"].removeprefix("file://"))

    def write(self, rows) -> None:
        subject = self.store.subject_versions("values_1")[-1]
        records = [_encoded(json.loads(subject.schema), row) for row in rows]
        ids = {"projectId": 119, "featureGroupId": self.group["id"], "subjectId": subject.id}
        headers = [(name, str(value).encode()) for name, value in ids.items()]
        writer = OnlineWriter(Targets(self.store, self.online), self.online)
        counts = writer.apply(Record("t", 0, n, headers, value) for n, value in enumerate(records))
        assert counts == {(None, "UPSERTED"): len(rows)}
        group = self.groups.get(self.group["id"])
        table = TableBuilder(group, subject.schema).columns(list(map(value_decoder(subject.schema), records)))
        merge(self.location, table, group.offline_key)

    def query(self, *names, **rest):
        return {"leftFeatureGroup": {"id": self.group["id"]}, "leftFeatures": [{"name": n} for n in names], **rest}

    def offline(self, body):
        """As the SDK gets them, by way of pandas."""
        return run_query(payload(body), self.groups).to_pandas()

    def ids(self, *filter_):
        """The keys that a filter finds, online and offline."""
        condition = dict(zip(("feature", "condition", "value"), ({"name": filter_[0]}, *filter_[1:]), strict=True))
        body = self.query("id", filter=condition)
        answer = self.client.put(QUERY, json=body)
        if answer.status_code != 200:
            return answer.json()["usrMsg"]
        sql = answer.json()["queryOnline"].replace("\\:", ":")
        return sorted(row[0] for row in self.online.execute(sql)), sorted(self.offline(body)["id"])


def _encoded(schema, row) -> bytes:
    fields = encoded_schema(schema)["fields"]
    values = {}
    for field, whole, value in zip(fields, schema["fields"], row, strict=True):
        if whole["type"] != field["type"] and value is not None:
            value = _bytes(whole["type"], value)
        values[field["name"]] = value
    return _bytes(encoded_schema(schema), values)


def _bytes(schema, value) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(schema), value)
    return buffer.getvalue()


@pytest.fixture
def stores(client, layout) -> Stores:
    stores = Stores(client, layout)
    stores.write(ROWS)
    return stores


def test_a_filter_finds_the_same_rows_in_both_stores(stores):
    for name, condition, value, ids in (
        ("amount", "GREATER_THAN", "9", [2]),
        ("amount", "GREATER_THAN_OR_EQUAL", "9.000", [1, 2]),
        ("amount", "LESS_THAN", "-2.999", [3]),
        ("amount", "EQUALS", "10.5", [2]),
        ("amount", "EQUALS", "10.501", []),
        ("amount", "NOT_EQUALS", "9", [2, 3]),
        ("amount", "IN", "[9, 10.5]", [1, 2]),
        ("large", "EQUALS", str(NINES), [1]),
        ("large", "EQUALS", "-0.0", [3]),
        ("day", "EQUALS", "2024-01-02", [2]),
        ("day", "GREATER_THAN_OR_EQUAL", "2024-01-02 00:00:00", [2, 3]),
        ("at", "EQUALS", "2024-01-01", [1]),
        ("at", "GREATER_THAN", "2024-01-01 00:00:00", [2, 3]),
        ("at", "EQUALS", "2024-01-01 01:00:00.500000+01:00", [2]),
        ("at", "IN", '["2024-01-02 00:00:00"]', [3]),
        ("ok", "NOT_EQUALS", "True", [2]),
        ("id", "IN", "[]", []),
    ):
        assert stores.ids(name, condition, value) == (ids, ids), (name, condition, value)


def test_a_value_that_no_row_can_be_compared_with_is_refused(stores):
    for name, condition, value in (
        ("amount", "GREATER_THAN", "ten"),
        ("amount", "GREATER_THAN", "NaN"),
        ("amount", "LESS_THAN", "1e37"),
        ("amount", "GREATER_THAN", None),
        ("large", "LESS_THAN", "1e-20"),
        ("day", "LESS_THAN", "soon"),
        ("day", "GREATER_THAN", "2024-01-02 12:00:00"),
        ("ratio", "LESS_THAN", "inf"),
        ("words", "EQUALS", "a"),
        ("raw", "EQUALS", "x"),
    ):
        assert f"filter on {name}" in stores.ids(name, condition, value), (name, value)


def test_an_offline_read_is_not_held_up_by_what_the_online_store_cannot_do(stores):
    assert "online, decimals of more than 15 digits" in stores.ids("large", "GREATER_THAN", "9.5")
    condition = {"feature": {"name": "large"}, "condition": "GREATER_THAN", "value": "9.5"}
    body = stores.query("id", filter=condition)
    answer = stores.client.put(f"{QUERY}?hqs=True", json=body).json()
    assert run_query(answer["hqsPayload"], stores.groups)["id"].to_pylist() == [1]


def test_texts_inside_of_complex_features_are_read_offline(stores):
    rows = stores.offline(stores.query("id", "words", "place")).sort_values("id")
    assert [None if one is None else list(one) for one in rows["words"]] == [["a", None], [], None]
    assert rows["place"].tolist() == [{"city": "x", "tags": [("k", "v")]}, None, None]


def test_an_appended_feature_leaves_long_decimals_as_they_are(stores):
    features = [*stores.group["features"], {"name": "extra", "type": "string"}]
    url = f"{GROUPS}/{stores.group['id']}?updateMetadata=True"
    assert stores.client.put(url, json={**stores.group, "features": features}).status_code == 200
    rows = stores.offline(stores.query("id", "large", "extra")).sort_values("id")
    assert rows["large"].tolist() == [NINES, -NINES, 0]
    assert rows["extra"].isna().all()


# --- joins -----------------------------------------------------------------------------------------------------------


def make_history(client, name, event_time, rows):
    """A group of its own with (id, hour, value), stored offline."""
    features = [{"name": "id", "type": "bigint", "primary": True}, {"name": "at", "type": "timestamp"}]
    features.append({"name": f"{name}_value", "type": "string"})
    body = {"name": name, "version": 1, "type": "streamFeatureGroupDTO", "timeTravelFormat": "HUDI"}
    group = client.post(GROUPS, json={**body, "eventTime": event_time, "features": features}).json()
    columns = zip(*rows, strict=True)
    types = (pa.int64(), pa.timestamp("us", "UTC"), pa.string())
    hours = [
        [MIDNIGHT + datetime.timedelta(hours=one) for one in column] if n == 1 else column
        for n, column in enumerate(columns)
    ]
    names = [feature["name"] for feature in features]
    table = pa.table({name: pa.array(c, kind) for name, c, kind in zip(names, hours, types, strict=True)})
    merge(Path(group["location"].removeprefix("file://")), table, ["id", "at"] if event_time else ["id"])
    return group["id"]


def joined(client, kind, left, *rights):
    """The value of each group, joined on the key."""
    name = "{}_value".format

    def query(group):
        known = client.app.state.context.groups.get(group)
        return {"leftFeatureGroup": {"id": group}, "leftFeatures": [{"name": name(known.name)}]}

    joins = [{"query": query(right), "type": kind, "on": [{"name": "id"}]} for right in rights]
    body = {**query(left), "joins": joins}
    answer = client.put(f"{QUERY}?hqs=True", json=body).json()
    found = run_query(answer["hqsPayload"], client.app.state.context.groups).to_pylist()
    return sorted((tuple(row.values()) for row in found), key=str)


def test_groups_with_event_times_are_joined_as_of_the_left_ones(client):
    left = make_history(client, "a", "at", [(1, 1, "a1"), (1, 5, "a5"), (2, 5, "other"), (3, 5, "alone")])
    first = make_history(client, "b", "at", [(1, 0, "b0"), (1, 1, "b1"), (1, 4, "b4"), (1, 9, "b9"), (2, 9, "b9")])
    second = make_history(client, "c", "at", [(1, 3, "c3"), (1, 2, "c2")])
    assert joined(client, "LEFT", left, first, second) == [
        ("a1", "b1", None),
        ("a5", "b4", "c3"),
        ("alone", None, None),
        ("other", None, None),
    ]
    assert joined(client, "INNER", left, first) == [("a1", "b1"), ("a5", "b4")]


def test_a_group_without_event_time_is_joined_by_its_key(client):
    left = make_history(client, "a", "at", [(1, 1, "a1"), (1, 5, "a5")])
    right = make_history(client, "b", None, [(1, 3, "b")])
    assert joined(client, "LEFT", left, right) == [("a1", "b"), ("a5", "b")]


def test_an_event_time_decides_nothing_in_a_full_join(client):
    left, right = (make_history(client, name, "at", [(1, 1, name)]) for name in "ab")
    body = {"leftFeatureGroup": {"id": left}, "leftFeatures": [{"name": "a_value"}]}
    other = {"leftFeatureGroup": {"id": right}, "leftFeatures": [{"name": "b_value"}]}
    answer = client.put(QUERY, json={**body, "joins": [{"query": other, "type": "FULL", "on": [{"name": "id"}]}]})
    assert answer.status_code == 422
    assert "joined left or inner" in answer.json()["usrMsg"]
