"""Deployments that wait in the triggerer, go on there, and are killed: against the stub cluster."""

from __future__ import annotations

import json
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hopsworks_flink._compat import AirflowFailException
from hopsworks_flink.exceptions import FlinkConnectionError, FlinkError, FlinkJobFailed, FlinkRollbackFailed
from hopsworks_flink.operators.flink import FlinkDeployJobOperator
from tests.support.deploying import Make, broken
from tests.support.fixtures import Memory
from tests.support.flink_stub import FlinkStub, Job

pytestmark = pytest.mark.airflow

TaskDeferred = pytest.importorskip("airflow.providers.common.compat.sdk").TaskDeferred


def defer(operator: FlinkDeployJobOperator, context: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    with pytest.raises(TaskDeferred) as caught:
        operator.execute(context)
    deferred = caught.value
    assert deferred.timeout is None
    assert deferred.method_name == "execute_complete"
    json.dumps(deferred.kwargs)
    return deferred.trigger.serialize()[1], deferred.kwargs


def test_deferred_deployment(make: Make, flink: FlinkStub, memory: Memory) -> None:
    trigger, kwargs = defer(make(deferrable=True), memory.context())
    (job,) = flink.running()
    assert (trigger["job_id"], trigger["kill_job_id"]) == (job.job_id, job.job_id)
    event = {"status": "healthy", "message": "well", "state": "RUNNING", "job_id": job.job_id}
    result = make(deferrable=True).execute_complete(memory.context(), event=event, **kwargs)
    assert (result["job_id"], result["action"]) == (job.job_id, "submitted")
    assert memory.of_asset.get("cards.healthy")["hash"] == result["deployment_hash"]
    memory.new_run()
    job.checkpoint, job.proof = "file:/checkpoints/1", (61.0, 62.0)
    again = make(deferrable=True).execute(memory.context())
    assert (again["job_id"], again["action"]) == (job.job_id, "none"), "it is well already: nothing to wait for"
    job.vertices = ["RUNNING", "CREATED"]
    memory.new_run()
    trigger, _ = defer(make(deferrable=True), memory.context())
    assert trigger["kill_job_id"] is None, "a job of an earlier deployment is not this one's to kill"


def resume(operator: FlinkDeployJobOperator, context: dict[str, Any], kwargs: Any, **event: Any) -> dict[str, Any]:
    return operator.execute_complete(context, event={"message": "m", "state": "RUNNING", **event}, **kwargs)


def defer_again(
    operator: FlinkDeployJobOperator, context: dict[str, Any], kwargs: Any, **event: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    with pytest.raises(TaskDeferred) as caught:
        resume(operator, context, kwargs, **event)
    return caught.value.trigger.serialize()[1], json.loads(json.dumps(caught.value.kwargs))


@pytest.fixture
def going_back(make: Make, flink: FlinkStub, memory: Memory) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """A deferred deployment that was late, and now waits for the previous one: its hash, the trigger, the memory."""
    first = make().execute(memory.context())
    memory.new_run()
    trigger, kwargs = defer(make(parallelism=2, deferrable=True), memory.context())
    late = {"status": "late", "message": "no checkpoint"}
    back, kwargs = defer_again(make(parallelism=2, deferrable=True), memory.context(), kwargs, **late)
    assert flink.jobs[trigger["job_id"]].state == "CANCELED"
    (job,) = flink.running()
    assert (job.job_id, job.user_config["deployment_hash"]) == (back["job_id"], first["deployment_hash"])
    assert back["kill_job_id"] is None, "production that comes back is not to be killed"
    return first["deployment_hash"], back, kwargs


def test_deferred_deployment_is_rolled_back(
    make: Make, flink: FlinkStub, memory: Memory, going_back: tuple[str, dict[str, Any], dict[str, Any]]
) -> None:
    previous, back, kwargs = going_back
    operator, context = make(parallelism=2, deferrable=True), memory.context()
    with pytest.raises(AirflowFailException, match=r"no checkpoint.*Rolled back.*is healthy"):
        resume(operator, context, kwargs, status="healthy")
    operator.on_kill()
    assert [job.job_id for job in flink.running()] == [back["job_id"]]
    assert memory.of_asset.get("cards.last")["job_id"] == back["job_id"]
    assert memory.of_asset.get("cards.healthy")["hash"] == previous
    assert context["ti"].pushed["flink_job_url"].find(back["job_id"]) > 0


@pytest.mark.parametrize("status", ["failed", "late", "timeout", "error"])
def test_deferred_roll_back_that_fails(
    make: Make, memory: Memory, going_back: tuple[str, dict[str, Any], dict[str, Any]], status: str
) -> None:
    _, _, kwargs = going_back
    with pytest.raises(FlinkRollbackFailed, match=r"no checkpoint.*Rolling back failed too.*to resume: FlinkDeploy"):
        resume(make(parallelism=2, deferrable=True), memory.context(), kwargs, status=status)


def test_what_broke_the_new_version_does_not_stand_in_the_way_of_the_old_one(
    make: Make, memory: Memory, program: Path, going_back: tuple[str, dict[str, Any], dict[str, Any]]
) -> None:
    _, _, kwargs = going_back
    operator = make(parallelism=2, deferrable=True)
    program.unlink()
    with pytest.raises(AirflowFailException, match="Rolled back"):
        resume(operator, memory.context(), kwargs, status="healthy")


def test_deferred_recovery(make: Make, flink: FlinkStub, memory: Memory) -> None:
    first = make().execute(memory.context())
    memory.new_run()
    _, kwargs = defer(make(deferrable=True), memory.context())
    flink.jobs[first["job_id"]].checkpoint = "chk-9"
    trigger, kwargs = defer_again(make(deferrable=True), memory.context(), kwargs, status="failed", message="restarts")
    (job,) = flink.running()
    assert (trigger["job_id"], trigger["kill_job_id"]) == (job.job_id, job.job_id)
    assert job.restored_from == "chk-9"
    result = resume(make(deferrable=True), memory.context(), kwargs, status="healthy")
    assert (result["action"], result["job_id"]) == ("recovered", job.job_id)


@pytest.mark.usefixtures("flink")
def test_execution_timeout_bounds_a_deferred_deployment(make: Make, memory: Memory) -> None:
    limit = timedelta(seconds=1)
    trigger, _ = defer(make(deferrable=True, timeout=500, execution_timeout=limit), memory.context())
    assert trigger["deadline"] < time.time() + 2


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (None, FlinkError),
        ({"status": "strange"}, FlinkError),
        ({"status": "timeout", "message": "Flink is away"}, FlinkConnectionError),
        ({"status": "error", "message": "no such connection"}, FlinkConnectionError),
    ],
)
def test_events_that_tell_nothing_leave_the_job_alone(
    make: Make, flink: FlinkStub, memory: Memory, event: Any, kind: type[Exception]
) -> None:
    _, kwargs = defer(make(deferrable=True), memory.context())
    with pytest.raises(kind, match="left alone"):
        make(deferrable=True).execute_complete(memory.context(), event=event, **kwargs)
    assert len(flink.running()) == 1


