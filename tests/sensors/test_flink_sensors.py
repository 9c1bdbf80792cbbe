"""The health sensor against the stub cluster, on a worker and deferred."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException, TaskDeferred

from hopsworks_flink._compat import AirflowFailException, AirflowSensorTimeout, BaseSensorOperator
from hopsworks_flink.exceptions import FlinkConnectionError, FlinkError
from hopsworks_flink.sensors.flink import FlinkJobHealthSensor
from tests.support.fixtures import set_connection, task_context
from tests.support.flink_stub import FlinkStub

pytestmark = pytest.mark.airflow


def sensor(**kwargs: Any) -> FlinkJobHealthSensor:
    own = {"job_name": None if "job_id" in kwargs else "cards", "poke_interval": 0.1, "timeout": 5.0}
    return FlinkJobHealthSensor(task_id="healthy", **{**own, **kwargs})


def execute(deferrable: bool, **kwargs: Any) -> Any:
    """The whole way, as Airflow takes it."""
    task = sensor(deferrable=deferrable, **kwargs)
    try:
        return task.execute(task_context())
    except TaskDeferred as deferred:
        _, arguments = deferred.trigger.serialize()
        trigger = type(deferred.trigger)(**json.loads(json.dumps(arguments)))

        async def first() -> Any:
            (event,) = [event.payload async for event in trigger.run()]
            return event

        event = asyncio.run(first())
        again = sensor(deferrable=deferrable, **kwargs)
        return again.resume_execution(deferred.method_name, {"event": event}, task_context())  # type: ignore[arg-type]


both = pytest.mark.parametrize("deferrable", [False, True], ids=["worker", "deferred"])


def test_is_one_of_airflows_sensors() -> None:
    assert issubclass(FlinkJobHealthSensor, BaseSensorOperator)


@both
def test_healthy_at_once(flink: FlinkStub, deferrable: bool) -> None:
    job = flink.add(checkpoint="chk", checkpoint_age=5.0, failures=[700.0])
    facts = execute(deferrable, max_checkpoint_age="60", max_restarts="0")
    assert (facts["job_id"], facts["state"], facts["restarts_in_window"]) == (job.job_id, "RUNNING", 0)
    assert 4 < facts["checkpoint_age_seconds"] < 20


@both
def test_waits_for_a_job_that_is_still_to_come(flink: FlinkStub, deferrable: bool) -> None:
    threading.Timer(0.3, flink.add).start()
    assert execute(deferrable)["state"] == "RUNNING"


@both
@pytest.mark.parametrize(
    ("job", "arguments", "reason"),
    [
        (
            {"state": "RESTARTING", "exception": "x.Y: lost\nCaused by: z.Q: TaskManager"},
            {},
            "is RESTARTING .cause: z.Q",
        ),
        ({"vertices": ["RUNNING", "SCHEDULED"]}, {}, "vertex 1: SCHEDULED"),
        ({"vertices": []}, {}, "no vertices yet"),
        ({}, {"max_checkpoint_age": 60}, "no checkpoint since its start"),
        (
            {"checkpoint": "chk", "checkpoint_age": 100},
            {"max_checkpoint_age": 60},
            "last checkpoint 100 s ago, 60 s are",
        ),
        ({"failures": [10, 20, 30]}, {"max_restarts": 2}, "restarted 3 times within 600 s, 2 are allowed"),
        ({"failures": [10, 20], "failures_truncated": True}, {"max_restarts": 9}, "at least 2 times"),
    ],
)
def test_unhealthy_until_the_timeout(
    flink: FlinkStub, deferrable: bool, job: dict[str, Any], arguments: dict[str, Any], reason: str
) -> None:
    flink.add(**job)
    if deferrable:
        with pytest.raises(AirflowSensorTimeout, match=reason):
            execute(deferrable, timeout=0.3, **arguments)
    else:
        task = sensor(**arguments)
        assert not task.poke(task_context())
        with pytest.raises(AirflowSensorTimeout):
            execute(deferrable, timeout=0.3, **arguments)


def test_restarts_outside_the_window_do_not_count(flink: FlinkStub) -> None:
    flink.add(failures=[10, 200, 300], failures_truncated=True)
    assert execute(False, max_restarts=1, restart_window=100)["restarts_in_window"] == 1


@both
@pytest.mark.usefixtures("flink")
def test_soft_fail_skips(deferrable: bool) -> None:
    with pytest.raises(AirflowSkipException):
        execute(deferrable, timeout=0.2, soft_fail=True)


@both
def test_job_id_that_ended_fails_at_once(flink: FlinkStub, deferrable: bool) -> None:
    job = flink.add(state="FAILED", exception="x.Y: o\nCaused by: z.Q: why")
    with pytest.raises(AirflowFailException, match=r"is FAILED \(cause: z.Q: why\): it cannot become healthy"):
        execute(deferrable, job_id=job.job_id)
    with pytest.raises(AirflowFailException, match="does not know"):
        execute(deferrable, job_id="ab" * 16)
    with pytest.raises(AirflowSkipException):
        execute(deferrable, job_id="ab" * 16, soft_fail=True)


@both
def test_job_id_that_ends_while_waiting(flink: FlinkStub, deferrable: bool) -> None:
    job = flink.add(state="RESTARTING")
    threading.Timer(0.3, job.end, ["FAILED"]).start()
    with pytest.raises(AirflowFailException, match="is FAILED"):
        execute(deferrable, job_id=job.job_id)


@both
def test_several_jobs_of_the_name(flink: FlinkStub, deferrable: bool) -> None:
    one, _ = flink.add(), flink.add()
    threading.Timer(0.3, one.end, ["FINISHED"]).start()
    assert execute(deferrable)["job_id"] != one.job_id


@both
def test_a_job_that_is_gone_before_it_was_looked_at_is_not_healthy(flink: FlinkStub, deferrable: bool) -> None:
    """The list had it RUNNING; then the JobManager restarted and does not know it."""
    job = flink.add()
    flink.fail("GET", "/exceptions", status=404, times=99, then=lambda: flink.jobs.pop(job.job_id, None))
    with pytest.raises(AirflowSensorTimeout):
        execute(deferrable, timeout=0.5)


@both
def test_an_answer_that_is_not_flinks_is_named(flink: FlinkStub, deferrable: bool) -> None:
    job = flink.add(vertices=["SCHEDULED", "RUNNING"])
    path = f"/jobs/{job.job_id}"
    threading.Timer(0.3, lambda: flink.fail("GET", path, times=99, status=200, body={"status": "UP"})).start()
    with pytest.raises(FlinkError, match="answered 200 with something that is not Flink's JSON"):
        execute(deferrable, job_id=job.job_id)


@both
def test_flink_away_is_not_healthy_yet(flink: FlinkStub, deferrable: bool) -> None:
    flink.add()
    flink.fail("GET", "/jobs/overview", times=6, status=503)
    assert execute(deferrable, timeout=60.0)["state"] == "RUNNING"


def test_one_truth(flink: FlinkStub) -> None:
    """Poke and trigger give the same sentence."""
    flink.add(vertices=["RUNNING", "FAILED"])
    with pytest.raises(AirflowSensorTimeout, match="vertex 1: FAILED"):
        execute(True, timeout=0.1)
    assert not sensor().poke(task_context())


def test_time_limit_is_told_to_airflow_too(flink: FlinkStub) -> None:
    with pytest.raises(TaskDeferred) as caught:
        sensor(deferrable=True, timeout=60).execute(task_context())
    assert caught.value.timeout == timedelta(seconds=60, minutes=5)
    assert flink.requests


def test_links(flink: FlinkStub) -> None:
    job = flink.add()
    context = task_context()
    sensor().execute(context)
    assert context["ti"].pushed["flink_job_url"] == f"https://flink.example/ui/#/job/running/{job.job_id}/overview"


@pytest.mark.usefixtures("flink")
@pytest.mark.parametrize(
    ("event", "error", "text"),
    [
        (None, FlinkError, "does not know"),
        ({"status": "new"}, FlinkError, "does not know"),
        ({"status": "error", "message": "reset", "permanent": False}, FlinkConnectionError, "reset"),
        ({"status": "error", "message": "401", "permanent": True}, AirflowFailException, "401"),
    ],
)
def test_events(event: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        sensor().execute_complete(task_context(), event)


@both
@pytest.mark.usefixtures("flink")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"job_id": "a", "job_name": "b"}, "not both"),
        ({"job_name": None}, "not neither"),
        ({"max_checkpoint_age": "soon"}, "max_checkpoint_age must be a number"),
        ({"max_restarts": -1}, "max_restarts must be at least 0"),
        ({"restart_window": 0}, "restart_window must be above 0"),
    ],
)
def test_bad_arguments(deferrable: bool, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(AirflowFailException, match=text):
        execute(deferrable, **arguments)


@both
def test_refused_credentials_fail_at_once(flink: FlinkStub, deferrable: bool) -> None:
    flink.fail("GET", "/jobs/overview", times=9, status=403)
    with pytest.raises(AirflowFailException, match="Check login and password"):
        execute(deferrable)


PIPELINE = {
    "name": "cards",
    "source": {"topic": "t", "schema": {"at": "bigint", "card": "bigint"}, "event_time": {"column": "at"}},
    "feature_groups": [{"name": "g", "key": ["card"], "window": {"size": "1m"}, "aggregates": {"n": "count"}}],
}
TRACE = "java.io.IOException: Failed to deserialize consumer record due to\nCaused by: java.io.EOFException"


@both
def test_a_pipeline_names_its_job(flink: FlinkStub, deferrable: bool) -> None:
    job = flink.add("cards__features", checkpoint="chk")
    assert execute(deferrable, job_name=None, pipeline=PIPELINE)["job_id"] == job.job_id


@both
def test_what_cannot_be_found_out_about_a_poisoned_job_is_said(
    flink: FlinkStub, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search itself: tests/integration/values/test_poison.py."""
    monkeypatch.setattr("hopsworks_flink.clients.kafka.poison.SEARCH_SECONDS", 1.0)
    set_connection(monkeypatch, "events", conn_type="kafka", extra={"bootstrap.servers": "127.0.0.1:1"})
    job = flink.add("cards__features", state="FAILED", exception=TRACE)
    text = r"is FAILED \(cause: java.io.EOFException\): it cannot become healthy\. The job cannot decode a record of "
    text += r"topic t, which could not be looked for: Kafka at 127.0.0.1:1 does not answer"
    with pytest.raises(AirflowFailException, match=text):
        execute(deferrable, job_id=job.job_id, pipeline=PIPELINE, source_kafka_conn_id="events")
    job.exception = "java.lang.ArithmeticException: / by zero"
    with pytest.raises(AirflowFailException, match=r"it cannot become healthy\.$"):
        execute(deferrable, job_id=job.job_id, pipeline=PIPELINE, source_kafka_conn_id="events")
