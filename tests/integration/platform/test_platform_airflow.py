"""The files of `init --hopsworks-airflow` in an Airflow as Hopsworks ships it: a whole life without a triggerer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest

from devstack.airflow_client import AirflowClient
from devstack.config import DevstackError
from devstack.hopsworks.home.layout import PROJECT_ID
from devstack.stack import Stack
from hopsworks_flink.cli import main
from hopsworks_flink.hooks.platform_task import key_variable
from tests.support import REPOSITORY
from tests.support.live.platform import ends, eventually, jobs
from tests.support.live.platform_airflow import VERSION, platform_airflow

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not (REPOSITORY / f".venv-airflow-{VERSION}").is_dir(),
        reason=f"make test-airflow VERSION={VERSION} makes its environment",
    ),
]

PIPELINE = """
name: at_home
source:
  topic: at_home_events
  partitions: 1
  format: json
  schema: {at: timestamp, account: bigint, amount: "decimal(10,2)", share: "decimal(2,2)"}
  event_time: {column: at}
feature_groups:
  - name: at_home_accounts
    key: [account]
    event_time: window_end
    window: {size: 1m}
    aggregates: {payments: count, paid: {sum: amount}}
"""
VERBS = ("deploy", "simulate", "offline_backfill", "recompute", "undeploy")


def dag_id(verb: str) -> str:
    return f"p_demo_{PROJECT_ID}__at_home__{verb}"


@pytest.fixture(scope="module")
def airflow(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowClient]:
    """No connection to Hopsworks: its address is in the environment, each DAG's key in its Variable."""
    file, dags = tmp_path_factory.mktemp("file") / "at_home.yaml", tmp_path_factory.mktemp("dags")
    file.write_text(PIPELINE)
    arguments = ["--hopsworks-airflow", "--project", "demo", "--project-id", str(PROJECT_ID), "--pipeline", str(file)]
    assert main(["init", str(dags), *arguments]) == 0
    config = stack.config
    environment = {
        "HOPSWORKS_HOST": config.host("hopsworks"),
        "HOPSWORKS_PORT": str(config.hopsworks_port),
        "HOPSWORKS_TRUST_STORE_PATH": str(config.hopsworks_ca),
    }
    flink = {"flink_default": stack.airflow_connections()["flink_default"]}
    with platform_airflow(config, dags, flink, environment) as client:
        assert client.call("GET", "/version")["version"] == VERSION
        for verb in VERBS:
            client.call("POST", "/variables", json={"key": key_variable(dag_id(verb)), "value": stack.api_key})
        client.wait_for_dags({dag_id(verb) for verb in VERBS})
        yield client


def test_a_whole_life_without_a_triggerer(stack: Stack, airflow: AirflowClient) -> None:
    assert airflow.call("GET", "/monitor/health")["triggerer"]["status"] is None
    # A form that refuses says what it takes, and starts nothing.
    with pytest.raises(DevstackError, match=r"400 .*'a whole number from 1 to 128' was expected"):
        airflow.trigger(dag_id("deploy"), {"parallelism": 257})
    assert airflow.call("GET", f"/dags/{dag_id('deploy')}/dagRuns")["dag_runs"] == []
    airflow.run(dag_id("deploy"), timeout=300)
    ((job, state),) = jobs(stack, "at_home__features").items()
    assert state == "RUNNING"

    # What waits long waits without a slot, and beside it there is room for what runs.
    soon = datetime.now(timezone.utc) - timedelta(minutes=1)
    interval = {"start": (soon - timedelta(hours=1)).isoformat(), "end": soon.isoformat()}
    empty = rows(stack)
    waiting = airflow.trigger(dag_id("recompute"), interval)
    simulated = airflow.trigger(dag_id("simulate"), {"events": 200, "rate": 200})
    materialized = airflow.trigger(dag_id("offline_backfill"))
    assert airflow.wait(simulated, timeout=200).state == "success"
    assert airflow.wait(materialized, timeout=200).state == "success"

    def gave_its_slot_back() -> None:
        states = {task["task_id"]: task["state"] for task in airflow.tasks(waiting)}
        assert states["wait_for_late_events"] == "up_for_reschedule"

    eventually(gave_its_slot_back)
    airflow.call("PATCH", f"/dags/{waiting.dag_id}/dagRuns/{waiting.run_id}", json={"state": "failed"})

    def windows_are_written() -> None:
        assert rows(stack) > empty

    eventually(windows_are_written)
    before = rows(stack)
    # Each event was decoded, or the job would have failed; what is open yet is emitted at the end.
    airflow.run(dag_id("undeploy"), {"mode": "drain"}, timeout=200)
    assert jobs(stack, "at_home__features") == {job: "FINISHED"}
    assert rows(stack) > before


def rows(stack: Stack) -> int:
    """Records that all feature groups' jobs have written so far."""
    return sum(ends(stack.config.kafka_bootstrap, f"{stack.config.project}_onlinefs").values())


def test_no_task_shows_its_key(stack: Stack, airflow: AirflowClient) -> None:
    logs = list((stack.config.home / "platform" / "airflow" / "logs").rglob("*.log"))
    assert logs
    assert [str(log) for log in logs if stack.api_key in log.read_text(errors="replace")] == []
    shown = [
        airflow.call("GET", f"/dags/{dag_id(verb)}/dagRuns/{run['dag_run_id']}/taskInstances")
        for verb in VERBS
        for run in airflow.call("GET", f"/dags/{dag_id(verb)}/dagRuns")["dag_runs"]
    ]
    assert "rendered_fields" in str(shown)
    assert stack.api_key not in str(shown)
