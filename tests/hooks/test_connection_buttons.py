"""Airflow's test buttons: one authenticated read, and a sentence for everything that can be wrong."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from tests.support.fixtures import set_connection
from tests.support.flink_stub import FlinkStub
from tests.support.hopsworks_server import LocalHopsworks

pytestmark = pytest.mark.airflow


@pytest.fixture
def flink_connection(flink: FlinkStub) -> dict[str, Any]:
    return {"conn_type": "flink", "host": flink.url, "login": "ann", "password": "marker-pass-8714"}


def test_flink_is_asked_once_with_its_credentials(
    flink: FlinkStub, flink_connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The form sends port 0 for an empty field.
    set_connection(monkeypatch, "flink_default", **flink_connection, port=0)
    assert FlinkHook().test_connection() == (True, "Flink 2.3.0 with 1 task manager(s), 3 of 4 slots free")
    (request,) = flink.requests
    assert base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")) == b"ann:marker-pass-8714"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"status": 401}, "Check login and password"),
        ({"status": 500}, "500"),
        ({"status": 200, "text": "<html>a proxy</html>"}, "not Flink's JSON"),
        ({"status": 200, "text": "[]"}, "is this its address?"),
        ({"status": 200, "text": '{"flink-version": "2"}'}, "is this its address?"),
    ],
)
def test_flink_that_answers_otherwise(
    flink: FlinkStub, flink_connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch, answer: Any, text: str
) -> None:
    set_connection(monkeypatch, "flink_default", **flink_connection)
    flink.fail("GET", "/overview", times=9, **answer)
    ok, said = FlinkHook().test_connection()
    assert not ok
    assert text in said
    assert "marker-pass" not in said


@pytest.mark.parametrize(
    "fields",
    [
        {"conn_type": "flink"},
        {"conn_type": "flink", "host": "ftp://x"},
        {"conn_type": "flink", "host": "https://127.0.0.1:1", "extra": {"ca_path": "/no/ca.pem"}},
        {"conn_type": "flink", "host": "http://x", "extra": {"verify_tls": "perhaps"}},
    ],
)
def test_flink_button_never_raises(monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]) -> None:
    set_connection(monkeypatch, "flink_default", **fields)
    ok, said = FlinkHook().test_connection()
    assert not ok
    assert len(said) > 10


def test_hopsworks_is_asked_once(hopsworks: LocalHopsworks) -> None:
    assert HopsworksHook().test_connection() == (True, "Logged in to project 'demo' (id 119)")
    assert hopsworks.faults.requests == [("GET", "/hopsworks-api/api/project/getProjectInfo/demo")]


def test_hopsworks_port_0_is_none(hopsworks: LocalHopsworks, monkeypatch: pytest.MonkeyPatch) -> None:
    at = f"127.0.0.1:{hopsworks.config.hopsworks_port}"
    set_connection(monkeypatch, "hopsworks_default", **{**hopsworks.connection(), "host": at, "port": 0})
    assert HopsworksHook().test_connection()[0]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"password": "wrong.key-that-is-nobodys"}, "Check the API key"),
        ({"password": ""}, "the API key is missing"),
        ({"extra": {"project": "nowhere"}}, "read project 'nowhere'"),
        ({"extra": {}}, "'project' is missing"),
        ({"extra": {"trust_store_path": None}}, "certificate"),
        ({"extra": {"trust_store_path": "/no/ca.pem"}}, "'/no/ca.pem' (trust_store_path)"),
        ({"port": 1}, "cannot be reached"),
        ({"host": "http://127.0.0.1"}, "must be a name or an https URL"),
        ({"host": ""}, "host is empty"),
    ],
)
def test_hopsworks_button_never_raises(
    hopsworks: LocalHopsworks, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], text: str
) -> None:
    fields = {**hopsworks.connection(), **changes}
    if changes.get("extra"):
        fields["extra"] = {**hopsworks.connection()["extra"], **changes["extra"]}
    set_connection(monkeypatch, "hopsworks_default", **fields)
    monkeypatch.delenv("HOPSWORKS_API_KEY", raising=False)
    ok, said = HopsworksHook().test_connection()
    assert not ok
    assert text in said
    assert "nobodys" not in said


def test_hopsworks_that_answers_otherwise(hopsworks: LocalHopsworks) -> None:
    hopsworks.faults.status, hopsworks.faults.times = 200, 1
    ok, said = HopsworksHook().test_connection()
    assert not ok
    assert "not JSON" in said


def test_missing_connections_are_told() -> None:
    for hook in (FlinkHook("nobody"), HopsworksHook("nobody")):
        ok, said = hook.test_connection()
        assert not ok
        assert "There is no Airflow connection 'nobody'" in said
