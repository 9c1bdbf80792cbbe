"""The trigger for executions in a real event loop, against the local server's https socket."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from hopsworks_flink.clients import retry
from hopsworks_flink.triggers.hopsworks import HopsworksExecutionTrigger
from tests.support.airflow_names import through_the_database
from tests.support.fixtures import set_connection
from tests.support.hopsworks_server import LocalHopsworks

pytestmark = pytest.mark.airflow


def trigger(execution_id: int, **changes: Any) -> HopsworksExecutionTrigger:
    arguments = {
        "hopsworks_conn_id": "hopsworks_default",
        "project_id": 119,
        "job_name": "train",
        "job_type": "PYTHON",
        "execution_id": execution_id,
        "deadline": time.time() + 20,
        "poll_interval": 0.05,
        **changes,
    }
    return HopsworksExecutionTrigger(**arguments)


async def only_event(waiting: HopsworksExecutionTrigger) -> dict[str, Any]:
    events = [event.payload async for event in waiting.run()]
    assert len(events) == 1
    return json.loads(json.dumps(events[0]))


def fire(waiting: HopsworksExecutionTrigger) -> dict[str, Any]:
    return asyncio.run(only_event(waiting))


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.05)


def test_round_trip_through_airflows_serialisation() -> None:
    path, arguments = trigger(7, stop_on_kill=True).serialize()
    assert path == "hopsworks_flink.triggers.hopsworks.HopsworksExecutionTrigger"
    again = HopsworksExecutionTrigger(**through_the_database(arguments))
    assert again.serialize() == (path, arguments)


@pytest.mark.parametrize(
    ("state", "final_status", "status"),
    [
        ("FINISHED", "SUCCEEDED", "SUCCEEDED"),
        ("FAILED", "FAILED", "FAILED"),
        ("KILLED", "KILLED", "KILLED"),
        ("INITIALIZATION_FAILED", "FAILED", "FAILED"),
    ],
)
def test_every_end(hopsworks: LocalHopsworks, state: str, final_status: str, status: str) -> None:
    number = hopsworks.start_execution()

    async def scenario() -> dict[str, Any]:
        task = asyncio.create_task(only_event(trigger(number)))
        await until(lambda: len(hopsworks.faults.requests) >= 2)
        assert not task.done()
        hopsworks.end(number, state, final_status)
        return await asyncio.wait_for(task, 5)

    event = asyncio.run(scenario())
    assert event == {
        "status": status,
        "job_name": "train",
        "execution_id": number,
        "state": state,
        "final_status": final_status,
    }


def test_unknown_execution(hopsworks: LocalHopsworks) -> None:
    hopsworks.start_execution()
    assert fire(trigger(4711))["status"] == "NOT_FOUND"


def test_deadline(hopsworks: LocalHopsworks) -> None:
    number = hopsworks.start_execution()
    event = fire(trigger(number, deadline=time.time() + 0.2))
    assert (event["status"], event["state"]) == ("timeout", "RUNNING")
    assert not hopsworks.stop_was_requested(number)


def test_transport_errors_are_borne(hopsworks: LocalHopsworks) -> None:
    number = hopsworks.start_execution()
    hopsworks.end(number)
    hopsworks.faults.times = 3
    assert fire(trigger(number))["status"] == "SUCCEEDED"
    assert len(hopsworks.faults.requests) == 4


def test_too_many_transport_errors(hopsworks: LocalHopsworks) -> None:
    number = hopsworks.start_execution()
    hopsworks.faults.times = 100
    event = fire(trigger(number, max_errors=2))
    assert (event["status"], event["permanent"]) == ("error", False)
    assert "answered 503" in event["message"]


def test_server_that_comes_back(asleep: LocalHopsworks) -> None:
    number = asleep.start_execution()
    asleep.end(number)

    async def scenario() -> dict[str, Any]:
        task = asyncio.create_task(only_event(trigger(number, max_errors=1000)))
        await asyncio.sleep(0.3)
        assert not task.done()
        with asleep.serve():
            return await asyncio.wait_for(task, 10)

    assert asyncio.run(scenario())["status"] == "SUCCEEDED"


def test_server_that_stays_away(asleep: LocalHopsworks) -> None:
    event = fire(trigger(1, deadline=time.time() + 0.3, max_errors=1000))
    assert (event["status"], event["state"]) == ("timeout", None)
    assert "cannot be reached" in event["message"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"password": "wrong.key"}, "answered 401"),
        ({"extra": {"project": "demo"}}, "certificate of Hopsworks at .* is not accepted"),
        ({"extra": {"project": "demo", "trust_store_path": "/no/ca.pem"}}, "'/no/ca.pem' .* cannot be read"),
        ({"host": ""}, "host is empty"),
    ],
)
def test_wrong_connection_is_permanent(
    hopsworks: LocalHopsworks, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], text: str
) -> None:
    set_connection(monkeypatch, "hopsworks_default", **{**hopsworks.connection(), **changes})
    event = fire(trigger(1))
    assert (event["status"], event["permanent"]) == ("error", True)
    assert re.search(text, event["message"])
    assert "wrong.key" not in event["message"]


def test_missing_connection() -> None:
    event = fire(trigger(1, hopsworks_conn_id="nowhere"))
    assert (event["status"], event["permanent"]) == ("error", True)


@pytest.mark.parametrize("stop", [True, False])
def test_kill_stops_this_execution_only(hopsworks: LocalHopsworks, stop: bool) -> None:
    number, other = hopsworks.start_execution(), hopsworks.start_execution("other")
    ours = trigger(number, stop_on_kill=stop)
    assert ours.ends_with_task is stop
    asyncio.run(ours.on_kill())
    assert hopsworks.stop_was_requested(number) is stop
    assert not hopsworks.stop_was_requested(other)


def test_kill_survives_an_absent_server_and_an_unknown_execution(hopsworks: LocalHopsworks) -> None:
    number = hopsworks.start_execution()
    hopsworks.faults.times = 2
    asyncio.run(trigger(number, stop_on_kill=True).on_kill())
    assert hopsworks.stop_was_requested(number)
    asyncio.run(trigger(4711, stop_on_kill=True).on_kill())


def test_a_triggerer_that_stops_leaves_the_execution_alone(hopsworks: LocalHopsworks) -> None:
    number = hopsworks.start_execution()

    async def scenario() -> None:
        task = asyncio.create_task(only_event(trigger(number, stop_on_kill=True)))
        await until(lambda: bool(hopsworks.faults.requests))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert not hopsworks.stop_was_requested(number)


def test_twenty_waits_in_one_loop(hopsworks: LocalHopsworks) -> None:
    numbers = [hopsworks.start_execution(f"job{n}") for n in range(20)]

    async def scenario() -> list[dict[str, Any]]:
        tasks = [
            asyncio.create_task(only_event(trigger(number, job_name=f"job{n}"))) for n, number in enumerate(numbers)
        ]
        await until(lambda: len(hopsworks.faults.requests) >= 20)
        for number in numbers:
            hopsworks.end(number)
        return list(await asyncio.wait_for(asyncio.gather(*tasks), 20))

    assert {event["status"] for event in asyncio.run(scenario())} == {"SUCCEEDED"}


def test_only_consecutive_errors_count(hopsworks: LocalHopsworks) -> None:
    number = hopsworks.start_execution()

    async def scenario() -> dict[str, Any]:
        task = asyncio.create_task(only_event(trigger(number, max_errors=2)))
        for _ in range(2):
            seen = len(hopsworks.faults.requests)
            hopsworks.faults.times = 2
            await until(lambda seen=seen: len(hopsworks.faults.requests) >= seen + 3)
        assert not task.done()
        hopsworks.end(number)
        return await asyncio.wait_for(task, 5)

    assert asyncio.run(scenario())["status"] == "SUCCEEDED"
