"""The REST API as a client sees it: shapes, codes, order of the checks. No broker, no SDK."""

from __future__ import annotations

import json
import re
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from devstack.hopsworks.api.routes.jobs import start_arguments
from devstack.hopsworks.home.errors import KAFKA_UNAVAILABLE, HopsworksError
from devstack.hopsworks.home.layout import Layout
from devstack.hopsworks.home.setup import generate_api_key, initialise, read_api_key
from tests.support.hopsworks_fixtures import FS, GROUPS
from tests.support.hopsworks_server import PatientExecutor

JOB = "project/119/jobs/cards_1_offline_fg_materialization"


# --- authentication ------------------------------------------------------------------------------------------


def test_only_the_versions_are_open(anonymous):
    assert anonymous.get("variables/versions").json() == [{"software": "hopsworks", "version": "5.2.0"}]
    assert anonymous.get("variables/service_discovery_domain").status_code == 401


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, 200003),
        ("", 200003),
        ("Bearer abc", 200003),
        ("ApiKey ", 200003),
        ("ApiKey wrong", 320012),
        (f"ApiKey {generate_api_key()}", 320013),
    ],
    ids=["none", "empty", "bearer", "no-key", "no-prefix", "unknown"],
)
@pytest.mark.parametrize("path", ["project/getProjectInfo/nobody", "no/such/route"])
def test_keys_are_checked_before_anything_exists(anonymous, header, code, path):
    answer = anonymous.get(path, headers={} if header is None else {"Authorization": header})
    assert (answer.status_code, answer.json()["errorCode"]) == (401, code)
    assert ("www-authenticate" in answer.headers) is (code == 200003)


def test_right_prefix_with_wrong_secret_is_invalid(anonymous, config):
    key = read_api_key(config)
    answer = anonymous.get("project", headers={"Authorization": f"ApiKey {key[:-1]}{'a' if key[-1] != 'a' else 'b'}"})
    assert (answer.status_code, answer.json()["errorCode"]) == (401, 320012)


# --- shape of refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("get", "project/getProjectInfo/nobody", 400, 150004),
        ("get", "project/7/credentials", 404, 150004),
        ("get", "project/119/featurestores/other_featurestore", 404, 270008),
        ("get", "project/119/featurestores/99/featuregroups", 404, 270008),
        ("get", f"{GROUPS}/cards?version=1", 404, 270009),
        ("get", f"{GROUPS}/4711", 404, 270009),
        ("get", f"{FS}/storageconnectors/nothing", 404, 270042),
        ("get", "project/119/jobs/nothing", 404, 130009),
        ("get", "project/119/jobs/nothing/executions/1", 404, 130009),
        ("get", "variables/nothing", 404, 100046),
        ("get", "no/such/route", 404, 120004),
        ("get", "project/nonsense/credentials", 422, 120001),
        ("get", "project/119/dataset/nothing/x", 400, 110011),
        ("get", "project/119/dataset/Resources/nothing", 400, 110018),
        ("get", "project/119/dataset/download/with_auth/Resources/nothing", 400, 110018),
        ("get", "project/119/kafka/topics/nothing", 404, 190000),
    ],
)
def test_refusals_are_json_with_the_platforms_codes(client, method, path, status, code):
    answer = getattr(client, method)(path)
    assert (answer.status_code, answer.json()["errorCode"]) == (status, code)
    assert set(answer.json()) == {"errorCode", "errorMsg", "usrMsg"}


def test_schema_registry_refusals_have_their_own_shape(client):
    answer = client.get("project/119/kafka/subjects/nothing/versions/latest")
    assert (answer.status_code, answer.json()["error_code"]) == (404, 40401)


def test_an_unexpected_failure_is_json_too_and_tells_no_internals(client, app, monkeypatch):
    monkeypatch.setattr(app.state.context.store, "topics", lambda: 1 / 0)
    answer = client.get("project/119/kafka/topics")
    assert (answer.status_code, answer.json()["errorCode"]) == (500, 120000)
    assert "division" not in answer.text


# --- feature groups ------------------------------------------------------------------------------------------


