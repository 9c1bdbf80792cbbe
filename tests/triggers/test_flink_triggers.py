"""Triggers in a real event loop against the stub cluster's sockets."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import threading
import time
from typing import Any

import pytest

from hopsworks_flink.clients import retry
from hopsworks_flink.hooks.flink_async import AsyncFlinkHook
from hopsworks_flink.triggers.flink import (
    FlinkSavepointTrigger,
    FlinkTrigger,
)
from tests.support.airflow_names import through_the_database
from tests.support.flink_stub import FlinkStub
from tests.support.waiting import JOB, common, fire, health_trigger, job_trigger, only_event, until

pytestmark = pytest.mark.airflow

# --- as Airflow stores them -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trigger",
    [
        job_trigger(JOB, kill_job_id=JOB, max_errors=3),
        FlinkSavepointTrigger(job_id=JOB, request_id="cd" * 16, **common()),
        health_trigger(job_name="cards", max_checkpoint_age=60.0, max_restarts=2),
    ],
    ids=lambda trigger: type(trigger).__name__,
)
def test_survives_airflows_serialisation(trigger: FlinkTrigger) -> None:
    path, arguments = trigger.serialize()
    module, _, name = path.rpartition(".")
    assert getattr(importlib.import_module(module), name) is type(trigger)
    rebuilt = type(trigger)(**through_the_database(arguments))
    assert rebuilt.serialize() == (path, arguments)


def test_nothing_happens_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trigger is built in the task's process too, and again wherever it is moved to."""
    monkeypatch.delenv("AIRFLOW_CONN_FLINK_DEFAULT", raising=False)
    job_trigger(JOB)


# --- the end of a job -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["FINISHED", "FAILED", "CANCELED"])
def test_job_that_has_ended(flink: FlinkStub, state: str) -> None:
    job = flink.add(state=state)
    event = {"status": state, "job_id": job.job_id, "state": state, "duration_seconds": 1.5}
    assert fire(job_trigger(job.job_id)) == event


def test_the_event_comes_when_all_that_flink_tells_of_the_job_is_of_its_end(flink: FlinkStub) -> None:
    """Rows that were written, or the cause of a failure, are asked for as soon as the event is there."""
    job = flink.add(state="FINISHED", cached=3)
    assert fire(job_trigger(job.job_id))["duration_seconds"] == 1.5
    assert job.cached == 0


def test_an_end_is_not_lost_for_the_details_of_the_job(flink: FlinkStub) -> None:
    job = flink.add(state="FINISHED")
    flink.fail("GET", f"/jobs/{job.job_id}$", times=2, status=503)
    event = fire(job_trigger(job.job_id, deadline=1.0))
    assert (event["status"], event["duration_seconds"]) == ("FINISHED", 1.5)


@pytest.mark.usefixtures("flink")
def test_unknown_job() -> None:
    assert fire(job_trigger(JOB))["status"] == "NOT_FOUND"


def test_waits_while_the_job_runs(flink: FlinkStub) -> None:
    job = flink.add()

    async def scenario() -> dict[str, Any]:
        task = asyncio.create_task(only_event(job_trigger(job.job_id)))
        await until(lambda: len(flink.calls("GET", f"/jobs/{job.job_id}/status")) >= 3)
        assert not task.done()
        job.end("FINISHED")
        return await task

    assert asyncio.run(scenario())["status"] == "FINISHED"


def test_one_line_for_each_state(flink: FlinkStub, caplog: pytest.LogCaptureFixture) -> None:
    job = flink.add()

    def end_once_seen() -> None:
        while not flink.requests:
            time.sleep(0.01)
        time.sleep(0.2)
        job.end("FINISHED")

    threading.Thread(target=end_once_seen).start()
    trigger = job_trigger(job.job_id)
    trigger._log = logging.getLogger("trigger")  # where Airflow keeps a trigger's logger
    with caplog.at_level("INFO"):
        fire(trigger)
    lines = [record.getMessage() for record in caplog.records if record.name == "trigger"]
    assert lines == [f"Job {job.job_id} is RUNNING.", f"Job {job.job_id} is FINISHED."]


def test_deadline(flink: FlinkStub) -> None:
    job = flink.add()
    started = time.monotonic()
    event = fire(job_trigger(job.job_id, deadline=time.time() + 0.3, poll_interval=60.0))
    # Ten seconds: no event before the scheduler has seen the task defer. The next look would have been after a minute.
    assert 9.9 < time.monotonic() - started < 13
    assert (event["status"], event["state"]) == ("timeout", "RUNNING")
    assert job.state == "RUNNING"


def test_deadline_long_past_still_looks_once(flink: FlinkStub) -> None:
    """The triggerer was away; meanwhile the job has ended."""
    assert fire(job_trigger(flink.add(state="FINISHED").job_id, deadline=1.0))["status"] == "FINISHED"


