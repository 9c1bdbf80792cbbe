"""Stops, on a worker and in the triggerer, against the stub's sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from hopsworks_flink._compat import AirflowFailException, BaseOperator
from hopsworks_flink.clients.flink.jobs import restore_point
from hopsworks_flink.exceptions import (
    FlinkError,
    FlinkSavepointError,
)
from hopsworks_flink.operators.flink import FlinkStopJobOperator
from tests.support.deferral import context_of, defer, event_of, resume
from tests.support.fixtures import task_context
from tests.support.flink_stub import FlinkStub

Make = Callable[..., BaseOperator]


# --- on a worker ------------------------------------------------------------------------------------------------------


def stop(**kwargs: Any) -> dict[str, Any]:
    return FlinkStopJobOperator(task_id="stop", poll_interval=0.01, **kwargs).execute(task_context())


def test_stop_with_savepoint(flink: FlinkStub) -> None:
    job = flink.add()
    result = stop(job_name="cards", savepoint_directory="s3://sp")
    assert result == {
        "job_id": job.job_id,
        "job_name": "cards",
        "action": "stopped",
        "state": "FINISHED",
        "savepoint_path": job.savepoint,
    }
    assert stop(job_name="cards")["action"] == "none"


@pytest.mark.parametrize(
    ("cluster", "directory", "watermark", "expected"),
    [
        ({}, None, 1_700_000_000_000, None),
        ({}, "s3://sp/", 1_700_000_000_000, "s3://sp/drained-at-1700000000000"),
        ({}, "s3://sp", None, "s3://sp/drained"),
        ({"execution.checkpointing.savepoint-dir": "s3://own"}, None, 1_700_000_000_000, "s3://own/drained-at-170"),
        ({"state.savepoints.dir": "s3://old"}, "", None, "s3://old/drained"),
    ],
)
def test_drain(
    flink: FlinkStub, cluster: dict[str, str], directory: str | None, watermark: int | None, expected: str | None
) -> None:
    """The savepoint's folder says that the job was drained, and up to where its windows were complete."""
    flink.configuration = cluster
    job = flink.add(watermark=watermark)
    result = stop(job_id=job.job_id, mode="drain", savepoint_directory=directory)
    body = flink.calls("POST", ".*/stop")[0].body
    assert body["drain"] is True
    assert (body.get("targetDirectory") or "").startswith(expected or "")
    assert bool(body.get("targetDirectory")) == bool(expected)
    left = restore_point(job.job_id, {"latest": {"savepoint": {"external_path": result["savepoint_path"]}}})
    assert (left.drained, left.complete) == (bool(expected), watermark if expected else None)


def test_cancel(flink: FlinkStub) -> None:
    assert stop(job_id=flink.add().job_id, mode="cancel")["action"] == "cancelled"


@pytest.mark.usefixtures("flink")
def test_already_gone() -> None:
    assert stop(job_id="ab" * 16)["state"] == "NOT_FOUND"
    assert stop(job_name="cards")["state"] == "NOT_FOUND"


def test_already_ended(flink: FlinkStub) -> None:
    assert stop(job_id=flink.add(state="FAILED").job_id)["state"] == "FAILED"


def test_ends_by_itself_meanwhile(flink: FlinkStub) -> None:
    job = flink.add()
    flink.fail("POST", "/stop", status=409, then=lambda: job.end("FINISHED"))
    operator = FlinkStopJobOperator(task_id="stop", job_id=job.job_id)
    assert operator.execute(task_context())["action"] == "none"