def test_creation_makes_subject_topic_job_online_table_and_location(client, cards, broker, app):
    group = client.post(GROUPS, json=cards).json()
    assert broker.topics == {"demo_onlinefs": (2, 1)}
    assert group["onlineTopicName"] == "demo_onlinefs"
    assert group["location"].startswith("file:///")
    assert group["location"].endswith("/demo_featurestore.db/cards_1")
    assert not {"embeddingIndex", "transformationFunctions", "sinkJob"} & set(group)
    assert [f["hudiPrecombineKey"] for f in group["features"]] == [True, False, False, False]
    assert [f["onlineType"] for f in group["features"]] == ["bigint", "timestamp", "varchar(100)", "varbinary(100)"]
    subject = client.get(f"{FS}/kafka/subjects/cards_1/versions/latest").json()
    assert json.loads(subject["schema"])["name"] == "cards_1"
    job = client.get(JOB).json()
    assert job["jobType"] == "SPARK"
    path = job["config"]["defaultArgs"].removeprefix("-op offline_fg_materialization -path ")
    conf = client.get(f"project/119/dataset/download/with_auth/{path.replace('/', '%2F')}").json()
    assert (conf["name"], conf["version"]) == ("cards", "1")
    columns = app.state.context.online.connection.execute("SELECT name FROM pragma_table_info('cards_1')").fetchall()
    assert [column[0] for column in columns] == ["cc_num", "ts", "city", "amounts"]


def test_versions_are_numbered_and_a_second_creation_is_refused(client, cards):
    assert client.post(GROUPS, json=cards).status_code == 201
    again = client.post(GROUPS, json=cards)
    assert (again.status_code, again.json()["errorCode"]) == (400, 270089)
    assert client.post(GROUPS, json={**cards, "version": None}).json()["version"] == 2
    assert [group["version"] for group in client.get(f"{GROUPS}/cards").json()] == [1, 2]


def _change(features, **changes):
    return [{**features[0], **changes}, *features[1:]]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda b: {"features": [*b["features"], b["features"][0]], "name": "Bad"}, 270224),
        (lambda b: {"name": "Cards"}, 270091),
        (lambda b: {"name": "1cards"}, 270091),
        (lambda b: {"description": "x" * 257}, 270092),
        (lambda b: {"features": _change(b["features"], name="cc num")}, 270040),
        (lambda b: {"features": _change(b["features"], description="x" * 257)}, 270041),
        (lambda b: {"features": _change(b["features"], type=None)}, 270212),
        (lambda b: {"eventTime": "when"}, 270172),
        (lambda b: {"eventTime": "city"}, 270171),
        (lambda b: {"features": _change(b["features"], type="varchar")}, 270151),
        (lambda b: {"version": 0}, 270059),
        (lambda b: {"statisticsConfig": {"columns": ["nothing"]}}, 270108),
        (lambda b: {"features": _change(b["features"], defaultValue="1")}, 270132),
        (lambda b: {"features": _change(b["features"], primary=False)}, 270121),
        (lambda b: {"features": _change(b["features"], type="string", onlineType="text")}, 120001),
        (lambda b: {"features": _change(b["features"], type="string", onlineType="varchar(769)")}, 120001),
        (
            lambda b: {"features": [*b["features"], {"name": "x", "type": "string", "onlineType": "varchar(7400)"}]},
            120001,
        ),
        (lambda b: {"type": "onDemandFeaturegroupDTO"}, 120001),
        (lambda b: {"transformationFunctions": [{"x": 1}]}, 120001),
    ],
)
def test_broken_feature_groups_are_refused_and_leave_nothing(client, cards, broker, change, code):
    answer = client.post(GROUPS, json={**cards, **change(cards)})
    assert answer.json()["errorCode"] == code
    assert answer.json()["usrMsg"]
    assert broker.topics == {}
    assert client.get(GROUPS).json() == {"count": 0}


def test_a_topic_that_only_the_broker_knows_is_refused(client, cards, broker):
    broker.topics["demo_onlinefs"] = (1, 1)
    answer = client.post(GROUPS, json=cards)
    assert (answer.status_code, answer.json()["errorCode"]) == (409, 190003)


