"""Operators under Airflow's scheduler and triggerer while workers die, people interfere and the triggerer restarts."""

from __future__ import annotations

import re
import time

import psutil
import pytest
import requests
from confluent_kafka.admin import AdminClient

from devstack.airflow_client import AirflowClient
from tests.support.live.platform import eventually, jobs

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("with_airflow")]


@pytest.fixture(scope="module")
def airflow(stack):
    client = AirflowClient(stack.config.airflow_url, stack.airflow_credentials)
    client.wait_for_dags({"case_deploy", "case_run", "case_timeout", "case_topics"})
    return client


@pytest.fixture(autouse=True)
def clean(stack, airflow):
    """No job of an earlier test, and none left for the next."""
    end_jobs(stack)
    yield
    end_jobs(stack)


def end_jobs(stack):
    for name in ("case_deploy", "case_run", "case_timeout"):
        for job in running(stack, name):
            requests.patch(f"{stack.config.flink_url}/jobs/{job}", timeout=30)

    def gone():
        assert not any(running(stack, name) for name in ("case_deploy", "case_run", "case_timeout"))

    eventually(gone)


def running(stack, name):
    ended = ("FINISHED", "FAILED", "CANCELED")
    return sorted(job for job, state in jobs(stack, name).items() if state not in ended)


def started(stack, name):
    return sorted(jobs(stack, name))


def task(airflow, run):
    (only,) = airflow.tasks(run)
    return only


def wait_for_state(airflow, run, state):
    def check():
        assert task(airflow, run)["state"] == state

    eventually(check, timeout=120)


def wait_until_watched(airflow, run):
    """Deferred, and the triggerer has begun with the trigger: from now on a kill is heard by it."""
    wait_for_state(airflow, run, "deferred")

    def check():
        only = task(airflow, run)
        # Airflow's own words: what the trigger says of the job, the worker may have said before.
        assert re.search(r"^trigger .* starting$", airflow.log(run, only["task_id"], only["try_number"]), re.MULTILINE)

    eventually(check, timeout=120)


def set_state(airflow, run, state):
    task_id = task(airflow, run)["task_id"]
    path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}"
    airflow.call("PATCH", path, json={"new_state": state})


def clear(airflow, run):
    airflow.call(
        "POST",
        f"/dags/{run.dag_id}/clearTaskInstances",
        json={"dag_run_id": run.run_id, "dry_run": False, "only_failed": False, "reset_dag_runs": True},
    )


@pytest.mark.parametrize("point", ["before-submit", "after-submit"])
def test_a_worker_that_is_killed_leaves_exactly_one_job(stack, airflow, point):
    before = set(started(stack, "case_deploy"))
    (stack.config.dags_folder / f"crash-{point}").touch()
    run = airflow.run("case_deploy", {"version": f"killed {point}"}, timeout=240)
    assert task(airflow, run)["try_number"] == 2
    result = airflow.xcom(run, "deploy")
    assert running(stack, "case_deploy") == [result["job_id"]]
    assert set(started(stack, "case_deploy")) - before == {result["job_id"]}


def test_two_deployments_at_once_leave_exactly_one_job_and_one_cleared_touches_nothing(stack, airflow):
    runs = [airflow.trigger("case_deploy", {"version": "race"}) for _ in range(2)]
    ended = [airflow.wait(run, timeout=240) for run in runs]
    assert [run.state for run in ended] == ["success", "success"]
    results = [airflow.xcom(run, "deploy") for run in ended]
    before = running(stack, "case_deploy")
    assert len(before) == 1
    assert {result["job_id"] for result in results} == set(before)

    clear(airflow, ended[0])
    again = airflow.wait(runs[0], timeout=240)
    assert again.state == "success"
    assert airflow.xcom(again, "deploy")["action"] == "none"
    assert running(stack, "case_deploy") == before


def test_a_deferred_task_goes_on_with_one_job_when_it_is_cleared_and_cancels_it_when_it_is_marked_failed(
    stack, airflow
):
    run = airflow.trigger("case_run")
    wait_until_watched(airflow, run)
    (first,) = running(stack, "case_run")
    clear(airflow, run)

    def goes_on():
        now = running(stack, "case_run")
        assert len(now) == 1
        assert now != [first]
        assert task(airflow, run)["state"] == "deferred"

    eventually(goes_on, timeout=120)
    time.sleep(5)
    goes_on()
    wait_until_watched(airflow, run)
    set_state(airflow, run, "failed")

    def ended():
        assert running(stack, "case_run") == []

    eventually(ended)


def test_a_triggerer_that_restarts_loses_no_wait(stack, airflow):
    run = airflow.trigger("case_run", {"rows": 150})
    wait_for_state(airflow, run, "deferred")
    (job,) = running(stack, "case_run")
    kill_triggerer(stack)
    ended = airflow.wait(run, timeout=240)
    assert ended.state == "success"
    assert airflow.xcom(run, "run")["job_id"] == job
    assert jobs(stack, "case_run")[job] == "FINISHED"


def kill_triggerer(stack):
    (part,) = [part for part in stack.status() if part.name == "airflow"]
    tree = [process for pid in part.pids for process in (psutil.Process(pid), *psutil.Process(pid).children(True))]
    triggerers = [process for process in tree if "triggerer" in command(process)]
    assert triggerers
    for process in triggerers:
        process.kill()


def command(process):
    """Empty for a process that is no more, or only waits to be reaped."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def test_execution_timeout_cancels_the_job(stack, airflow):
    run = airflow.trigger("case_timeout")
    ended = airflow.wait(run, timeout=240)
    assert ended.state == "failed"
    assert len(started(stack, "case_timeout")) == 1

    def check():
        assert running(stack, "case_timeout") == []

    eventually(check)


def test_mapped_topics_show_their_names(stack, airflow):
    run = airflow.run("case_topics", timeout=120)
    tasks = airflow.tasks(run)
    assert {task["rendered_map_index"] for task in tasks} == {"case_orders", "case_clicks"}
    admin = AdminClient({"bootstrap.servers": stack.config.kafka_bootstrap})
    topics = admin.list_topics(timeout=10).topics
    assert [len(topics[name].partitions) for name in ("case_orders", "case_clicks")] == [2, 2]
