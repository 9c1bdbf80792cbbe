"""A recompute around its job: until when it waits, and what it makes of records that are gone when the job has ended.

The job itself: tests/integration/airflow/test_recompute.py.
"""

from __future__ import annotations

import copy
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from confluent_kafka import Producer

from hopsworks_flink._compat import AirflowFailException
from hopsworks_flink.clients.kafka import offsets
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.operators.flink import FlinkRecomputeFeaturesOperator
from hopsworks_flink.pipeline.recompute import PartitionHistory
from hopsworks_flink.pipeline.resources import feature_group_arguments
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support.deferral import context_of, defer, event_of, resume
from tests.support.flink_stub import FlinkStub
from tests.support.hopsworks_server import LocalHopsworks

pytestmark = pytest.mark.airflow

GROUP = {
    "name": "spent",
    "key": ["card"],
    "event_time": "window_end",
    "window": {"size": "10m"},
    "aggregates": {"n": "count"},
}
SPEC: dict[str, Any] = {
    "name": "cards",
    "source": {
        "topic": "payments",
        "schema": {"card": "bigint", "at": "bigint"},
        "event_time": {"column": "at"},
        "max_disorder": "2h",
        "join": {
            "limits": {
                "topic": "card_limits",
                "schema": {"card": {"type": "bigint", "key": True}, "most": "double"},
                "by": {"card": "card"},
            }
        },
    },
    "feature_groups": [GROUP],
}


def test_it_waits_as_long_as_the_stream_counts_events() -> None:
    end = datetime.now(timezone.utc) - timedelta(minutes=90)
    operator = FlinkRecomputeFeaturesOperator(
        task_id="t", pipeline=SPEC, start=end - timedelta(days=1), end=end, arrival_margin="1h", deferrable=True
    )
    deferred = defer(operator, context_of())
    assert deferred.method_name == "execute_after_wait"
    assert deferred.trigger.moment == end + timedelta(hours=3)


def test_an_end_in_the_future_is_refused() -> None:
    end = datetime.now(timezone.utc) + timedelta(minutes=6)
    operator = FlinkRecomputeFeaturesOperator(task_id="t", pipeline=SPEC, start="2025-03-01", end=end)
    with pytest.raises(AirflowFailException, match="end lies in the future"):
        operator.execute(context_of())


# --- records that are deleted meanwhile -------------------------------------------------------------------------------


class Topics:
    """A broker whose partitions keep five megabytes, so that its oldest records go when many more are written."""

    def __init__(self) -> None:
        self.producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
        (address,) = self.producer.list_topics(timeout=10).brokers.values()
        self.bootstrap = f"{address.host}:{address.port}"
        for topic in ("payments", "card_limits"):
            self.write(topic, 5, b"event")

    def write(self, topic: str, number: int, value: bytes) -> None:
        for _ in range(number):
            self.producer.produce(topic, value, partition=0)
        assert self.producer.flush(10) == 0

    def lose(self, topic: str) -> None:
        """The first records of its partition 0; others have none to lose."""
        self.write(topic, 7, b"x" * 900_000)


@pytest.fixture
def topics(hopsworks: LocalHopsworks, monkeypatch: pytest.MonkeyPatch) -> Topics:
    topics = Topics()
    hopsworks.context.config = hopsworks.config.model_copy(update={"kafka_bootstrap": topics.bootstrap})
    with HopsworksHook().session() as session:
        pipeline = Pipeline.parse(SPEC)
        session.create_feature_group(**feature_group_arguments(pipeline, pipeline.feature_groups[0]))
    # librdkafka's broker for tests knows neither settings of topics nor offsets by time.
    found = [PartitionHistory(0, 0, 2, 5, 1), PartitionHistory(1, 0, 0, 0, None)]
    monkeypatch.setattr(offsets, "partition_histories", lambda *_: found)
    for name in ("compaction", "deletes", "replaced_since", "kept_since"):
        monkeypatch.setattr(offsets, name, lambda *_: None)
    return topics


def operator(**arguments: Any) -> FlinkRecomputeFeaturesOperator:
    day: dict[str, Any] = {"start": "2025-03-01", "end": "2025-03-02", "poll_interval": 0.01, "timeout": 20}
    return FlinkRecomputeFeaturesOperator(task_id="t", pipeline=copy.deepcopy(SPEC), **{**day, **arguments})


def recompute(flink: FlinkStub, *, deferrable: bool, loses: Any, **arguments: Any) -> dict[str, Any]:
    """What it gives, or how it fails, where something happens while the job runs."""
    if not deferrable:
        flink.on_run = lambda job: (loses(), job.end("FINISHED"))[0]
        return operator(**arguments).execute(context_of())
    deferred = defer(operator(deferrable=True, **arguments), context_of())
    loses()
    (job,) = flink.running()
    job.end("FINISHED")
    # Airflow goes on with another object of the operator, which knows no broker yet.
    return resume(operator(deferrable=True, **arguments), deferred, event_of(deferred))


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("topic", ["payments", "card_limits"])
def test_rows_of_records_that_were_deleted_meanwhile_are_refused(
    flink: FlinkStub, topics: Topics, topic: str, deferrable: bool
) -> None:
    gone = rf"Topic {topic} has lost records .*partition 0 begins at offset \d+, and was to be read from 2\. .*"
    with pytest.raises(AirflowFailException, match=gone + r"do not materialize them.*later start.*retention\.ms"):
        recompute(flink, deferrable=deferrable, loses=lambda: topics.lose(topic))


def test_rows_of_records_that_were_deleted_meanwhile_may_be_allowed(flink: FlinkStub, topics: Topics) -> None:
    result = recompute(flink, deferrable=True, loses=lambda: topics.lose("payments"), allow_deleted="True")
    assert result["state"] == "FINISHED"


@pytest.mark.parametrize("deferrable", [False, True])
def test_rows_of_records_that_are_all_there_are_reported(flink: FlinkStub, topics: Topics, deferrable: bool) -> None:
    result = recompute(flink, deferrable=deferrable, loses=lambda: None)
    assert (result["state"], result["records_read"]) == ("FINISHED", 3)
    assert result["offsets"] == result["joined_offsets"]["limits"] == {"0": [2, 5], "1": [0, 0]}
