"""A pipeline on the benchmarks' own stack, registered and deployed by the operators, without Airflow's scheduler."""

from __future__ import annotations

import io
import json
import logging
import os
import time
from functools import cached_property
from typing import Any

import fastavro

from hopsworks_flink.operators.flink import FlinkDeployFeaturePipelineOperator
from hopsworks_flink.operators.hopsworks import HopsworksCreateFeatureGroupOperator, HopsworksCreateTopicOperator
from hopsworks_flink.pipeline.resources import (
    feature_group_arguments,
    feature_group_avro_schema,
    source_avro_schema,
)
from hopsworks_flink.pipeline.spec import Pipeline
from tests.benchmarks.cluster import Cluster
from tests.support.fixtures import Memory, task_context


class Deployed:
    """One pipeline and what Airflow would remember of its deployment.

    :param spec: content of a pipeline file.
    """

    def __init__(self, cluster: Cluster, spec: dict[str, Any]) -> None:
        from airflow.sdk import Asset

        self.cluster, self.spec = cluster, spec
        job = f"{spec['name']}__features"
        self._asset = Asset(name=f"flink_job.{job}", uri=f"x-flink://benchmark/{job}")
        self._memory = Memory(self._asset)
        self.job_id = self.online_topic = ""
        for conn_id, fields in cluster.stack.airflow_connections().items():
            os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(fields)
        logging.getLogger("airflow").setLevel(logging.ERROR)

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline.parse(self.spec)

    def register(self) -> float:
        """Create topic and feature groups; returns the seconds it took."""
        began = time.monotonic()
        source = self.pipeline.source
        HopsworksCreateTopicOperator(
            task_id="topic",
            topic=source.topic,
            schema=source_avro_schema(self.pipeline),
            partitions=source.partitions,
        ).execute(task_context())
        for group in self.pipeline.feature_groups:
            arguments = feature_group_arguments(self.pipeline, group)
            told = HopsworksCreateFeatureGroupOperator(task_id=group.full_name, **arguments).execute(task_context())
            self.online_topic = told["topic"]
        return time.monotonic() - began

    def deploy(self, action: str) -> tuple[float, float]:
        """Deploy as the DAG does, until the job is healthy; returns when it began and when it was done, epoch seconds.

        :raises AssertionError: the deployment did something else than ``action``.
        """
        began = time.time()
        self._memory.new_run()
        operator = FlinkDeployFeaturePipelineOperator(
            task_id="deploy", pipeline=self.spec, outlets=[self._asset], timeout=300
        )
        result = operator.execute(self._memory.context())
        assert result["action"] == action, result
        self.job_id = result["job_id"]
        return began, time.time()

    def encode(self, event: dict[str, Any]) -> bytes:
        """An event as the source topic holds it."""
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, self._schema, event)
        return buffer.getvalue()

    def decode(self, row: bytes) -> dict[str, Any]:
        """A row of the first feature group as its topic holds it."""
        return dict(fastavro.schemaless_reader(io.BytesIO(row), self._row_schema, None))  # type: ignore[arg-type]

    @cached_property
    def _schema(self) -> Any:
        return fastavro.parse_schema(source_avro_schema(self.pipeline))

    @cached_property
    def _row_schema(self) -> Any:
        group = self.pipeline.feature_groups[0]
        return fastavro.parse_schema(feature_group_avro_schema(self.pipeline, group, "demo_featurestore"))

    def end(self) -> None:
        if self.job_id:
            self.cluster.cancel(self.job_id)
