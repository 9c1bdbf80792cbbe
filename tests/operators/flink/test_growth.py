"""Feature groups that grow: the local Hopsworks, a broker and a stub cluster; workers that die, steps that fail."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hopsworks as hopsworks_sdk
import pytest
from airflow.sdk import Asset
from confluent_kafka import Consumer, Producer, TopicPartition

from devstack.hopsworks.metadata.models import new_commit
from hopsworks_flink._compat import AirflowFailException
from hopsworks_flink.clients.flink.jobs import MARK_WATERMARK, ingestion_ids
from hopsworks_flink.clients.hopsworks.session import HopsworksSession
from hopsworks_flink.clients.kafka import offsets
from hopsworks_flink.deployment import growth_steps as _growth
from hopsworks_flink.exceptions import FlinkError
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.operators.approve_deployment import ApproveDeploymentOperator
from hopsworks_flink.operators.flink import FlinkDeployFeaturePipelineOperator
from hopsworks_flink.operators.hopsworks import HopsworksCreateFeatureGroupOperator
from hopsworks_flink.pipeline.resources import feature_group_arguments
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.tasks import planning
from hopsworks_flink.tasks.planning import Deployment, compare
from tests.support.deaths import Killed, die
from tests.support.fixtures import Memory, set_connection, task_context
from tests.support.flink_stub import FlinkStub, Job
from tests.support.hopsworks_server import LocalHopsworks

GROUP = {"name": "spent", "key": ["card"], "window": {"size": "10m"}, "aggregates": {"n": "count"}}
SPEC: dict[str, Any] = {
    "name": "cards",
    "source": {
        "topic": "payments",
        "schema": {"card": "bigint", "at": "bigint", "amount": "double"},
        "event_time": {"column": "at"},
    },
    "feature_groups": [GROUP, {**GROUP, "version": 2}],
}
JOB = "cards__features"
ASSET = Asset(name=f"flink_job.{JOB}", uri=f"x-flink://cluster/{JOB}")


class Platform:
    """The pipeline on a platform of its own; ``steps`` is what was done to it, in order."""

    def __init__(self, server: LocalHopsworks, flink: FlinkStub, patch: pytest.MonkeyPatch) -> None:
        #: Lives as long as this object.
        self.broker = Producer({"test.mock.num.brokers": 1, "log_level": 0})
        (address,) = self.broker.list_topics(timeout=10).brokers.values()
        self.broker.produce(SPEC["source"]["topic"], b"event")
        assert self.broker.flush(10) == 0
        self.bootstrap = f"{address.host}:{address.port}"
        server.context.config = server.config.model_copy(update={"kafka_bootstrap": self.bootstrap})
        self.server, self.flink, self.memory = server, flink, Memory(ASSET)
        self.steps: list[str] = []
        self.fails = False
        #: Executions that bring rows without telling offsets, before one that finds nothing more; None: all tell.
        self.silent: int | None = None
        self.spec = json.loads(json.dumps(SPEC))
        server.executor.on_start = self._execution  # type: ignore[method-assign]
        flink.on_run = self._starts
        with HopsworksHook().session() as session:
            topic = "probe"
            for group in Pipeline.parse(self.spec).feature_groups:
                created, _ = session.create_feature_group(**feature_group_arguments(Pipeline.parse(self.spec), group))
                topic = created._online_topic_name
        self.topic = topic
        self.write()
        self._watch(patch)
        # librdkafka's broker for tests tells neither.
        #: The source topic's cleanup.policy if it compacts.
        self.compaction: str | None = None
        #: The id of each topic.
        self.topic_id = "first"
        for user in (offsets, planning):
            patch.setattr(user, "compaction", lambda *_: self.compaction)
        patch.setattr(offsets, "topic_ids", lambda _, names, *__: dict.fromkeys(names, self.topic_id))

    def write(self) -> None:
        """One more record in the groups' topic."""
        self.broker.produce(self.topic, b"v", partition=0)
        assert self.broker.flush(10) == 0

    def _watch(self, patch: pytest.MonkeyPatch) -> None:
        original = HopsworksSession.append_features

        def append(session: Any, group: Any, *args: Any, **kwargs: Any) -> Any:
            self.steps.append(f"append {group.version}")
            return original(session, group, *args, **kwargs)

        patch.setattr(HopsworksSession, "append_features", append)

    def _execution(self, execution_id: int) -> None:
        self.steps.append("materialize" if self.flink.running() else "materialize the rest")
        if self.fails and not self.flink.running():
            return self.server.end(execution_id, "FAILED", "FAILED", "no space left")
        if self.silent is not None:
            if self.silent > 0:
                self.silent -= 1
                for group in self.server.context.store.feature_groups("spent"):
                    self.server.context.store.add_commit(group.id, new_commit(5, 0, 5))
            return self.server.end(execution_id, "FINISHED", "SUCCEEDED", "nothing about offsets")
        start, end = {"0": 0}, {}
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "t"})
        for partition in consumer.list_topics(self.topic, timeout=10).topics[self.topic].partitions:
            end[str(partition)] = consumer.get_watermark_offsets(TopicPartition(self.topic, partition), timeout=10)[1]
        consumer.close()
        told = {"startingOffsets": start, "endingOffsets": end, "next offsets": end}
        log = "\n".join(f"{name}: {json.dumps({self.topic: offsets})}" for name, offsets in told.items())
        return self.server.end(execution_id, "FINISHED", "SUCCEEDED", log)

    def _starts(self, job: Job) -> None:
        self.steps.append("submit")
        job.watermark = 1_000_000

    def grow(self) -> None:
        for group in self.spec["feature_groups"]:
            group["aggregates"]["most"] = {"max": "amount"}

    def deploy(self, **kwargs: Any) -> dict[str, Any]:
        self.memory.new_run()
        self.steps.clear()
        quick = {"grace_period": 0.01, "poll_interval": 0.01, "timeout": 20.0, "outlets": [ASSET]}
        operator = FlinkDeployFeaturePipelineOperator(
            task_id="deploy", pipeline=self.spec, **{"on_drift": "append", **quick, **kwargs}
        )
        return operator.execute(self.memory.context())

    def features(self) -> list[list[str]]:
        with HopsworksHook().session() as session:
            return [[f.name for f in session.get_feature_group("spent", version).columns] for version in (1, 2)]

    def the_job(self) -> Job:
        (job,) = self.flink.running()
        return job


