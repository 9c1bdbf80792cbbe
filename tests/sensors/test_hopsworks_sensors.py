"""Sensors of Hopsworks against the local server's https socket."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import date, datetime, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from hopsworks_flink._compat import AirflowFailException, AirflowSensorTimeout
from hopsworks_flink.clients.hopsworks.event_time import EventTime
from hopsworks_flink.clients.hopsworks.rest import HopsworksRest
from hopsworks_flink.exceptions import ConfigurationError, HopsworksConnectionError, HopsworksError
from hopsworks_flink.sensors.hopsworks import FeatureFreshnessSensor, HopsworksExecutionSensor
from tests.support.airflow_names import AirflowSkipException, TaskDeferred
from tests.support.fixtures import task_context
from tests.support.hopsworks_server import LocalHopsworks

pytestmark = pytest.mark.airflow


def sensor(execution_id: Any, **changes: Any) -> HopsworksExecutionSensor:
    arguments = {"poke_interval": 0.05, "timeout": 5, "job_name": "train", **changes}
    return HopsworksExecutionSensor(task_id="t", execution_id=execution_id, **arguments)


def test_poke_follows_this_execution(hopsworks: LocalHopsworks) -> None:
    number = hopsworks.start_execution()
    waiting = sensor(str(number))
    assert not waiting.poke(task_context()).is_done
    hopsworks.end(number)
    hopsworks.start_execution()
    done = waiting.poke(task_context())
    assert done.is_done
    assert done.xcom_value == {
        "job_name": "train",
        "execution_id": number,
        "state": "FINISHED",
        "final_status": "SUCCEEDED",
    }


def test_one_line_and_a_button_for_each_state(hopsworks: LocalHopsworks, caplog: pytest.LogCaptureFixture) -> None:
    number, context = hopsworks.start_execution(), task_context()
    waiting = sensor(number)
    waiting._cached_logger = logging.getLogger("sensor")  # where Airflow keeps an operator's logger
    with caplog.at_level("INFO"):
        for _ in range(3):
            waiting.poke(context)
        hopsworks.end(number)
        waiting.poke(context)
    lines = [line.getMessage() for line in caplog.records if line.getMessage().startswith("Execution")]
    assert lines == [f"Execution {number} of job train is {state}." for state in ("RUNNING", "FINISHED")]
    assert context["ti"].pushed["hopsworks_execution_url"].endswith("/jobs/named/train/executions")


def test_failed_and_unknown_executions_fail_at_once(hopsworks: LocalHopsworks) -> None:
    number = hopsworks.start_execution()
    hopsworks.end(number, "FAILED", "FAILED")
    with pytest.raises(AirflowFailException, match="cannot succeed any more"):
        sensor(number).poke(task_context())
    with pytest.raises(AirflowFailException, match="NOT_FOUND"):
        sensor(4711).poke(task_context())
    with pytest.raises(AirflowFailException, match="read job 'nowhere'"):
        sensor(number, job_name="nowhere").poke(task_context())


def test_absent_server_is_not_yet(asleep: LocalHopsworks) -> None:
    assert not sensor(1).poke(task_context()).is_done


def test_a_server_that_is_away_when_a_deferrable_wait_begins_is_not_yet(
    hopsworks: LocalHopsworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, waiting = hopsworks.start_execution(), sensor(1, deferrable=True)
    hopsworks.end(number)
    waiting.execution_id, look, away = number, HopsworksRest.project_id, [True, True]

    def first_away(api: HopsworksRest) -> int:
        if away and away.pop():
            raise HopsworksConnectionError("away")
        return look(api)

    monkeypatch.setattr(HopsworksRest, "project_id", first_away)
    assert waiting.execute(task_context())["execution_id"] == number


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"execution_id": "latest"}, "execution_id must be a whole number"),
        ({"job_name": ""}, "job_name must be a text"),
    ],
)
def test_bad_arguments(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(AirflowFailException, match=text):
        sensor(**{"execution_id": 1, **changes}).poke(task_context())


def test_deferred_wait(hopsworks: LocalHopsworks) -> None:
    number = hopsworks.start_execution(job_type="SPARK")
    waiting = sensor(number, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        waiting.execute(task_context())
    hopsworks.end(number)
    trigger = deferred.value.trigger
    assert trigger.job_type == "SPARK"
    assert not trigger.stop_on_kill

    async def first() -> Any:
        return await anext(trigger.run())

    assert waiting.execute_complete(task_context(), asyncio.run(first()).payload)["execution_id"] == number


def test_ended_before_the_deferral(hopsworks: LocalHopsworks) -> None:
    number = hopsworks.start_execution()
    hopsworks.end(number)
    assert sensor(number, deferrable=True).execute(task_context())["execution_id"] == number
    failed = hopsworks.start_execution()
    hopsworks.end(failed, "FAILED", "FAILED")
    with pytest.raises(AirflowFailException):
        sensor(failed, deferrable=True).execute(task_context())
    with pytest.raises(AirflowSkipException):
        sensor(failed, deferrable=True, soft_fail=True).execute(task_context())


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"status": "timeout"}, AirflowSensorTimeout),
        ({"status": "error", "message": "x", "permanent": True}, AirflowFailException),
        ({"status": "error", "message": "x", "permanent": False}, HopsworksConnectionError),
        ({"status": "KILLED"}, AirflowFailException),
        ({"status": "something new"}, HopsworksError),
        (None, HopsworksError),
    ],
)
def test_every_event(event: dict[str, Any] | None, error: type[Exception]) -> None:
    with pytest.raises(error):
        sensor(1).execute_complete(task_context(), event)


# --- freshness ------------------------------------------------------------------------------------------------------


def group(**changes: Any) -> SimpleNamespace:
    columns = [SimpleNamespace(name="ts", type="timestamp(3)"), SimpleNamespace(name="n", type="bigint")]
    own = {"name": "g", "version": 1, "online_enabled": True, "event_time": "ts", "columns": columns}
    return SimpleNamespace(**{**own, **changes})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"online_enabled": False}, "is not online"),
        ({"event_time": None}, "has no event time"),
        ({"columns": [SimpleNamespace(name="ts", type="string")]}, "is string, not a time"),
    ],
)
def test_groups_without_a_freshness(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        EventTime.of(group(**changes), "seconds")


MOMENT = datetime(2026, 1, 31, 12, 0, 0, tzinfo=timezone.utc).timestamp()


@pytest.mark.parametrize(
    ("kind", "unit", "written"),
    [
        ("timestamp", "seconds", "2026-01-31 12:00:01"),
        ("date", "seconds", "2026-02-01"),
        ("bigint", "milliseconds", 1769860800250),
        ("bigint", "seconds", 1769860801),
    ],
)
def test_moments_as_the_feature_has_them(kind: str, unit: str, written: Any) -> None:
    assert EventTime("ts", kind, unit).at(MOMENT + 0.25) == written


@pytest.mark.parametrize(("kind", "written"), [("date", "2026-01-31"), ("timestamp", "2026-01-31 00:00:00")])
def test_midnight_is_the_time_of_its_date(kind: str, written: str) -> None:
    assert EventTime("ts", kind).at(MOMENT - 12 * 3600) == written


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        ("bigint", 1769860800000, "2026-01-31T12:00:00+00:00"),
        ("timestamp", datetime(2026, 1, 31, 12), "2026-01-31T12:00:00+00:00"),
        ("timestamp", "2026-01-31 12:00:00", "2026-01-31T12:00:00+00:00"),
        ("date", date(2026, 1, 31), "2026-01-31"),
    ],
)
def test_values_for_people(kind: str, value: Any, read: str) -> None:
    assert json.loads(json.dumps(EventTime("ts", kind).read(value))) == read


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"max_age": "old"}, "max_age must be a number"),
        ({"reference": "moon"}, "reference must be one of clock, source"),
        ({"reference": "source"}, "source_topic must be a text"),
        ({"event_time_unit": "hours"}, "event_time_unit must be one of"),
    ],
)
def test_bad_freshness_arguments(changes: dict[str, Any], text: str) -> None:
    arguments = {"name": "g", "version": 1, "max_age": 60, **changes}
    with pytest.raises(AirflowFailException, match=text):
        FeatureFreshnessSensor(task_id="t", **arguments).poke(task_context())
