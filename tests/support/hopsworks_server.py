"""The local Hopsworks server on a real https socket in this process, without a broker.

Executions are put into its own store, so that a test decides when they end.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from devstack.config import DevstackConfig
from devstack.hopsworks.home.layout import Layout
from devstack.hopsworks.home.setup import initialise, read_api_key
from devstack.hopsworks.jobs.executions import Executor
from devstack.hopsworks.metadata.models import Execution
from devstack.hopsworks.server import create_app

#: Segments of an address that no link leads to.
HOSTILE_SEGMENTS = [
    "0",
    "-1",
    str(2**63),
    "9" * 5000,
    "²",
    "%00",
    "%2e%2e",
    "a%2Fb",
    "x" * 300,
    "%FF%FE",
    "'",
    '"',
    "%0A",
    "{}",
]


class MemoryBroker:
    """Topic names without a broker: the one part of the server that these tests leave out.

    What a real broker does is tested in tests/integration/platform/test_sdk_contract.py.
    """

    def __init__(self) -> None:
        self.topics: dict[str, tuple[int, int]] = {}

    def topic_names(self) -> set[str]:
        return set(self.topics)

    def create_topic(self, name: str, partitions: int, replicas: int) -> bool:
        return self.topics.setdefault(name, (partitions, replicas)) == (partitions, replicas)

    def end_offsets(self, name: str, partitions: int) -> dict[int, int]:
        return {partition: 1500 for partition in range(partitions)}

    def delete_topic(self, name: str) -> None:
        self.topics.pop(name, None)


class Faults:
    """Answers instead of the server, as often as it was told to; counts the requests."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.status, self.times = 503, 0
        self.requests: list[tuple[str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        self.requests.append((scope["method"], scope["path"]))
        if self.times <= 0:
            return await self.app(scope, receive, send)
        self.times -= 1
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b"<html>away</html>"})


class PatientExecutor(Executor):
    """Starts no process: an execution runs until a test ends it, or somebody stops it through the API."""

    def _spawn(self, execution: Execution) -> None:
        self.jobs.mark_running(execution.id)
        threading.Thread(target=self.on_start, args=(execution.id,), daemon=True).start()

    def on_start(self, execution_id: int) -> None:
        """A test puts here what becomes of an execution."""

    def stop(self, execution: Execution) -> Execution:
        """End the execution as a stop by its owner does."""
        if not execution.finished:
            self.jobs.request_stop(execution.id)
            self._finish_after_death(execution.id)
        return self.jobs.execution(execution.id) or execution


class LocalHopsworks:
    """One server; ``jobs`` is its store of jobs and executions."""

    def __init__(self, config: DevstackConfig) -> None:
        self.config = config
        initialise(config)
        self.layout = Layout(config)
        app = create_app(config)
        app.state.context.registry.broker = MemoryBroker()
        self.context = app.state.context
        self.jobs = app.state.context.jobs
        self.executor = self.context.executor = PatientExecutor(config, self.jobs)
        self.faults = Faults(app)

    def connection(self, **extra: Any) -> dict[str, Any]:
        """Fields of an Airflow connection to it."""
        return {
            "conn_type": "hopsworks",
            "host": "127.0.0.1",
            "port": self.config.hopsworks_port,
            "password": read_api_key(self.config),
            "extra": {"project": self.config.project, "trust_store_path": str(self.config.hopsworks_ca), **extra},
        }

    def start_execution(self, name: str = "train", job_type: str = "PYTHON", state: str = "RUNNING") -> int:
        """An execution that runs until :meth:`end`; makes the job if there is none."""
        job, _ = self.jobs.put_job(name, job_type, {"type": "pythonJobConfiguration", "defaultArgs": ""})
        execution = self.jobs.new_execution(job, "", {}, f"{self.layout.project_path}/Logs/Python")
        assert execution is not None
        if state == "RUNNING":
            self.jobs.mark_running(execution.id)
        return int(execution.id)

    def end(self, execution_id: int, state: str = "FINISHED", final_status: str = "SUCCEEDED", log: str = "") -> None:
        """Write the logs, then the final state."""
        execution = self.jobs.execution(execution_id)
        assert execution is not None
        for path, text in ((execution.stdout_path, log), (execution.stderr_path, "")):
            target = self.context.datasets.resolve(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        self.jobs.finish(execution_id, state, final_status)

    def stop_was_requested(self, execution_id: int) -> bool:
        execution = self.jobs.execution(execution_id)
        return bool(execution and execution.stop_requested)

    @contextmanager
    def serve(self) -> Iterator[LocalHopsworks]:
        """Listen on the configured port until the end of the block."""
        certs = self.layout.certs
        server = uvicorn.Server(
            uvicorn.Config(
                self.faults,
                host="127.0.0.1",
                port=self.config.hopsworks_port,
                ssl_certfile=certs / "server.pem",
                ssl_keyfile=str(certs / "server.key"),
                log_config=None,
                lifespan="off",
                timeout_graceful_shutdown=1,
            )
        )
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        deadline = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)
        try:
            yield self
        finally:
            server.should_exit = True
            thread.join(10)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
