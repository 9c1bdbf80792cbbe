"""Supervision of a real job: what its figures are called, what a canary measures, and a job that somebody cancels."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from devstack.stack import Stack
from hopsworks_flink._compat import AirflowFailException, AirflowSensorTimeout, AirflowSkipException
from hopsworks_flink.clients.flink.jobs import TERMINAL_STATES
from hopsworks_flink.operators.flink import FlinkDeployFeaturePipelineOperator, FlinkSuperviseJobOperator
from hopsworks_flink.operators.freshness import MeasureFreshnessOperator
from hopsworks_flink.operators.hopsworks import HopsworksCreateFeatureGroupOperator, HopsworksCreateTopicOperator
from hopsworks_flink.pipeline.resources import feature_group_arguments, source_avro_schema
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.sensors.flink import FlinkJobHealthSensor
from tests.support.fixtures import set_connection, task_context, variables
from tests.support.live.jobs import OFTEN
from tests.support.live.platform import eventually, jobs

__all__ = ["variables"]
pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("variables")]

NAME = f"watched_{time.time_ns() // 1_000_000 % 100_000_000}"
SPEC: dict[str, Any] = {
    "name": NAME,
    "freshness": "60s",
    "supervision": {"policy": "redeploy", "max_checkpoint_age": "60s"},
    "source": {
        "topic": f"{NAME}_events",
        "format": "json",
        "schema": {"cc": "bigint", "at": "bigint"},
        "event_time": {"column": "at"},
        "max_disorder": "2s",
    },
    "feature_groups": [
        {
            "name": f"{NAME}_agg",
            "key": ["cc"],
            "event_time": "window_end",
            "window": {"size": "10s", "slide": "5s"},
            "aggregates": {"n": "count"},
        }
    ],
}


def create_topic() -> None:
    pipeline = Pipeline.parse(SPEC)
    HopsworksCreateTopicOperator(
        task_id="topic", topic=pipeline.source.topic, schema=source_avro_schema(pipeline), partitions=1
    ).execute(task_context())


def deploy(**kwargs: Any) -> dict[str, Any]:
    return FlinkDeployFeaturePipelineOperator(
        task_id="deploy",
        pipeline=SPEC,
        **{"grace_period": 2.0, "poll_interval": 0.5, "timeout": 120, "flink_configuration": OFTEN, **kwargs},
    ).execute(task_context())


@pytest.fixture(scope="module")
def deployed(stack: Stack) -> Iterator[dict[str, Any]]:
    pipeline = Pipeline.parse(SPEC)
    with pytest.MonkeyPatch.context() as patch:
        for conn_id, fields in stack.airflow_connections().items():
            set_connection(patch, conn_id, **fields)
        create_topic()
        for group in pipeline.feature_groups:
            arguments = feature_group_arguments(pipeline, group)
            HopsworksCreateFeatureGroupOperator(task_id="group", **arguments).execute(task_context())
        yield deploy()
        for job in jobs(stack, pipeline.job_name):
            requests.patch(f"{stack.config.flink_url}/jobs/{job}", timeout=30)


@pytest.fixture
def traffic(stack: Stack) -> Iterator[None]:
    """Events of now, ten a second."""
    done = threading.Event()
    producer = Producer({"bootstrap.servers": stack.config.kafka_bootstrap})

    def run() -> None:
        while not done.wait(0.1):
            event = {"cc": 1, "at": int(time.time() * 1000)}
            producer.produce(SPEC["source"]["topic"], json.dumps(event).encode())
            producer.poll(0)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    done.set()
    thread.join()
    producer.flush(10)


def supervise() -> dict[str, Any]:
    return FlinkSuperviseJobOperator(task_id="supervise_job", pipeline=SPEC).execute(task_context())


def measure() -> dict[str, Any]:
    return MeasureFreshnessOperator(task_id="measure_freshness", pipeline=SPEC, poll_interval=0.5).execute(
        task_context()
    )


@pytest.mark.usefixtures("deployed")
def test_without_events_nothing_is_measured() -> None:
    with pytest.raises(AirflowSkipException, match="had no event"):
        measure()


@pytest.mark.usefixtures("deployed", "traffic")
def test_the_way_from_an_event_to_its_feature_is_measured(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__HOPSWORKS_FLINK__STATUS_SAMPLE_ROWS", "2")

    def told() -> None:
        # The first watermarks show a few seconds after the first events.
        try:
            measure()
        except AirflowSkipException as skipped:
            raise AssertionError(str(skipped)) from None

    eventually(told)
    result = measure()
    # A window closes every five seconds, two behind the newest event; a checkpoint is not waited for.
    assert 0.5 < result["seconds"] < 30
    assert (result["measured"], result["missed"]) == (2, 0)

    def well() -> None:
        facts = supervise()["facts"]
        assert facts["state"] == "RUNNING"
        assert facts["checkpoint_age"] is not None
        assert facts["watermark"] / 1000 == pytest.approx(time.time(), abs=30)
        assert facts["read"] > 20
        assert facts["written"] > 0
        assert facts["late"] == 0
        assert facts["lag"] < 1000

    eventually(well)
    assert supervise()["verdict"] == "healthy"

    def shown() -> dict[str, Any]:
        supervise()
        return json.loads(variables["hopsworks_flink.status.cards__deploy"])

    def rated() -> None:
        # Flink's figures are renewed every few seconds; between two looks at the same ones nothing seems to be read.
        assert shown()["rates"]["read"] > 0

    # What the status page is given.
    eventually(rated)
    status = shown()
    assert (status["version"]["same"], status["unknown"]) == (True, [])
    assert status["freshness"]["measured"] == 2
    # There is one key, and the canary's.
    assert {"1"} <= {row["cc"] for row in status["groups"][0]["sample"]} <= {"1", str(-(2**63) + 1)}
    assert status["facts"]["online"][f"{NAME}_agg_1"]["taken"] > 0
    assert status["facts"]["checkpoint_seconds"] > 0


def test_most_events_are_refused(stack: Stack, deployed: dict[str, Any]) -> None:
    """Seconds instead of milliseconds; there was a watermark before, and Flink counts nothing."""
    supervise()
    producer = Producer({"bootstrap.servers": stack.config.kafka_bootstrap})
    for _ in range(2000):
        producer.produce(SPEC["source"]["topic"], json.dumps({"cc": 1, "at": int(time.time())}).encode())
    assert producer.flush(10) == 0

    def told() -> None:
        text = ""
        try:
            supervise()
        except AirflowFailException as error:
            text = str(error)
        # Flink's figures come seconds later.
        assert re.search(r"is sick: (\d+) of the topic's newest \1 events count nowhere: at ", text)

    eventually(told)


def test_a_job_that_somebody_cancels_is_missing_and_comes_back(stack: Stack, deployed: dict[str, Any]) -> None:
    supervise()
    job_id = deployed["job_id"]
    requests.patch(f"{stack.config.flink_url}/jobs/{job_id}", timeout=30)

    def ended() -> None:
        assert jobs(stack, deployed["job_name"])[job_id] == "CANCELED"

    eventually(ended)
    result = supervise()
    assert (result["verdict"], result["action"]) == ("missing", "redeploy")
    assert "is CANCELED" in result["reasons"][0]["text"]
    # What the job ran with, which nobody can ask it any more.
    assert result["deploy_conf"] == {"state": "auto", "parallelism": 1}
    again = deploy(**result["deploy_conf"])
    assert again["action"] == "submitted"
    assert again["savepoint_path"]
    assert supervise()["verdict"] == "healthy"


def test_a_topic_that_somebody_deletes_is_named(stack: Stack, deployed: dict[str, Any]) -> None:
    topic = SPEC["source"]["topic"]
    admin = AdminClient({"bootstrap.servers": stack.config.kafka_bootstrap})
    admin.delete_topics([topic])[topic].result(30)

    def told() -> None:
        try:
            text = str(supervise()["reasons"])
        except AirflowFailException as error:
            # It was deployed again too often by then.
            text = str(error)
        assert f"Kafka topic {topic} does not exist any more" in text

    eventually(told)
    known = jobs(stack, Pipeline.parse(SPEC).job_name)
    (job_id,) = [job for job, state in known.items() if state not in TERMINAL_STATES]
    found = {"status": "timeout", "reason": "it restarts", "facts": {"job_id": job_id}}
    with pytest.raises(AirflowSensorTimeout, match=f"Kafka topic {topic} does not exist any more.*Deploying again"):
        FlinkJobHealthSensor(task_id="health", pipeline=SPEC).execute_complete(task_context(), found)


def test_state_is_not_taken_to_a_topic_that_was_made_anew(stack: Stack, deployed: dict[str, Any]) -> None:
    """Its offsets are those of the topic that the test before has deleted."""
    topic, name = SPEC["source"]["topic"], Pipeline.parse(SPEC).job_name
    create_topic()

    def ended() -> None:
        running = [job for job, state in jobs(stack, name).items() if state not in TERMINAL_STATES]
        for job in running:
            requests.patch(f"{stack.config.flink_url}/jobs/{job}", timeout=30)
        assert not running

    eventually(ended)
    producer = Producer({"bootstrap.servers": stack.config.kafka_bootstrap})
    producer.produce(topic, json.dumps({"cc": 1, "at": int(time.time() * 1000)}).encode())
    producer.flush(10)
    with pytest.raises(AirflowFailException, match=f"topic {topic} was deleted and made again.*state='restore'"):
        deploy()
    assert deploy(state="restore")["state"] == "restore"
