"""Feature groups that grow: the local Hopsworks, a broker and a stub cluster; workers that die, steps that fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import hopsworks as hopsworks_sdk
import pytest

from hopsworks_flink._compat import AirflowFailException
from hopsworks_flink.clients.flink.jobs import MARK_WATERMARK
from hopsworks_flink.clients.hopsworks.session import HopsworksSession
from hopsworks_flink.deployment import growth_steps as _growth
from hopsworks_flink.exceptions import FlinkError
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.operators.flink import deploy_pipeline
from hopsworks_flink.operators.hopsworks import HopsworksCreateFeatureGroupOperator
from hopsworks_flink.pipeline.resources import feature_group_arguments
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support.deaths import Killed, die
from tests.support.fixtures import ByAsset, task_context
from tests.support.flink_stub import FlinkStub, Job
from tests.support.platform import ASSET, JOB, SPEC, Platform

OLD, NEW = ["card", "n"], ["card", "n", "most"]


@pytest.mark.parametrize("state", ["auto", "restore"])
def test_a_plan_knows_that_a_group_without_windows_that_grows_is_rewarmed(platform: Platform, state: Any) -> None:
    rows: dict[str, Any] = {"name": "rows", "key": ["card"], "features": {"paid": "amount"}}
    platform.spec["feature_groups"].append(rows)
    pipeline = Pipeline.parse(platform.spec)
    with HopsworksHook().session() as session:
        session.create_feature_group(**feature_group_arguments(pipeline, pipeline.feature_groups[-1]))
    platform.deploy()
    rows["features"]["at"] = "at"
    planned = platform.plan(state=state)
    assert (planned.state, planned.state_reasons) == ("rewarms", ["rows_1 gets features"])
    assert platform.deploy(state=state)["state"] == "rewarm"


@pytest.fixture
def before_3_3(platform: Platform) -> FlinkStub:
    """A task has no stores; what was deployed last stands in the event of the job's asset."""
    platform.deploy()
    kept = {name: platform.memory.of_asset.get(f"{JOB}.{name}") for name in ("healthy", "last")}
    event = SimpleNamespace(extra={"deployment": kept})
    platform.memory.context = lambda: {**task_context(), "inlet_events": ByAsset({ASSET.name: [event]})}  # type: ignore[method-assign]
    platform.grow()
    return platform.flink


@pytest.mark.parametrize("windows", [{}, {"size": "20m"}])
def test_groups_grow_where_airflow_keeps_nothing_in_between(
    platform: Platform, before_3_3: FlinkStub, windows: dict[str, str]
) -> None:
    platform.spec["feature_groups"][0]["window"] |= windows
    result = platform.deploy(inlets=[ASSET])
    assert platform.features() == [NEW, NEW]
    assert (result["state"], result["rewarmed_at"]) == ("rewarm", 1_000_000)
    assert set(result["grown"]) == {"spent_1", "spent_2"}
    assert "grown" not in platform.deploy(inlets=[ASSET])


@pytest.mark.parametrize("step", ["materialization", "new job"])
def test_a_step_that_fails_there_brings_the_job_back(platform: Platform, before_3_3: FlinkStub, step: str) -> None:
    first, stop = platform.the_job(), before_3_3._stop
    if step == "new job":
        before_3_3.on_run = lambda job: None if job.restored_from else job.end("FAILED")
    else:
        platform.fails = True
        before_3_3._stop = lambda body, job_id: platform.write() or stop(body, job_id)  # type: ignore[method-assign]
    with pytest.raises(AirflowFailException, match="Rolled back"):
        platform.deploy(inlets=[ASSET])
    assert platform.the_job().restored_from == first.savepoint
    assert platform.the_job().user_config["deployment_hash"] == first.user_config["deployment_hash"]