@pytest.fixture
def platform(hopsworks: LocalHopsworks, flink: FlinkStub, monkeypatch: pytest.MonkeyPatch) -> Platform:
    return Platform(hopsworks, flink, monkeypatch)


OLD, NEW = ["card", "n"], ["card", "n", "most"]


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
    platform.grow()
    assert waits(approve=["feature_group"])
    assert asked[1]["subject"] == "Deploy cards: feature group spent_1 changes; feature group spent_2 changes"
    assert len(asked) == 2
    with pytest.raises(AirflowFailException, match="approve must be one of rewarm, fresh, feature_group, not 'all'"):
        approve(approve=["all"])


def test_a_plan_knows_the_job_that_was_deployed(platform: Platform, tmp_path: Path) -> None:
    platform.deploy()
    file = tmp_path / "cards.yaml"
    file.write_text(json.dumps(platform.spec))
    found = {resource.kind: resource for resource in compare(str(file), Deployment()).resources}
    assert found["job"].action == found["feature_group"].action == "none", found
    changed = compare(str(file), Deployment(parallelism=2)).resources[-1]
    assert changed.details[-1] == "the SQL is the same; program, jars, configuration or parallelism are not"


def test_words_about_a_group_change_nothing_else(platform: Platform, tmp_path: Path) -> None:
    platform.deploy()
    group = platform.spec["feature_groups"][0]
    group.update(description="What cards spend", tags={"owner": "risk"})
    file = tmp_path / "cards.yaml"
    file.write_text(json.dumps(platform.spec))
    plan = compare(str(file), Deployment())
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
    assert {one.action for one in compare(str(file), Deployment()).resources if one.kind != "topic"} == {"none"}
    group["topic_name"] = "spent_onlinefs"
    file.write_text(json.dumps(platform.spec))
    (resource,) = [one for one in compare(str(file), Deployment()).resources if one.name == "spent_1"]
    assert resource.details == [
        "topic_name is None, wanted 'spent_onlinefs' (it stays as the group was made)",
        "a deployment refuses this: raise the version",
    ]


def test_a_job_is_rescaled_by_its_file_or_by_the_form(platform: Platform, tmp_path: Path) -> None:
    platform.spec["parallelism"] = 3
    # As the form of the DAG renders when it is left empty.
    first = platform.deploy(parallelism="")
    assert platform.the_job().request["parallelism"] == 3
    file = tmp_path / "cards.yaml"
    file.write_text(json.dumps(platform.spec))
    assert compare(str(file), Deployment()).resources[-1].action == "none"
    second = platform.deploy(parallelism="2")
    request = platform.the_job().request
    assert (request["parallelism"], request["savepointPath"]) == (2, second["savepoint_path"])
    assert first["job_id"] != second["job_id"]
    assert compare(str(file), Deployment()).resources[-1].action == "change"


