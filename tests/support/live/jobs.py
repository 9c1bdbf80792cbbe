"""A pipeline that lives on the real stack while tests do things to it; the operators run without a scheduler."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
import yaml

from devstack.kafka.access import client_settings
from hopsworks_flink.operators.flink import FlinkDeployFeaturePipelineOperator
from hopsworks_flink.operators.hopsworks import (
    HopsworksCreateFeatureGroupOperator,
    HopsworksCreateTopicOperator,
    HopsworksMaterializeFeatureGroupOperator,
)
from hopsworks_flink.pipeline.resources import feature_group_arguments, source_avro_schema
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support import REPOSITORY
from tests.support.fixtures import Memory, set_connection, task_context
from tests.support.live import events as simulated
from tests.support.live.platform import eventually, jobs, sdk_project
from tests.support.live.served import assert_offline, assert_online

MINUTE = simulated.MINUTE
#: A job is healthy after a checkpoint: it comes sooner than by default.
OFTEN = {"execution.checkpointing.interval": "2 s"}


class Live:
    """One pipeline, its events so far, and what Airflow would remember of its task."""

    def __init__(self, stack: Any, certificates: Any, name: str) -> None:
        from airflow.sdk import Asset

        self.stack, self.certificates = stack, certificates
        self.job_name, self.group = f"{name}__features", f"{name}_10m_agg"
        self.asset = Asset(name=f"flink_job.{self.job_name}", uri=f"x-flink://devstack/{self.job_name}")
        self.memory = Memory(self.asset)
        text = (REPOSITORY / "dags" / "pipelines" / "card_transactions.yaml").read_text()
        self.spec: dict[str, Any] = yaml.safe_load(text)
        self.spec.update(name=name)
        self.spec["source"]["topic"] = f"{name}_transactions"
        for group in self.spec["feature_groups"]:
            group["name"] = self.group
        self.events: list[simulated.Event] = []
        self.start = int(time.time()) // 60 * MINUTE - 300 * MINUTE

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline.parse(self.spec)

    def register(self, on_drift: str = "fail") -> list[dict[str, Any]]:
        pipeline, source = self.pipeline, self.pipeline.source
        HopsworksCreateTopicOperator(
            task_id="topic", topic=source.topic, schema=source_avro_schema(pipeline), partitions=source.partitions
        ).execute(task_context())
        return [
            HopsworksCreateFeatureGroupOperator(
                task_id=group.full_name, on_drift=on_drift, **feature_group_arguments(pipeline, group)
            ).execute(task_context())
            for group in pipeline.feature_groups
        ]

    def deploy(self, **kwargs: Any) -> dict[str, Any]:
        self.memory.new_run()
        operator = FlinkDeployFeaturePipelineOperator(
            task_id="deploy",
            pipeline=self.spec,
            outlets=[self.asset],
            **{"grace_period": 3.0, "poll_interval": 0.5, "timeout": 120, "flink_configuration": OFTEN, **kwargs},
        )
        return operator.execute(self.memory.context())

    def produce(self, batch: list[simulated.Event]) -> None:
        broker, pipeline = client_settings(self.stack.config), self.pipeline
        simulated.produce(broker, pipeline.source.topic, source_avro_schema(pipeline), batch)
        self.events += batch

    def running(self) -> list[str]:
        return [
            job
            for job, state in jobs(self.stack, self.job_name).items()
            if state not in ("FINISHED", "CANCELED", "FAILED")
        ]

    def flink(self, path: str) -> Any:
        return requests.get(f"{self.stack.config.flink_url}{path}", timeout=30).json()

    def watermark(self, job_id: str) -> int:
        vertices = [vertex["id"] for vertex in self.flink(f"/jobs/{job_id}")["vertices"]]
        answers = [self.flink(f"/jobs/{job_id}/vertices/{vertex}/watermarks") for vertex in vertices]
        return min((int(entry["value"]) for answer in answers for entry in answer), default=0)

    def materialize(self, version: int) -> None:
        HopsworksMaterializeFeatureGroupOperator(
            task_id="materialize", name=self.group, version=version, poll_interval=0.5
        ).execute(task_context())

    def assert_served(self, timeout: float = 90.0) -> None:
        """The online store comes to hold what an uninterrupted job would have made of all events so far."""
        newest = simulated.newest_by_card(simulated.expected_windows(self.events))
        with sdk_project(self.stack, self.certificates) as project:
            store = project.get_feature_store()
            eventually(lambda: assert_online(store, newest, self.group), timeout)

    def assert_features(self) -> None:
        """The same of both stores."""
        windows = simulated.expected_windows(self.events)
        self.assert_served()
        for version in (1, 2):
            self.materialize(version)
        with sdk_project(self.stack, self.certificates) as project:
            assert_offline(project.get_feature_store(), windows, self.group)


@contextmanager
def living(live: Live) -> Iterator[Live]:
    """With the stack's connections; no job is left."""
    with pytest.MonkeyPatch.context() as patch:
        for conn_id, fields in live.stack.airflow_connections().items():
            set_connection(patch, conn_id, **fields)
        live.register()
        yield live
        for job_id in live.running():
            requests.patch(f"{live.stack.config.flink_url}/jobs/{job_id}?mode=cancel", timeout=30)