@pytest.mark.parametrize("why", ["compacted", "restore"])
def test_panes_go_on_where_groups_grow_and_the_past_cannot_be_read(
    platform: Platform, capsys: pytest.CaptureFixture[str], why: str
) -> None:
    first = platform.deploy()
    if why == "compacted":
        platform.compaction = "compact"
    platform.grow()
    assert platform.plan().state == ("keeps" if why == "compacted" else "rewarms")
    result = platform.deploy(**({"state": "restore"} if why == "restore" else {}))
    assert ("new ones have no value until their first whole window" in capsys.readouterr().out) == (why == "compacted")
    assert (result["state"], set(result["grown"])) == ("restore", {"spent_1", "spent_2"})
    assert platform.the_job().restored_from == platform.flink.jobs[first["job_id"]].savepoint
    assert platform.features() == [NEW, NEW]
    for group in platform.spec["feature_groups"]:
        group["aggregates"]["n"] = {"count": "*", "where": "amount > 0"}
    told = platform.plan()
    second = platform.deploy()
    assert (told.state, second["state"]) == (("keeps", "restore") if why == "compacted" else ("rewarms", "rewarm"))


@pytest.mark.parametrize("grows", [True, False])
def test_panes_go_on_after_a_worker_died(platform: Platform, monkeypatch: pytest.MonkeyPatch, grows: bool) -> None:
    first = platform.deploy()
    platform.compaction = "compact"
    if grows:
        platform.grow()
    else:
        platform.spec["feature_groups"][0]["aggregates"]["n"] = {"count": "*", "where": "amount > 0"}
    with monkeypatch.context() as patch:
        die(patch, *((HopsworksSession, "append_features") if grows else (FlinkHook, "stop_with_savepoint")), True, 1)
        with pytest.raises(Killed):
            platform.deploy()
    assert platform.deploy()["state"] == "restore"
    assert platform.the_job().restored_from == platform.flink.jobs[first["job_id"]].savepoint
    assert platform.features() == ([NEW, NEW] if grows else [OLD, OLD])


