"""The stack in containers: `make compose-test` builds the image and walks the demo's path. Needs Docker and Compose."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from devstack.airflow_client import AirflowClient
from devstack.config import REPOSITORY, DevstackConfig
from devstack.demo import PIPELINE, SIMULATION
from devstack.docker import ALONE, compose_file
from devstack.parts import NAMES
from tests.support.live.stack import HOME, PORT_BASE

pytestmark = [
    pytest.mark.skipif("COMPOSE_TEST" not in os.environ, reason="`make compose-test` runs it, where Docker is"),
    pytest.mark.timeout(3600),
]

PROJECT = "hopsworks-flink-test"
LOGS = HOME.with_name(f"{HOME.name}-compose") / "logs"
SECOND = "flink-taskmanager-2"
JOB = f"{PIPELINE}__features"
# What the demo reads, with the SDK, where it can reach the stores.
READ = """
import json
from devstack import demo
from devstack.stack import Stack
with demo.feature_store(Stack()) as store:
    demo.wait_for_features(store)
    online = demo.online_features(store, 2)
    offline = [len(store.get_feature_group(demo.GROUP, version=version).read()) for version in demo.VERSIONS]
print(json.dumps({"cards": len(online), "newest": str(online.window_end.max()), "offline": offline}))
"""


class Compose:
    """One project of containers."""

    def __init__(self, folder: Path) -> None:
        self.config = DevstackConfig(port_base=PORT_BASE)
        self.file = folder / "docker-compose.yaml"
        self.file.write_text(compose_file(self.config, PROJECT))

    def __call__(self, *arguments: str, stdin: str | None = None, files: tuple[Path, ...] = ()) -> str:
        command = ["docker", "compose", "--progress", "plain", "--project-directory", str(REPOSITORY)]
        for file in (self.file, *files):
            command += ["-f", str(file)]
        done = subprocess.run(
            [*command, *arguments], input=stdin, capture_output=True, text=True, timeout=1800, check=False
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout[-3000:]}{done.stderr[-6000:]}"
        return done.stdout

    def python(self, service: str, program: str) -> str:
        return self("exec", "-T", service, "python", "-", stdin=program)

    def kill(self, service: str) -> None:
        """Its process, which is the child of Docker's; this call ends with the container."""
        program = "import os, psutil, signal; os.kill(psutil.Process(1).children()[0].pid, signal.SIGKILL)"
        with contextlib.suppress(AssertionError):
            self.python(service, program)

    def read(self) -> dict[str, Any]:
        return json.loads(self.python("airflow", READ).splitlines()[-1])

    def containers(self) -> dict[str, str]:
        """Health of each container that runs, by its service."""
        rows = [json.loads(line) for line in self("ps", "--format", "json").splitlines()]
        return {row["Service"]: row["Health"] for row in rows if row["State"] == "running"}

    @property
    def airflow(self) -> AirflowClient:
        passwords = self.python("airflow", "from devstack.stack import Stack; print(*Stack().airflow_credentials)")
        user, password = passwords.split()
        return AirflowClient(self.config.airflow_url, (user, password))

    def flink(self, path: str) -> Any:
        return requests.get(f"http://127.0.0.1:{self.config.flink_port}{path}", timeout=30).json()

    def jobs(self) -> dict[str, str]:
        return {job["jid"]: job["state"] for job in self.flink("/jobs/overview")["jobs"] if job["name"] == JOB}

    def running(self) -> list[str]:
        return [job for job, state in self.jobs().items() if state == "RUNNING"]


@pytest.fixture(scope="module")
def told() -> Callable[[str], None]:
    """Says what took how long, for the documentation."""
    begun = time.monotonic()
    return lambda words: print(f"\n{time.monotonic() - begun:7.1f} s  {words}", end="", flush=True)


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory, told: Callable[[str], None]) -> Iterator[Compose]:
    compose = Compose(tmp_path_factory.mktemp("compose"))
    profiles = ("--profile", "*")
    compose(*profiles, "down", "--volumes", "--remove-orphans")
    try:
        compose("build")
        size = subprocess.check_output(["docker", "image", "inspect", f"{PROJECT}:local", "--format", "{{.Size}}"])
        told(f"the image is built: {int(size) / 1e9:.2f} GB")
        compose("up", "--wait", "--wait-timeout", "600")
        told("all parts are healthy")
        yield compose
    finally:
        logs = compose(*profiles, "logs", "--no-color", "--tail", "200")
        LOGS.mkdir(parents=True, exist_ok=True)
        (LOGS / "containers.log").write_text(logs)
        compose(*profiles, "down", "--volumes", "--remove-orphans")
        told("all is down and removed")