@pytest.mark.usefixtures("flink")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "not neither"),
        ({"job_name": "a", "job_id": "b"}, "not both"),
        ({"job_name": "a", "mode": "kill"}, "mode must"),
    ],
)
def test_bad_stop(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(AirflowFailException, match=text):
        stop(**arguments)


def test_stop_is_refused_for_an_ambiguous_name(flink: FlinkStub) -> None:
    flink.add()
    flink.add()
    with pytest.raises(AirflowFailException, match="Give job_id"):
        stop(job_name="cards")


# --- in the triggerer -------------------------------------------------------------------------------------------------


def make_stop(**kwargs: Any) -> FlinkStopJobOperator:
    return FlinkStopJobOperator(task_id="stop", deferrable=True, **{"poll_interval": 0.02, **kwargs})


@pytest.mark.parametrize("mode", ["savepoint", "drain"])
def test_stop_deferred(flink: FlinkStub, mode: str) -> None:
    flink.pending_polls = 3
    job = flink.add()
    context = context_of()
    deferred = defer(make_stop(job_name="cards", mode=mode), context)
    assert job.job_id in context["ti"].pushed["flink_job_url"]
    assert flink.calls("POST", ".*/stop")[0].body["drain"] is (mode == "drain")
    result = resume(make_stop(job_name="cards", mode=mode), deferred, event_of(deferred))
    assert result == {
        "job_id": job.job_id,
        "job_name": "cards",
        "action": "stopped",
        "state": "FINISHED",
        "savepoint_path": job.savepoint,
    }


def test_cancel_needs_no_trip_when_it_is_quick(flink: FlinkStub) -> None:
    result = make_stop(job_id=flink.add().job_id, mode="cancel").execute(context_of())
    assert (result["action"], result["state"]) == ("cancelled", "CANCELED")


def test_cancel_deferred(flink: FlinkStub) -> None:
    job = flink.add(state="CANCELLING")
    deferred = defer(make_stop(job_id=job.job_id, mode="cancel"), context_of())
    job.end("CANCELED")
    result = resume(make_stop(job_id=job.job_id, mode="cancel"), deferred, event_of(deferred))
    assert result["action"] == "cancelled"


@pytest.mark.usefixtures("flink")
def test_nothing_to_stop_needs_no_trip() -> None:
    assert make_stop(job_name="cards").execute(context_of())["action"] == "none"


def test_failed_savepoint(flink: FlinkStub) -> None:
    flink.savepoint_failure = "java.io.IOException: disk full"
    job = flink.add()
    deferred = defer(make_stop(job_id=job.job_id), context_of())
    with pytest.raises(FlinkSavepointError, match="disk full"):
        resume(make_stop(job_id=job.job_id), deferred, event_of(deferred))
    assert job.state == "RUNNING"
    job.end("FINISHED")
    assert resume(make_stop(job_id=job.job_id), deferred, event_of(deferred))["action"] == "none"


def test_job_that_flink_forgot_while_stopping(flink: FlinkStub) -> None:
    job = flink.add()
    deferred = defer(make_stop(job_id=job.job_id), context_of())
    del flink.jobs[job.job_id]
    flink.fail("GET", "/savepoints/", times=9, status=404)
    result = resume(make_stop(job_id=job.job_id), deferred, event_of(deferred))
    assert (result["state"], result["savepoint_path"]) == ("NOT_FOUND", None)


def test_retry_joins_the_request_of_the_try_before(flink: FlinkStub) -> None:
    flink.pending_polls = 5
    job = flink.add()
    defer(make_stop(job_name="cards"), context_of())
    deferred = defer(make_stop(job_name="cards"), context_of(try_number=2))
    assert len(flink.calls("POST", ".*/stop")) == 1
    assert resume(make_stop(job_name="cards"), deferred, event_of(deferred))["savepoint_path"] == job.savepoint


def test_retry_finds_the_savepoint_of_a_job_that_is_gone(flink: FlinkStub) -> None:
    """The worker died after its request; meanwhile Flink did all of it."""
    flink.pending_polls = 0
    job = flink.add()
    first = defer(make_stop(job_name="cards"), context_of())
    event_of(first)
    assert job.state == "FINISHED"
    operator = FlinkStopJobOperator(task_id="stop", job_name="cards", poll_interval=0.02)
    result = operator.execute(context_of(try_number=2))
    assert (result["action"], result["savepoint_path"]) == ("stopped", job.savepoint)


def test_retry_after_a_failed_savepoint_asks_again(flink: FlinkStub) -> None:
    flink.savepoint_failure, flink.pending_polls = "x: disk full", 0
    job = flink.add()
    event_of(defer(make_stop(job_name="cards"), context_of()))
    flink.savepoint_failure = None
    # The stub answers for each request what it would say now: the first one has failed for good.
    first = flink.calls("POST", ".*/stop")[0].body["triggerId"]
    flink.fail("GET", f"/savepoints/{first}", times=9, body={}, status=404)
    deferred = defer(make_stop(job_name="cards"), context_of(try_number=2))
    assert len({call.body["triggerId"] for call in flink.calls("POST", ".*/stop")}) == 2
    assert resume(make_stop(job_name="cards"), deferred, event_of(deferred))["savepoint_path"] == job.savepoint


def test_job_that_was_stopped_earlier_tells_its_savepoint(flink: FlinkStub) -> None:
    job = flink.add(state="FINISHED", savepoint="s3://sp/1")
    result = make_stop(job_id=job.job_id).execute(context_of())
    assert (result["action"], result["savepoint_path"]) == ("none", "s3://sp/1")


def test_stop_deadline_leaves_the_request(flink: FlinkStub) -> None:
    flink.pending_polls = 10_000
    operator = make_stop(job_id=flink.add().job_id, timeout=3)
    deferred = defer(operator, context_of())
    with pytest.raises(FlinkSavepointError, match=r"has not ended within 3 s; .*a retry joins it"):
        resume(operator, deferred, event_of(deferred))
    assert flink.calls("PATCH", ".*") == []


def test_kill_of_a_stop_cancels_nothing(flink: FlinkStub) -> None:
    flink.pending_polls = 3
    job = flink.add()
    deferred = defer(make_stop(job_id=job.job_id), context_of())
    asyncio.run(deferred.trigger.on_kill())
    assert flink.calls("PATCH", ".*") == []


@pytest.mark.parametrize("event", [None, {}, {"status": "new"}])
def test_unknown_end_of_a_stop(flink: FlinkStub, event: Any) -> None:
    deferred = defer(make_stop(job_id=flink.add().job_id), context_of())
    with pytest.raises(FlinkError, match="which this version does not know"):
        resume(make_stop(job_id="ab" * 16), deferred, event)


def test_a_stop_is_not_lost_for_where_its_savepoint_lies(flink: FlinkStub) -> None:
    job = flink.add(state="FINISHED", savepoint="file:/savepoints/1")
    operator = FlinkStopJobOperator(task_id="stop", job_id=job.job_id)
    assert operator.execute(task_context())["savepoint_path"] == "file:/savepoints/1"
    flink.fail("GET", f"/jobs/{job.job_id}/checkpoints", status=403)
    assert operator.execute(task_context())["savepoint_path"] is None