def test_job_that_ended_at_once_is_not_deferred_for(make: Make, flink: FlinkStub, memory: Memory) -> None:
    flink.on_run = broken
    with pytest.raises(FlinkJobFailed, match="FAILED"):
        make(deferrable=True).execute(memory.context())


def test_kill_ends_only_the_new_job(make: Make, flink: FlinkStub, memory: Memory) -> None:
    make().on_kill()
    first = make().execute(memory.context())
    memory.new_run()
    operator = make(parallelism=2)

    def kill_soon(job: Job) -> None:
        if job.request["parallelism"] == 2:
            job.completed = 0
        threading.Timer(0.05, operator.on_kill).start()

    flink.on_run = kill_soon
    with pytest.raises(AirflowFailException, match="Rolled back"):
        operator.execute(memory.context())
    operator = make(parallelism=1)
    operator.execute(memory.context())
    operator.on_kill()
    (job,) = flink.running()
    assert job.user_config["deployment_hash"] == first["deployment_hash"]


def kill_at(flink: FlinkStub, operator: FlinkDeployJobOperator, path: str) -> None:
    """The next request of this kind is answered after its task has been killed."""
    flink.fail("POST", path, then=operator.on_kill)


def test_kill_during_the_submission(make: Make, flink: FlinkStub, memory: Memory) -> None:
    """The cancel request is ahead of the job that it means."""
    operator = make()
    kill_at(flink, operator, "/run")
    with pytest.raises(FlinkJobFailed, match="CANCELED"):
        operator.execute(memory.context())
    assert flink.running() == []


@pytest.mark.parametrize("moment", ["/stop", "/run"])
def test_kill_during_a_replacement_brings_production_back(
    make: Make, flink: FlinkStub, memory: Memory, moment: str
) -> None:
    first = make().execute(memory.context())
    memory.new_run()
    operator = make(parallelism=2)
    kill_at(flink, operator, moment)
    with pytest.raises(AirflowFailException, match="Rolled back"):
        operator.execute(memory.context())
    (job,) = flink.running()
    assert job.user_config["deployment_hash"] == first["deployment_hash"]


def test_kill_while_a_job_is_started_again(make: Make, flink: FlinkStub, memory: Memory) -> None:
    make().execute(memory.context())
    (job,) = flink.running()
    job.checkpoint, job.vertices = "file:/checkpoints/1", ["RUNNING", "CREATED"]
    memory.new_run()
    _, kwargs = defer(make(deferrable=True), memory.context())
    operator = make(deferrable=True)
    kill_at(flink, operator, "/run")
    with pytest.raises(FlinkJobFailed, match="CANCELED"):
        resume(operator, memory.context(), kwargs, status="failed")
    assert flink.running() == []


def test_kill_before_anything_leaves_production_alone(make: Make, flink: FlinkStub, memory: Memory) -> None:
    first = make().execute(memory.context())
    operator = make(parallelism=2)
    flink.savepoint_failure = "java.io.IOException: disk full"
    with pytest.raises(FlinkError):
        operator.execute(memory.context())
    operator.on_kill()
    assert [job.job_id for job in flink.running()] == [first["job_id"]]
