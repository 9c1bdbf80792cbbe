"""Deployments before Airflow 3.3: no state stores; what went well is kept in the events of the job's asset."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.execution_time import context as airflow_context
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import AssetEventsResult

from hopsworks_flink._compat import AirflowFailException
from hopsworks_flink.exceptions import FlinkJobFailed
from hopsworks_flink.operators.flink import FlinkDeployJobOperator
from tests.support.fixtures import task_context
from tests.support.flink_stub import FlinkStub, Job

pytestmark = pytest.mark.airflow

ASSET = Asset(name="flink_job.cards", uri="x-flink://cluster/cards")


class Events:
    """Airflow's own accessors in front of a list of events, in place of its supervisor."""

    def __init__(self) -> None:
        self.stored: list[dict[str, Any]] = []

    def send(self, *_: Any, **__: Any) -> AssetEventsResult:
        return AssetEventsResult.model_validate({"asset_events": self.stored})

    def store(self, extra: Any) -> None:
        number = len(self.stored) + 1
        self.stored.append(
            {
                "id": number,
                "timestamp": f"2025-01-01T00:{number:02}:00Z",
                "extra": extra,
                "asset": {"name": ASSET.name, "uri": ASSET.uri, "group": "asset"},
                "created_dagruns": [],
            }
        )

    def run(self, operator: FlinkDeployJobOperator) -> dict[str, Any]:
        """One task run; its events are stored if it succeeds, as Airflow does."""
        outlets = airflow_context.OutletEventAccessors()
        inlets = airflow_context.InletEventsAccessors(list(operator.inlets))
        result = operator.execute({**task_context(), "outlet_events": outlets, "inlet_events": inlets})
        self.store(json.loads(json.dumps(outlets[ASSET].extra)))
        return result


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    events = Events()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", events, raising=False)
    return events


Make = Callable[..., FlinkDeployJobOperator]


@pytest.fixture
def make(program: Path) -> Make:
    def operator(**kwargs: Any) -> FlinkDeployJobOperator:
        quick = {"grace_period": 0.01, "poll_interval": 0.01, "timeout": 2.0, "outlets": [ASSET], "inlets": [ASSET]}
        return FlinkDeployJobOperator(task_id="deploy", job_name="cards", program=str(program), **{**quick, **kwargs})

    return operator


def broken_with_two(job: Job) -> None:
    if "two" in job.request["programArgsList"]:
        job.state, job.vertices, job.exception = "FAILED", ["FAILED"], "x.Y: o\nCaused by: x.Z: incompatible"


def test_rolled_back_to_what_an_event_kept(make: Make, flink: FlinkStub, events: Events) -> None:
    first = events.run(make(arguments=["one"]))
    flink.on_run = broken_with_two
    with pytest.raises(AirflowFailException, match=r"incompatible.*Rolled back"):
        events.run(make(arguments=["two"]))
    (back,) = flink.running()
    assert back.user_config["deployment_hash"] == first["deployment_hash"]
    assert back.restored_from == flink.jobs[first["job_id"]].savepoint


def test_job_manager_that_has_forgotten_is_noticed(make: Make, flink: FlinkStub, events: Events) -> None:
    """It restarted with nothing: the state that a stop had left is known from the event."""
    events.run(make())
    second = events.run(make(parallelism=2))
    assert second["action"] == "replaced"
    flink.jobs.clear()
    with pytest.raises(AirflowFailException, match="state"):
        events.run(make(parallelism=2))


@pytest.mark.parametrize("extra", [None, {}, {"from_rest_api": True}])
def test_events_of_others_hold_nothing(make: Make, flink: FlinkStub, events: Events, extra: Any) -> None:
    """Somebody made one by hand."""
    events.run(make(arguments=["one"]))
    events.store(extra)
    flink.on_run = broken_with_two
    with pytest.raises(FlinkJobFailed, match="to start the job before"):
        events.run(make(arguments=["two"]))