# --- a cluster that is away -----------------------------------------------------------------------------------------


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses after an error, twenty times shorter."""
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.05)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    "fault", [{"status": 503}, {"status": 500}, {"reset": True}, {"status": 502, "text": "<html>"}]
)
def test_faults_in_a_row_are_borne(flink: FlinkStub, fault: dict[str, Any]) -> None:
    job = flink.add(state="FINISHED")
    flink.fail("GET", "/jobs/", times=3, **fault)
    assert fire(job_trigger(job.job_id))["status"] == "FINISHED"
    assert len(flink.calls("GET", f"/jobs/{job.job_id}/status")) == 4


@pytest.mark.usefixtures("hasty")
def test_one_fault_too_many(flink: FlinkStub) -> None:
    job = flink.add()
    flink.fail("GET", "/jobs/", times=99, status=503)
    event = fire(job_trigger(job.job_id, max_errors=2))
    assert (event["status"], event["permanent"]) == ("error", False)
    assert "answered 503" in event["message"]
    assert len(flink.calls("GET", f"/jobs/{job.job_id}/status")) == 3


@pytest.mark.usefixtures("hasty")
def test_an_answer_resets_the_count(flink: FlinkStub) -> None:
    job = flink.add()

    async def scenario() -> dict[str, Any]:
        task = asyncio.create_task(only_event(job_trigger(job.job_id, max_errors=2)))
        for _ in range(3):
            seen = len(flink.requests)
            flink.fail("GET", "/jobs/", times=2, reset=True)
            await until(lambda seen=seen: len(flink.requests) >= seen + 4)  # type: ignore[misc]
        job.end("FINISHED")
        return await task

    assert asyncio.run(scenario())["status"] == "FINISHED"


def test_jobmanager_that_comes_back(flink: FlinkStub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connection refused, then the same address answers."""
    port = int(flink.url.rpartition(":")[2])
    flink.__exit__()
    revived = FlinkStub()
    job = revived.add(state="FINISHED")

    async def scenario() -> dict[str, Any]:
        task = asyncio.create_task(only_event(job_trigger(job.job_id)))
        await asyncio.sleep(0.3)
        assert not task.done()
        revived.start_at(port)
        return await task

    try:
        assert asyncio.run(scenario())["status"] == "FINISHED"
    finally:
        revived.__exit__()
        flink.__enter__()


@pytest.mark.usefixtures("hasty")
def test_deadline_while_away(flink: FlinkStub) -> None:
    flink.fail("GET", "/jobs/", times=999, status=503)
    event = fire(job_trigger(flink.add().job_id, deadline=time.time() + 0.4, max_errors=99))
    assert event["status"] == "timeout"


def test_refused_credentials_are_permanent(flink: FlinkStub) -> None:
    flink.fail("GET", "/jobs/", status=401)
    event = fire(job_trigger(flink.add().job_id))
    assert (event["status"], event["permanent"]) == ("error", True)
    assert "Check login and password" in event["message"]


def test_missing_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps({"conn_type": "flink", "host": ""}))
    event = fire(job_trigger(JOB, flink_conn_id="other"))
    assert event["permanent"]
    assert "host is empty" in event["message"]


# --- savepoints -----------------------------------------------------------------------------------------------------


def stopping(flink: FlinkStub, job_id: str) -> FlinkSavepointTrigger:
    async def ask() -> str:
        async with AsyncFlinkHook("flink_default") as hook:
            return await hook.client.stop(job_id, drain=False, target_directory=None, request_id="cd" * 16)

    return FlinkSavepointTrigger(job_id=job_id, request_id=asyncio.run(ask()), **common())


def test_savepoint(flink: FlinkStub) -> None:
    flink.pending_polls = 3
    job = flink.add()
    event = fire(stopping(flink, job.job_id))
    assert (event["status"], event["savepoint_path"]) == ("FINISHED", job.savepoint)
    assert job.savepoint


def test_savepoint_that_fails(flink: FlinkStub) -> None:
    flink.savepoint_failure = "java.io.IOException: disk full"
    event = fire(stopping(flink, flink.add().job_id))
    assert (event["status"], event["state"]) == ("savepoint_failed", "RUNNING")
    assert "disk full" in event["message"]


def test_request_that_flink_forgot(flink: FlinkStub) -> None:
    """The JobManager restarted in between: the job goes on as if nobody had asked."""
    job = flink.add()
    trigger = stopping(flink, job.job_id)
    flink.fail("GET", "/savepoints/", times=9, status=404)
    event = fire(trigger)
    assert event["status"] == "savepoint_failed"
    assert "forgotten the request" in event["message"]
    job.end("FINISHED")
    assert fire(trigger)["status"] == "FINISHED"


def test_savepoint_deadline(flink: FlinkStub) -> None:
    flink.pending_polls = 10_000
    trigger = stopping(flink, flink.add().job_id)
    trigger.deadline = time.time() + 0.2
    assert fire(trigger)["status"] == "timeout"


# --- health ---------------------------------------------------------------------------------------------------------


def test_healthy(flink: FlinkStub) -> None:
    job = flink.add(checkpoint="chk", checkpoint_age=5.0, failures=[100.0])
    event = fire(health_trigger(job_name="cards", max_checkpoint_age=30.0, max_restarts=0))
    assert event["status"] == "healthy"
    assert event["facts"]["job_id"] == job.job_id
    assert event["facts"]["restarts_in_window"] == 0


def test_becomes_healthy(flink: FlinkStub) -> None:
    async def scenario() -> dict[str, Any]:
        task = asyncio.create_task(only_event(health_trigger(job_name="cards")))
        await asyncio.sleep(0.2)
        assert not task.done()
        flink.fail("GET", "/jobs/", times=3, status=503)
        job = flink.add(state="INITIALIZING", vertices=[])
        await asyncio.sleep(0.2)
        assert not task.done()
        job.state, job.vertices = "RUNNING", ["RUNNING"]
        return await task

    assert asyncio.run(scenario())["status"] == "healthy"


def test_health_ends_with_the_reason(flink: FlinkStub) -> None:
    job = flink.add(vertices=["RUNNING", "SCHEDULED"])
    event = fire(health_trigger(job_id=job.job_id, deadline=time.time() + 0.2))
    assert event["status"] == "timeout"
    assert "vertex 1: SCHEDULED" in event["reason"]
    job.end("FAILED")
    assert fire(health_trigger(job_id=job.job_id))["status"] == "hopeless"
