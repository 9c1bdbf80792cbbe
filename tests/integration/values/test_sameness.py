"""Four computations of the same features: the streaming job with either engine, the batch job, and DuckDB. On random
pipelines.

One case is a pipeline with a dozen feature groups, so that one submission to Flink carries them all. ``make test`` runs
a single case, always the same, without SQL's stream, which test_engines.py has; ``make sameness EXAMPLES=20`` all four
on so many others as well, of ``SEED=7`` always the same.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.testing import evaluate
from tests.support.fixtures import set_connection
from tests.support.live.platform import records
from tests.support.live.random_events import EPOCH, HORIZON
from tests.support.live.random_pipelines import Case, random_case
from tests.support.live.random_versions import REGISTRY, with_join
from tests.support.live.sameness import Cluster, Comparison, decoded, time_of
from tests.support.registry_stub import RegistryStub, registry_stub

OTHERS = random.Random(os.environ.get("SAMENESS_SEED")).sample(
    range(2**31), int(os.environ.get("SAMENESS_EXAMPLES", "0"))
)


@pytest.fixture(scope="module")
def registry() -> Iterator[RegistryStub]:
    with registry_stub() as running:
        yield running


@pytest.fixture(scope="module")
def cluster(stack: Any, registry: RegistryStub) -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        set_connection(patch, "flink_default", **stack.airflow_connections()["flink_default"])
        set_connection(patch, REGISTRY, conn_type="http", host=registry.url)
        yield Cluster(stack)


def check(cluster: Cluster, case: Case) -> None:
    run = f"{time.time_ns() // 1_000_000}"
    case.spec["name"], case.spec["source"]["topic"] = f"sameness_{run}", f"sameness_{run}_events"
    for name, join in case.spec["source"].get("join", {}).items():
        join["topic"] = f"sameness_{run}_{name}"
    pipeline = Pipeline.parse(case.spec)
    last = EPOCH + timedelta(milliseconds=HORIZON)
    groups = {group.full_name: group for group in pipeline.feature_groups}
    wanted = {
        name: [row for row in rows if time_of(groups[name], row) < last]
        for name, rows in evaluate(pipeline, case.events, case.versions).items()
    }
    assert all(wanted.values()), "every group has rows"
    cluster.create_topic(pipeline.source.topic, pipeline.source.partitions)
    cluster.produce(pipeline, case)
    cluster.produce_versions(pipeline, case)
    if pipeline.late_topic:
        cluster.create_topic(pipeline.late_topic, 1)
    sql, native = (pipeline.model_copy(update={"engine": engine}) for engine in ("sql", "native"))
    assert native.native_groups
    rows = sum(map(len, wanted.values()))
    comparison = Comparison(pipeline, case)
    problems = []
    computed = {
        "native": cluster.stream(native, f"sameness_{run}_native", rows),
        "batch": cluster.batch(pipeline, f"sameness_{run}_batch"),
    }
    if OTHERS:
        computed["sql"] = cluster.stream(sql, f"sameness_{run}_sql", rows)
    if pipeline.late_topic:
        late = records(cluster.conf["bootstrap.servers"], pipeline.late_topic)
        problems += [f"{len(late)} events were late"] if late else []
    for how, found in computed.items():
        for name, rows in decoded(pipeline, found).items():
            if groups[name].is_projection:
                # The event that closes the windows has a row here.
                rows = [row for row in rows if time_of(groups[name], row) < last]
            differences = comparison.differences(groups[name], rows, wanted[name])
            problems += [f"{how} {name}: {difference}" for difference in differences[:3]]
            if len(differences) > 3:
                problems.append(f"{how} {name}: {len(differences)} differences in all, {len(wanted[name])} rows")
    assert not problems, f"{case!r}\n" + "\n".join(problems)
    assert comparison.floats > 1000


@pytest.mark.timeout(600)
# With others comes 7, which joins versions of a schema registry.
@pytest.mark.parametrize("seed", [1, *([7] if OTHERS else []), *OTHERS])
def test_stream_batch_and_duckdb_agree(cluster: Cluster, registry: RegistryStub, seed: int) -> None:
    case = random_case(seed)
    case = with_join(case) if seed % 3 else case
    registry.schemas = case.schemas
    check(cluster, case)
