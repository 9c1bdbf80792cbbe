"""No request makes the server fail: every value of every body, every part of every address, in turn made hostile."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from devstack.hopsworks.api.app import API, _routes
from devstack.hopsworks.home.errors import AVRO_MALFORMED
from tests.support.hopsworks_fixtures import FS, GROUPS
from tests.support.hopsworks_server import HOSTILE_SEGMENTS

DEEP: Any = None
for _ in range(200):
    DEEP = {"leftLogic": DEEP}
VALUES: list[Any] = [
    *(None, True, 0, -1, 2**31, 2**63, -(2**63) - 1, 10**400, 1.5, "", " ", "x" * 300, "a\0b", "\ud800", "²", "-1"),
    *(
        "../../etc",
        "'); DROP TABLE kafka_offsets; --",
        "9" * 5000,
        "array<" * 500,
        [],
        ["x"],
        [[]],
        {},
        {"x": {}},
        DEEP,
    ),
]
SEGMENTS = [*HOSTILE_SEGMENTS, "%F0%9F%92%A9", "sqlite_x", "`", "%25", "latest", "a:b", "NaN"]
QUERY = ["-1", str(2**63), "9" * 5000, "x", "%00", "²", "1.5", "", "ID:²", f"ID:{'9' * 30}", "commited_on_ltoeq:²"]
FEATURE = {"name": "id", "type": "bigint", "primary": True, "onlineType": "bigint", "description": "d"}
BODIES: dict[str, tuple[str, str, Any]] = {
    "feature group": (
        "POST",
        GROUPS,
        {
            "name": "fuzzed",
            "version": 1,
            "type": "streamFeatureGroupDTO",
            "onlineEnabled": True,
            "timeTravelFormat": "HUDI",
            "description": "d",
            "eventTime": "ts",
            "topicName": "fuzzed_onlinefs",
            "ttl": 5,
            "ttlEnabled": True,
            "statisticsConfig": {"enabled": True, "columns": ["id"]},
            "features": [FEATURE, {"name": "ts", "type": "timestamp"}, {"name": "s", "type": "struct<a:int>"}],
            "deltaStreamerJobConf": {
                "writeOptions": [{"name": "job_limit", "value": "1"}],
                "sparkJobConfiguration": {"spark.executor.memory": 1},
            },
        },
    ),
    "update": ("PUT", f"{GROUPS}/1?updateMetadata=true&updateStatsConfig=true", None),
    "query": (
        "PUT",
        "project/119/featurestores/query",
        {
            "leftFeatureGroup": {"id": 1},
            "leftFeatures": [{"name": "cc_num", "featureGroupId": 1}],
            "filter": {
                "type": "AND",
                "leftFilter": {"feature": {"name": "ts"}, "condition": "EQUALS", "value": "2024-01-01"},
                "rightLogic": {"feature": {"name": "cc_num"}, "condition": "IN", "value": "[1, 2]"},
            },
            "joins": [
                {
                    "query": {"leftFeatureGroup": {"id": 1}, "leftFeatures": [{"name": "city"}]},
                    "type": "LEFT",
                    "prefix": "p_",
                    "leftOn": [{"name": "cc_num"}],
                    "rightOn": ["cc_num"],
                }
            ],
            "limit": 3,
        },
    ),
    "job": (
        "PUT",
        "project/119/jobs/fuzzed",
        {"type": "pythonJobConfiguration", "appName": "fuzzed", "appPath": "Resources/x.py", "defaultArgs": "-a"},
    ),
    "execution": (
        "POST",
        "project/119/jobs/stored/executions",
        {"args": "-a", "envVars": {"NAME": "value"}, "logicalDate": "2024-01-01T00:00:00Z"},
    ),
    "schedule": (
        "POST",
        "project/119/jobs/stored/schedule/v2",
        {"id": 1, "startDateTime": 1, "cronExpression": "0 0 * * * ? *", "enabled": True},
    ),
    "commit": ("POST", f"{GROUPS}/1/commits", {"commitTime": 1, "rowsInserted": 1, "commitDateString": "x"}),
    "ingestion": ("POST", f"{GROUPS}/1/online_ingestion", {"numEntries": 3}),
    "tag": ("PUT", f"{GROUPS}/1/tags/t", {"a": [1, {"b": "x"}]}),
    "job tag": ("PUT", "project/119/jobs/stored/tags/t", {"a": [1, {"b": "x"}]}),
    "statistics": (
        "POST",
        f"{GROUPS}/1/statistics",
        {
            "computationTime": 1,
            "rowPercentage": 1.0,
            "windowEndCommitTime": 1,
            "featureDescriptiveStatistics": [{"featureName": "cc_num", "count": 3}],
        },
    ),
    "suite": (
        "POST",
        f"{GROUPS}/1/expectationsuite",
        {
            "id": None,
            "expectationSuiteName": "s",
            "expectations": [{"id": 3, "expectationType": "expect_x", "kwargs": "{}", "meta": "{}"}],
            "meta": "{}",
            "runValidation": True,
            "validationIngestionPolicy": "ALWAYS",
        },
    ),
    "subject": (
        "POST",
        "project/119/kafka/subjects/fuzzed/versions",
        {"schema": json.dumps({"type": "record", "name": "r", "fields": [{"name": "a", "type": ["null", "int"]}]})},
    ),
    "topic": (
        "POST",
        "project/119/kafka/topics",
        {"name": "t", "schemaName": "fuzzed", "schemaVersion": 1, "numOfReplicas": 1, "numOfPartitions": 1},
    ),
}


def failed(response: Any) -> bool:
    # The one failure that the platform itself calls 500 for what a client has sent.
    return response.status_code >= 500 and response.json().get("errorCode") != AVRO_MALFORMED.code


def mutations(body: Any) -> Iterator[Any]:
    """The body with each of its values in turn, itself included, replaced or missing."""
    yield from VALUES
    for path in _paths(body):
        for value in VALUES:
            changed = copy.deepcopy(body)
            place = changed
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = value
            yield changed
        if isinstance(place, dict):
            without = copy.deepcopy(changed)
            place = without
            for step in path[:-1]:
                place = place[step]
            del place[path[-1]]
            yield without


def _paths(body: Any, prefix: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for key, value in items:
        yield (*prefix, key)
        yield from _paths(value, (*prefix, key))


@pytest.fixture
def stocked(client, cards):
    """A server with something behind each address."""
    assert client.post(GROUPS, json=cards).json()["id"] == 1
    config = {"type": "sparkJobConfiguration", "appName": "stored", "appPath": "x"}
    assert client.put("project/119/jobs/stored", json=config).status_code == 201
    return client


@pytest.mark.parametrize("name", BODIES)
def test_every_value_of_every_body(stocked, cards, name):
    method, path, body = BODIES[name]
    count = 0
    for changed in mutations(cards if body is None else body):
        # Not httpx's own encoder: it refuses some of these.
        content = json.dumps(changed).encode()
        response = stocked.request(method, path, content=content, headers={"Content-Type": "application/json"})
        assert not failed(response), (response.text, content[:300])
        count += 1
    assert count > len(VALUES)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}', b'{"a": 1e999}', b'"\\ud800"', b"null", b"1" * 5000],
)
def test_bodies_that_are_no_json(stocked, content):
    for method, path, _ in BODIES.values():
        for kind in ("application/json", "text/plain", "multipart/form-data", "application/x-www-form-urlencoded", ""):
            response = stocked.request(method, path, content=content, headers={"Content-Type": kind})
            assert not failed(response), (method, path, kind, response.text)


def addresses() -> dict[str, list[str]]:
    """By method."""
    found: dict[str, list[str]] = {}
    for route in _routes():
        for method in route.methods or ():  # type: ignore[attr-defined]
            found.setdefault(method, []).append(route.path.removeprefix(API))  # type: ignore[attr-defined]
    return dict(sorted(found.items()))


KNOWN = {
    **{"project_id": "119", "feature_store_id": "67", "feature_group_id": "1", "name_or_id": "cards", "name": "stored"},
    **{"execution_id": "1", "subject": "cards_1", "version": "1", "schema_id": "1", "tag": "t", "stream": "out"},
    **{"suite_id": "1", "expectation_id": "1"},
    **{"path": "Resources", "job_type": "PYTHON", "feature_store": "67", "application": "application_1_0001"},
}


@pytest.mark.parametrize(("method", "paths"), addresses().items(), ids=list(addresses()))
def test_every_part_of_every_address(stocked, method, paths):
    """What lies behind the known parts stays: each request names something hostile."""
    for path in paths:
        for address, answer in hostile_answers(stocked, method, path):
            assert not failed(answer), (address[:200], answer.text)


def hostile_answers(stocked: Any, method: str, path: str) -> Iterator[tuple[str, Any]]:
    parts = [part.strip("{}").removesuffix(":path") for part in path.split("/") if part.startswith("{")]
    base = "https://testserver" if path.startswith("/hopsworks-api") else f"https://testserver{API}"
    for hostile in parts:
        for segment in SEGMENTS:
            address = path
            for part in parts:
                known = segment if part == hostile else quote(KNOWN[part])
                address = address.replace(f"{{{part}:path}}", known).replace(f"{{{part}}}", known)
            body = {} if method in ("PUT", "POST") else None
            yield address, stocked.request(method, f"{base}{address}", json=body)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("project/119/jobs", ("offset", "limit")),
        ("project/119/jobs/stored/executions", ("offset", "limit", "sort_by", "filter_by")),
        (f"{GROUPS}/cards", ("version",)),
        (f"{GROUPS}/1/commits", ("offset", "limit", "filter_by")),
        (f"{GROUPS}/1/online_ingestion", ("filter_by",)),
        (f"{GROUPS}/1/statistics", ("offset", "limit", "filter_by", "sort_by", "fields", "feature_names")),
        ("project/119/dataset/Resources", ("action", "offset", "limit")),
    ],
)
def test_every_parameter(stocked, path, names):
    stocked.post(f"{GROUPS}/1/commits", json={"commitTime": 1})
    for name in names:
        for value in QUERY:
            response = stocked.get(f"{path}?action=listing&{name}={value}")
            assert response.status_code < 500, (name, value, response.text)


def test_pages_are_not_counted_from_the_end(stocked):
    for name in ("offset", "limit"):
        assert stocked.get(f"project/119/jobs?{name}=-1").status_code == 422


@pytest.mark.parametrize(
    "value", ["bigint); DROP TABLE cards_1; --", "int, x int", "varchar", "int\0", "int²", "decimal(3,"]
)
def test_an_online_type_is_a_type(client, cards, value):
    cards["features"][0]["onlineType"] = value
    response = client.post(GROUPS, json=cards)
    assert response.status_code == 422
    assert response.json()["errorCode"] == 120001
    assert client.get(f"{GROUPS}").json() == {"count": 0}


@pytest.mark.parametrize("value", ["BIGINT", "varchar( 200 )", "decimal(10, 2)", "timestamp(6)", "Text", "tinyint"])
def test_online_types_of_all_spellings_are_taken(client, cards, value):
    cards["features"][2]["onlineType"] = value
    assert client.post(GROUPS, json=cards).status_code == 201


def test_an_appended_feature_s_online_type_is_checked_as_well(client, cards):
    client.post(GROUPS, json=cards)
    cards["features"].append({"name": "more", "type": "int", "onlineType": "int; DROP TABLE cards_1"})
    assert client.put(f"{GROUPS}/1?updateMetadata=true", json=cards).status_code == 422


@pytest.mark.parametrize(
    "name", ["LD_PRELOAD", "PATH", "PYTHONPATH", "pythonstartup", "DEVSTACK_HOME", "A=B", "", "a b", "é"]
)
def test_variables_that_would_change_the_process_are_refused(stocked, name):
    response = stocked.post("project/119/jobs/stored/executions", json={"envVars": {name: "x"}})
    assert response.status_code == 422
    assert "envVars" in response.json()["usrMsg"]


FILES = {"file": ("x", b"abc")}
FORM = {
    "flowIdentifier": "i",
    "flowFilename": "x",
    "flowChunkNumber": "1",
    "flowTotalChunks": "1",
    "flowTotalSize": "3",
}


@pytest.mark.parametrize("field", FORM)
def test_every_field_of_an_upload(stocked, field):
    for value in ("", "-1", "0", str(2**63), "9" * 5000, "a/b", "..", "x" * 300, "a\0b", "²", "é" * 200):
        response = stocked.post("project/119/dataset/upload/Resources", data={**FORM, field: value}, files=FILES)
        assert response.status_code < 500, (value[:50], response.text)


def test_files_where_folders_should_be(stocked):
    dataset = "project/119/dataset"
    assert stocked.post(f"{dataset}/upload/Resources", data=FORM, files=FILES).status_code == 200
    requests = [
        ("POST", f"{dataset}/upload/Resources/x"),
        ("POST", f"{dataset}/Resources/x/folder?action=create"),
        ("POST", f"{dataset}/Resources?action=copy&destination_path=Resources/inside"),
        ("POST", f"{dataset}/Resources?action=move&destination_path=Resources/inside/deep"),
        ("POST", f"{dataset}/Resources?action=copy&destination_path=Resources/x/y"),
        ("POST", f"{dataset}/Resources/x?action=move&destination_path=Resources/x/y"),
        ("POST", f"{dataset}/?action=copy&destination_path=Resources/all"),
        ("POST", f"{dataset}/{'/'.join(['d' * 200] * 60)}?action=create"),
        ("GET", f"{dataset}/Resources/x/y"),
        ("DELETE", f"{dataset}/"),
    ]
    for method, path in requests:
        kwargs: dict[str, Any] = {"data": FORM, "files": FILES} if "upload" in path else {}
        response = stocked.request(method, path, **kwargs)
        assert 400 <= response.status_code < 500, (path[:100], response.text)
    assert stocked.get(f"{dataset}/Resources/x").json()["attributes"]["size"] == 3


def test_a_dataset_that_exists_is_refused(stocked):
    path = "project/119/dataset/Mine?action=create"
    assert stocked.post(path).status_code == 201
    response = stocked.post(path)
    assert (response.status_code, response.json()["errorCode"]) == (400, 110047)


def test_ids_beyond_64_bits_are_refused_as_such(stocked):
    response = stocked.get(f"{FS}/featuregroups/{2**63}/tags")
    assert response.status_code == 422
    assert "feature_group_id" in response.json()["usrMsg"]
