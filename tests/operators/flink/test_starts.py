"""What a deployment begins with: topics, clusters and states that fit, and those that are refused; what a plan says."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Producer

from hopsworks_flink._compat import AirflowFailException
from hopsworks_flink.clients.flink.jobs import ingestion_ids
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.operators.approve_deployment import ApproveDeploymentOperator
from hopsworks_flink.operators.hopsworks import HopsworksCreateFeatureGroupOperator
from hopsworks_flink.pipeline.resources import feature_group_arguments
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support.deaths import Killed, die
from tests.support.fixtures import set_connection, task_context
from tests.support.flink_stub import Job
from tests.support.platform import JOB, SPEC, Platform


def test_a_person_is_asked_about_what_was_named_and_about_nothing_else(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer reaches the task in tests/integration/airflow/test_feature_path.py."""
    asked: list[dict[str, Any]] = []
    # It needs Airflow's supervisor.
    monkeypatch.setattr(
        "airflow.providers.standard.operators.hitl.upsert_hitl_detail", lambda **told: asked.append(told)
    )

    def approve(**arguments: Any) -> Any:
        context = {**task_context(), "task_instance": SimpleNamespace(id="0195a000")}
        return ApproveDeploymentOperator(task_id="approve", pipeline=platform.spec, **arguments).execute(context)

    def waits(**arguments: Any) -> bool:
        try:
            approve(**arguments)
        except BaseException as signal:
            if type(signal).__name__ not in ("TaskAwaitingInput", "TaskDeferred"):
                raise
            return True
        return False

    assert approve()["reasons"] == [], "the first deployment"
    platform.deploy()
    assert approve(state="rewarm")["reasons"] == [], "nothing would change"
    assert waits(state="rewarm", parallelism="2")
    assert asked[0]["subject"] == "Deploy cards: the job is rewarmed (state='rewarm' was asked for)"
    assert "state rewarms: state='rewarm' was asked for" in asked[0]["body"]
    assert approve(state="rewarm", parallelism="2", approve=["feature_group"])["reasons"] == []
    assert approve(savepoint_path="s3://sp/1")["reasons"] == [], "nothing would change"
    assert waits(savepoint_path="s3://sp/1", parallelism="2")
    left = "savepoint_path names a state, and that of the last job is left behind"
    assert asked.pop()["subject"] == f"Deploy cards: the job starts fresh ({left})"
    assert approve(savepoint_path="s3://sp/1", parallelism="2", approve=["rewarm"])["reasons"] == []
    platform.grow()
    assert waits(approve=["feature_group"])
    assert asked[1]["subject"] == "Deploy cards: feature group spent_1 changes; feature group spent_2 changes"
    assert len(asked) == 2
    with pytest.raises(AirflowFailException, match="approve must be one of rewarm, fresh, feature_group, not 'all'"):
        approve(approve=["all"])


def test_a_plan_knows_the_job_that_was_deployed(platform: Platform) -> None:
    platform.deploy()
    found = {resource.kind: resource for resource in platform.plan().resources}
    assert found["job"].action == found["feature_group"].action == "none", found
    changed = platform.plan(parallelism=2).resources[-1]
    assert changed.details[-1] == "the SQL is the same; program, jars, configuration or parallelism are not"