def test_appending_features_keeps_the_order_and_makes_one_new_subject_version(client, cards):
    group = client.post(GROUPS, json=cards).json()
    url = f"{GROUPS}/{group['id']}?updateMetadata=True"
    sent = [*reversed(group["features"]), {"name": "extra", "type": "double"}]
    changed = client.put(url, json={**group, "features": sent, "description": "new"}).json()
    assert [f["name"] for f in changed["features"]] == ["cc_num", "ts", "city", "amounts", "extra"]
    assert changed["description"] == "new"
    client.put(url, json=changed)
    assert client.get("project/119/kafka/subjects/cards_1/versions").json() == [1, 2]


@pytest.mark.parametrize("change", [{"type": "int"}, {"primary": False}, {"name": "other"}])
def test_existing_features_cannot_be_changed(client, cards, change):
    group = client.post(GROUPS, json=cards).json()
    body = {**group, "features": _change(group["features"], **change)}
    answer = client.put(f"{GROUPS}/{group['id']}?updateMetadata=True", json=body)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 270114)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ([{"name": "extra", "type": "string", "onlineType": "varchar(7500)"}], "the row takes 3[0-9]+ bytes online"),
        ([{"name": f"extra_{n}", "type": "boolean"} for n in range(510)], "514 features: at most 512"),
        ([{"name": "extra", "type": "double", "defaultValue": "10.0"}], "feature extra: .* no default values"),
    ],
)
def test_what_the_stores_do_not_take_cannot_be_appended(client, cards, more, text):
    group = client.post(GROUPS, json=cards).json()
    url = f"{GROUPS}/{group['id']}"
    answer = client.put(f"{url}?updateMetadata=True", json={**group, "features": [*group["features"], *more]})
    assert (answer.status_code, answer.json()["errorCode"]) == (422, 120001)
    assert re.search(text, answer.json()["usrMsg"])
    assert client.get(url).json() == group
    assert client.get("project/119/kafka/subjects/cards_1/versions").json() == [1]


def test_two_clients_that_append_at_once_do_not_undo_each_other(client, cards, broker, monkeypatch):
    group = client.post(GROUPS, json=cards).json()
    url = f"{GROUPS}/{group['id']}"
    waiting, free = threading.Event(), threading.Event()
    create = broker.create_topic

    def slow(*arguments):
        waiting.set()
        assert free.wait(30)
        return create(*arguments)

    monkeypatch.setattr(broker, "create_topic", slow)

    def append(name):
        body = {**group, "features": [*group["features"], {"name": name, "type": "double"}]}
        return client.put(f"{url}?updateMetadata=True", json=body)

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(append, "x")
        assert waiting.wait(30)
        second = pool.submit(append, "y")
        # It has looked the group up as soon as a request that came later has been answered.
        assert client.get(url).json() == group
        free.set()
        assert (first.result().status_code, second.result().status_code) == (200, 400)
    assert "feature x is missing" in second.result().json()["usrMsg"]
    assert [f["name"] for f in client.get(url).json()["features"]][-2:] == ["amounts", "x"]


def test_a_topic_goes_with_the_last_group_that_has_it(client, cards, broker):
    cards |= {"onlineEnabled": False, "topicName": "shared"}
    ids = [client.post(GROUPS, json={**cards, "name": name}).json()["id"] for name in ("one", "two")]
    client.delete(f"{GROUPS}/{ids[0]}")
    assert set(broker.topics) == {"shared"}
    client.delete(f"{GROUPS}/{ids[1]}")
    assert broker.topics == {}


@contextmanager
def without_kafka(broker):
    def away(*_):
        raise KAFKA_UNAVAILABLE("away")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("topic_names", "create_topic"):
            patch.setattr(broker, name, away)
        yield


def test_a_group_that_could_not_be_made_again_is_not_cleared(client, cards, broker):
    group = client.post(GROUPS, json=cards).json()
    with without_kafka(broker):
        assert client.post(f"{GROUPS}/{group['id']}/clear").status_code == 503
    assert client.get(f"{GROUPS}/{group['id']}").json() == group


def test_what_fails_without_kafka_leaves_no_newer_schema(client, cards, broker):
    versions = "project/119/kafka/subjects/cards_1/versions"
    with without_kafka(broker):
        assert client.post(GROUPS, json=cards).status_code == 503
    assert client.get(versions).status_code == 404
    group = client.post(GROUPS, json=cards).json()
    url = f"{GROUPS}/{group['id']}"
    body = {**group, "features": [*group["features"], {"name": "extra", "type": "double"}]}
    with without_kafka(broker):
        assert client.put(f"{url}?updateMetadata=True", json=body).status_code == 503
        assert client.put(f"{url}?updateMetadata=True", json=group).status_code == 503
    assert client.get(versions).json() == [1]
    assert client.get(url).json() == group
    assert client.put(f"{url}?updateMetadata=True", json=body).status_code == 200
    assert client.get(versions).json() == [1, 2]