def test_one_login_to_compare_and_one_to_grow_and_submit(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    platform.deploy()
    platform.grow()
    logins: list[Any] = []
    login = hopsworks_sdk.login
    monkeypatch.setattr(hopsworks_sdk, "login", lambda **kwargs: logins.append(kwargs) or login(**kwargs))
    assert platform.deploy()["grown"]
    assert len(logins) == 2


def test_groups_grow_in_the_order_that_loses_nothing(platform: Platform, flink: FlinkStub) -> None:
    first = platform.deploy()
    assert platform.steps == ["submit"]
    assert "grown" not in platform.deploy()
    assert platform.steps == [], "nothing is materialized, stopped or submitted where nothing grew"
    platform.grow()
    stop = flink._stop

    def stop_after_one_more_record(body: dict[str, Any], job_id: str) -> tuple[int, Any]:
        platform.write()
        platform.steps.append("stop")
        return stop(body, job_id)

    flink._stop = stop_after_one_more_record  # type: ignore[method-assign]
    result = platform.deploy()
    rest = ["materialize the rest"] * 2
    assert platform.steps == ["materialize"] * 2 + ["stop", *rest, "append 1", "append 2", "submit"]
    assert platform.features() == [NEW, NEW]
    assert (result["action"], result["state"], result["rewarmed_at"]) == ("submitted", "rewarm", 1_000_000)
    assert platform.the_job().restored_from is None
    assert flink.jobs[first["job_id"]].state == "FINISHED"
    for name in ("spent_1", "spent_2"):
        told = result["grown"][name]
        assert (told["features"], told["offsets_verified"], told["end_offsets"]["0"]) == (["most"], True, 2)
    assert "grown" not in platform.deploy()
    assert platform.steps == []


@pytest.mark.parametrize(
    ("owner", "name", "after", "call", "features"),
    [
        pytest.param(_growth, "materialize", True, 1, [OLD, OLD], id="while the job runs"),
        pytest.param(FlinkHook, "stop_with_savepoint", False, 1, [OLD, OLD], id="before the stop"),
        pytest.param(FlinkHook, "stop_with_savepoint", True, 1, [OLD, OLD], id="after the stop"),
        pytest.param(FlinkHook, "wait_until_ended", True, 1, [OLD, OLD], id="after the end"),
        pytest.param(_growth, "materialize", True, 3, [OLD, OLD], id="between two materializations"),
        pytest.param(HopsworksSession, "append_features", False, 1, [OLD, OLD], id="before appending"),
        pytest.param(HopsworksSession, "append_features", True, 1, [NEW, OLD], id="between two groups"),
        pytest.param(HopsworksSession, "append_features", True, 2, [NEW, NEW], id="after appending"),
        pytest.param(FlinkHook, "run_python_job", False, 1, [NEW, NEW], id="before the submission"),
        pytest.param(FlinkHook, "run_python_job", True, 1, [NEW, NEW], id="after the submission"),
    ],
)
def test_worker_dies_and_the_next_run_completes(
    platform: Platform,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    after: bool,
    call: int,
    features: list[list[str]],
) -> None:
    platform.deploy()
    platform.grow()
    with monkeypatch.context() as patch:
        die(patch, owner, name, after, call)
        with pytest.raises(Killed):
            platform.deploy()
    assert platform.features() == features
    platform.write()
    result = platform.deploy()
    assert platform.features() == [NEW, NEW]
    job = platform.the_job()
    assert job.job_id == result["job_id"]
    assert (job.restored_from, job.user_config[MARK_WATERMARK]) == (None, "1000000")
    assert {name: told["features"] for name, told in result["grown"].items()} == {
        "spent_1": ["most"],
        "spent_2": ["most"],
    }
    assert platform.memory.of_asset.get(f"{JOB}.growth") is None


def test_growth_is_over_once_its_job_is_healthy(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that dies then must not leave the next change to be rewarmed from that moment on."""
    platform.deploy()
    platform.grow()
    with monkeypatch.context() as patch:
        die(patch, deploy_pipeline, "in_service", False)
        with pytest.raises(Killed):
            platform.deploy()
    platform.spec["source"]["max_disorder"] = "9s"
    assert platform.deploy()["state"] == "restore"


def test_materialization_that_fails_brings_the_job_back(platform: Platform, flink: FlinkStub) -> None:
    first = platform.deploy()
    platform.grow()
    platform.fails = True
    stop = flink._stop
    flink._stop = lambda body, job_id: platform.write() or stop(body, job_id)  # type: ignore[method-assign]
    with pytest.raises(AirflowFailException, match=r"could not grow: Execution \d+ .* ended FAILED\. Rolled back"):
        platform.deploy()
    back = platform.the_job()
    assert back.restored_from == flink.jobs[first["job_id"]].savepoint
    assert back.user_config["deployment_hash"] == first["deployment_hash"]
    assert platform.features() == [OLD, OLD]

    platform.fails = False
    back.watermark = 2_000_000
    assert platform.deploy()["rewarmed_at"] == 2_000_000, "nothing was appended: the job's own watermark counts"
    assert platform.features() == [NEW, NEW]


def test_without_offsets_the_last_execution_finds_nothing_more(platform: Platform) -> None:
    platform.deploy()
    platform.grow()
    platform.silent = 3
    grown = platform.deploy()["grown"]
    assert platform.steps == ["materialize"] * 5 + ["materialize the rest"] * 2 + ["append 1", "append 2", "submit"]
    assert not any(told["offsets_verified"] for told in grown.values())


def test_file_that_is_taken_back_leaves_the_job_alone(platform: Platform) -> None:
    platform.deploy()
    platform.grow()
    platform.fails = True
    platform.flink.on_run = lambda job: None
    stop = platform.flink._stop
    platform.flink._stop = lambda body, job_id: platform.write() or stop(body, job_id)  # type: ignore[method-assign]
    with pytest.raises(AirflowFailException, match="Rolled back"):
        platform.deploy()
    back = platform.the_job()
    platform.spec = json.loads(json.dumps(SPEC))
    assert platform.deploy()["job_id"] == back.job_id
    assert platform.steps == []
    assert platform.memory.of_asset.get(f"{JOB}.growth") is None


def test_job_that_came_back_after_appending_does_not_hide_what_it_wrote(platform: Platform, flink: FlinkStub) -> None:
    first = platform.deploy()
    platform.grow()

    def broken(job: Job) -> None:
        if job.user_config["deployment_hash"] != first["deployment_hash"]:
            job.state, job.restarts, job.vertices = "FAILED", 9, ["FAILED"]

    flink.on_run = broken
    with pytest.raises(AirflowFailException, match="Rolled back"):
        platform.deploy()
    assert platform.features() == [NEW, NEW]
    platform.the_job().watermark = 2_000_000

    flink.on_run = lambda job: None
    result = platform.deploy(parallelism=2)
    assert (result["state"], result["rewarmed_at"]) == ("rewarm", 1_000_000)
    assert set(result["grown"]) == {"spent_1", "spent_2"}


@pytest.mark.parametrize(
    ("touch", "error", "text"),
    [
        (lambda p: p.flink.add(f"{SPEC['name']}__recompute__a__b"), FlinkError, "is recomputing features"),
        (lambda p: p.flink.add(JOB), AirflowFailException, "2 jobs named 'cards__features' run"),
        (lambda p: setattr(p.the_job(), "state", "RESTARTING"), FlinkError, "has to run before"),
        (
            lambda p: (setattr(p.the_job(), "watermark", None), setattr(p.the_job(), "restored_from", "s")),
            AirflowFailException,
            "not known which windows it has emitted",
        ),
        (
            lambda p: p.spec["feature_groups"][0]["aggregates"].pop("n"),
            AirflowFailException,
            r"'n' \(bigint\) exists there only\. Choose another version",
        ),
    ],
    ids=["recomputed", "ambiguous", "restarting", "no watermark", "removed"],
)
def test_what_is_refused_touches_nothing(
    platform: Platform, touch: Callable[[Platform], object], error: type[Exception], text: str
) -> None:
    platform.deploy()
    platform.grow()
    touch(platform)
    running = {job.job_id for job in platform.flink.running()}
    with pytest.raises(error, match=text):
        platform.deploy()
    assert platform.steps == []
    assert {job.job_id for job in platform.flink.running()} == running
    assert platform.features() == [OLD, OLD]


def test_job_that_has_emitted_nothing_begins_anew(platform: Platform) -> None:
    platform.deploy()
    platform.the_job().watermark = None
    platform.grow()
    assert platform.deploy()["state"] == "fresh"
    assert platform.features() == [NEW, NEW]


def test_without_being_asked_nothing_grows(platform: Platform) -> None:
    platform.deploy()
    platform.grow()
    with pytest.raises(AirflowFailException, match=r"'most' \(double\) is missing there"):
        platform.deploy(on_drift="fail")
    with pytest.raises(AirflowFailException, match="on_drift must be"):
        platform.deploy(on_drift="shrink")


def test_registration_leaves_growth_to_the_deployment(platform: Platform) -> None:
    def register() -> dict[str, Any]:
        pipeline = Pipeline.parse(platform.spec)
        return HopsworksCreateFeatureGroupOperator(
            task_id="create", on_drift="append_later", **feature_group_arguments(pipeline, pipeline.feature_groups[0])
        ).execute(task_context())

    assert register()["lacking"] == []
    platform.grow()
    assert (register()["lacking"], register()["appended"]) == (["most"], [])
    assert platform.features() == [OLD, OLD]
    platform.spec["feature_groups"][0]["key"] = ["card", "at"]
    with pytest.raises(AirflowFailException, match="primary key"):
        register()
