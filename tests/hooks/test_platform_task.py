"""Credentials of a task in the Airflow inside Hopsworks: the platform's order, against the local server."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import uuid
from typing import Any

import pytest
from airflow.api_fastapi.auth.tokens import JWTGenerator
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from devstack.hopsworks.home.setup import read_api_key
from hopsworks_flink.clients.hopsworks.rest import async_settings
from hopsworks_flink.exceptions import ConfigurationError, HopsworksLoginError
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.hooks.platform_task import key_variable, project_id
from tests.support.fixtures import set_connection
from tests.support.hopsworks_server import LocalHopsworks

pytestmark = pytest.mark.airflow

DAG_ID, OTHER = "p_demo_119__cards__deploy", "p_demo_7__cards__deploy"
EXCHANGE = ("POST", "/hopsworks-api/api/auth/airflow-task-exchange/exchange")
_task_token = {"value": ""}


def token_of_this_task() -> str:
    """What an administrator of the platform names in ``[hopsworks_flink] task_token``."""
    return _task_token["value"]


@pytest.fixture
def task(hopsworks: LocalHopsworks, monkeypatch: pytest.MonkeyPatch) -> LocalHopsworks:
    """A task of the platform's Airflow: no connection, the server's address in the environment."""
    monkeypatch.delenv("AIRFLOW_CONN_HOPSWORKS_DEFAULT")
    monkeypatch.delenv("HOPSWORKS_API_KEY", raising=False)
    monkeypatch.setenv("AIRFLOW_CTX_DAG_ID", DAG_ID)
    monkeypatch.setenv("HOPSWORKS_HOST", "127.0.0.1")
    monkeypatch.setenv("HOPSWORKS_PORT", str(hopsworks.config.hopsworks_port))
    monkeypatch.setenv("HOPSWORKS_TRUST_STORE_PATH", str(hopsworks.config.hopsworks_ca))
    # Nothing is kept. To ask Airflow's server for it, there is none.
    for dag_id in (DAG_ID, OTHER):
        keep_key(monkeypatch, "", dag_id)
    return hopsworks


@pytest.fixture
def signed(task: LocalHopsworks, monkeypatch: pytest.MonkeyPatch) -> str:
    """A token that Airflow's own generator made, with a key that the server knows."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    task.layout.task_key.write_bytes(public)
    generator = JWTGenerator(
        private_key=key,
        audience="urn:airflow.apache.org:task",
        valid_for=600,
        issuer="airflow",
        algorithm="RS256",
        kid="k",
    )
    _task_token["value"] = generator.generate({"sub": str(uuid.uuid4())})
    monkeypatch.setenv("AIRFLOW__HOPSWORKS_FLINK__TASK_TOKEN", f"{__name__}.token_of_this_task")
    return _task_token["value"]


def exchanges(server: LocalHopsworks) -> int:
    return server.faults.requests.count(EXCHANGE)


def keep_key(monkeypatch: pytest.MonkeyPatch, key: str, dag_id: str = DAG_ID) -> None:
    monkeypatch.setenv(f"AIRFLOW_VAR_{key_variable(dag_id).upper()}", key)


@pytest.mark.parametrize(
    ("dag_id", "number"),
    [
        (DAG_ID, 119),
        ("p_fraud_2_demo_7__a__b", 7),
        ("p_x_1__2__deploy", 1),
        ("cards__deploy", None),
        ("p_cards__deploy", None),
        ("p_cards_x__deploy", None),
        ("", None),
    ],
)
def test_the_project_of_a_dag(dag_id: str, number: int | None) -> None:
    assert project_id(dag_id) == number


def test_the_variable_is_the_platforms() -> None:
    assert key_variable(DAG_ID) == f"hopsworks_api_key_{hashlib.sha256(DAG_ID.encode()).hexdigest()[:16]}"


