"""Deployments of two pipelines that are triggered together in Airflow: both succeed, and each job is its pipeline's.

``make chaos`` makes and then replaces both jobs together. In every test run four submissions meet in one cluster
(``jobs/test_submissions.py``), and so do two deployments of one pipeline (``test_live_operators.py``).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from devstack.airflow_client import AirflowClient
from tests.support.live.platform import jobs

pytestmark = [pytest.mark.timeout(900), pytest.mark.chaos, pytest.mark.usefixtures("with_airflow")]

NAMES = ("together_one", "together_two")
DISORDERS = ("5s", "7s")


@pytest.fixture
def files(stack: Any) -> Iterator[list[Path]]:
    folder = stack.config.dags_folder / "pipelines"
    text = (folder / "card_transactions.yaml").read_text()
    found = [folder / f"{name}.yaml" for name in NAMES]
    for name, file in zip(NAMES, found, strict=True):
        file.write_text(text.replace("card_transactions", name).replace("credit_" + name, f"{name}_events"))
    yield found
    for file in found:
        file.unlink()
    for name in NAMES:
        for job_id in jobs(stack, f"{name}__features"):
            requests.patch(f"{stack.config.flink_url}/jobs/{job_id}?mode=cancel", timeout=30)


def test_reading_the_metadata_waits_for_nobody(stack: Any) -> None:
    with closing(sqlite3.connect(stack.config.airflow_home / "airflow.db")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.skipif(os.environ.get("FAULTS_LONG") != "1", reason="make chaos")
def test_two_deployments_at_once(stack: Any, files: list[Path]) -> None:
    airflow = AirflowClient(stack.config.airflow_url, stack.airflow_credentials)
    airflow.wait_for_dags({f"{name}__deploy" for name in NAMES})
    for disorder in DISORDERS:
        for file in files:
            file.write_text(file.read_text().replace("max_disorder: 5s", f"max_disorder: {disorder}"))
        runs = {name: airflow.trigger(f"{name}__deploy") for name in NAMES}
        for name, run in runs.items():
            ended = airflow.wait(run, timeout=400)
            assert ended.state == "success", airflow.failure(ended)
            assert {task["try_number"] for task in airflow.tasks(run)} == {1}, "a task was tried again"
            result = airflow.xcom(run, "deploy_streaming_job")
            running = [job for job, state in jobs(stack, f"{name}__features").items() if state == "RUNNING"]
            assert running == [result["job_id"]]
            plan = stack_job(stack, result["job_id"])
            other = next(one for one in NAMES if one != name)
            assert f"{name}_10m_agg" in plan
            assert other not in plan


def stack_job(stack: Any, job_id: str) -> str:
    """The names of a job's vertices, which name its tables."""
    job = requests.get(f"{stack.config.flink_url}/jobs/{job_id}", timeout=30).json()
    return str([yaml.safe_dump(vertex["name"]) for vertex in job["vertices"]])
