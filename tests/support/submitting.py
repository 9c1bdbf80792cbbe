"""A hook on the stub of Flink, and the submission that its tests make."""

from __future__ import annotations

from typing import Any

import pytest

from hopsworks_flink.clients.flink.bundle import Bundle
from hopsworks_flink.clients.flink.submission import PythonSubmission
from hopsworks_flink.hooks.flink import FlinkHook
from tests.support.flink_stub import FlinkStub

JOB_ID = "ab" * 16
BUNDLE = Bundle("my_job", {"my_job.py": b"print()"}, {"bindings.json": b'{"password": "hunter22"}'})


@pytest.fixture
def hook(flink: FlinkStub) -> FlinkHook:
    return FlinkHook()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PythonSubmission, "settle_seconds", 0.1)


def run(hook: FlinkHook, **kwargs: Any) -> str:
    return hook.run_python_job(BUNDLE, job_name="cards", job_id=JOB_ID, jars=hook.find_jars(), **kwargs)
