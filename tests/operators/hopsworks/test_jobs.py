"""The operators that follow executions: every way in which a wait can end, kills, and offsets that do not move.

Hopsworks is the local server behind its https socket, asked by the unmodified SDK. The topic lies on the broker that
Kafka's client library brings along for tests, on a socket as well.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from devstack.config import DevstackConfig
from hopsworks_flink._compat import AirflowFailException
from hopsworks_flink.clients import retry
from hopsworks_flink.exceptions import HopsworksConnectionError, HopsworksError, HopsworksJobFailed
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.operators.hopsworks import HopsworksMaterializeFeatureGroupOperator, HopsworksRunJobOperator
from tests.support.airflow_names import TaskDeferred
from tests.support.fixtures import StateStore, set_connection, task_context
from tests.support.hopsworks_server import LocalHopsworks, free_port

RECORDS = 7
Operator = HopsworksMaterializeFeatureGroupOperator | HopsworksRunJobOperator
Make = Callable[..., Operator]


class Case:
    """A feature group whose topic holds records, and its materialization job."""

    def __init__(self, server: LocalHopsworks) -> None:
        broker = Producer({"test.mock.num.brokers": 1, "log_level": 0})
        #: Lives as long as this object.
        self.broker = broker
        (address,) = broker.list_topics(timeout=10).brokers.values()
        server.context.config = server.config.model_copy(update={"kafka_bootstrap": f"{address.host}:{address.port}"})
        self.server = server
        with HopsworksHook().session() as session:
            group, _ = session.create_feature_group(
                name="g", version=1, features=[{"name": "card", "type": "bigint"}], primary_key=["card"]
            )
            self.topic, self.job = group._online_topic_name, session.jobs.materialization(group).name
        for number in range(RECORDS):
            broker.produce(self.topic, b"v", partition=number % 2)
        assert broker.flush(10) == 0
        partitions = broker.list_topics(self.topic, timeout=10).topics[self.topic].partitions
        self.end = {partition: max(0, (RECORDS + 1 - partition) // 2) * (partition < 2) for partition in partitions}

    def log(self, start: dict[int, int], end: dict[int, int]) -> str:
        """What an execution prints."""
        lines = (("startingOffsets", start), ("endingOffsets", self.end), ("next offsets", end))
        return "\n".join(f"{name}: {json.dumps({self.topic: offsets})}" for name, offsets in lines)

    def ends(self, *executions: tuple[Any, ...]) -> None:
        """What becomes of the next executions: state, final status, log."""
        script = list(executions)

        def on_start(execution_id: int) -> None:
            if script:
                self.server.end(execution_id, *script.pop(0))

        self.server.executor.on_start = on_start  # type: ignore[method-assign]

    def executions(self) -> list[Any]:
        job = self.server.jobs.job(self.job)
        assert job is not None
        return self.server.jobs.executions(job)


@pytest.fixture(scope="module")
def first_case(hopsworks_home: Path) -> Iterator[Case]:
    """One server, group and topic for all tests: they differ in what becomes of executions only."""
    with pytest.MonkeyPatch.context() as patch:
        server = LocalHopsworks(DevstackConfig(home=hopsworks_home, hopsworks_port=free_port()))
        set_connection(patch, "hopsworks_default", **server.connection())
        with server.serve():
            yield Case(server)


@pytest.fixture
def case(first_case: Case) -> Iterator[Case]:
    yield first_case
    first_case.ends()
    first_case.server.faults.times = 0
    for execution in first_case.executions():
        first_case.server.executor.stop(execution)
        first_case.server.jobs.delete_execution(execution.id)


def run_job(case: Case, **changes: Any) -> HopsworksRunJobOperator:
    arguments = {"poll_interval": 0.05, "timeout": 20, "job_name": case.job, **changes}
    return HopsworksRunJobOperator(task_id="t", **arguments)


def materialize(case: Case, **changes: Any) -> HopsworksMaterializeFeatureGroupOperator:
    arguments = {"poll_interval": 0.05, "timeout": 20, "name": "g", "version": 1, **changes}
    return HopsworksMaterializeFeatureGroupOperator(task_id="t", **arguments)


both = pytest.mark.parametrize("make", [run_job, materialize])


def defer(operator: Operator, context: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    with pytest.raises(TaskDeferred) as caught:
        operator.execute(context)
    assert caught.value.timeout is None
    return caught.value.trigger, json.loads(json.dumps(caught.value.kwargs))


def event_of(trigger: Any) -> dict[str, Any]:
    async def first() -> Any:
        return await anext(trigger.run())

    return json.loads(json.dumps(asyncio.run(asyncio.wait_for(first(), 20)).payload))


# --- how a wait can end ---------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("deferrable", [False, True], ids=["worker", "triggerer"])
@pytest.mark.parametrize(
    ("state", "final_status"),
    [("FAILED", "FAILED"), ("KILLED", "KILLED"), ("FRAMEWORK_FAILURE", "FAILED"), ("FINISHED", "FAILED")],
)
def test_execution_without_success_fails_the_task(
    case: Case, make: Make, deferrable: bool, state: str, final_status: str
) -> None:
    context, operator = task_context(), make(case, deferrable=deferrable)
    if deferrable:
        trigger, kwargs = defer(operator, context)
        case.server.end(trigger.execution_id, state, final_status, "the cause")
        event = event_of(trigger)
        go_on = partial(operator.execute_complete, context, event, **kwargs)
    else:
        case.ends((state, final_status, "the cause"))
        go_on = partial(operator.execute, context)
    with pytest.raises(HopsworksJobFailed, match=rf"ended {state} \({final_status}\)") as caught:
        go_on()
    (execution,) = case.executions()
    assert caught.value.execution_id == execution.id
    assert context["ti"].pushed["hopsworks_execution_url"].endswith(f"/jobs/named/{case.job}/executions")


@both
def test_execution_that_hopsworks_forgot(case: Case, make: Make) -> None:
    context = task_context()
    trigger, kwargs = defer(make(case, deferrable=True), context)
    case.server.jobs.delete_execution(trigger.execution_id)
    event = event_of(trigger)
    assert event["status"] == "NOT_FOUND"
    with pytest.raises(HopsworksJobFailed, match="Hopsworks does not know it"):
        make(case).execute_complete(context, event, **kwargs)


@both
@pytest.mark.parametrize(
    ("event", "error", "text"),
    [
        ({"status": "timeout", "state": "RUNNING"}, HopsworksJobFailed, "is still RUNNING after 20 s"),
        ({"status": "error", "message": "away.", "permanent": False}, HopsworksConnectionError, "is left as it is"),
        ({"status": "error", "message": "key refused.", "permanent": True}, AirflowFailException, "key refused"),
        ({"status": "never heard of"}, HopsworksError, "this version does not know"),
        ({}, HopsworksError, "this version does not know"),
        (None, HopsworksError, "this version does not know"),
    ],
    ids=["timeout", "error", "permanent error", "unknown", "empty", "none"],
)
def test_events_that_are_no_end(case: Case, make: Make, event: Any, error: type[Exception], text: str) -> None:
    context = task_context()
    trigger, kwargs = defer(make(case, deferrable=True), context)
    with pytest.raises(error, match=text):
        make(case, cancel_on_kill=False).execute_complete(context, event, **kwargs)
    assert not case.server.stop_was_requested(trigger.execution_id)


@both
def test_time_is_up_on_a_worker(case: Case, make: Make) -> None:
    with pytest.raises(HopsworksJobFailed, match=r"is still RUNNING after 0\.3 s"):
        make(case, timeout=0.3).execute(task_context())
    (execution,) = case.executions()
    # A materialization does no harm and is waited for by the next try; any other job may be what must not go on.
    assert case.server.stop_was_requested(execution.id) is (make is run_job)


@both
def test_server_that_is_away_for_a_moment(case: Case, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.01)
    trigger, _ = defer(make(case, deferrable=True), task_context())
    case.server.faults.times = 3
    case.server.end(trigger.execution_id)
    assert event_of(trigger)["status"] == "SUCCEEDED"


@both
def test_deferred_until_success(case: Case, make: Make) -> None:
    context = task_context()
    trigger, kwargs = defer(make(case, deferrable=True), context)
    case.server.end(trigger.execution_id, log=case.log({}, case.end))
    result = make(case).execute_complete(context, event_of(trigger), **kwargs)
    assert (result["execution_id"], result["final_status"]) == (trigger.execution_id, "SUCCEEDED")


# --- kills ----------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("cancel", [True, False])
def test_kill_on_a_worker_stops_the_own_execution(case: Case, make: Make, cancel: bool) -> None:
    operator = make(case, cancel_on_kill=cancel)
    operator.on_kill()  # before anything was started

    def kill(execution_id: int) -> None:
        operator.on_kill()
        if not cancel:
            case.server.end(execution_id, log=case.log({}, case.end))

    case.server.executor.on_start = lambda number: threading.Timer(0.5, kill, [number]).start()  # type: ignore[method-assign]
    if cancel:
        with pytest.raises(HopsworksJobFailed, match="ended KILLED"):
            operator.execute(task_context())
    else:
        operator.execute(task_context())
    (execution,) = case.executions()
    assert case.server.stop_was_requested(execution.id) is cancel
    operator.on_kill()
    assert len(case.executions()) == 1


@both
@pytest.mark.parametrize("cancel", [True, False])
def test_kill_of_a_deferred_task(case: Case, make: Make, cancel: bool) -> None:
    trigger, _ = defer(make(case, deferrable=True, cancel_on_kill=cancel), task_context())
    asyncio.run(trigger.on_kill())
    assert case.server.stop_was_requested(trigger.execution_id) is cancel


def test_kill_leaves_an_execution_alone_that_ran_before(case: Case) -> None:
    foreign = case.server.start_execution(case.job, "SPARK")
    trigger, _ = defer(materialize(case, deferrable=True), task_context())
    assert trigger.execution_id == foreign
    asyncio.run(trigger.on_kill())
    assert not case.server.stop_was_requested(foreign)


@both
def test_retry_follows_the_execution_of_the_try_before(case: Case, make: Make) -> None:
    context = {**task_context(), "task_state_store": StateStore()}
    first, _ = defer(make(case, deferrable=True), context)
    again, kwargs = defer(make(case, deferrable=True), context)
    assert again.execution_id == first.execution_id
    assert again.stop_on_kill, "it is this task's own"
    assert len(case.executions()) == 1
    case.server.end(first.execution_id, log=case.log({}, case.end))
    make(case).execute_complete(context, event_of(again), **kwargs)
    assert len(case.executions()) == 1


# --- offsets --------------------------------------------------------------------------------------------------------


def test_offsets_that_do_not_move_fail_the_task(case: Case) -> None:
    """The execution succeeds, but the next one would read the same records again."""
    stuck = ("FINISHED", "SUCCEEDED", case.log({0: 1}, {0: 1}))
    case.ends(stuck, stuck, stuck)
    with pytest.raises(HopsworksJobFailed, match=r"offsets did not move although records wait \(partition 0: 1 of 4"):
        materialize(case).execute(task_context())
    assert len(case.executions()) == 2, "the first one shows where the group stands, the second that it stays there"


def test_offsets_that_did_not_move_are_seen_at_once_where_they_were_known(case: Case) -> None:
    case.server.end(case.server.start_execution(case.job, "SPARK"), log=case.log({}, {0: 1, 1: 1}))
    case.ends(("FINISHED", "SUCCEEDED", case.log({0: 1, 1: 1}, {0: 1, 1: 1})))
    with pytest.raises(HopsworksJobFailed, match="offsets did not move"):
        materialize(case).execute(task_context())
    assert len(case.executions()) == 2, "one of before, one of this task"


def test_executions_until_everything_is_there(case: Case) -> None:
    half = {0: 2, 1: 1}
    case.ends(("FINISHED", "SUCCEEDED", case.log({}, half)), ("FINISHED", "SUCCEEDED", case.log(half, case.end)))
    result = materialize(case).execute(task_context())
    assert len(result["executions"]) == 2
    assert result["offsets_verified"]
    assert {int(partition): at["after"] for partition, at in result["offsets"].items() if int(partition) < 2} == {
        0: case.end[0],
        1: case.end[1],
    }


def test_a_job_that_tells_no_offsets_is_believed_once(case: Case) -> None:
    case.ends(("FINISHED", "SUCCEEDED", "nothing to see"))
    result = materialize(case).execute(task_context())
    assert (len(result["executions"]), result["offsets_verified"]) == (1, False)


def test_offsets_of_an_earlier_topic_of_the_name_prove_nothing(case: Case) -> None:
    """Hopsworks' job goes on from the offsets that it has saved, beyond the end of the topic that was made anew."""
    log = case.log({0: 500, 1: 500}, {}).rpartition("\n")[0]
    case.server.end(case.server.start_execution(case.job, "SPARK"), log=log)
    case.ends(("FINISHED", "SUCCEEDED", log))
    with pytest.raises(HopsworksJobFailed, match=r"records wait \(partition 0: 0 of 4, .*; .* made anew"):
        materialize(case).execute(task_context())
