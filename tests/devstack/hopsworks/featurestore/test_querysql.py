from __future__ import annotations

import sqlite3

import pytest

from devstack.hopsworks.featurestore.querysql import build, online_text, parse
from devstack.hopsworks.home.errors import HopsworksError
from devstack.hopsworks.metadata.models import FeatureGroup


def _group(id_: int, name: str, features: list[dict]) -> FeatureGroup:
    return FeatureGroup(
        id=id_,
        type="streamFeatureGroupDTO",
        name=name,
        version=1,
        online_enabled=True,
        time_travel_format="HUDI",
        location="file:///nowhere",
        created="2024",
        features=features,
    )


KEY = {"name": "id", "type": "bigint", "primary": True}
GROUPS = {
    1: _group(1, "cards", [KEY, {"name": "t", "type": "timestamp"}, {"name": "city", "type": "string"}]),
    2: _group(2, "limits", [KEY, {"name": "amount", "type": "double"}, {"name": "hidden", "offline_only": True}]),
}


def query(group_id, *features, **rest):
    return {"leftFeatureGroup": {"id": group_id}, "leftFeatures": [{"name": f} for f in features], **rest}


def where(name, condition, value, group_id=None):
    return {"feature": {"name": name, "featureGroupId": group_id}, "condition": condition, "value": value}


def both(kind, left, right):
    return {"type": kind, "leftFilter": left, "rightFilter": right}


@pytest.fixture
def database():
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE cards_1 (id INTEGER, t TEXT, city TEXT)")
    database.execute("CREATE TABLE limits_1 (id INTEGER, amount REAL)")
    rows = [(1, "2024-01-01 00:00:00", "it's"), (2, "2024-01-02 00:00:00", "b"), (3, None, "a :x")]
    database.executemany("INSERT INTO cards_1 VALUES (?, ?, ?)", rows)
    database.execute("INSERT INTO limits_1 VALUES (1, 9.5)")
    return database


def run(database, body):
    sql = online_text(build(parse(body), GROUPS.__getitem__, online=True)).replace("\\:", ":")
    return database.execute(sql).fetchall()


@pytest.mark.parametrize(
    ("condition", "ids"),
    [
        (None, [1, 2, 3]),
        (where("id", "EQUALS", "2"), [2]),
        (where("city", "EQUALS", "it's"), [1]),
        (where("city", "EQUALS", "a :x"), [3]),
        (where("city", "LIKE", "%b%"), [2]),
        (where("city", "EQUALS", "' OR 1=1 --"), []),
        (where("id", "IN", "[1, 3]"), [1, 3]),
        (where("t", "EQUALS", None), [3]),
        (where("t", "NOT_EQUALS", None), [1, 2]),
        (where("t", "GREATER_THAN", "2024-01-01 12:00:00"), [2]),
        (where("t", "LESS_THAN_OR_EQUAL", "2024-01-01T01:00:00+01:00"), [1]),
        (
            {"type": "OR", "leftFilter": where("id", "LESS_THAN", "2"), "rightFilter": where("id", "GREATER_THAN", 2)},
            [1, 3],
        ),
        (
            {"type": "AND", "leftFilter": where("id", "NOT_EQUALS", "2"), "rightFilter": where("city", "LIKE", "a%")},
            [3],
        ),
        ({"type": "SINGLE", "leftFilter": where("id", "GREATER_THAN_OR_EQUAL", "3")}, [3]),
    ],
)
def test_filters(database, condition, ids):
    assert [row[0] for row in run(database, query(1, "id", filter=condition))] == ids


def test_join_limit_and_prefix(database):
    join = {"query": query(2, "id", "amount"), "type": "LEFT", "prefix": "l_"}
    body = query(1, "id", "city", joins=[join], limit=2)
    assert run(database, body) == [(1, "it's", 1, 9.5), (2, "b", None, None)]
    joined_on = {"query": query(2, "amount"), "type": "INNER", "leftOn": [{"name": "id"}], "rightOn": [{"name": "id"}]}
    assert run(database, query(1, "id", joins=[joined_on])) == [(1, 9.5)]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (query(None, "id"), "leftFeatureGroup.id"),
        (query(1, "nothing"), "nothing"),
        (query(2, "hidden"), "hidden"),
        (query(1, "id", filter=where("id", "EQUALS", "x")), "'x' is not a value"),
        (query(1, "id", filter=where("id", "BETWEEN", "1")), "BETWEEN"),
        (query(1, "id", filter=where("nothing", "EQUALS", "1")), "nothing"),
        (query(1, "id", joins=[{"query": query(2, "id")}]), "prefix"),
    ],
)
def test_queries_that_cannot_be_answered_are_refused(body, text):
    with pytest.raises(HopsworksError, match=text):
        build(parse(body), GROUPS.__getitem__, online=True)