def test_first_the_tasks_token(task: LocalHopsworks, signed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_key(monkeypatch, "not-asked-for")
    hook = HopsworksHook()
    assert hook.settings.project == "demo"
    assert hook.settings.api_key == ""
    with hook.session() as session:
        assert session.platform_version()
        assert session.kafka_config()["bootstrap.servers"]
    # The REST client of triggers and kills signs in the same way, and the token is used again.
    assert HopsworksHook.test_connection(hook)[0]
    assert exchanges(task) == 1
    token = hook.settings.token()
    assert token not in repr(hook.settings)
    assert signed not in repr(hook.settings)


def test_a_token_is_renewed_before_it_ends(task: LocalHopsworks, signed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devstack.hopsworks.api.routes.platform.TOKEN_SECONDS", 20)
    hook = HopsworksHook()
    assert hook.test_connection()[0]
    assert hook.test_connection()[0]
    assert exchanges(task) > 2


def test_a_cluster_of_the_project_gets_the_same_token(
    task: LocalHopsworks, signed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_connection(monkeypatch, "flink_default", conn_type="flink", extra={"hopsworks_conn_id": "hopsworks_default"})
    task.start_execution("cluster", "FLINK")
    request: Any = type("Request", (), {"headers": {}})()
    FlinkHook().settings.auth(request)
    assert request.headers["Authorization"].startswith("Bearer ")


@pytest.mark.parametrize("why", ["another key", "no function"])
def test_then_the_dags_variable(
    task: LocalHopsworks, signed: str, why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if why == "another key":
        _task_token["value"] = signed[:-6] + "AAAAAA"
    else:
        monkeypatch.delenv("AIRFLOW__HOPSWORKS_FLINK__TASK_TOKEN")
    key = read_api_key(task.config)
    keep_key(monkeypatch, key)
    with caplog.at_level(logging.DEBUG):
        assert HopsworksHook().settings.api_key == key
    assert exchanges(task) == (why == "another key")
    assert ("HTTP 401. Trying the DAG's API key." in caplog.text) == (why == "another key")
    assert key not in caplog.text
    assert signed[:-6] not in caplog.text


def test_then_the_connection_and_then_the_environment(task: LocalHopsworks, monkeypatch: pytest.MonkeyPatch) -> None:
    key = read_api_key(task.config)
    # As the platform's own provider saves it: no project.
    fields = {**task.connection(), "extra": {"trust_store_path": str(task.config.hopsworks_ca)}}
    set_connection(monkeypatch, "hopsworks_default", **fields)
    monkeypatch.setenv("HOPSWORKS_API_KEY", "k" * 20)
    assert (HopsworksHook().settings.api_key, HopsworksHook().settings.project) == (key, "demo")
    set_connection(monkeypatch, "hopsworks_default", **{**fields, "password": ""})
    monkeypatch.setenv("HOPSWORKS_API_KEY", key)
    assert HopsworksHook().settings.api_key == key
    monkeypatch.delenv("AIRFLOW_CONN_HOPSWORKS_DEFAULT")
    assert HopsworksHook().test_connection()[0]


def test_a_trigger_reads_the_environment_as_a_task_does(task: LocalHopsworks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CTX_DAG_ID", "cards__deploy")
    with pytest.raises(ConfigurationError, match="the API key is missing"):
        asyncio.run(async_settings("hopsworks_default"))
    monkeypatch.setenv("HOPSWORKS_API_KEY", read_api_key(task.config))
    monkeypatch.setenv("HOPSWORKS_PROJECT", "demo")
    assert asyncio.run(async_settings("hopsworks_default")) == HopsworksHook().settings
    monkeypatch.delenv("HOPSWORKS_HOST")
    with pytest.raises(ConfigurationError, match="There is no Airflow connection 'hopsworks_default'"):
        asyncio.run(async_settings("hopsworks_default"))


def test_outside_of_the_platform_nothing_of_it_is_asked(
    task: LocalHopsworks, signed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CTX_DAG_ID", "cards__deploy")
    keep_key(monkeypatch, "k" * 20)
    monkeypatch.setenv("HOPSWORKS_API_KEY", read_api_key(task.config))
    with pytest.raises(ConfigurationError, match="extra 'project' is missing"):
        _ = HopsworksHook().settings
    monkeypatch.setenv("HOPSWORKS_PROJECT", "demo")
    assert HopsworksHook().test_connection()[0]
    assert exchanges(task) == 0


def test_what_is_wrong_is_named(task: LocalHopsworks, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="the API key is missing"):
        _ = HopsworksHook().settings
    keep_key(monkeypatch, "two words")
    with pytest.raises(ConfigurationError, match=f"Variable {key_variable(DAG_ID)}: the API key") as caught:
        _ = HopsworksHook().settings
    assert "two words" not in str(caught.value)
    keep_key(monkeypatch, read_api_key(task.config))
    monkeypatch.setenv("AIRFLOW__HOPSWORKS_FLINK__TASK_TOKEN", "nowhere.to_be_found")
    with pytest.raises(ConfigurationError, match=r"task_token = nowhere.to_be_found: there is no such function"):
        _ = HopsworksHook().settings
    monkeypatch.delenv("AIRFLOW__HOPSWORKS_FLINK__TASK_TOKEN")
    monkeypatch.setenv("AIRFLOW_CTX_DAG_ID", OTHER)
    keep_key(monkeypatch, read_api_key(task.config), OTHER)
    with pytest.raises(HopsworksLoginError, match="sees no project 7"):
        _ = HopsworksHook().settings