def test_a_plan_knows_what_ended_jobs_have_left(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the deployment does, which goes on from there."""
    looked: list[int] = []
    monkeypatch.setattr("hopsworks_flink.tasks.planning.check_replay", lambda *told: looked.append(told[-1]))

    platform.deploy()
    platform.the_job().savepoint = "file:/savepoints/1"
    platform.the_job().end("FINISHED")
    platform.flink.add(JOB, completed=0).end("FAILED")
    assert platform.plan().state == "keeps", "the last one never ran: the state is that of the one before"
    assert platform.deploy()["state"] == "restore"
    platform.the_job().end("FINISHED")
    platform.spec["feature_groups"][0]["aggregates"]["n"] = {"count": "*", "where": "amount > 0"}
    assert (platform.plan().state, platform.plan().warnings) == ("keeps", [])
    assert platform.deploy()["state"] == "restore", "its panes, as the watermark is not known"
    platform.the_job().savepoint = "file:/savepoints/2"
    platform.the_job().end("FINISHED")
    _change(platform)
    assert platform.plan().state == "rewarms"
    assert "rewarm_from" in platform.plan().warnings[-1]
    with pytest.raises(AirflowFailException, match=r"its watermark is not known.*rewarm_from"):
        platform.deploy()
    assert not looked
    last = max(platform.flink.jobs.values(), key=lambda job: job.start_time)
    last.savepoint = "file:/savepoints/drained-at-1000000/1"
    assert (platform.plan().state, platform.plan().warnings, looked) == ("rewarms", [], [1_000_000] * 2)
    assert platform.deploy()["rewarmed_at"] == 1_000_000


def test_words_about_a_group_change_nothing_else(platform: Platform) -> None:
    platform.deploy()
    group = platform.spec["feature_groups"][0]
    group.update(description="What cards spend", tags={"owner": "risk"})
    plan = platform.plan()
    changed = {one.name: list(one.details) for one in plan.resources if one.kind != "topic" and one.action != "none"}
    assert changed == {
        "spent_1": [
            "description: 'What cards spend'",
            "tag 'owner': 'risk'",
            "a deployment writes this, and the job goes on",
        ]
    }
    assert plan.state == "keeps"
    pipeline = Pipeline.parse(platform.spec)
    for one in pipeline.feature_groups:
        operator = HopsworksCreateFeatureGroupOperator(
            task_id="create", on_drift="append_later", **feature_group_arguments(pipeline, one)
        )
        told = operator.execute(task_context())
        assert bool(told["described"]) == (one.version == 1)
    assert {one.action for one in platform.plan().resources if one.kind != "topic"} == {"none"}
    group["topic_name"] = "spent_onlinefs"
    (resource,) = [one for one in platform.plan().resources if one.name == "spent_1"]
    assert resource.details == [
        "topic_name is None, wanted 'spent_onlinefs' (it stays as the group was made)",
        "a deployment refuses this: raise the version",
    ]


def test_a_job_is_rescaled_by_its_file_or_by_the_form(platform: Platform) -> None:
    platform.spec["parallelism"] = 3
    # As the form of the DAG renders when it is left empty.
    first = platform.deploy(parallelism="")
    assert platform.the_job().request["parallelism"] == 3
    assert platform.plan().resources[-1].action == "none"
    second = platform.deploy(parallelism="2")
    request = platform.the_job().request
    assert (request["parallelism"], request["savepointPath"]) == (2, second["savepoint_path"])
    assert first["job_id"] != second["job_id"]
    assert platform.plan().resources[-1].action == "change"


def test_each_job_says_under_which_ids_its_rows_are_counted(platform: Platform) -> None:
    platform.deploy()
    first = ingestion_ids(platform.the_job().user_config)
    store = platform.server.context.store
    newest = {group.full_name: store.online_ingestions(group.id)[0]["id"] for group in store.feature_groups("spent")}
    assert first == newest
    platform.deploy(parallelism=2)
    assert all(first[name] < number for name, number in ingestion_ids(platform.the_job().user_config).items())


def test_a_compacted_topic_is_refused_where_its_past_would_be_read(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    platform.compaction = "compact,delete"
    assert platform.plan().state == "refused"
    with pytest.raises(AirflowFailException, match=r"cleanup.policy=compact,delete.*start='latest'"):
        platform.deploy()
    assert not platform.steps
    platform.deploy(start="latest")
    assert "cleanup.policy=compact,delete" in caplog.text
    running = platform.the_job().job_id
    platform.grow()
    with pytest.raises(AirflowFailException, match=r"cleanup.policy=compact,delete.*cannot be rewarmed"):
        platform.deploy(start="latest", state="rewarm")
    platform.spec["engine"] = "sql"
    with pytest.raises(AirflowFailException, match=r"cleanup.policy=compact,delete.*cannot be rewarmed"):
        platform.deploy(start="latest")
    assert (platform.steps, platform.the_job().job_id) == ([], running)


@pytest.mark.parametrize("state", ["rewarm", "restore"])
def test_state_of_another_topic_of_the_same_name_is_refused(platform: Platform, state: str) -> None:
    platform.deploy()
    first = platform.the_job()
    assert first.user_config["topic_id.payments"] == "first"
    first.checkpoint = "file:/checkpoints/1"
    first.end("CANCELED")
    platform.topic_id = "second"
    assert platform.plan().state == "refused"
    with pytest.raises(AirflowFailException, match=r"topic payments was deleted and made again.*'rewarm'.*'restore'"):
        platform.deploy()
    assert not platform.steps
    # A job that has ended shows no watermark.
    more = {"rewarm_from": 1_000_000} if state == "rewarm" else {}
    assert platform.deploy(state=state, **more)["state"] == state
    second = platform.the_job()
    assert second.user_config["topic_id.payments"] == "second"
    second.checkpoint = "file:/checkpoints/2"
    second.end("CANCELED")
    assert platform.plan().state == "keeps"
    assert platform.deploy()["state"] == "restore", "the same topic as before"


def test_a_topic_in_another_cluster_is_not_read_at_the_offsets_of_the_old_one(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(broker: Producer) -> None:
        broker.produce(SPEC["source"]["topic"], b"event")
        assert broker.flush(10) == 0
        (address,) = broker.list_topics(timeout=10).brokers.values()
        extra = {"bootstrap.servers": f"{address.host}:{address.port}"}
        set_connection(monkeypatch, "events", conn_type="kafka", extra=extra)

    old, new = (Producer({"test.mock.num.brokers": 1, "log_level": 0}) for _ in range(2))
    connect(old)
    platform.deploy(source_kafka_conn_id="events")
    running = platform.the_job().job_id
    assert platform.deploy(source_kafka_conn_id="events")["job_id"] == running
    connect(new)
    refused = r"payments is read in another Kafka cluster.*__undeploy\) and deploy with state='rewarm'"
    with pytest.raises(AirflowFailException, match=refused):
        platform.deploy(source_kafka_conn_id="events")
    ended = platform.the_job()
    assert ended.job_id == running
    ended.checkpoint = "file:/checkpoints/1"
    ended.end("CANCELED")
    with pytest.raises(AirflowFailException, match=refused):
        platform.deploy(source_kafka_conn_id="events")
    assert platform.deploy(source_kafka_conn_id="events", state="rewarm", rewarm_from=1_000_000)["state"] == "rewarm"
    moved = platform.the_job().job_id
    assert platform.deploy(source_kafka_conn_id="events")["job_id"] == moved != running


def test_a_pipeline_under_its_old_name_is_told(platform: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    platform.deploy()
    old = platform.the_job()
    told = rf"Job {JOB} \({old.job_id}\) runs and writes spent_1, spent_2 as well.*undeploy that one"
    assert "as well" not in capsys.readouterr().out
    platform.spec["name"] = "payments"
    platform.deploy()
    assert re.search(told, capsys.readouterr().out)
    (warning,) = platform.plan().warnings
    assert re.match(told, warning)
    old.end("CANCELED")
    assert not platform.plan().warnings


@pytest.mark.parametrize(
    ("state", "name", "given"),
    [("rewarm", "savepoint_path", "/sp"), ("restore", "rewarm_from", 1_000_000), ("fresh", "rewarm_from", 1_000_000)],
)
def test_what_a_state_would_pass_over_is_refused(platform: Platform, state: str, name: str, given: Any) -> None:
    platform.deploy()
    with pytest.raises(AirflowFailException, match=f"{name} and state='{state}' contradict each other"):
        platform.deploy(state=state, **{name: given})
    assert not platform.steps


def test_a_job_that_was_brought_back_tells_its_topics(platform: Platform) -> None:
    platform.deploy()
    platform.spec["source"]["max_disorder"] = "9s"
    runs: list[Job] = []

    def fails_first(job: Job) -> None:
        runs.append(job)
        if len(runs) == 1:
            job.end("FAILED")

    platform.flink.on_run = fails_first
    with pytest.raises(AirflowFailException, match="Rolled back"):
        platform.deploy()
    back = platform.the_job()
    assert (len(runs), back.user_config["topic_id.payments"]) == (2, "first")
    back.checkpoint = "file:/checkpoints/2"
    back.end("CANCELED")
    platform.topic_id = "second"
    with pytest.raises(AirflowFailException, match="topic payments was deleted and made again"):
        platform.deploy()


def _change(platform: Platform) -> None:
    """Its state then means something else."""
    platform.spec["source"]["where"] = "amount > 0"


@pytest.mark.parametrize("deaths", [1, 2])
def test_state_that_means_something_else_is_not_taken_because_flink_has_forgotten_what_left_it(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, deaths: int
) -> None:
    """The JobManager is lost in mid-deployment: the job before had been stopped, its successor was not healthy yet."""
    platform.deploy()
    _change(platform)
    for _ in range(deaths):
        with monkeypatch.context() as patch:
            die(patch, FlinkHook, "run_python_job", True)
            with pytest.raises(Killed):
                platform.deploy()
        platform.the_job().completed = 0
        platform.the_job().end("FAILED")
    platform.flink.jobs.clear()
    result = platform.deploy()
    assert (result["state"], result["rewarmed_at"]) == ("rewarm", 1_000_000)
    assert platform.the_job().restored_from is None


@pytest.mark.parametrize("how", ["restarts", "fails", "is replaced", "never runs"])
def test_a_job_that_fails_in_its_rewarm_is_followed_by_one_that_is_rewarmed(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Without state and without a replay it would pass over what its open windows need."""
    platform.spec["source"]["start"] = "latest"
    platform.deploy()
    _change(platform)
    with monkeypatch.context() as patch:
        die(patch, FlinkHook, "run_python_job", True)
        with pytest.raises(Killed):
            platform.deploy()
    job = platform.the_job()
    job.completed = 0
    if how == "never runs":
        job.end("FAILED")
        platform.flink.add(JOB, completed=0).end("FAILED")
    elif how == "fails":
        job.vertices = ["RUNNING", "FAILED"]
        job.exception = "org.apache.flink.util.StateMigrationException: no"
    else:
        job.state = "RESTARTING"
    if how == "is replaced":
        platform.spec["source"]["max_disorder"] = "9s"
    result = platform.deploy()
    assert (result["state"], result["rewarmed_at"]) == ("rewarm", 1_000_000)
    assert platform.the_job().job_id != job.job_id


@pytest.mark.parametrize("ahead", [2 * 3_600_000, 10**16])
def test_windows_of_the_future_are_not_out(platform: Platform, ahead: int) -> None:
    """They would be left out, and nobody would be told."""
    with pytest.raises(AirflowFailException, match=r"rewarm_from \d+ lies in the future.*would never be emitted"):
        platform.deploy(state="rewarm", rewarm_from=round(time.time() * 1000) + ahead)
    assert not platform.steps
    assert platform.deploy(state="rewarm", rewarm_from=round(time.time() * 1000))["state"] == "rewarm"
