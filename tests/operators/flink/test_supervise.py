"""Supervision against a stub of Flink, look after look, with what Airflow keeps between them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from confluent_kafka import Producer

from devstack.hopsworks.metadata.db import immediate
from devstack.hopsworks.online.store import add_results, connect_online_store
from hopsworks_flink._compat import AirflowFailException, AirflowSkipException
from hopsworks_flink.clients.flink.jobs import MARK_HASH, MARK_PLAN, ingestion_marks
from hopsworks_flink.deployment.feature_job import FeatureJob
from hopsworks_flink.exceptions import FlinkError
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.operators.flink import (
    FlinkDeployFeaturePipelineOperator,
    FlinkSuperviseJobOperator,
    FlinkUndeployFeaturePipelineOperator,
)
from hopsworks_flink.operators.flink import supervise as flink_supervise
from hopsworks_flink.operators.trigger_deployment import TriggerDeploymentOperator
from hopsworks_flink.pipeline.resources import feature_group_arguments
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support.deferral import context_of, defer, event_of, resume
from tests.support.fixtures import set_connection
from tests.support.flink_stub import FlinkStub, Job
from tests.support.hopsworks_server import LocalHopsworks
from tests.support.platform import Platform
from tests.support.supervising import PIPELINE, Runs

pytestmark = pytest.mark.airflow


@pytest.fixture
def runs(variables: dict[str, str]) -> Runs:
    return Runs()


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    found: dict[str, float] = {}

    class Stats:
        @staticmethod
        def gauge(name: str, value: float) -> None:
            found[name] = value

    monkeypatch.setattr(flink_supervise, "get_stats", lambda: Stats)
    return found


def supervise(runs: Runs, **supervision: Any) -> dict[str, Any]:
    operator = FlinkSuperviseJobOperator(
        task_id="supervise_job", pipeline={**PIPELINE, "supervision": supervision}, deploy_dag_id="cards__deploy"
    )
    return operator.execute({"ti": runs})


def undeploy(**kwargs: Any) -> FlinkUndeployFeaturePipelineOperator:
    own = {"mode": "cancel", "poll_interval": 0.02, **kwargs}
    return FlinkUndeployFeaturePipelineOperator(task_id="stop", job_name="cards__features", **own)


def streaming(flink: FlinkStub, **kwargs: Any) -> Job:
    defaults = {"checkpoint": "file:/c/1", "checkpoint_age": 3.0, "start_time": int((time.time() - 600) * 1000)}
    return flink.add("cards__features", **{**defaults, **kwargs})


def test_a_healthy_job(flink: FlinkStub, runs: Runs, metrics: dict[str, float]) -> None:
    job = streaming(flink, watermark=5_000, metrics={"Source__cards[1].KafkaSourceReader.pendingRecords": 12.0})
    result = supervise(runs)
    assert (result["verdict"], result["action"], result["reasons"]) == ("healthy", "none", [])
    assert result["facts"]["lag"] == 12
    assert result["facts"]["checkpoint_age"] == pytest.approx(3.0, abs=1.0)
    assert result["deploy_conf"] == {"state": "auto", "parallelism": 1}
    assert runs.pushed["flink_job_url"].endswith(f"/#/job/running/{job.job_id}/overview")
    assert metrics["hopsworks_flink.cards__features.verdict"] == 0
    assert metrics["hopsworks_flink.cards__features.lag"] == 12
    assert json.loads(json.dumps(result)) == result


def test_a_restart_is_a_warning(flink: FlinkStub, runs: Runs) -> None:
    streaming(flink, exception="x.Y: o\nCaused by: x.Z: lost a worker", failures=[30.0])
    result = supervise(runs)
    assert (result["verdict"], result["action"]) == ("degraded", "warn")
    assert "restarted 1 time within 600 s (cause: x.Z: lost a worker)" in result["reasons"][0]["text"]


@pytest.mark.parametrize(
    ("jobs", "text"),
    [
        ([], "'cards__features' is missing: no job named 'cards__features' runs"),
        ([{"state": "FAILED", "exception": "x.Y: o\nCaused by: x.Z: broke"}], "is FAILED \\(cause: x.Z: broke\\)"),
        ([{}, {}], "is duplicated: 2 jobs"),
        ([{"checkpoint_age": 900.0}], "is sick: the job completed its last checkpoint 900 s ago, 300 s are allowed"),
        ([{"failures": [1.0, 2.0, 3.0, 4.0]}], "is sick: it restarted 4 time"),
    ],
)
def test_what_needs_a_person(
    flink: FlinkStub, runs: Runs, metrics: dict[str, float], jobs: list[dict[str, Any]], text: str
) -> None:
    for kwargs in jobs:
        streaming(flink, **kwargs)
    with pytest.raises(AirflowFailException, match=text):
        supervise(runs)
    assert metrics["hopsworks_flink.cards__features.verdict"] > 1


def test_a_watermark_that_stands_shows_in_two_looks(flink: FlinkStub, runs: Runs) -> None:
    lag = "Source__cards[1].KafkaSourceReader.pendingRecords"
    job = streaming(flink, watermark=5_000, metrics={lag: 12.0})
    supervise(runs)
    job.metrics[lag] = 500.0
    with pytest.raises(AirflowFailException, match=r"has not moved within \d s while the lag grew by 488 to 500"):
        supervise(runs, policy="redeploy")
    job.watermark, job.metrics[lag] = 6_000, 900.0
    assert supervise(runs)["verdict"] == "healthy"


@pytest.mark.parametrize("answer", [{}, {"status": "UP"}, []])
def test_an_answer_that_is_not_flinks_is_no_verdict(flink: FlinkStub, runs: Runs, answer: Any) -> None:
    """Of a proxy, or of another service at the address: the job is not missing, and nothing is deployed."""
    streaming(flink)
    flink.fail("GET", "/jobs/overview", status=200, body=answer)
    with pytest.raises(FlinkError, match=r"jobs/overview answered 200 with something that is not Flink's JSON"):
        supervise(runs, policy="redeploy")


def test_an_undeployed_pipeline_is_not_missed(flink: FlinkStub, runs: Runs) -> None:
    job = streaming(flink)
    supervise(runs, policy="redeploy")
    assert undeploy().execute({"ti": runs})["action"] == "cancelled"
    assert job.state == "CANCELED"
    with pytest.raises(AirflowSkipException, match=r"card.* was undeployed at 20.*: deploy it to bring it back"):
        supervise(runs, policy="redeploy")
    again = streaming(flink)
    assert supervise(runs, policy="redeploy")["verdict"] == "healthy"
    # From then on it is missed as before.
    again.end("FAILED")
    assert supervise(runs, policy="redeploy")["verdict"] == "missing"


@pytest.mark.parametrize("deferred", [False, True])
def test_a_pipeline_that_was_deployed_again_is_missed_although_no_look_saw_its_job(
    platform: Platform, runs: Runs, deferred: bool
) -> None:
    """It was lost before supervision came round, or while its DAG was paused."""
    undeploy().execute({"ti": runs})
    if deferred:
        context, spec = context_of(), {"pipeline": platform.spec, "grace_period": 0.01, "poll_interval": 0.01}
        deferral = defer(FlinkDeployFeaturePipelineOperator(task_id="deploy", deferrable=True, **spec), context)
        event = event_of(deferral)
        resume(FlinkDeployFeaturePipelineOperator(task_id="deploy", **spec), deferral, event)
    else:
        platform.deploy()
    platform.flink.jobs.clear()
    operator = FlinkSuperviseJobOperator(
        task_id="supervise_job", pipeline={**platform.spec, "supervision": {"policy": "redeploy"}}
    )
    assert operator.execute({"ti": runs})["action"] == "redeploy"


def test_a_pipeline_is_not_undeployed_while_a_deployment_runs(
    flink: FlinkStub, runs: Runs, variables: dict[str, str]
) -> None:
    """That one takes the end of its job for a failure, and brings the job before back."""
    job, runs.deploying = streaming(flink), 1
    with pytest.raises(FlinkError, match=r"1 run.* of cards__deploy are running: .* Nothing was stopped") as raised:
        undeploy(deploy_dag_id="cards__deploy").execute({"ti": runs})
    assert not raised.value.permanent
    assert (runs.asked, variables, flink.running()) == ([("cards__deploy", ["running"])], {}, [job])
    runs.deploying = 0
    assert undeploy(deploy_dag_id="cards__deploy").execute({"ti": runs})["action"] == "cancelled"


def test_a_look_while_the_job_is_being_ended_does_not_bring_it_back(flink: FlinkStub, runs: Runs) -> None:
    """The look sees the job run; the undeployment ends after it."""
    streaming(flink)
    looks: list[str] = []
    # Flink has been asked to end the job, and has not done it yet.
    flink.fail("PATCH", "/jobs/", then=lambda: looks.append(supervise(runs, policy="redeploy")["verdict"]))
    assert undeploy().execute({"ti": runs})["action"] == "cancelled"
    assert looks == ["healthy"]
    with pytest.raises(AirflowSkipException, match="was undeployed"):
        supervise(runs, policy="redeploy")


def test_a_look_while_the_end_is_awaited_in_the_triggerer(flink: FlinkStub, runs: Runs) -> None:
    streaming(flink)
    deferred = defer(undeploy(mode="savepoint", deferrable=True), context_of())
    assert supervise(runs, policy="redeploy")["verdict"] == "healthy"
    assert resume(undeploy(mode="savepoint"), deferred, event_of(deferred))["action"] == "stopped"
    with pytest.raises(AirflowSkipException, match="was undeployed"):
        supervise(runs, policy="redeploy")


@pytest.mark.parametrize("earlier", [False, True], ids=["first", "again"])
@pytest.mark.parametrize("moment", ["/jobs/overview", "/checkpoints$"], ids=["before the jobs are seen", "after"])
def test_a_look_during_which_it_is_undeployed_changes_nothing(
    flink: FlinkStub, runs: Runs, variables: dict[str, str], earlier: bool, moment: str
) -> None:
    """The look has read its record before the undeployment begins, and writes after it has ended."""
    if earlier:
        undeploy().execute({"ti": runs})
    streaming(flink)
    flink.fail("GET", moment, then=lambda: undeploy().execute({"ti": runs}))
    for _ in range(2):
        with pytest.raises(AirflowSkipException, match="was undeployed"):
            supervise(runs, policy="redeploy")
        assert kept(variables, "status")["verdict"] == "undeployed"
    assert flink.running() == []


def test_a_sick_job_of_an_undeployed_pipeline_is_not_deployed_at_once(flink: FlinkStub, runs: Runs) -> None:
    """It may be the one that is being ended; one that stays was deployed since, and is looked after as before."""
    undeploy().execute({"ti": runs})
    streaming(flink, checkpoint_age=900.0)
    with pytest.raises(AirflowFailException, match="is sick") as raised:
        supervise(runs, policy="redeploy")
    assert "deployed again" not in str(raised.value)
    assert supervise(runs, policy="redeploy")["action"] == "redeploy"


def test_late_events_since_the_last_look(flink: FlinkStub, runs: Runs) -> None:
    job = streaming(flink, metrics={"GlobalWindowAggregate[4].numLateRecordsDropped": 3.0})
    assert supervise(runs)["verdict"] == "healthy"
    job.metrics["GlobalWindowAggregate[4].numLateRecordsDropped"] = 8.0
    assert supervise(runs)["reasons"][0]["text"].startswith("5 events came behind the watermark")
    # One that is late for two kinds of window, of which nobody can say that it is one.
    job.metrics.update(
        {"10 m by cc[3].numLateRecordsDropped": 1.0, "GlobalWindowAggregate[4].numLateRecordsDropped": 9.0}
    )
    assert supervise(runs)["reasons"][0]["text"] == (
        "2 events came behind the watermark, too late for a window; each kind of window counts its own"
    )
    assert supervise(runs)["verdict"] == "healthy"


def test_what_a_restart_counts_from_zero_again_is_told(
    flink: FlinkStub, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flink brings the job back by itself: late events and refused ones since then are as new as ever."""
    broker = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    (address,) = broker.list_topics(timeout=10).brokers.values()
    extra = {"bootstrap.servers": f"{address.host}:{address.port}"}
    set_connection(monkeypatch, "events", conn_type="kafka", extra=extra)

    def look() -> list[str]:
        pipeline = {**PIPELINE, "source": {**PIPELINE["source"], "format": "json"}}
        operator = FlinkSuperviseJobOperator(task_id="s", pipeline=pipeline, source_kafka_conn_id="events")
        return [reason["text"] for reason in operator.execute({"ti": runs})["reasons"]]

    late = "10 m every 1 m by cc[4].numLateRecordsDropped"
    job = streaming(flink, watermark=5_000, names=["Source: cards", "w"], metrics={"numRecordsIn": 4e6, late: 9.0})
    assert look() == []
    job.metrics.update({"numRecordsIn": 20.0, late: 2.0})
    good = json.dumps({"cc": 1, "at": int(time.time() * 1000)}).encode()
    for value in (good, good, b"no record"):
        broker.produce("cards", value, partition=0)
    assert broker.flush(10) == 0
    told = look()
    assert told[0] == "2 events came behind the watermark, too late for a window; each kind of window counts its own"
    assert "1 of the topic's newest 3 events count nowhere" in told[1]


