"""The jobs as they are submitted: the compiled pipeline, the bare source, and the Java programs."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from hopsworks_flink.clients.flink.bundle import Bundle
from hopsworks_flink.clients.flink.files import OWN_JARS, read_program
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.pipeline.plan import FeatureGroupRef, JobPlan, bindings, compile_plan
from hopsworks_flink.pipeline.resources import feature_group_avro_schema
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.sql import features
from tests.benchmarks.cluster import Cluster
from tests.support import REPOSITORY

REFERENCE = REPOSITORY / "dags" / "pipelines" / "card_transactions.yaml"
# Ends the job at what is in the topic when it starts; a last checkpoint would only add its interval to the wall time.
BOUNDED = "'scan.startup.mode' = 'earliest-offset',\n  'scan.bounded.mode' = 'latest-offset'"
COMMON = {"execution.checkpointing.checkpoints-after-tasks-finish": "false"}


@dataclass(frozen=True)
class Run:
    """One submission.

    :param source: topic of events.
    :param sink: topic of results.
    :param configuration: Flink options of this job alone.
    """

    source: str
    sink: str
    configuration: Mapping[str, str] = field(default_factory=dict)
    parallelism: int = 1

    @property
    def options(self) -> dict[str, str]:
        return {**COMMON, **self.configuration}


def reference_pipeline(
    topic: str, groups: int = 1, source: Mapping[str, Any] | None = None, engine: str = "native", **changes: Any
) -> Pipeline:
    """The pipeline that the repository ships, over another topic, with its first feature groups only, changed.

    :param changes: settings of these; None takes one away.
    """
    spec = yaml.safe_load(REFERENCE.read_text())
    spec["source"].update(topic=topic, **(source or {}))
    spec["engine"] = engine
    spec["feature_groups"] = spec["feature_groups"][:groups]
    for group in spec["feature_groups"]:
        group.update(changes)
        for name in [name for name, value in group.items() if value is None]:
            del group[name]
    return Pipeline.parse(spec)


def compiled_plan(pipeline: Pipeline, sink: str) -> JobPlan:
    """The plan as a deployment compiles it; all feature groups write to one topic, as on the platform."""
    refs = []
    for number, group in enumerate(pipeline.feature_groups, 1):
        schema = json.dumps(feature_group_avro_schema(pipeline, group, "demo_featurestore"))
        refs.append(FeatureGroupRef(119, number, group.name, group.version, sink, 1, schema))
    return compile_plan(pipeline, refs)


def run_compiled(
    cluster: Cluster, run: Run, groups: int = 1, source: Mapping[str, Any] | None = None, **changes: Any
) -> str:
    """Submit the compiled pipeline through the hook and the shipped runner; returns the job's id.

    :param changes: of `reference_pipeline`.
    """
    pipeline = reference_pipeline(run.source, groups, source, **changes)
    return submit_plan(cluster, pipeline, compiled_plan(pipeline, run.sink), run)


def run_floor(cluster: Cluster, run: Run, decoding: str = "'format' = 'avro'", *, copy: bool = False) -> str:
    """Read and decode every event, and do nothing with it.

    :param decoding: the source's options for that; the default is Flink's own format.
    :param copy: write it to the sink's topic, with the options of a feature group's.
    """
    pipeline = reference_pipeline(run.source)
    columns = ",\n  ".join(f"`{name}` {kind.sql}" for name, kind in pipeline.source.columns.items())
    source = (
        f"CREATE TEMPORARY TABLE source (\n  {columns}\n) WITH (\n  'connector' = 'kafka',\n"
        f"  'topic' = '{run.source}',\n  {decoding},\n  {features.SOURCE_START},\n  {features.SOURCE_KAFKA}\n)"
    )
    sink = f"CREATE TEMPORARY TABLE nothing (\n  {columns}\n) WITH ('connector' = 'blackhole')"
    if copy:
        options = {"connector": "kafka", "topic": run.sink, "format": "avro", **features.SINK_OPTIONS}
        sink = features.create_table("nothing", columns.split(",\n  "), options, features.SINK_KAFKA)
    plan = JobPlan(
        job_name="floor",
        table_config={"table.local-time-zone": "UTC"},
        statements=[source, sink],
        inserts=["INSERT INTO nothing SELECT * FROM source"],
    )
    return submit_plan(cluster, pipeline, plan, run)


def submit_plan(cluster: Cluster, pipeline: Pipeline, plan: JobPlan, run: Run) -> str:
    """Submit a plan that reads its topic once; returns the job's id."""
    kafka = {"bootstrap.servers": cluster.config.kafka_bootstrap}
    ids = {group.full_name: 1 for group in pipeline.feature_groups}
    values = bindings(pipeline, source_kafka=kafka, sink_kafka=kafka, ingestion_ids=ids)
    values["values"][features.SOURCE_START[2:-1]] = BOUNDED
    module, program = read_program("feature_pipeline")
    bundle = Bundle(
        module,
        {f"{module}.py": program, "plan.json": plan.to_json().encode()},
        {"bindings.json": json.dumps(values).encode()},
    )
    hook = FlinkHook()
    return hook.run_python_job(
        bundle,
        job_name=plan.job_name,
        job_id=uuid.uuid4().hex,
        jars=hook.find_jars(formats=(OWN_JARS,)),
        parallelism=run.parallelism,
        flink_configuration=run.options,
    )


def run_java(cluster: Cluster, run: Run, job_class: str, **arguments: str) -> str:
    """Submit one of the Java jobs; returns the job's id."""
    words = {
        "--brokers": cluster.config.kafka_bootstrap,
        "--topic": run.source,
        "--sink": run.sink,
        "--name": job_class,
        **{f"--{name}": value for name, value in arguments.items()},
    }
    return cluster.run_java_job(job_class, words, run.options)
