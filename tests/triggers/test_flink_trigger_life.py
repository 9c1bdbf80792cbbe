"""Kills, restarts of the triggerer, and many waits in one loop, against the stub's sockets."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest
from airflow.triggers.base import BaseTrigger

from hopsworks_flink.hooks.flink_async import AsyncFlinkHook
from hopsworks_flink.triggers import _waiting
from hopsworks_flink.triggers.flink import FlinkJobTrigger
from tests.support.fixtures import set_connection
from tests.support.flink_stub import FlinkStub
from tests.support.waiting import JOB, job_trigger, only_event, until

pytestmark = pytest.mark.airflow


def test_kill_cancels_by_id(flink: FlinkStub) -> None:
    ours, other = flink.add(), flink.add()
    flink.fail("PATCH", "/jobs/", times=2, status=503)
    trigger = job_trigger(ours.job_id, kill_job_id=ours.job_id)
    asyncio.run(trigger.on_kill())
    assert (ours.state, other.state) == ("CANCELED", "RUNNING")
    asyncio.run(trigger.on_kill())  # a job that has ended is no error


def test_kill_without_a_job_to_cancel(flink: FlinkStub) -> None:
    job = flink.add()
    asyncio.run(job_trigger(job.job_id).on_kill())
    assert job.state == "RUNNING"
    assert flink.requests == []


async def cancelled_in_mid_wait(flink: FlinkStub, trigger: FlinkJobTrigger) -> None:
    task = asyncio.create_task(only_event(trigger))
    await until(lambda: bool(flink.calls("GET", f"/jobs/{trigger.job_id}/status")))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await trigger.cleanup()


def test_restart_of_the_triggerer_cancels_nothing(flink: FlinkStub) -> None:
    job = flink.add()
    asyncio.run(cancelled_in_mid_wait(flink, job_trigger(job.job_id, kill_job_id=job.job_id)))
    assert job.state == "RUNNING"
    assert flink.calls("PATCH", ".*") == []


class Instance:
    dag_id, task_id, run_id, map_index = "d", "t", "r", -1


class MappedInstance(Instance):
    map_index = 3


def supervisor_that_says(answer: dict[str, Any]) -> Any:
    """The triggerer's own end of the pipe to its supervisor, with somebody at the other end of a real socket."""
    from airflow.jobs.triggerer_job_runner import TriggerCommsDecoder
    from airflow.sdk.execution_time.comms import _RequestFrame, _ResponseFrame

    async def connect() -> tuple[Any, asyncio.Task[None]]:
        import msgspec

        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        their_reader, their_writer = await asyncio.open_connection(sock=theirs)

        async def serve() -> None:
            while True:
                length = int.from_bytes(await their_reader.readexactly(4), "big")
                request = msgspec.msgpack.decode(await their_reader.readexactly(length), type=_RequestFrame)
                asked, body = request.body or {}, None  # None for what wants no answer, as the masking of secrets
                if asked["type"] == "GetTaskStates":
                    assert (asked["dag_id"], asked["task_ids"], asked["run_ids"]) == ("d", ["t"], ["r"])
                    body = {"type": "TaskStatesResult", "task_states": answer}
                their_writer.write(_ResponseFrame(id=request.id, body=body).as_bytes())

        comms = TriggerCommsDecoder(socket=ours, async_writer=writer, async_reader=reader)
        if hasattr(comms, "start_reader"):  # since 3.3
            await comms.start_reader()
        return comms, asyncio.create_task(serve())

    return connect


@pytest.mark.parametrize(
    ("answer", "instance", "ends"),
    [
        ({"r": {"t": "failed"}}, Instance, True),
        ({"r": {"t": None}}, Instance, True),
        ({"r": {"t": "deferred"}}, Instance, False),
        ({"r": {"t_3": "scheduled"}}, MappedInstance, True),
        ({"r": {"t_3": "deferred"}}, MappedInstance, False),
        ({"r": {}}, Instance, False),
        ({}, Instance, False),
    ],
    ids=["failed", "cleared", "deferred", "mapped cleared", "mapped deferred", "task unknown", "run unknown"],
)
def test_kill_before_airflow_3_3(
    flink: FlinkStub, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], instance: Any, ends: bool
) -> None:
    """There, a trigger is only cancelled, and has to ask for the task's state to know why."""
    from airflow.sdk.execution_time import task_runner

    monkeypatch.setattr(_waiting, "TRIGGERS_HAVE_ON_KILL", False)
    job = flink.add()

    async def scenario() -> None:
        comms, supervisor = await supervisor_that_says(answer)()
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", comms, raising=False)
        trigger = job_trigger(job.job_id, kill_job_id=job.job_id)
        trigger.task_instance = instance()
        await cancelled_in_mid_wait(flink, trigger)
        supervisor.cancel()

    asyncio.run(scenario())
    assert (job.state == "CANCELED") is ends