class OnlineStore:
    """The pipeline's feature group, and what becomes of the rows that its job writes."""

    def __init__(self, server: LocalHopsworks) -> None:
        pipeline = Pipeline.parse(KEYED_BY_TEXT)
        with HopsworksHook().session() as session:
            group, _ = session.create_feature_group(**feature_group_arguments(pipeline, pipeline.feature_groups[0]))
            # Another writer's is the newest: the job's own is what counts.
            self.ingestion, _ = (session.create_online_ingestion(group) for _ in range(2))
        self.connection = connect_online_store(server.layout)

    def count(self, **rows: int) -> None:
        with immediate(self.connection):
            add_results(self.connection, [(self.ingestion, status, number) for status, number in rows.items()])


KEYED_BY_TEXT = {
    **PIPELINE,
    # All tests of a process share the server: no other group has this name.
    "feature_groups": [{**PIPELINE["feature_groups"][0], "name": "by_text"}],
    "source": {**PIPELINE["source"], "schema": {"cc": "string", "at": "bigint"}},
}


@pytest.fixture
def store(hopsworks: LocalHopsworks) -> OnlineStore:
    return OnlineStore(hopsworks)


def supervise_store(runs: Runs) -> dict[str, Any]:
    operator = FlinkSuperviseJobOperator(task_id="supervise_job", pipeline=KEYED_BY_TEXT)
    return operator.execute({"ti": runs})


