"""The whole stack at work: health, idempotence, who can see what, a killed process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable

import psutil
import pytest
import requests

from devstack import processes
from devstack.airflow_client import AirflowClient
from devstack.config import HOST, PYTHON, REPOSITORY
from devstack.parts import NAMES
from devstack.stack import PartStatus, Stack
from devstack.supervision import Supervisor, socket_path

GIBIBYTE = 2**30


pytestmark = pytest.mark.usefixtures("with_airflow")


def by_name(stack: Stack) -> dict[str, PartStatus]:
    return {part.name: part for part in stack.status()}


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.3)


def test_every_part_is_healthy_within_the_memory_that_was_promised(stack: Stack) -> None:
    statuses = stack.status()
    assert [part.name for part in statuses] == list(NAMES)
    assert [part.name for part in statuses if not part.healthy] == []
    assert sum(part.memory_bytes for part in statuses) < 6 * GIBIBYTE
    assert all(file.is_file() for part in statuses for file in part.logs)


@pytest.mark.parametrize(
    ("conn_id", "told"),
    [
        ("hopsworks_default", "demo"),
        ("flink_default", "task manager(s)"),
        ("kafka_default", "Connection successful"),
    ],
)
def test_the_test_button_of_each_connection(stack: Stack, conn_id: str, told: str) -> None:
    airflow = AirflowClient(stack.config.airflow_url, stack.airflow_credentials)
    saved = airflow.call("GET", f"/connections/{conn_id}")
    # As the form sends what is saved: secrets stay as they are.
    body = {name: saved[name] for name in ("connection_id", "conn_type", "host", "port", "login", "schema", "extra")}
    answer = airflow.call("POST", "/connections/test", json=body)
    assert answer["status"] is True, answer
    assert told in answer["message"]


def test_up_again_changes_nothing(stack: Stack) -> None:
    before = {part.name: part.pids for part in stack.status()}
    began = time.monotonic()
    stack.up()
    assert time.monotonic() - began < 15
    assert {part.name: part.pids for part in stack.status()} == before


def test_everything_listens_on_the_loopback_only(stack: Stack) -> None:
    pids = {process.pid for process in processes.belonging_to(stack.config.home)}
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for connection in psutil.net_connections(kind="inet")
        if connection.pid in pids and connection.status == psutil.CONN_LISTEN
    }
    # A ZooKeeper runs with high availability only.
    expected = {port for name, port in stack.config.ports.items() if name != "zookeeper_port"}
    assert {port for _, port in listening} >= expected
    assert {ip for ip, _ in listening} <= {HOST, f"::ffff:{HOST}"}


def test_no_secret_stands_in_an_argument_or_a_log(stack: Stack) -> None:
    _, password = stack.airflow_credentials
    secrets = [stack.api_key, password]
    for process in processes.belonging_to(stack.config.home):
        try:
            arguments = " ".join(process.cmdline())
        except psutil.Error:
            continue
        assert not [secret for secret in secrets if secret in arguments], process.name()
    for file in stack.config.logs.glob("*.log"):
        text = file.read_text(errors="replace")
        assert not [secret for secret in secrets if secret in text], file.name


def test_private_files_are_private(stack: Stack) -> None:
    home = stack.config.home
    assert home.stat().st_mode & 0o077 == 0
    private = [stack.config.hopsworks_api_key_file, home / "supervisord.conf", socket_path(stack.config)]
    private += [stack.config.airflow_home / name for name in ("airflow.cfg", "keys.json", "passwords.json")]
    assert [str(file) for file in private if file.stat().st_mode & 0o077] == []


def test_airflow_has_the_connections_and_no_import_error(stack: Stack) -> None:
    url = stack.config.airflow_url
    user, password = stack.airflow_credentials
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(f"{url}/auth/token", json={"username": user, "password": password}, timeout=30)
        answer.raise_for_status()
        session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        found = session.get(f"{url}/api/v2/connections", timeout=30).json()["connections"]
        errors = session.get(f"{url}/api/v2/importErrors", timeout=30).json()["import_errors"]
    types = {one["connection_id"]: one["conn_type"] for one in found}
    assert types == {"hopsworks_default": "hopsworks", "flink_default": "flink", "kafka_default": "kafka"}
    assert stack.api_key not in str(found)
    assert errors == []


@pytest.mark.parametrize(("name", "program"), [("hopsworks-onlinefs",) * 2, ("airflow", "airflow-triggerer")])
def test_a_killed_process_is_seen_and_comes_back(stack: Stack, name: str, program: str) -> None:
    victim = Supervisor(stack.config).states()[program]["pid"]
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: victim not in by_name(stack)[name].pids)
    stack.up()
    part = by_name(stack)[name]
    assert part.healthy, part
    assert victim not in part.pids


def test_the_command_line_finds_the_stack_and_nothing_is_wrong_with_it(stack: Stack) -> None:
    environment = {**processes.clean_environment(), **stack.config.environment()}
    program = f'eval "$({PYTHON} -m devstack env)"; {PYTHON} -m hopsworks_flink.cli doctor --json'
    done = subprocess.run(
        ["bash", "-c", program],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = {one["subject"]: one for one in json.loads(done.stdout)}
    assert {one["result"] for one in found.values()} == {"ok"}, done.stdout
    assert found["triggerer"]["text"].endswith("tasks wait there, without a worker slot")
    assert {"hopsworks", "feature store", "jobs", "kafka", "flink", "jars", "restore points"} <= set(found)
    assert stack.api_key not in done.stdout + done.stderr


def test_the_commands_tell_what_there_is(stack: Stack) -> None:
    environment = {**processes.clean_environment(), **stack.config.environment(), "COLUMNS": "200"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [PYTHON, "-m", "devstack", *arguments]
        return subprocess.run(
            command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    status = run("status")
    assert status.returncode == 0, status.stdout + status.stderr
    assert all(name in status.stdout for name in NAMES)
    # Each look makes a link of its own, which logs a browser in.
    assert all(value.partition("?link=")[0] in status.stdout for _, value in stack.addresses())
    logs = run("logs", "kafka", "-n", "500")
    assert "Kafka Server started" in logs.stdout
    wrong = run("logs", "nowhere")
    assert wrong.returncode == 1
    assert "There is no part 'nowhere'; the parts are kafka," in wrong.stderr