@pytest.mark.parametrize(("method", "path"), [("delete", ""), ("post", "/clear")])
def test_a_materialization_ends_with_its_group(client, app, cards, method, path):
    ended = []

    class Executor(PatientExecutor):
        def stop(self, execution):
            ended.append(execution.id)
            return super().stop(execution)

    context = app.state.context
    context.executor = Executor(context.config, context.jobs)
    group = client.post(GROUPS, json=cards).json()
    execution = client.post(f"{JOB}/executions").json()["id"]
    assert client.request(method, f"{GROUPS}/{group['id']}{path}").status_code == 200
    assert ended == [execution]


def test_deleting_removes_all_but_the_shared_topic_and_ids_are_not_given_twice(client, cards, broker):
    group = client.post(GROUPS, json=cards).json()
    answer = client.delete(f"{GROUPS}/{group['id']}")
    assert (answer.status_code, answer.content) == (200, b"")
    assert client.get(JOB).status_code == 404
    assert client.get("project/119/kafka/subjects/cards_1/versions").status_code == 404
    assert set(broker.topics) == {"demo_onlinefs"}
    assert client.post(GROUPS, json=cards).json()["id"] > group["id"]


def test_metadata_survives_a_restart(client, cards, config, broker):
    from fastapi.testclient import TestClient

    from devstack.hopsworks.server import create_app

    group = client.post(GROUPS, json=cards).json()
    with TestClient(create_app(config), base_url="https://testserver/hopsworks-api/api") as restarted:
        restarted.headers.update(client.headers)
        assert restarted.get(f"{GROUPS}/cards?version=1").json() == [group]


def test_tags_commits_and_ingestions(client, cards):
    group = f"{GROUPS}/{client.post(GROUPS, json=cards).json()['id']}"
    assert client.get(f"{group}/expectationsuite").json()["count"] == 0
    assert client.get(f"{group}/tags/owner").json()["errorCode"] == 370002
    client.put(f"{group}/tags/owner", json={"team": "fraud"})
    items = client.get(f"{group}/tags").json()["items"]
    assert items == [{"name": "owner", "value": '{"team": "fraud"}'}]
    assert client.get(f"{group}/commits").json()["errorCode"] == 270227
    assert client.post(f"{group}/commits", json={"commitID": None, "commitTime": 5}).json()["commitID"] == 5
    assert client.post(f"{group}/commits", json={"commitTime": 5}).json()["commitID"] == 6
    newest = client.get(f"{group}/commits?limit=1").json()
    assert (newest["count"], newest["items"][0]["commitID"]) == (2, 6)
    assert client.get(f"{group}/commits?filter_by=commited_on_ltoeq:5").json()["count"] == 1
    first = client.post(f"{group}/online_ingestion", json={"id": None, "numEntries": 3})
    assert first.status_code == 201
    latest = client.get(f"{group}/online_ingestion?filter_by=LATEST").json()
    assert latest["items"] == [{"id": first.json()["id"], "numEntries": 3, "results": []}]


# --- Kafka ---------------------------------------------------------------------------------------------------


def _record(*fields):
    return {"schema": json.dumps({"type": "record", "name": "r", "fields": list(fields)})}


A = {"name": "a", "type": "int"}