def test_rows_that_the_online_store_drops(
    flink: FlinkStub, runs: Runs, metrics: dict[str, float], store: OnlineStore
) -> None:
    streaming(flink, user_config=ingestion_marks({"by_text_1": store.ingestion, "of_another_file_1": 4711}))
    store.count(UPSERTED=90, IGNORED=7)
    assert supervise_store(runs)["verdict"] == "healthy"
    store.count(UPSERTED=50, FAILED=3)
    result = supervise_store(runs)
    assert (result["verdict"], result["action"]) == ("degraded", "warn")
    assert result["reasons"][0]["topic"] == "online"
    assert result["reasons"][0]["text"].startswith(
        "the online store dropped 3 of 53 new rows for feature group by_text_1"
    )
    assert "(cc varchar(100)); give the group a new version" in result["reasons"][0]["text"]
    assert metrics["hopsworks_flink.cards__features.failed_rows"] == 3
    assert supervise_store(runs)["verdict"] == "healthy", "nothing new"
    store.count(FAILED=5)
    with pytest.raises(AirflowFailException, match=r"is sick: the online store dropped 5 of 5 new rows .* 8 since"):
        supervise_store(runs)


def test_while_hopsworks_is_away_the_job_is_judged_and_no_row_is_forgotten(
    flink: FlinkStub, runs: Runs, hopsworks: LocalHopsworks, store: OnlineStore
) -> None:
    job = streaming(flink, user_config=ingestion_marks({"by_text_1": store.ingestion}))
    supervise_store(runs)
    store.count(UPSERTED=50, FAILED=3)
    hopsworks.faults.status, hopsworks.faults.times = 503, 1000
    result = supervise_store(runs)
    assert result["verdict"] == "degraded"
    assert result["reasons"][0]["text"].startswith("what the online store did with the job's rows is not known: ")
    job.checkpoint_age = 900.0
    with pytest.raises(AirflowFailException, match="completed its last checkpoint 900 s ago"):
        supervise_store(runs)
    job.checkpoint_age, hopsworks.faults.times = 3.0, 0
    assert "dropped 3 of 53 new rows" in supervise_store(runs)["reasons"][0]["text"]


