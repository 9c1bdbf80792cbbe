"""Operators, trigger and sensors of Hopsworks against the local server, a real broker and the unmodified SDK."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from airflow.sdk import Asset

from devstack.hopsworks.home.layout import Layout
from devstack.hopsworks.jobs.store import JobStore
from devstack.hopsworks.metadata.store import MetadataStore
from devstack.stack import Stack
from hopsworks_flink._compat import AirflowFailException, AirflowSkipException
from hopsworks_flink.exceptions import HopsworksError, HopsworksJobFailed
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.operators.hopsworks import (
    HopsworksCreateFeatureGroupOperator,
    HopsworksCreateTopicOperator,
    HopsworksDeleteOperator,
    HopsworksMaterializeFeatureGroupOperator,
    HopsworksRunJobOperator,
)
from hopsworks_flink.sensors.hopsworks import FeatureFreshnessSensor
from tests.support.airflow_names import TaskDeferred
from tests.support.fixtures import set_connection, task_context
from tests.support.live.platform import eventually

RUN = f"{time.time_ns() // 1_000_000 % 100_000_000}"
FEATURES = [
    {"name": "card", "type": "bigint"},
    {"name": "ts", "type": "timestamp"},
    {"name": "amount", "type": "double"},
]


@pytest.fixture
def hook(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> HopsworksHook:
    set_connection(monkeypatch, "hopsworks_default", **stack.airflow_connections()["hopsworks_default"])
    return HopsworksHook()


@pytest.fixture
def jobs(stack: Stack) -> JobStore:
    """The server's own record of executions: what a test needs to see a state that lasts too short otherwise."""
    return JobStore(MetadataStore(Layout(stack.config)).db)


