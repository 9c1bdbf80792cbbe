"""What a deployment says of the job that it wants."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from hopsworks_flink.clients.flink.bundle import Bundle
from hopsworks_flink.clients.flink.files import Jar, JobJars
from hopsworks_flink.clients.hopsworks.session import HopsworksSession
from hopsworks_flink.clients.kafka import offsets
from hopsworks_flink.deployment.desired import DesiredJob
from hopsworks_flink.deployment.feature_job import FeatureJob
from hopsworks_flink.exceptions import FlinkStateError
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.pipeline.resources import feature_group_arguments
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support.hopsworks_server import LocalHopsworks
from tests.support.supervising import PIPELINE

FILE = Pipeline.parse(PIPELINE)


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> list[Producer]:
    """Clusters of one broker each, in this process: they know neither ids nor settings of topics."""
    for name, answer in (("topic_ids", {}), ("compaction", None)):
        monkeypatch.setattr(offsets, name, lambda *_, answer=answer: answer)
    return [Producer({"test.mock.num.brokers": 1, "log_level": 0}) for _ in range(2)]


@pytest.fixture
def session(hopsworks: LocalHopsworks) -> Iterator[HopsworksSession]:
    with HopsworksHook().session() as session:
        for group in FILE.feature_groups:
            session.create_feature_group(**feature_group_arguments(FILE, group))
        yield session


def test_a_job_of_another_broker_is_another_one(session: HopsworksSession) -> None:
    """Its plan is the same: a job that runs would go on with the broker that it was given."""
    jar = Jar(Path("some.jar"), "0" * 64)
    wanted = DesiredJob("cards__features", Bundle("program", {"program.py": b""}), JobJars(jar, (), jar))

    def given(servers: str | None) -> str | None:
        source = {"bootstrap.servers": servers} if servers else None
        return FeatureJob.compile(session, FILE, source, hopsworks_conn_id="h").desired(wanted).credentials

    old = given("old-1:9092,old-2:9092")
    assert given("old-2:9092,old-1:9092") == old
    assert len({old, given("new-1:9092"), given(None)}) == 3


def test_offsets_of_a_state_are_of_one_cluster(session: HopsworksSession, brokers: list[Producer]) -> None:
    def job(broker: Producer) -> FeatureJob:
        broker.produce(FILE.source.topic, b"event")
        assert broker.flush(10) == 0
        (address,) = broker.list_topics(timeout=10).brokers.values()
        source = {"bootstrap.servers": f"{address.host}:{address.port}"}
        return FeatureJob.compile(session, FILE, source, hopsworks_conn_id="h")

    old, new = map(job, brokers)
    marks = old.check_start(None, {})
    assert old.check_start(None, marks) == marks
    with pytest.raises(FlinkStateError, match="cards is read in another Kafka cluster than by the job whose state"):
        new.check_start(None, marks)
    # Without that state it begins there as anywhere.
    assert new.check_start(None, {}) != marks