def test_an_ingestion_that_hopsworks_has_forgotten_is_told(flink: FlinkStub, runs: Runs, store: OnlineStore) -> None:
    streaming(flink, user_config=ingestion_marks({"by_text_1": 4711}))
    (reason,) = supervise_store(runs)["reasons"]
    assert reason["kind"] == "degraded"
    assert (
        "Hopsworks has forgotten online ingestion 4711 of by_text_1; a newly deployed job gets a new one"
        in reason["text"]
    )


def test_deploys_again_so_often_and_no_more(flink: FlinkStub, runs: Runs) -> None:
    policy = {"policy": "redeploy", "max_attempts": 2}
    job = streaming(flink)
    supervise(runs, **policy)
    job.end("FAILED")
    for attempt in (1, 2):
        result = supervise(runs, **policy)
        assert (result["verdict"], result["action"], result["attempts"]) == ("missing", "redeploy", attempt)
        # The job is gone; what it ran with is known from the look before.
        assert result["deploy_conf"] == {"state": "auto", "parallelism": 1}
    with pytest.raises(AirflowFailException, match="deployed again 2 times within 3600 s, which did not help"):
        supervise(runs, **policy)


def test_what_deploying_cannot_cure_is_not_deployed(flink: FlinkStub, runs: Runs) -> None:
    streaming(flink)
    streaming(flink)
    with pytest.raises(AirflowFailException, match="duplicated") as raised:
        supervise(runs, policy="redeploy")
    assert "deployed again" not in str(raised.value)