def test_without_a_supervisor_nothing_is_cancelled_before_airflow_3_3(
    flink: FlinkStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole triggerer goes down."""
    from airflow.sdk.execution_time import task_runner

    monkeypatch.setattr(_waiting, "TRIGGERS_HAVE_ON_KILL", False)
    monkeypatch.delattr(task_runner, "SUPERVISOR_COMMS", raising=False)
    job = flink.add()
    trigger = job_trigger(job.job_id, kill_job_id=job.job_id)
    trigger.task_instance = Instance()  # type: ignore[assignment]
    asyncio.run(cancelled_in_mid_wait(flink, trigger))
    assert job.state == "RUNNING"


def test_kill_is_airflows_own_since_3_3() -> None:
    assert hasattr(BaseTrigger, "on_kill") is _waiting.TRIGGERS_HAVE_ON_KILL


def test_connections_are_closed(flink: FlinkStub) -> None:
    async def scenario() -> Any:
        async with AsyncFlinkHook("flink_default") as hook:
            await hook.client.overview()
        return hook.client._http.is_closed

    assert asyncio.run(scenario())
    assert flink.requests


@pytest.fixture
def slow_answers(flink: FlinkStub) -> float:
    """Every look takes its time, as at a JobManager under load."""
    flink.fail("GET", "/jobs/[0-9a-f]+/status$", times=100_000, delay=0.1)
    return 0.1


def test_twenty_waits_in_one_loop(flink: FlinkStub, slow_answers: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in one triggerer: all wait at once, nothing holds up the loop, each sees the end of its own job."""
    set_connection(monkeypatch, "flink_default", conn_type="flink", host=flink.url, login="me", password="secret-one")
    states = ("FINISHED", "FAILED", "CANCELED", "RUNNING")
    jobs = [flink.add(name=f"job {n}") for n in range(20)]
    expected = {job.job_id: states[n % 4] for n, job in enumerate(jobs)}
    gaps: list[float] = []

    async def heartbeat() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.005)
            now = time.monotonic()
            gaps.append(now - last - 0.005)
            last = now

    async def scenario() -> tuple[list[dict[str, Any]], float]:
        # Imports and the first connection are not what is measured.
        await only_event(job_trigger(JOB))
        pulse = asyncio.create_task(heartbeat())
        deadline = time.time() + 4.0
        started = time.monotonic()
        waits = [asyncio.create_task(only_event(job_trigger(job.job_id, deadline=deadline))) for job in jobs]
        await until(lambda: all(flink.calls("GET", f"/jobs/{job.job_id}/status") for job in jobs))
        assert not any(wait.done() for wait in waits)
        for job in jobs:
            if expected[job.job_id] != "RUNNING":
                job.end(expected[job.job_id])
        finished = [wait for wait, job in zip(waits, jobs, strict=True) if expected[job.job_id] != "RUNNING"]
        await asyncio.wait_for(asyncio.gather(*finished), 3.0)
        took = time.monotonic() - started
        events = await asyncio.gather(*waits)
        pulse.cancel()
        return events, took

    events, took = asyncio.run(scenario())
    ends = {event["job_id"]: event["status"] for event in events}
    assert ends == {job_id: "timeout" if state == "RUNNING" else state for job_id, state in expected.items()}
    looks = len(flink.calls("GET", "/jobs/[0-9a-f]+/status"))
    # One after the other, the looks alone would have taken much longer than the whole did.
    assert looks * slow_answers > 3 * took
    # Nor does it hold up the loop: then gaps would be answers long. The longest gap says nothing: a busy machine makes
    # one of its own.
    assert sorted(gaps)[len(gaps) * 95 // 100] < 0.8 * slow_answers
