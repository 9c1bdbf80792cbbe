"""Both engines on the same stream, with events that are late: they write the same rows, also across a savepoint."""

from __future__ import annotations

import io
import itertools
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import fastavro
import pytest

from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.sql.quarantine import quarantine_avro_schema
from tests.support.fixtures import set_connection
from tests.support.live.platform import records
from tests.support.live.random_pipelines import Case, random_case
from tests.support.live.sameness import Cluster, Comparison, Rows, decoded

pytestmark = pytest.mark.timeout(600)

#: Pipelines of one partition, whose order of arrival is the topic's: one in each run, more by `make engines`.
SEEDS = list(
    itertools.islice(
        (seed for seed in itertools.count(4) if random_case(seed, events=1).spec["source"]["partitions"] == 1),
        int(os.environ.get("ENGINES_EXAMPLES", "1")),
    )
)


@pytest.fixture(scope="module")
def cluster(stack: Any) -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        set_connection(patch, "flink_default", **stack.airflow_connections()["flink_default"])
        yield Cluster(stack)


def late_case(seed: int) -> Case:
    """A random pipeline that keeps what is late or refused, and events of which every tenth comes far too late."""
    case = random_case(seed, events=1000)
    case.spec["source"].update(late="topic", refused="quarantine")
    # Which of two events is the first one follows from watermarks where one of them is late.
    case.spec["source"].pop("deduplicate", None)
    groups = case.spec["feature_groups"]
    natives = [group.name for group in Pipeline.parse({**case.spec, "engine": "native"}).native_groups]
    # What SQL computes in both jobs: enough of it to stand beside the engine.
    left = [group for group in groups if group["name"] not in natives]
    few = [left[0], *(group for group in left[1:] if "window" not in group)]
    groups[:] = [group for group in groups if group["name"] in natives or group in few]
    # One more group over the windows of another one.
    (group,) = (one for one in groups if one["name"] == natives[0])
    groups.append({**group, "version": 2, "aggregates": dict(reversed(group["aggregates"].items()))})
    chance = random.Random(seed)
    # The last one closes all windows.
    *events, last = case.events
    for _ in range(len(events) // 10):
        at = chance.randrange(len(events))
        events.insert(min(len(events), at + chance.randrange(1, 200)), events.pop(at))
    return Case(seed, case.spec, [*events, last], case.partitions)


def ended(cluster: Cluster, pipeline: Pipeline, topic: str, job_id: str) -> Rows:
    """All rows of a job that has nothing left to do."""
    try:
        cluster.wait_until_quiet(job_id, topic)
    finally:
        cluster.hook.cancel(job_id)
        cluster.hook.wait_until_ended(job_id, timeout=60)
    return decoded(pipeline, records(cluster.conf["bootstrap.servers"], topic))


def assert_same(case: Case, pipeline: Pipeline, found: Rows, wanted: Rows) -> None:
    comparison = Comparison(pipeline, case)
    for group in pipeline.feature_groups:
        rows = wanted[group.full_name]
        assert rows
        assert not comparison.differences(group, found[group.full_name], rows)[:5], f"{case!r} {group.full_name}"


def refused(cluster: Cluster, pipeline: Pipeline) -> Counter[tuple[int, str]]:
    schema = fastavro.parse_schema(quarantine_avro_schema(pipeline))
    assert pipeline.quarantine_topic
    rows = [
        fastavro.schemaless_reader(io.BytesIO(record.value()), schema)
        for record in records(cluster.conf["bootstrap.servers"], pipeline.quarantine_topic)
    ]
    return Counter((row["kafka_offset"], row["reason"]) for row in rows if row["pipeline"] == pipeline.name)


def late(cluster: Cluster, pipeline: Pipeline) -> Counter[bytes]:
    assert pipeline.late_topic
    return Counter(record.value() for record in records(cluster.conf["bootstrap.servers"], pipeline.late_topic))


@pytest.mark.parametrize("seed", SEEDS)
def test_both_engines_write_the_same(cluster: Cluster, seed: int) -> None:
    case, run = late_case(seed), f"{time.time_ns() // 1_000_000}"
    case.spec["source"]["topic"] = f"engines_{run}_events"
    sql, native, stopped = (
        Pipeline.parse({**case.spec, "name": f"engines_{name}_{run}", "engine": "sql" if name == "sql" else "native"})
        for name in ("sql", "native", "stopped")
    )
    assert len(native.native_windows) < len(native.native_groups)
    assert native.left_to_sql
    for topic in (sql.source.topic, sql.quarantine_topic, *(one.late_topic for one in (sql, native, stopped))):
        assert topic
        cluster.create_topic(topic, 1)
    half = len(case.events) // 2
    cluster.produce(sql, case, slice(half))
    topic = f"engines_{run}_stopped"
    job_id = cluster.start(stopped, topic)
    cluster.wait_for(job_id, topic, 1)
    savepoint = cluster.hook.stop_with_savepoint(job_id)
    cluster.produce(sql, case, slice(half, None))
    wanted, found = (
        ended(cluster, one, f"{one.name}_rows", cluster.start(one, f"{one.name}_rows")) for one in (sql, native)
    )
    assert_same(case, native, found, wanted)
    assert late(cluster, native) == late(cluster, sql)
    assert late(cluster, sql).total() > 50
    assert refused(cluster, native) == refused(cluster, sql)
    assert refused(cluster, sql)
    # A row for each event depends on the watermark, which the source does not keep.
    again = ended(cluster, stopped, topic, cluster.start(stopped, topic, savepoint))
    windows = stopped.model_copy(update={"feature_groups": stopped.native_groups})
    assert_same(case, windows, again, wanted)