def test_nothing_is_judged_while_a_deployment_is_at_work(flink: FlinkStub, runs: Runs) -> None:
    runs.deploying = 1
    with pytest.raises(AirflowSkipException, match="cards__deploy are running or queued"):
        supervise(runs)
    assert runs.asked == [("cards__deploy", ["running", "queued"])]
    assert flink.requests == []


def test_a_deployment_is_started_only_on_a_decision(runs: Runs) -> None:
    def trigger(**decision: Any) -> TriggerDeploymentOperator:
        operator = TriggerDeploymentOperator(
            task_id="redeploy", decision=json.dumps(decision), trigger_dag_id="cards__deploy"
        )
        operator.execute({"ti": runs})
        return operator

    with pytest.raises(AirflowSkipException, match="the job is degraded"):
        trigger(action="warn", verdict="degraded")
    assert runs.asked == []
    runs.deploying = 1
    with pytest.raises(AirflowSkipException, match="are running or queued"):
        trigger(action="redeploy", verdict="sick", deploy_conf={"state": "auto"})


def test_the_deployment_gets_the_configuration_that_ran(runs: Runs) -> None:
    from tests.support.airflow_names import DagRunTriggerException

    conf = {"state": "auto", "parallelism": 4}
    operator = TriggerDeploymentOperator(
        task_id="redeploy",
        decision={"action": "redeploy", "verdict": "missing", "deploy_conf": conf},
        trigger_dag_id="cards__deploy",
        openlineage_inject_parent_info=False,
    )
    with pytest.raises(DagRunTriggerException) as raised:
        operator.execute({"ti": runs})
    assert (raised.value.trigger_dag_id, raised.value.conf) == ("cards__deploy", conf)