def test_subjects(client):
    url = "project/119/kafka/subjects"
    first = client.post(f"{url}/tx/versions", json=_record(A)).json()
    assert (
        client.post(f"{url}/tx/versions", json=_record(A)).json() == first == {"id": 1, "subject": "tx", "version": 1}
    )
    assert client.post(f"{url}/other/versions", json=_record(A)).json()["id"] == 1
    incompatible = client.post(f"{url}/tx/versions", json=_record(A, {"name": "b", "type": "int"}))
    assert (incompatible.status_code, incompatible.json()["error_code"]) == (409, 40901)
    wider = _record(A, {"name": "b", "type": "int", "default": 0})
    assert client.post(f"{url}/tx/versions", json=wider).json()["version"] == 2
    assert client.get(f"{url}/tx/versions").json() == [1, 2]
    assert client.get(f"{url}/tx/versions/3").json()["error_code"] == 40402
    assert client.get(f"{url}/tx/versions/0").json()["error_code"] == 42202
    invalid = client.post(f"{url}/bad/versions", json={"schema": '{"type":"nothing"}'})
    assert (invalid.status_code, invalid.json()["error_code"]) == (422, 42201)
    assert client.post(f"{url}/inferenceschema/versions", json=_record(A)).json()["errorCode"] == 190016
    assert client.delete(f"{url}/tx/versions/2").json() == 2


def test_topics(client, broker):
    body = {"name": "tx", "schemaName": "tx", "schemaVersion": 1, "numOfReplicas": 1, "numOfPartitions": 3}
    url = "project/119/kafka/topics"
    assert client.get(url).json() == {"count": 0}
    assert client.post(url, json=body).json()["errorCode"] == 190006
    client.post("project/119/kafka/subjects/tx/versions", json=_record(A))
    assert client.post(url, json=body).status_code == 201
    assert broker.topics == {"tx": (3, 1)}
    assert (client.post(url, json=body).status_code, client.post(url, json=body).json()["errorCode"]) == (409, 190002)
    in_use = client.delete("project/119/kafka/subjects/tx/versions/1")
    assert (in_use.status_code, in_use.json()["errorCode"]) == (412, 190014)
    assert client.get(url).json()["items"][0]["schemaVersion"] == 1
    assert client.delete(f"{url}/tx").status_code == 204
    assert client.delete(f"{url}/tx").status_code == 204
    assert broker.topics == {}


# --- jobs ----------------------------------------------------------------------------------------------------


def test_jobs_that_cannot_run_here_are_kept_but_refused(client):
    config = {"type": "dockerJobConfiguration", "imagePath": "x"}
    assert client.put("project/119/jobs/mine", json=config).status_code == 201
    assert client.put("project/119/jobs/mine", json=config).status_code == 200
    assert client.get("project/119/jobs").json()["count"] == 1
    answer = client.post("project/119/jobs/mine/executions")
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 130000)
    assert "materialization" in answer.json()["usrMsg"]
    assert client.get("project/119/jobs/mine/executions").json() == {"count": 0}
    assert client.put("project/119/jobs/mine", json={"type": "unknown"}).status_code == 422
    assert client.delete("project/119/jobs/mine").status_code == 204


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"", "text/plain", ("", {})),
        (b" -op x ", "text/plain", ("-op x", {})),
        (b"-op x", "", ("-op x", {})),
        (b"", "application/json", ("", {})),
        (b'{"args": "-op x", "envVars": {"A": "1"}}', "application/json", ("-op x", {"A": "1"})),
        (
            b'{"logicalDate": "2024-01-01T00:00:00+00:00"}',
            "application/json; charset=utf-8",
            ("", {"HOPS_LOGICAL_DATE": "2024-01-01T00:00:00+00:00"}),
        ),
    ],
)
def test_executions_take_text_and_json(body, content_type, expected):
    assert start_arguments(body, content_type) == expected


def test_an_execution_body_that_is_no_object_is_refused():
    with pytest.raises(HopsworksError, match="120001"):
        start_arguments(b"[1]", "application/json")


def test_schedules_are_kept(client, cards):
    client.post(GROUPS, json=cards)
    url = f"{JOB}/schedule/v2"
    assert client.get(url).json()["errorCode"] == 130042
    body = {"id": None, "startDateTime": 1, "cronExpression": "0 0 * * * ? *", "enabled": True}
    schedule = client.post(url, json=body).json()
    assert schedule["id"]
    assert client.get(JOB).json()["jobSchedule"] == schedule
    assert client.delete(url).status_code == 204


# --- first start ---------------------------------------------------------------------------------------------


def test_secrets_are_private_and_setting_up_again_keeps_them(config):
    certs = Layout(config).certs
    private = [config.hopsworks_api_key_file, certs / "server.key", certs / "client.key", certs / "material_passwd"]
    before = [path.read_bytes() for path in private]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    initialise(config)
    assert [path.read_bytes() for path in private] == before
