"""What Flink's planner makes of a plan of SQL. It runs in Flink's own environment, once, and without a cluster."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from devstack.jars import CONNECTOR_JARS, CONNECTORS_POM, JAVA_JARS, JAVA_POM, fetch
from hopsworks_flink.pipeline.plan import bindings, compile_plan
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support import REPOSITORY
from tests.support.pipelines import EVERYTHING, PLAIN, REFERENCE, named_by_words, registered

END = "== END ==\n"
# Numbers whose squares can be summed as they are.
SHORT = {
    "name": "short",
    "source": {
        "topic": "t",
        "schema": {"k": "bigint", "at": "bigint", "amount": "decimal(10,2)"},
        "event_time": {"column": "at", "unit": "milliseconds"},
    },
    "feature_groups": [
        {
            "name": "g",
            "key": ["k"],
            "emit": "on_event",
            "window": {"size": "10m"},
            "aggregates": {"deviation": {"stddev_samp": "amount"}},
        }
    ],
}
# A row of windows of three lengths: the group's, a shorter one, and that of rows for windows that have emptied.
LENGTHS = {
    **SHORT,
    "feature_groups": [
        {
            "name": "g",
            "key": ["k"],
            "window": {"size": "10m", "slide": "1m"},
            "on_empty": "zero",
            "aggregates": {"n": "count", "recent": {"median": "amount", "window": "5m"}},
        }
    ],
}
# Names of columns that Flink reserves. Not all that there are: planning a job of 700 aggregates takes minutes.
RESERVED = [
    *("select", "from", "order", "case", "null", "true", "date", "timestamp", "interval"),
    *("user", "values", "row", "table", "value", "current_date"),
]
EXPLAIN = f"""
import json, sys
from feature_pipeline import build
for job in json.load(sys.stdin):
    text = build(job["plan"], job["values"], job["jars"]).explain()
    print(text.partition("== Optimized Execution Plan ==")[2], end={END!r})
"""


@pytest.fixture(scope="module")
def plans() -> dict[str, str]:
    """Execution plans: of the reference pipeline, of it with a plain HAVING, of every ability, and of special ones."""
    reference, everything, short = job(REFERENCE), job(EVERYTHING), job_of(Pipeline.parse(SHORT))
    lengths = job_of(Pipeline.parse(LENGTHS))
    reserved = job_of(Pipeline.parse(named_by_words(RESERVED)))
    plain = json.loads(json.dumps(reference).replace(" OR COUNT(*) = 0", ""))
    flink_jobs = REPOSITORY / "flink_jobs"
    done = subprocess.run(
        [flink_jobs / ".venv" / "bin" / "python", "-c", EXPLAIN],
        cwd=flink_jobs,
        input=json.dumps([reference, plain, everything, short, lengths, reserved]),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(
        zip(
            ("reference", "plain", "everything", "short", "lengths", "reserved", "rest"),
            done.stdout.split(END),
            strict=True,
        )
    )


def job(path: Any) -> dict[str, Any]:
    """What the runner in the planner's process is given."""
    return job_of(Pipeline.from_yaml(path))


def job_of(pipeline: Pipeline) -> dict[str, Any]:
    pipeline = pipeline.model_copy(update={"engine": "sql"})
    ids = {group.full_name: 1 for group in pipeline.feature_groups}
    folders = [fetch(CONNECTORS_POM, CONNECTOR_JARS), fetch(JAVA_POM, JAVA_JARS)]
    return {
        "plan": compile_plan(pipeline, registered(pipeline)).model_dump(mode="json"),
        "values": bindings(pipeline, source_kafka=PLAIN, sink_kafka=PLAIN, ingestion_ids=ids)["values"],
        "jars": ";".join(path.as_uri() for folder in folders for path in sorted(folder.glob("*.jar"))),
    }


def operators(plan: str, name: str) -> list[str]:
    """Lines of the operators of a name."""
    return [line for line in plan.splitlines() if line.lstrip(" :+-").startswith(f"{name}(")]


def test_windows_work_by_slices_before_and_after_the_shuffle(plans: dict[str, str]) -> None:
    for name, forms in {"reference": ["HOP"], "everything": ["CUMULATE", "HOP"]}.items():
        plan = plans[name]
        # Either would give each event to every window that holds it.
        assert not operators(plan, "WindowTableFunction")
        assert not operators(plan, "WindowAggregate")
        for side in ("GlobalWindowAggregate", "LocalWindowAggregate"):
            found = operators(plan, side)
            assert [form for form in forms for line in found if f"window=[{form}(" in line] == forms
            assert all("$slice_end" in line for line in found)


def test_without_the_second_half_of_having_they_would_not(plans: dict[str, str]) -> None:
    assert operators(plans["plain"], "WindowTableFunction")
    assert "$slice_end" not in plans["plain"]


def test_windows_of_several_lengths_work_by_slices_and_are_joined_by_their_end(plans: dict[str, str]) -> None:
    plan = plans["lengths"]
    for side in ("GlobalWindowAggregate", "LocalWindowAggregate"):
        found = operators(plan, side)
        assert [size for line in found for size in ("11", "10", "5") if f"size=[{size} min]" in line] == [
            "11",
            "10",
            "5",
        ]
        assert all("$slice_end" in line for line in found)
    assert len(operators(plan, "WindowJoin")) == 2
    assert len(operators(plan, "TableSourceScan")) == 1


def test_groups_share_the_scan_and_equal_windows_the_aggregation(plans: dict[str, str]) -> None:
    for name in ("reference", "everything"):
        assert len(operators(plans[name], "TableSourceScan")) == 1
    assert len(operators(plans["reference"], "Sink")) == 2
    assert len(operators(plans["reference"], "GlobalWindowAggregate")) == 1
    assert len(operators(plans["everything"], "Sink")) == 4


def test_features_on_each_event_look_back_by_event_time(plans: dict[str, str]) -> None:
    (over,) = operators(plans["everything"], "OverAggregate")
    assert "orderBy=[__event_time ASC], window=[ RANGE BETWEEN 600000 PRECEDING AND CURRENT ROW]" in over


def test_what_is_dear_is_computed_once(plans: dict[str, str]) -> None:
    """An expression that the planner writes into each place that uses it takes its condition along."""
    for name, planned, least in (("everything", job(EVERYTHING), 6), ("short", job_of(Pipeline.parse(SHORT)), 2)):
        written = "".join(planned["plan"]["inserts"]).count("RAND(")
        assert written >= least
        assert plans[name].count("RAND(") == written


def test_reserved_words_are_columns_to_flink_as_well(plans: dict[str, str]) -> None:
    for word in RESERVED[1:]:
        assert f"MAX({word})" in plans["reserved"], word