@pytest.fixture
def log_lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the operator says to its log."""
    lines: list[str] = []

    class Log:
        def _say(self, text: str, *values: Any) -> None:
            lines.append(text % values if values else text)

        debug = info = warning = error = _say

    monkeypatch.setattr(HopsworksMaterializeFeatureGroupOperator, "log", Log())
    return lines


Insert = Callable[..., None]


@pytest.fixture
def insert(hook: HopsworksHook) -> Insert:
    def run(name: str, cards: range, start: float = 0.0) -> None:
        with hook.session() as session:
            group, _ = session.create_feature_group(
                name=f"{name}_{RUN}", version=1, features=FEATURES, primary_key=["card"], event_time="ts"
            )
            moments = pd.to_datetime([1_700_000_000 + start + card for card in cards], unit="s", utc=True)
            rows = pd.DataFrame({"card": list(cards), "ts": moments, "amount": [1.5] * len(cards)})
            group.insert(rows, write_options={"start_offline_materialization": False})

    return run


def materialization(name: str, **changes: Any) -> HopsworksMaterializeFeatureGroupOperator:
    arguments = {"poll_interval": 0.3, "timeout": 120, **changes}
    return HopsworksMaterializeFeatureGroupOperator(task_id="t", name=f"{name}_{RUN}", version="1", **arguments)


def drive(operator: Any, context: dict[str, Any]) -> tuple[Any, int]:
    """Run a deferrable operator as Airflow does, its trigger in an event loop; result and number of deferrals."""
    deferrals, resume = 0, lambda: operator.execute(context)
    while True:
        try:
            return resume(), deferrals
        except TaskDeferred as deferred:
            deferrals += 1
            trigger, kwargs = deferred.trigger, json.loads(json.dumps(deferred.kwargs or {}))
            path, arguments = trigger.serialize()
            assert path.endswith(type(trigger).__name__)
            rebuilt = type(trigger)(**json.loads(json.dumps(arguments)))

            async def first(trigger: Any = rebuilt) -> Any:
                return await anext(trigger.run())

            event = asyncio.run(first()).payload
            resume = lambda e=event, k=kwargs: operator.execute_complete(context, e, **k)  # noqa: E731


# --- materialization ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deferrable", [False, True])
def test_materialization_proves_what_arrived(insert: Insert, deferrable: bool) -> None:
    name = f"proof_{deferrable}".lower()
    insert(name, range(5))
    asset = Asset(name="a", uri="x-hopsworks://h/p/demo/fg/a/1")
    events: dict[Any, Any] = {asset: type("Event", (), {"extra": {}})()}
    context = {**task_context(), "outlet_events": events}
    result, deferrals = drive(materialization(name, deferrable=deferrable, outlets=[asset]), context)
    assert deferrals <= deferrable
    assert (result["rows_inserted"], result["rows_updated"]) == (5, 0)
    assert result["executions"] == [result["execution_id"]]
    assert result["offsets_verified"]
    assert {at["after"] - at["end"] for at in result["offsets"].values()} == {0}
    assert result["final_status"] == "SUCCEEDED"
    assert json.loads(json.dumps(events[asset].extra)) == {**result, "window": None}
    assert set(context["ti"].pushed) == {"feature_group_url", "hopsworks_execution_url"}


def test_what_is_named_is_deleted_and_no_more(insert: Insert, hook: HopsworksHook) -> None:
    topic = f"gone_{RUN}"
    schema = {"type": "record", "name": "gone", "fields": [{"name": "n", "type": ["null", "long"]}]}
    HopsworksCreateTopicOperator(task_id="topic", topic=topic, schema=schema).execute(task_context())
    for name in ("gone", "stays"):
        insert(name, range(3))
    delete = HopsworksDeleteOperator(task_id="delete", feature_groups=[f"gone_{RUN}_1"], topics=[topic])
    assert delete.execute(task_context()) == {"feature_groups": [f"gone_{RUN}_1"], "topics": [topic]}
    with hook.session() as session:
        assert session.feature_store.get_feature_group(f"gone_{RUN}", 1) is None
        assert session.topics.differences(topic, schema, partitions=1) is None
        assert session.feature_store.get_feature_group(f"stays_{RUN}", 1) is not None
    # A repeated task finds nothing left; what was deleted can be made again.
    assert delete.execute(task_context()) == {"feature_groups": [], "topics": []}
    insert("gone", range(2))
    assert materialization("gone").execute(task_context())["rows_inserted"] == 2
    HopsworksCreateTopicOperator(task_id="topic", topic=topic, schema=schema).execute(task_context())


@pytest.mark.parametrize(
    ("names", "error", "text"),
    [
        ({}, AirflowSkipException, "Nothing is to be deleted"),
        ({"feature_groups": ["cards"]}, AirflowFailException, "'cards' must be a name with a version"),
        ({"topics": "cards"}, AirflowFailException, "topics must be a list of names, not 'cards'"),
    ],
)
def test_names_are_checked_before_anything_is_deleted(names: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        HopsworksDeleteOperator(task_id="delete", **names).execute(task_context())


def test_nothing_is_started_when_nothing_waits(insert: Insert) -> None:
    insert("idle", range(3))
    first = materialization("idle").execute(task_context())
    second = materialization("idle").execute(task_context())
    assert second["executions"] == []
    assert second["execution_id"] == first["execution_id"]
    assert (second["rows_inserted"], second["offsets_verified"]) == (0, True)


def test_loops_past_the_jobs_own_limit(insert: Insert, hook: HopsworksHook, stack: Stack) -> None:
    insert("limit", range(10))
    folder = Layout(stack.config).datasets / "Resources" / "jobs" / f"limit_{RUN}_1_offline_fg_materialization"
    (configuration,) = folder.iterdir()
    document = json.loads(configuration.read_text())
    configuration.write_text(json.dumps({**document, "write_options": {"job_limit": 4}}))
    result = materialization("limit").execute(task_context())
    assert len(result["executions"]) == 3
    assert result["rows_inserted"] == 10
    insert("limit", range(10, 20))
    with pytest.raises(HopsworksJobFailed, match="after 1 execution"):
        materialization("limit", max_executions="1").execute(task_context())
    assert materialization("limit").execute(task_context())["rows_inserted"] == 6


def test_waits_for_the_one_that_runs_and_starts_none(insert: Insert, hook: HopsworksHook) -> None:
    insert("foreign", range(4))
    with hook.session() as session:
        foreign = session.jobs.start(session.jobs.materialization(session.get_feature_group(f"foreign_{RUN}", 1))).id
    result = materialization("foreign").execute(task_context())
    assert result["executions"] == []
    assert result["execution_id"] == foreign
    assert result["offsets_verified"]


def test_failed_execution_brings_its_log(insert: Insert, stack: Stack, log_lines: list[str]) -> None:
    insert("broken", range(2))
    folder = Layout(stack.config).datasets / "Resources" / "jobs" / f"broken_{RUN}_1_offline_fg_materialization"
    (configuration,) = folder.iterdir()
    document = json.loads(configuration.read_text())
    configuration.write_text(json.dumps({**document, "write_options": {"job_limit": 0}}))
    with pytest.raises(HopsworksJobFailed, match=r"ended FAILED \(FAILED\)"):
        materialization("broken").execute(task_context())
    assert "write option job_limit is 0" in "\n".join(log_lines)
    assert log_lines[-1] == "::endgroup::"


def test_retry_waits_for_the_execution_of_the_try_before(
    insert: Insert, hook: HopsworksHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.fixtures import StateStore

    insert("retry", range(4))
    context = {**task_context(), "task_state_store": StateStore()}
    operator = materialization("retry", deferrable=True)
    with pytest.raises(TaskDeferred) as first:
        operator.execute(context)
    again = materialization("retry", deferrable=True)
    result, _ = drive(again, context)
    assert result["execution_id"] == first.value.trigger.execution_id
    assert result["executions"] == []


# --- any job --------------------------------------------------------------------------------------------------------


def run_job(job_name: str, **changes: Any) -> HopsworksRunJobOperator:
    arguments = {"poll_interval": 0.3, "timeout": 120, **changes}
    return HopsworksRunJobOperator(task_id="t", job_name=job_name, **arguments)


@pytest.mark.parametrize("deferrable", [False, True])
def test_job_runs_for_a_data_interval(insert: Insert, jobs: JobStore, deferrable: bool) -> None:
    insert("interval", range(3))
    interval = {"start_time": "2026-01-31T00:00:00Z", "end_time": "2026-01-31T01:00:00"}
    job_name = f"interval_{RUN}_1_offline_fg_materialization"
    context = task_context()
    result, _ = drive(run_job(job_name, deferrable=deferrable, **interval), context)
    assert (result["state"], result["final_status"]) == ("FINISHED", "SUCCEEDED")
    execution = jobs.execution(result["execution_id"])
    assert execution is not None
    assert execution.env_vars["HOPS_START_TIME"] == "2026-01-31T00:00:00+00:00"
    assert execution.env_vars["HOPS_END_TIME"] == "2026-01-31T01:00:00+00:00"
    assert context["ti"].pushed == {"hopsworks_execution_url": result["url"]}


@pytest.mark.usefixtures("hook")
def test_job_fails_with_its_log(insert: Insert, monkeypatch: pytest.MonkeyPatch, log_lines: list[str]) -> None:
    insert("argued", range(1))
    monkeypatch.setattr(HopsworksRunJobOperator, "log", HopsworksMaterializeFeatureGroupOperator.log)
    with pytest.raises(HopsworksJobFailed, match="ended FAILED"):
        run_job(f"argued_{RUN}_1_offline_fg_materialization", args="-op nonsense").execute(task_context())
    assert "nonsense" in "\n".join(log_lines)


@pytest.mark.parametrize(("word", "deferrable"), [("good", False), ("good", True), ("bad", False)])
def test_a_python_job_is_run_for_a_data_interval(
    stack: Stack, jobs: JobStore, monkeypatch: pytest.MonkeyPatch, log_lines: list[str], word: str, deferrable: bool
) -> None:
    set_connection(monkeypatch, "hopsworks_default", **stack.airflow_connections()["hopsworks_default"])
    monkeypatch.setattr(HopsworksRunJobOperator, "log", HopsworksMaterializeFeatureGroupOperator.log)
    program = Layout(stack.config).datasets / "Resources" / "interval.py"
    told = "print(sys.argv[1], os.environ['HOPS_START_TIME'])"
    program.write_text(f"import os, sys\n{told}\nsys.exit(7 if sys.argv[1] == 'bad' else 0)\n")
    name = f"python_{word}_{deferrable}_{RUN}"
    config = {"type": "pythonJobConfiguration", "appName": name, "appPath": "Resources/interval.py"}
    jobs.put_job(name, "PYTHON", config)
    operator = run_job(name, args=word, deferrable=deferrable, start_time="2026-01-31T00:00:00Z")
    if word == "bad":
        with pytest.raises(HopsworksJobFailed, match="ended FAILED"):
            operator.execute(task_context())
        assert "exit code 7" in "\n".join(log_lines)
        assert "bad 2026-01-31T00:00:00+00:00" in "\n".join(log_lines)
        return
    result, _ = drive(operator, task_context())
    assert (result["state"], result["final_status"]) == ("FINISHED", "SUCCEEDED")


# --- freshness ------------------------------------------------------------------------------------------------------


def test_freshness_of_online_values(insert: Insert, stack: Stack) -> None:
    insert("fresh", range(3), start=time.time() - 1_700_000_000 - 600)

    def poke(**changes: Any) -> Any:
        arguments = {"name": f"fresh_{RUN}", "version": 1, **changes}
        return FeatureFreshnessSensor(task_id="t", **arguments).poke(task_context())

    def is_fresh() -> None:
        assert poke(max_age=660).is_done

    eventually(is_fresh, timeout=30)
    assert poke(max_age=660).xcom_value["event_time"] >= poke(max_age=660).xcom_value["not_before"]
    assert not poke(max_age=500).is_done
    # The topic's records were written just now, ten minutes after what they tell.
    assert not poke(max_age=60, reference="source", source_topic="demo_onlinefs").is_done
    assert poke(max_age=700, reference="source", source_topic="demo_onlinefs").is_done
    with pytest.raises(AirflowFailException, match="no Kafka topic"):
        poke(max_age=60, reference="source", source_topic="no_such_topic")


# --- evolution ------------------------------------------------------------------------------------------------------


def create(name: str, features: list[dict[str, str]], **changes: Any) -> dict[str, Any]:
    arguments = {"version": 1, "primary_key": ["card"], "event_time": "ts", **changes}
    operator = HopsworksCreateFeatureGroupOperator(task_id="t", name=f"{name}_{RUN}", features=features, **arguments)
    return operator.execute(task_context())


@pytest.mark.usefixtures("hook")
def test_features_are_appended() -> None:
    first = create("grown", FEATURES)
    more = [*FEATURES, {"name": "city", "type": "string", "description": "where"}]
    with pytest.raises(AirflowFailException, match=r"'city' \(string\) is missing there"):
        create("grown", more)
    assert create("grown", more, on_drift="ignore")["subject_id"] == first["subject_id"]
    second = create("grown", more, on_drift="append")
    assert second["appended"] == ["city"]
    assert second["subject_id"] > first["subject_id"]
    third = create("grown", more, on_drift="append")
    assert third == {**second, "appended": []}
    assert create("grown", more)["subject_id"] == second["subject_id"]


@pytest.mark.usefixtures("hook")
@pytest.mark.parametrize(
    ("features", "changes", "text"),
    [
        (FEATURES[:2], {}, r"'amount' \(double\) exists there only"),
        ([*FEATURES[:2], {"name": "amount", "type": "float"}], {}, "'amount' is double, wanted float"),
        ([*FEATURES, {"name": "x", "type": "int"}], {"primary_key": ["card", "x"]}, "the primary key is"),
        ([*FEATURES, {"name": "t2", "type": "timestamp"}], {"event_time": "t2"}, "the event time is 'ts'"),
    ],
)
def test_what_cannot_be_appended_changes_nothing(
    features: list[dict[str, str]], changes: dict[str, Any], text: str
) -> None:
    first = create("fixed", FEATURES)
    with pytest.raises(AirflowFailException, match=text + ".*another version"):
        create("fixed", features, on_drift="append", **changes)
    assert create("fixed", FEATURES)["subject_id"] == first["subject_id"]


def test_half_made_group_is_named(hook: HopsworksHook) -> None:
    create("half", FEATURES)
    with hook.session() as session:
        session.jobs.get(f"half_{RUN}_1_offline_fg_materialization").delete()
    with pytest.raises(HopsworksError, match="is incomplete: it has no materialization job"):
        create("half", FEATURES)