def eventually(condition: Callable[[], bool], what: str, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(1)


def test_the_path_of_the_demo(compose: Compose, told: Callable[[str], None]) -> None:
    assert compose.containers() == dict.fromkeys(NAMES, "healthy")
    for name in NAMES:
        assert int(compose.python(name, "import os; print(os.getuid())")) > 0, name
    airflow = compose.airflow
    airflow.wait_for_dags({f"{PIPELINE}__{verb}" for verb in ("deploy", "simulate", "offline_backfill")})
    airflow.run(f"{PIPELINE}__deploy")
    told("deployed")
    airflow.run(f"{PIPELINE}__simulate", SIMULATION)
    first = compose.read()
    assert first["cards"] == SIMULATION["cards"]
    told(f"features are served: {first}")
    airflow.run(f"{PIPELINE}__offline_backfill")
    stored = compose.read()
    assert stored["offline"][0] == SIMULATION["cards"] < stored["offline"][1]
    told(f"and stored: {stored}")


def test_commands_find_the_stack_from_inside(compose: Compose, told: Callable[[str], None]) -> None:
    status = compose("exec", "-T", "airflow", "hopsworks-flink", "status", "dags/pipelines")
    assert re.search(rf"{PIPELINE} +healthy", status), status
    assert f"{PIPELINE}__deploy" in compose("exec", "-T", "airflow", "airflow", "dags", "list", "--output", "plain")
    told("status and Airflow's own commands answer in a container")


@pytest.mark.parametrize("part", ["kafka", "flink-taskmanager", "hopsworks"])
def test_a_part_that_dies_comes_back_and_the_job_goes_on(
    compose: Compose, told: Callable[[str], None], part: str
) -> None:
    job = compose.running()
    assert len(job) == 1
    compose.kill(part)
    eventually(lambda: compose.containers().get(part) != "healthy", f"{part} did not die")
    compose("up", "--wait", "--wait-timeout", "300")
    eventually(lambda: compose.running() == job, "the same job does not run again")
    told(f"{part} was killed and is back")


def test_what_a_stack_kept_is_there_when_it_comes_up_again(compose: Compose, told: Callable[[str], None]) -> None:
    before = compose.read()
    compose("down")
    assert compose.containers() == {}
    compose("up", "--wait", "--wait-timeout", "600")
    told("taken down and brought up again")
    assert compose.read() == before
    compose.airflow.run(f"{PIPELINE}__deploy")
    (job,) = compose.running()
    restored = compose.flink(f"/jobs/{job}/checkpoints")["latest"]["restored"]
    assert restored is not None
    told(f"deployed again, from {restored['external_path']}")


def test_a_second_taskmanager(compose: Compose, told: Callable[[str], None]) -> None:
    compose("--profile", "two-taskmanagers", "up", "--wait", "--wait-timeout", "300")
    assert compose.containers()[SECOND] == "healthy"
    overview = compose.flink("/overview")
    assert (overview["taskmanagers"], overview["slots-total"]) == (2, 2 * compose.config.task_slots)
    compose.airflow.run(f"{PIPELINE}__deploy", {"parallelism": compose.config.task_slots + 1})
    (job,) = compose.running()
    vertices = [compose.flink(f"/jobs/{job}/vertices/{one['id']}") for one in compose.flink(f"/jobs/{job}")["vertices"]]
    hosts = {subtask["taskmanager-id"] for vertex in vertices for subtask in vertex["subtasks"]}
    assert len(hosts) == 2
    told("the job was rescaled over two TaskManagers")


def test_airflow_alone_reaches_what_its_connections_say(
    compose: Compose, told: Callable[[str], None], tmp_path: Path
) -> None:
    """A cluster that it did not start: here the one of the other containers, by its address."""
    connection = {"conn_type": "flink", "host": f"http://flink-jobmanager:{compose.config.flink_port}"}
    (tmp_path / "connections.env").write_text(f"AIRFLOW_CONN_FLINK_DEFAULT={json.dumps(connection)}\n")
    override = tmp_path / "override.yaml"
    override.write_text(json.dumps({"services": {ALONE: {"env_file": [str(tmp_path / "connections.env")]}}}))
    compose("stop", "airflow")
    compose("up", "--wait", "--wait-timeout", "300", ALONE, files=(override,))
    told("Airflow alone is healthy")
    (job,) = compose.running()
    seen = compose.python(
        ALONE,
        "import logging; logging.disable()\n"
        "from hopsworks_flink.hooks.flink import FlinkHook\n"
        f"print(*(job.job_id for job in FlinkHook().jobs_named({JOB!r}) if not job.is_terminal))",
    )
    assert seen.splitlines()[-1] == job
    processes = compose.python(
        ALONE,
        "import psutil\n"
        "found = [process for process in psutil.process_iter() if 'supervisor.supervisord' in process.cmdline()]\n"
        "print(*('AIRFLOW_CONN_FLINK_DEFAULT' in process.environ() for process in found))",
    )
    assert processes.split() == ["True"]
    compose("rm", "--stop", "--force", ALONE)