def test_each_job_says_under_which_ids_its_rows_are_counted(platform: Platform) -> None:
    platform.deploy()
    first = ingestion_ids(platform.the_job().user_config)
    store = platform.server.context.store
    newest = {group.full_name: store.online_ingestions(group.id)[0]["id"] for group in store.feature_groups("spent")}
    assert first == newest
    platform.deploy(parallelism=2)
    assert all(first[name] < number for name, number in ingestion_ids(platform.the_job().user_config).items())


def test_a_compacted_topic_is_refused_where_its_past_would_be_read(
    platform: Platform, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    platform.compaction = "compact,delete"
    file = tmp_path / "cards.yaml"
    file.write_text(json.dumps(platform.spec))
    assert compare(str(file), Deployment()).state == "refused"
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
def test_state_of_another_topic_of_the_same_name_is_refused(platform: Platform, tmp_path: Path, state: str) -> None:
    platform.deploy()
    first = platform.the_job()
    assert first.user_config["topic_id.payments"] == "first"
    first.checkpoint = "file:/checkpoints/1"
    first.end("CANCELED")
    platform.topic_id = "second"
    file = tmp_path / "cards.yaml"
    file.write_text(json.dumps(platform.spec))
    assert compare(str(file), Deployment()).state == "refused"
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
    assert compare(str(file), Deployment()).state == "keeps"
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


def test_a_pipeline_under_its_old_name_is_told(
    platform: Platform, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    platform.deploy()
    old = platform.the_job()
    told = rf"Job {JOB} \({old.job_id}\) runs and writes spent_1, spent_2 as well.*undeploy that one"
    assert "as well" not in capsys.readouterr().out
    platform.spec["name"] = "payments"
    platform.deploy()
    assert re.search(told, capsys.readouterr().out)
    file = tmp_path / "payments.yaml"
    file.write_text(json.dumps(platform.spec))
    (warning,) = compare(str(file), Deployment()).warnings
    assert re.match(told, warning)
    old.end("CANCELED")
    assert not compare(str(file), Deployment()).warnings


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


@pytest.mark.parametrize("ahead", [2 * 3_600_000, 10**16])
def test_windows_of_the_future_are_not_out(platform: Platform, ahead: int) -> None:
    """They would be left out, and nobody would be told."""
    with pytest.raises(AirflowFailException, match=r"rewarm_from \d+ lies in the future.*would never be emitted"):
        platform.deploy(state="rewarm", rewarm_from=round(time.time() * 1000) + ahead)
    assert not platform.steps
    assert platform.deploy(state="rewarm", rewarm_from=round(time.time() * 1000))["state"] == "rewarm"


@pytest.mark.parametrize("state", ["auto", "restore"])
def test_a_plan_knows_that_a_group_without_windows_that_grows_is_rewarmed(
    platform: Platform, tmp_path: Path, state: Any
) -> None:
    rows: dict[str, Any] = {"name": "rows", "key": ["card"], "features": {"paid": "amount"}}
    platform.spec["feature_groups"].append(rows)
    pipeline = Pipeline.parse(platform.spec)
    with HopsworksHook().session() as session:
        session.create_feature_group(**feature_group_arguments(pipeline, pipeline.feature_groups[-1]))
    platform.deploy()
    rows["features"]["at"] = "at"
    file = tmp_path / "cards.yaml"
    file.write_text(json.dumps(platform.spec))
    planned = compare(str(file), Deployment(state=state))
    assert (planned.state, planned.state_reasons) == ("rewarms", ["rows_1 gets features"])
    assert platform.deploy(state=state)["state"] == "rewarm"


@pytest.mark.parametrize("why", ["compacted", "restore"])
def test_panes_go_on_where_groups_grow_and_the_past_cannot_be_read(
    platform: Platform, tmp_path: Path, capsys: pytest.CaptureFixture[str], why: str
) -> None:
    first = platform.deploy()
    if why == "compacted":
        platform.compaction = "compact"
    platform.grow()
    file = tmp_path / "cards.yaml"
    file.write_text(json.dumps(platform.spec))
    assert compare(str(file), Deployment()).state == ("keeps" if why == "compacted" else "rewarms")
    result = platform.deploy(**({"state": "restore"} if why == "restore" else {}))
    assert ("new ones have no value until their first whole window" in capsys.readouterr().out) == (why == "compacted")
    assert (result["state"], set(result["grown"])) == ("restore", {"spent_1", "spent_2"})
    assert platform.the_job().restored_from == platform.flink.jobs[first["job_id"]].savepoint
    assert platform.features() == [NEW, NEW]
    for group in platform.spec["feature_groups"]:
        group["aggregates"]["n"] = {"count": "*", "where": "amount > 0"}
    file.write_text(json.dumps(platform.spec))
    told = compare(str(file), Deployment())
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
