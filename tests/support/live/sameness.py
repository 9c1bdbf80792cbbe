"""Runs one pipeline in several ways on the stack's Flink, and compares the rows."""

from __future__ import annotations

import io
import json
import math
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import fastavro
from confluent_kafka import Consumer, Producer, TopicPartition

from devstack.hopsworks.metadata.featuretypes import encoded_schema
from hopsworks_flink.clients.flink.bundle import Bundle
from hopsworks_flink.clients.flink.files import OWN_JARS, read_program
from hopsworks_flink.clients.kafka.topics import KafkaTopics, Topic
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.hooks.registry_connection import registries
from hopsworks_flink.pipeline.interval import Interval
from hopsworks_flink.pipeline.plan import FeatureGroupRef, JobPlan, bindings, compile_plan
from hopsworks_flink.pipeline.recompute import (
    PartitionHistory,
    compile_recompute,
    history_bindings,
    recomputable,
)
from hopsworks_flink.pipeline.resources import feature_group_avro_schema
from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline
from hopsworks_flink.pipeline.spec.group.projection import Projection
from hopsworks_flink.pipeline.types import FeatureType, avro_type
from hopsworks_flink.testing import evaluate
from hopsworks_flink.testing.queries import TOMBSTONE
from tests.support.live.platform import records
from tests.support.live.random_events import EPOCH, HORIZON
from tests.support.live.random_pipelines import Case
from tests.support.live.random_writing import encoder

# Flink gets so long for a submission and all of its rows.
SECONDS = 120
QUIET_SECONDS = 8
Rows = dict[str, list[dict[str, Any]]]


class Cluster:
    """Runs plans on the stack's Flink, with its Kafka on both sides."""

    def __init__(self, stack: Any) -> None:
        self.hook = FlinkHook()
        self.conf = {"bootstrap.servers": stack.config.kafka_bootstrap}
        self.topics = KafkaTopics(self.conf)
        self.jars = self.hook.find_jars(formats=(OWN_JARS,))

    def create_topic(self, name: str, partitions: int) -> None:
        # The events lie in the past: the broker must not tidy them away.
        self.topics.create(Topic(name, partitions, 1, {"retention.ms": "-1"}))

    def submit(self, plan: JobPlan, values: dict[str, Any], savepoint: str | None = None) -> str:
        module, program = read_program("feature_pipeline")
        files = {f"{module}.py": program, "plan.json": plan.to_json().encode()}
        bundle = Bundle(module, files, {"bindings.json": json.dumps(values).encode()})
        job_id = uuid.uuid4().hex
        self.hook.run_python_job(
            bundle, job_name=plan.job_name, job_id=job_id, jars=self.jars, savepoint_path=savepoint
        )
        return job_id

    def stream(self, pipeline: Pipeline, topic: str, rows: int) -> list[Any]:
        """Records of the streaming job, once it has written so many (and a moment later: whether it writes more)."""
        job_id = self.start(pipeline, topic)
        try:
            self.wait_for(job_id, topic, rows)
            time.sleep(2)
        finally:
            self.hook.cancel(job_id)
            self.hook.wait_until_ended(job_id, timeout=60)
        return records(self.conf["bootstrap.servers"], topic)

    def start(self, pipeline: Pipeline, topic: str, savepoint: str | None = None) -> str:
        """The streaming job, which writes all groups to one topic.

        :param savepoint: of an earlier job that wrote to the same topic.
        """
        if savepoint is None:
            self.create_topic(topic, 1)
        ingestions = {group.full_name: number for number, group in enumerate(pipeline.feature_groups)}
        plan = eager(compile_plan(pipeline, registered(pipeline, topic)))
        values = bindings(
            pipeline,
            source_kafka=self.conf,
            sink_kafka=self.conf,
            ingestion_ids=ingestions,
            registries=registries(pipeline),
        )
        return self.submit(plan, values, savepoint)

    def wait_for(self, job_id: str, topic: str, rows: int) -> None:
        """Until the job has written so many, or time is up."""
        deadline = time.monotonic() + SECONDS
        while self.written(topic) < rows and time.monotonic() < deadline:
            facts = self.hook.facts(job_id=job_id)
            assert not facts.cause, facts.cause
            time.sleep(0.5)

    def wait_until_quiet(self, job_id: str, topic: str) -> None:
        """Until the job has written something, and then nothing for a while."""
        deadline, quiet, before = time.monotonic() + SECONDS, 0, 0
        while quiet < QUIET_SECONDS:
            facts = self.hook.facts(job_id=job_id)
            assert not facts.cause, facts.cause
            assert time.monotonic() < deadline
            now = self.written(topic)
            quiet, before = (quiet + 1 if now and now == before else 0), now
            time.sleep(1)

    def batch(self, pipeline: Pipeline, topic: str) -> list[Any]:
        """Records of the batch job over everything that the source topic holds."""
        self.create_topic(topic, 1)
        source = pipeline.source
        ends = self.end_offsets(source.topic, source.partitions)
        partitions = [PartitionHistory(number, 0, 0, end, None) for number, end in enumerate(ends)]
        interval = Interval(EPOCH, EPOCH + timedelta(milliseconds=HORIZON))
        joined = {
            name: [
                PartitionHistory(number, 0, 0, end, None) for number, end in enumerate(self.end_offsets(join.topic, 1))
            ]
            for name, join in source.join.items()
        }
        refs, groups = registered(pipeline, topic), recomputable(pipeline)
        plan = compile_recompute(pipeline, refs, groups, interval, partitions, joined)
        values = history_bindings(
            pipeline, source_kafka=self.conf, sink_kafka=self.conf, registries=registries(pipeline)
        )
        job_id = self.submit(plan, values)
        state = self.hook.wait_until_ended(job_id, timeout=SECONDS)
        assert state == "FINISHED", self.hook.failure(job_id)
        return records(self.conf["bootstrap.servers"], topic)

    def written(self, topic: str) -> int:
        return sum(self.end_offsets(topic, 1))

    def end_offsets(self, topic: str, partitions: int) -> list[int]:
        consumer = Consumer({**self.conf, "group.id": "sameness"})
        try:
            return [
                consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1]
                for number in range(partitions)
            ]
        finally:
            consumer.close()

    def produce_versions(self, pipeline: Pipeline, case: Case) -> None:
        """To the joined topics, which are made."""
        producer = Producer({**self.conf, "enable.idempotence": True})
        for name, join in pipeline.source.join.items():
            self.create_topic(join.topic, 1)
            encode = encoder(pipeline.model_copy(update={"source": join}))
            for version in case.versions[name]:
                gone = version.get(TOMBSTONE, False)
                record = encode({**dict.fromkeys(join.declared), **version})._asdict() if not gone else {}
                record |= {"value": None, "key": str(version["card"])} if gone else {}
                producer.produce(join.topic, **record, partition=0, timestamp=version["__kafka_timestamp"])
        assert producer.flush(60) == 0

    def produce(self, pipeline: Pipeline, case: Case, events: slice = slice(None)) -> None:
        encode = encoder(pipeline)
        producer = Producer({**self.conf, "enable.idempotence": True})
        for event, partition in list(zip(case.events, case.partitions, strict=True))[events]:
            record, stamp = encode(event), event["__kafka_timestamp"]
            producer.produce(pipeline.source.topic, **record._asdict(), partition=partition, timestamp=stamp)
        assert producer.flush(60) == 0


