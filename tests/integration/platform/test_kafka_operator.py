"""Topics on a real broker."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from devstack.stack import Stack
from hopsworks_flink._compat import AirflowFailException
from hopsworks_flink.clients.kafka.topics import KafkaTopics
from hopsworks_flink.exceptions import KafkaError
from hopsworks_flink.operators.kafka import KafkaCreateTopicOperator
from tests.support.fixtures import set_connection, task_context

RUN = f"{time.time_ns() // 1_000_000 % 100_000_000}"


@pytest.fixture(autouse=True)
def connection(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"bootstrap.servers": stack.config.kafka_bootstrap}
    set_connection(monkeypatch, "kafka_default", conn_type="kafka", extra=extra)


def ensure(name: str, **changes: Any) -> dict[str, Any]:
    operator = KafkaCreateTopicOperator(task_id="t", topic=f"{name}_{RUN}", **changes)
    return json.loads(json.dumps(operator.execute(task_context())))


def test_created_once() -> None:
    first = ensure("once", partitions="2", config={"retention.ms": 3600000})
    assert (first["created"], first["partitions"]) == (True, 2)
    second = ensure("once", partitions=2, replication=1, config={"retention.ms": "3600000"})
    assert (second["created"], second["altered"], second["replication"]) == (False, [], 1)


def test_drift() -> None:
    ensure("drift", partitions=2)
    more: dict[str, Any] = {"partitions": 3, "config": {"retention.ms": 60000}}
    with pytest.raises(AirflowFailException, match=r"it has 2 partition\(s\), wanted 3; retention.ms is '604800000'"):
        ensure("drift", **more)
    assert len(ensure("drift", **more, on_drift="ignore")["differences"]) == 2
    assert ensure("drift", **more, on_drift="alter")["altered"] == ["retention.ms", "partitions"]
    assert ensure("drift", **more)["altered"] == []
    # Settings that are not named keep their values.
    ensure("drift", partitions=3, config={"cleanup.policy": "compact"}, on_drift="alter")
    assert ensure("drift", **more)["differences"] == []
    with pytest.raises(AirflowFailException, match="cannot be taken away"):
        ensure("drift", partitions=1, config={"retention.ms": 1}, on_drift="alter")
    assert ensure("drift", **more)["differences"] == []
    with pytest.raises(AirflowFailException, match="reassignment"):
        ensure("drift", partitions=3, replication=2, on_drift="alter")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"partitions": 0}, "partitions must be at least 1"),
        ({"on_drift": "drop"}, "on_drift must be one of fail, alter, ignore"),
        ({"config": {"no.such.setting": 1}}, "Could not create topic"),
        ({"replication": 9}, "Could not create topic"),
        ({"kafka_conn_id": "nowhere"}, "no Airflow connection 'nowhere'"),
    ],
)
def test_bad_arguments(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(AirflowFailException, match=text):
        ensure("bad", **changes)


def test_absent_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KafkaTopics, "answer_seconds", 1.0)
    extra = {"bootstrap.servers": "127.0.0.1:1"}
    set_connection(monkeypatch, "kafka_default", conn_type="kafka", extra=extra)
    with pytest.raises(KafkaError, match=r"does not answer: .*Connection refused"):
        ensure("away")