@pytest.mark.parametrize(
    ("supervision", "text"),
    [
        ({"policy": "restart"}, "supervision.policy"),
        ({"max_attempts": 0}, "supervision.max_attempts"),
        ({"max_attempts": 5}, "supervision: max_attempts is about policy: redeploy, and policy is alert; remove it"),
        ({"attempt_window": "2h", "policy": "alert"}, "supervision: attempt_window is about policy: redeploy"),
        ({"max_checkpoint_age": "10ms"}, "supervision.max_checkpoint_age"),
        ({"max_silence": 5}, "supervision.max_silence"),
    ],
)
def test_settings_that_make_no_sense(runs: Runs, supervision: dict[str, Any], text: str) -> None:
    with pytest.raises(AirflowFailException, match=text):
        supervise(runs, **supervision)


def kept(variables: dict[str, str], what: str) -> dict[str, Any]:
    """What the status page is given; the task's DAG has this id in all tests."""
    return json.loads(variables[f"hopsworks_flink.{what}.cards__deploy"])


def test_the_status_page_is_given_the_figures_of_each_look(
    flink: FlinkStub, runs: Runs, variables: dict[str, str]
) -> None:
    lag = "Source__cards[1].KafkaSourceReader.pendingRecords"
    job = streaming(flink, watermark=5_000, metrics={lag: 12.0})
    supervise(runs)
    status = kept(variables, "status")
    assert (status["pipeline"], status["verdict"], status["facts"]["lag"]) == ("cards", "healthy", 12)
    assert (status["deploy_dag_id"], status["rates"]) == ("cards__deploy", {})
    assert status["flink_url"].startswith("https://flink.example/ui/#/job/")
    job.end("FAILED")
    with pytest.raises(AirflowFailException, match="missing"):
        supervise(runs)
    status, day = kept(variables, "status"), kept(variables, "day")
    assert (status["verdict"], status["reasons"][0]["topic"]) == ("missing", "missing")
    assert day["looks"]["lag"] == [12, None]
    assert day["looks"]["verdict"] == [0, 3]
    assert [one["job_id"] for one in day["jobs"]] == [job.job_id]
    assert day["pipeline"]["name"] == "cards"


def test_the_status_page_keeps_the_last_figures_while_flink_is_away(
    flink: FlinkStub, runs: Runs, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = streaming(flink, watermark=5_000)
    supervise(runs)
    set_connection(monkeypatch, "flink_default", conn_type="flink", host="http://127.0.0.1:9", extra={})
    with pytest.raises(FlinkError):
        supervise(runs)
    status = kept(variables, "status")
    assert (status["verdict"], status["facts"]["job_id"]) == ("unknown", job.job_id)
    assert "127.0.0.1:9" in status["reasons"][0]["text"]


def test_the_status_page_shows_what_differs_and_some_rows(
    flink: FlinkStub, runs: Runs, variables: dict[str, str], store: OnlineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline.parse(KEYED_BY_TEXT)
    with HopsworksHook().session() as session:
        plan = FeatureJob.compile(session, pipeline, hopsworks_conn_id="hopsworks_default").plan
    marks = {**ingestion_marks({"by_text_1": store.ingestion}), MARK_HASH: "h1", MARK_PLAN: plan.hash}
    job = streaming(flink, user_config=marks)
    monkeypatch.setenv("AIRFLOW__HOPSWORKS_FLINK__STATUS_SAMPLE_ROWS", "2")
    supervise_store(runs)
    status, day = kept(variables, "status"), kept(variables, "day")
    assert status["version"] == {"hash": "h1", "same": True}
    assert status["groups"][0]["sample"] == []
    assert "/fg/" in status["groups"][0]["url"]
    assert day["deployed"] == day["pipeline"]
    job.user_config = {**marks, MARK_PLAN: "of another file"}
    supervise_store(runs)
    status = kept(variables, "status")
    assert (status["version"]["same"], status["version"]["differences"][0]) == (False, "the SQL differs")
    assert status["unknown"] == []