def eager(plan: JobPlan) -> JobPlan:
    """The plan with a watermark after every event instead of five in a second: what is late does not depend on luck."""
    source, *others = plan.statements
    connector, strategy = "'connector' = 'kafka',", "'scan.watermark.emit.strategy' = 'on-event',"
    assert connector in source
    return plan.model_copy(update={"statements": [source.replace(connector, f"{connector}\n  {strategy}"), *others]})


def registered(pipeline: Pipeline, topic: str) -> list[FeatureGroupRef]:
    """What a platform would say, if all groups wrote to this topic."""
    return [
        FeatureGroupRef(
            project_id=1,
            feature_group_id=number,
            name=group.name,
            version=group.version,
            topic=topic,
            subject_id=number,
            avro_schema=json.dumps(feature_group_avro_schema(pipeline, group, "sameness_featurestore")),
        )
        for number, group in enumerate(pipeline.feature_groups)
    ]


def decoded(pipeline: Pipeline, found: Iterable[Any]) -> Rows:
    """Rows by feature group, out of Kafka records."""
    rows: Rows = {group.full_name: [] for group in pipeline.feature_groups}
    schemas, arrays = {}, {}
    for group in pipeline.feature_groups:
        schema = feature_group_avro_schema(pipeline, group, "sameness_featurestore")
        schemas[group.full_name] = fastavro.parse_schema(encoded_schema(schema))
        kinds = group.feature_types(pipeline.source.all_columns)
        arrays[group.full_name] = {name: avro_type(kind) for name, kind in kinds.items() if kind.element}
    names = list(rows)
    for record in found:
        name = names[int(dict(record.headers())["featureGroupId"])]
        row = fastavro.schemaless_reader(io.BytesIO(record.value()), schemas[name])
        for feature, schema in arrays[name].items():
            if row[feature] is not None:
                row[feature] = fastavro.schemaless_reader(io.BytesIO(row[feature]), schema)
        rows[name].append(row)
    return rows


