"""What tests of deployments share: a task that has an asset, and jobs that do not get well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fixtures import Memory
from tests.support.flink_stub import FlinkStub, Job

if TYPE_CHECKING:
    from hopsworks_flink.operators.flink import FlinkDeployJobOperator
    from tests.support.hopsworks_server import LocalHopsworks
    from tests.support.platform import Platform

Make = Callable[..., "FlinkDeployJobOperator"]


@pytest.fixture
def memory() -> Memory:
    from airflow.sdk import Asset

    return Memory(Asset(name="flink_job.cards", uri="x-flink://cluster/cards"))


@pytest.fixture
def platform(hopsworks: LocalHopsworks, flink: FlinkStub, monkeypatch: pytest.MonkeyPatch) -> Platform:
    from tests.support.platform import Platform

    return Platform(hopsworks, flink, monkeypatch)


@pytest.fixture
def make(program: Path, memory: Memory) -> Make:
    from hopsworks_flink.operators.flink import FlinkDeployJobOperator

    def operator(**kwargs: Any) -> FlinkDeployJobOperator:
        quick = {"grace_period": 0.01, "poll_interval": 0.01, "timeout": 10.0, "outlets": [memory.asset]}
        return FlinkDeployJobOperator(task_id="deploy", job_name="cards", program=str(program), **{**quick, **kwargs})

    return operator


def broken(job: Job) -> None:
    job.state, job.restarts, job.vertices = "FAILED", 9, ["FAILED"]
    job.exception = "x.Y: o\nCaused by: org.StateMigrationException: incompatible"


def broken_if(condition: Callable[[Job], bool]) -> Callable[[Job], None]:
    return lambda job: broken(job) if condition(job) else None
