"""The health gate of a deployment in the triggerer's event loop, against the stub cluster's sockets."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any

import pytest

from hopsworks_flink.triggers.flink_deploy import FlinkDeploymentTrigger
from tests.support.airflow_names import through_the_database
from tests.support.flink_stub import FlinkStub

pytestmark = pytest.mark.airflow


def trigger(job_id: str, **kwargs: Any) -> FlinkDeploymentTrigger:
    own = {"require_checkpoint": True, "grace_period": 0.05, "max_restarts": 5, "flink_conn_id": "flink_default"}
    return FlinkDeploymentTrigger(
        job_id=job_id, **{**own, "deadline": time.time() + 10, "poll_interval": 0.02, **kwargs}
    )


def fire(waiting: FlinkDeploymentTrigger) -> dict[str, Any]:
    async def events() -> list[Any]:
        return [event.payload async for event in waiting.run()]

    (event,) = asyncio.run(asyncio.wait_for(events(), 15))
    return json.loads(json.dumps(event))


def test_survives_airflows_serialisation() -> None:
    path, arguments = trigger("ab" * 16, kill_job_id="ab" * 16).serialize()
    assert path == f"{FlinkDeploymentTrigger.__module__}.{FlinkDeploymentTrigger.__name__}"
    again = FlinkDeploymentTrigger(**through_the_database(arguments))
    assert again.serialize() == (path, arguments)


@pytest.mark.parametrize(
    ("facts", "changes", "status", "message"),
    [
        ({}, {}, "healthy", "1 checkpoint"),
        ({"completed": 0}, {"require_checkpoint": False}, "healthy", "all vertices run"),
        ({"completed": 0}, {"deadline": 0.0}, "late", "no checkpoint has completed"),
        ({"state": "FAILED", "exception": "x.Y: o\nCaused by: a.B: broken"}, {}, "failed", "a.B: broken"),
        ({"state": "CANCELED"}, {}, "failed", "CANCELED"),
    ],
    ids=["healthy", "without checkpoints", "late", "failed", "cancelled"],
)
def test_verdicts(flink: FlinkStub, facts: dict[str, Any], changes: dict[str, Any], status: str, message: str) -> None:
    job = flink.add(**facts)
    event = fire(trigger(job.job_id, **changes))
    assert (event["status"], event["state"], event["job_id"]) == (status, job.state, job.job_id)
    assert message in event["message"]


@pytest.mark.usefixtures("flink")
def test_job_that_flink_does_not_know() -> None:
    event = fire(trigger("ab" * 16))
    assert (event["status"], event["state"]) == ("failed", "NOT_FOUND")


def test_job_manager_that_is_away_for_a_moment(flink: FlinkStub) -> None:
    job = flink.add()
    flink.fail("GET", f"/jobs/{job.job_id}", status=503)
    assert fire(trigger(job.job_id))["status"] == "healthy"


def test_a_new_job_is_not_looked_at_before_its_tasks_run(flink: FlinkStub) -> None:
    """Flink would show the first look for seconds."""
    job = flink.add(vertices=["RUNNING", "DEPLOYING"])

    def run_once_listed() -> None:
        while sum(one.path == "/jobs/overview" for one in flink.requests) < 3:
            time.sleep(0.01)
        job.vertices[1] = "RUNNING"

    threading.Thread(target=run_once_listed, daemon=True).start()
    assert fire(trigger(job.job_id))["status"] == "healthy"
    looks = [n for n, one in enumerate(flink.requests) if one.path == f"/jobs/{job.job_id}"]
    lists = [n for n, one in enumerate(flink.requests) if one.path == "/jobs/overview"]
    assert lists[2] < min(looks)
    # And what it has seen by then may be old.
    assert max(looks) < max(lists)


def test_a_job_that_fails_at_the_end_of_the_grace_period_is_not_healthy(flink: FlinkStub) -> None:
    """Its details still show it running."""
    job = flink.add()

    def fail_once_seen() -> None:
        while not flink.calls("GET", f"/jobs/{job.job_id}"):
            time.sleep(0.01)
        job.cached, job.vertices[1] = 1000, "DEPLOYING"

    threading.Thread(target=fail_once_seen, daemon=True).start()
    assert fire(trigger(job.job_id, grace_period=0.3, deadline=time.time() + 1.5))["status"] == "late"


def test_a_job_without_a_checkpoint_is_asked_for_one_once(flink: FlinkStub) -> None:
    flink.takes_checkpoints = True
    job = flink.add(completed=0)
    assert fire(trigger(job.job_id, grace_period=0.2))["status"] == "healthy"
    assert len(flink.calls("POST", f"/jobs/{job.job_id}/checkpoints")) == 1


def test_a_flink_that_takes_no_checkpoint_on_demand_is_waited_for(flink: FlinkStub) -> None:
    job = flink.add(completed=0)
    flink.fail("POST", f"/jobs/{job.job_id}/checkpoints", status=404, then=lambda: setattr(job, "completed", 1))
    assert fire(trigger(job.job_id))["status"] == "healthy"


@pytest.mark.parametrize(
    ("proof", "status"), [((61.0, 62.0), "healthy"), ((61.0, 60.0), "late"), ((59.0, 70.0), "late"), (None, "late")]
)
def test_a_job_that_runs_already_has_its_grace_period_behind_it(
    flink: FlinkStub, proof: tuple[float, float] | None, status: str
) -> None:
    """If a checkpoint proves it, one of the time since the last restart."""
    job = flink.add(checkpoint="file:/checkpoints/1", proof=proof)
    assert fire(trigger(job.job_id, grace_period=60.0, deadline=time.time() + 0.5))["status"] == status


def test_kill_cancels_by_id_and_only_what_the_deployment_started(flink: FlinkStub) -> None:
    own, other = flink.add(), flink.add()
    asyncio.run(trigger(own.job_id, kill_job_id=own.job_id).on_kill())
    asyncio.run(trigger(other.job_id).on_kill())
    assert flink.running() == [other]
