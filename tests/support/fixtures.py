"""Fixtures for hook and operator tests: a stub cluster behind an Airflow connection, jars, a task's context."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.flink_stub import VERSION, FlinkStub


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many repetitions of a read as ever, with shorter pauses between them."""
    from hopsworks_flink.clients.flink.rest import FlinkRestClient
    from hopsworks_flink.clients.flink.submission import PythonSubmission
    from hopsworks_flink.hooks.flink import FlinkHook

    monkeypatch.setattr(FlinkRestClient, "pause_seconds", 0.01)
    monkeypatch.setattr(FlinkHook, "metrics_seconds", 0.5)
    monkeypatch.setattr(FlinkHook, "metrics_poll", 0.02)
    monkeypatch.setattr(PythonSubmission, "settle_poll", 0.02)


@pytest.fixture
def jars_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "jars"
    folder.mkdir()
    (folder / f"flink-python-{VERSION}.jar").write_bytes(b"python jar")
    (folder / "flink-sql-connector-kafka-5.0.0.jar").write_bytes(b"kafka jar")
    (folder / "java").mkdir()
    (folder / "java" / "hopsworks-flink-java-1.jar").write_bytes(b"own jar")
    return folder


def set_connection(monkeypatch: pytest.MonkeyPatch, conn_id: str, **fields: Any) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))


@pytest.fixture
def flink(monkeypatch: pytest.MonkeyPatch, jars_dir: Path, brisk: None) -> Iterator[FlinkStub]:
    with FlinkStub() as stub:
        extra = {
            "python_executable": "/opt/python",
            "jars_dir": str(jars_dir),
            "web_ui_url": "https://flink.example/ui/",
        }
        set_connection(monkeypatch, "flink_default", conn_type="flink", host=stub.url, extra=extra)
        yield stub


class TaskInstance:
    """The part of Airflow's task instance that our operators use."""

    def __init__(self, run_id: str = "manual__1", max_tries: int = 0) -> None:
        self.dag_id, self.task_id, self.run_id = "cards__deploy", "deploy", run_id
        self.map_index, self.max_tries, self.try_number = -1, max_tries, 1
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def xcom_pull(self, *, key: str, **_: Any) -> Any:
        return self.pushed.get(key)


def task_context(**kwargs: Any) -> dict[str, Any]:
    return {"ti": TaskInstance(**kwargs)}


class StateStore:
    """A state store of Airflow 3.3, in memory; values pass through JSON as they do there."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.values[key]) if key in self.values else default

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        assert value is not None
        self.values[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        self.values.pop(key, None)


class Memory:
    """What Airflow 3.3 keeps of a task that has one asset: for its DAG run, and for the asset."""

    def __init__(self, asset: Any) -> None:
        self.asset, self.task, self.of_asset = asset, StateStore(), StateStore()

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """A try of the task; ``max_tries`` is raised by a clear."""
        stores = {"task_state_store": self.task, "asset_state_store": ByAsset({self.asset.name: self.of_asset})}
        return {**task_context(**kwargs), **stores, "outlet_events": ByAsset({self.asset.name: OutletEvent()})}

    def new_run(self) -> None:
        """Another DAG run has its own task store."""
        self.task = StateStore()


class ByAsset(dict[str, Any]):
    """As Airflow's accessors: read with the asset itself, which has no hash before 3.2."""

    def __getitem__(self, asset: Any) -> Any:
        return super().__getitem__(asset.name)


class OutletEvent:
    """What a task says about its asset."""

    def __init__(self) -> None:
        self.extra: dict[str, Any] = {}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "my_job.py"
    path.write_text("print('a job')\n")
    return path


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Airflow's Variables, which live behind its API server, as a mapping of JSON texts."""
    from hopsworks_flink.deployment import record

    kept: dict[str, str] = {}

    class Variable:
        @staticmethod
        def get(key: str, default: Any, deserialize_json: bool) -> Any:
            return json.loads(kept[key]) if key in kept else default

        @staticmethod
        def set(key: str, value: Any, description: str, serialize_json: bool) -> None:
            kept[key] = json.dumps(value)

    monkeypatch.setattr(record, "Variable", Variable)
    return kept