def time_of(group: FeatureGroup, row: dict[str, Any]) -> datetime:
    assert group.event_time_feature
    found = row[group.event_time_feature]
    if isinstance(found, int):
        return EPOCH + timedelta(milliseconds=found)
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


def by_key(group: FeatureGroup, rows: Sequence[dict[str, Any]]) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Rows by time and key: one of each window, one for each of the events that happened at once."""
    grouped = defaultdict(list)
    for row in rows:
        grouped[(time_of(group, row), *(row[name] for name in group.key))].append(row)
    if group.is_projection:
        # Which of two partitions is read first is unspecified.
        return {key: sorted(same, key=_exact_values) for key, same in grouped.items()}
    return grouped


def _exact_values(row: dict[str, Any]) -> list[str]:
    exact = {name: value for name, value in row.items() if not isinstance(value, float)}
    return [str(value.replace(tzinfo=None) if isinstance(value, datetime) else value) for value in exact.values()]


class Comparison:
    """Compares rows of one computation with those of DuckDB."""

    def __init__(self, pipeline: Pipeline, case: Case) -> None:
        # The largest number of a column bounds what its sums may lose.
        self.largest = largest(pipeline, case)
        self.count = len(case.events)
        self.floats = 0

    def differences(self, group: FeatureGroup, found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> list[str]:
        found_, wanted_ = by_key(group, found), by_key(group, wanted)
        result = [f"missing: {key}" for key in wanted_ if key not in found_]
        result += [f"too much: {key}" for key in found_ if key not in wanted_]
        for key in wanted_.keys() & found_.keys():
            if len(found_[key]) != len(wanted_[key]):
                result.append(f"{key}: {len(found_[key])} row(s), wanted {len(wanted_[key])}")
                continue
            for one, other in zip(found_[key], wanted_[key], strict=True):
                result += [
                    f"{key}.{name}: {one[name]!r}, wanted {other[name]!r} ({made.model_dump()})"
                    for name, made in (group.aggregates or group.features).items()
                    if not self._same(made, one[name], other[name])
                ]
        return result

    def _same(self, aggregate: Any, one: Any, other: Any) -> bool:
        if not isinstance(one, float) or not isinstance(other, float):
            if isinstance(one, datetime):
                one = one if one.tzinfo else one.replace(tzinfo=timezone.utc)
            if isinstance(one, list) and isinstance(other, list):
                return len(one) == len(other) and all(
                    self._same(aggregate, *pair) for pair in zip(one, other, strict=True)
                )
            return type(one) is type(other) and one == other
        self.floats += 1
        if math.isinf(one) or math.isinf(other):
            return one == other
        if isinstance(aggregate, Projection):
            return math.isclose(one, other, rel_tol=1e-12)
        if aggregate.function == "corr":
            return abs(one - other) < 1e-6
        if aggregate.type is not None:
            # A float: numbers that differ in a double's last digits may be rounded apart.
            return math.isclose(one, other, rel_tol=2e-7) or abs(one - other) < self.largest[aggregate.column] * 1e-9
        slack = self.largest[aggregate.column] * 1e-15
        if aggregate.other:
            slack *= self.largest[aggregate.other] * 1e3
        if aggregate.function == "sum":
            slack *= self.count
        if aggregate.function.startswith("var"):
            slack = 2 * math.sqrt(abs(other)) * slack + slack * slack
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=4 * slack)


def largest(pipeline: Pipeline, case: Case) -> dict[str, float]:
    """The largest absolute value of every numeric column, of those that are summed up."""
    kinds = pipeline.source.all_columns
    numeric = [name for name, kind in kinds.items() if kind.is_numeric and name != "at"]
    spec = {**case.spec, "source": {**case.spec["source"], "derive": dict(case.spec["source"]["derive"])}}
    spec["source"]["derive"]["every"] = {"expression": "1", "type": "int"}
    ends = {f"{end}_{name}": {end: name, **_summed(kinds[name], name)} for name in numeric for end in ("min", "max")}
    spec["feature_groups"] = [{"name": "ends", "key": ["every"], "window": {"size": "3650d"}, "aggregates": ends}]
    found = defaultdict(float)
    for row in evaluate(spec, case.events, case.versions)["ends_1"]:
        for end, value in row.items():
            found[end[4:]] = max(found[end[4:]], abs(float(value or 0)))
    return found


def _summed(kind: FeatureType, name: str) -> dict[str, str]:
    return {"where": f"ABS({name}) < 1e150"} if kind.is_floating else {}
