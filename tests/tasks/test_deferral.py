"""A task that would defer asks first whether a triggerer is there to go on with it."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from hopsworks_flink.operators.flink import FlinkStopJobOperator
from hopsworks_flink.sensors.hopsworks import HopsworksExecutionSensor
from hopsworks_flink.tasks.deferral import may_defer, triggerer
from tests.support.deferral import context_of, defer
from tests.support.flink_stub import FlinkStub
from tests.support.hopsworks_server import LocalHopsworks

HEARTBEAT = "2026-01-01T12:00:00+00:00"


class ApiServer:
    """Airflow's API server, as far as anybody may ask it."""

    def __init__(self) -> None:
        self.status: int = 200
        self.triggerer: Any = {"status": "healthy", "latest_triggerer_heartbeat": HEARTBEAT}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                body = json.dumps({"metadatabase": {"status": "healthy"}, "triggerer": outer.triggerer}).encode()
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    api = ApiServer()
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", f"{api.url}/execution/")
    yield api
    api.server.shutdown()
    api.server.server_close()


DEAD = [
    {"status": None, "latest_triggerer_heartbeat": None},
    {"status": "unhealthy", "latest_triggerer_heartbeat": HEARTBEAT},
]


def test_where_airflow_is_asked(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert triggerer() == (True, f"a triggerer is alive (last heartbeat {HEARTBEAT})")
    monkeypatch.delenv("AIRFLOW__CORE__EXECUTION_API_SERVER_URL")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", f"{api.url}/airflow/")
    assert triggerer()[0]
    assert api.asked == ["/api/v2/monitor/health", "/airflow/api/v2/monitor/health"]


@pytest.mark.parametrize("found", DEAD, ids=["never seen", "gone"])
def test_without_a_triggerer_the_worker_waits_and_says_so(
    api: ApiServer, flink: FlinkStub, found: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    api.triggerer = found
    flink.add("endless")
    operator = FlinkStopJobOperator(task_id="stop", job_name="endless", deferrable=True, poll_interval=0.05)
    with caplog.at_level(logging.WARNING):
        assert operator.execute(context_of())["action"] == "stopped"
    seen = found["latest_triggerer_heartbeat"] or "never"
    assert f"waits on its worker and holds a slot there: no triggerer is alive (last heartbeat {seen})" in caplog.text
    assert "[operators] default_deferrable = False" in caplog.text


def test_with_one_it_defers(api: ApiServer, flink: FlinkStub, caplog: pytest.LogCaptureFixture) -> None:
    flink.add("endless")
    operator = FlinkStopJobOperator(task_id="stop", job_name="endless", deferrable=True)
    with caplog.at_level(logging.WARNING):
        defer(operator, context_of())
    assert "triggerer" not in caplog.text


def test_a_sensor_waits_on_its_worker(api: ApiServer, hopsworks: LocalHopsworks) -> None:
    api.triggerer = DEAD[0]
    execution = hopsworks.start_execution()
    sensor = HopsworksExecutionSensor(
        task_id="wait", job_name="train", execution_id=execution, deferrable=True, poke_interval=0.1, timeout=30
    )
    ending = threading.Timer(0.5, lambda: hopsworks.end(execution))
    ending.start()
    assert sensor.execute(context_of())["state"] == "FINISHED"
    ending.join()


@pytest.mark.parametrize(
    "break_it",
    [
        lambda api, env: env.setenv("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", "http://127.0.0.1:1/execution/"),
        lambda api, env: env.setenv("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", "nonsense://["),
        lambda api, env: setattr(api, "triggerer", "?"),
        lambda api, env: setattr(api, "triggerer", None),
    ],
    ids=["away", "no address", "another answer", "no answer"],
)
def test_what_cannot_be_known_changes_nothing(api: ApiServer, break_it: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    break_it(api, monkeypatch)
    alive, why = triggerer()
    assert alive is None
    assert "does not tell the health of Airflow" in why
    assert may_defer(FlinkStopJobOperator(task_id="stop", job_name="x", deferrable=True))


def test_a_task_of_the_platform_keeps_its_credential_and_so_its_worker(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    task = FlinkStopJobOperator(task_id="stop", job_name="x", deferrable=True)
    monkeypatch.setenv("AIRFLOW_CTX_DAG_ID", "cards__deploy")
    assert may_defer(task)
    monkeypatch.setenv("AIRFLOW_CTX_DAG_ID", "p_demo_119__cards__deploy")
    assert not may_defer(task)
    assert "the triggerer has neither its credential nor its project" in caplog.text


def test_nobody_is_asked_by_a_task_that_does_not_defer(api: ApiServer) -> None:
    assert not may_defer(FlinkStopJobOperator(task_id="stop", job_name="x", deferrable=False))
    assert api.asked == []
