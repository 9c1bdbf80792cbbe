"""A pipeline on a platform of its own: the local Hopsworks, a broker, and a stub of a Flink cluster."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk import Asset
from confluent_kafka import Consumer, Producer, TopicPartition

from devstack.hopsworks.metadata.models import new_commit
from hopsworks_flink.clients.hopsworks.session import HopsworksSession
from hopsworks_flink.clients.kafka import offsets
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.operators.flink import FlinkDeployFeaturePipelineOperator
from hopsworks_flink.pipeline.resources import feature_group_arguments
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.tasks import planning
from hopsworks_flink.tasks.planning import Comparison, Deployment
from tests.support.fixtures import Memory
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

    def plan(self, **settings: Any) -> Comparison:
        """What `plan` says about a deployment of the pipeline."""
        return planning.compare(self.spec, Deployment(**settings))

    def features(self) -> list[list[str]]:
        with HopsworksHook().session() as session:
            return [[f.name for f in session.get_feature_group("spent", version).columns] for version in (1, 2)]

    def the_job(self) -> Job:
        (job,) = self.flink.running()
        return job
