"""What Flink's planner makes of a plan of SQL. It runs in Flink's own environment, once, and without a cluster."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest
import yaml

from devstack.jars import CONNECTOR_JARS, CONNECTORS_POM, JAVA_JARS, JAVA_POM, fetch
from hopsworks_flink.pipeline.plan import bindings, compile_plan
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support import REPOSITORY
from tests.support.live.stack import JAVA_OPTIONS
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
# A text that is one of literals, in native windows and beside others.
TEXTS = {
    **SHORT,
    "source": {
        **SHORT["source"],
        "schema": {**SHORT["source"]["schema"], "shop": "string", "last_shop": "string"},
        "derive": {"size": {"expression": "CASE WHEN amount > 100 THEN 'large' ELSE 'small' END", "type": "string"}},
    },
    "feature_groups": [
        {
            "name": "g",
            "key": ["k"],
            "window": {"size": "10m", "slide": "1m"},
            "aggregates": {
                "least": {"min": "size"},
                "last": {"last_value": "size"},
                "named": {"count": "*", "where": "size IN (shop, last_shop)"},
            },
        }
    ],
}
# Names of columns that Flink reserves. Not all that there are: planning a job of 700 aggregates takes minutes.
RESERVED = [
    *("select", "from", "order", "case", "null", "true", "date", "timestamp", "interval"),
    *("user", "values", "row", "table", "value", "current_date"),
]
# Field: the executor that Flink uses, or the one that Flink made, within it.
EXPLAIN = f"""
import json, sys
from feature_pipeline import bind, build
from pyflink.java_gateway import get_gateway

def field(of, holder, name):
    found = get_gateway().jvm.java.lang.Class.forName(holder, True, classes).getDeclaredField(name)
    found.setAccessible(True)
    return found.get(of)

def graph(tables, inserts, executor):
    operations = get_gateway().jvm.java.util.ArrayList()
    for insert in inserts:
        operations.add(tables.getParser().parse(insert).get(0))
    pipeline = executor.createPipeline(tables.getPlanner().translate(operations), tables.getConfig(), "job")
    return [
        dict(
            name=vertex.getName(),
            shown=vertex.getOperatorPrettyName(),
            ids=[
                [str(one.getGeneratedOperatorID()), str(one.getUserDefinedOperatorID())]
                for one in vertex.getOperatorIDs()
            ],
        )
        for vertex in pipeline.getJobGraph().getVerticesSortedTopologicallyFromSources()
    ]

for job in json.load(sys.stdin):
    statements = build(job["plan"], job["values"], job["jars"])
    text = statements.explain()
    print(text.partition("== Optimized Execution Plan ==")[2], end={END!r})
    tables = statements._t_env._j_tenv
    classes = get_gateway().jvm.java.lang.Thread.currentThread().getContextClassLoader()
    words = field(tables, "org.apache.flink.table.api.internal.TableEnvironmentImpl", "execEnv")
    flinks = field(words, "hopsworksflink.graph.GraphExecutor", "flinks")
    inserts = [bind(insert, job["values"]) for insert in job["plan"]["inserts"]]
    # With the planner's names first: a step in Java keeps those of words.
    graphs = [graph(tables, inserts, executor) for executor in (flinks, words)] if job.get("graph") else []
    print(json.dumps(graphs), end={END!r})
"""


@pytest.fixture(scope="module")
def plans() -> dict[str, str]:
    """Execution plans: of the reference pipeline, of it with a plain HAVING, of every ability, and of special ones."""
    reference, everything, short = job(REFERENCE), job(EVERYTHING), job_of(Pipeline.parse(SHORT))
    lengths = job_of(Pipeline.parse(LENGTHS))
    reserved = job_of(Pipeline.parse(named_by_words(RESERVED)))
    plain = json.loads(json.dumps(reference).replace(" OR COUNT(*) = 0", ""))
    native = yaml.safe_load(REFERENCE.read_text())
    native["source"] |= {"late": "topic", "refused": "quarantine"}
    native = {**job_of(Pipeline.parse(native), "native"), "graph": True}
    texts = job_of(Pipeline.parse(TEXTS), "native")
    flink_jobs = REPOSITORY / "flink_jobs"
    done = subprocess.run(
        [flink_jobs / ".venv" / "bin" / "python", "-c", EXPLAIN],
        cwd=flink_jobs,
        env={**os.environ, "JAVA_TOOL_OPTIONS": JAVA_OPTIONS},
        input=json.dumps([{**reference, "graph": True}, plain, everything, short, lengths, reserved, native, texts]),
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    names, printed = (
        ("reference", "plain", "everything", "short", "lengths", "reserved", "native", "texts"),
        done.stdout.split(END),
    )
    graphs = {f"graphs of {name}": text for name, text in zip(names, printed[1::2], strict=True)}
    return {**dict(zip(names, printed[0:-1:2], strict=True)), **graphs}


def job(path: Any) -> dict[str, Any]:
    """What the runner in the planner's process is given."""
    return job_of(Pipeline.from_yaml(path))


def job_of(pipeline: Pipeline, engine: str = "sql") -> dict[str, Any]:
    pipeline = pipeline.model_copy(update={"engine": engine})
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
    assert len(operators(plans["reference"], "TableSourceScan")) == 1
    # One of the shared events, and one of each view that a step makes of them.
    views = sorted(
        scan.split(", watermark")[0].rpartition(", ")[2] for scan in operators(plans["everything"], "TableSourceScan")
    )
    assert views == ["all.types-1 by shop on time", "all.types-1 late", "all.types-1 prepared"]
    assert len(operators(plans["reference"], "Sink")) == 2
    assert len(operators(plans["reference"], "GlobalWindowAggregate")) == 1
    assert len(operators(plans["everything"], "Sink")) == 4


def test_native_windows_take_a_text_of_literals(plans: dict[str, str]) -> None:
    assert "g v1 windows" in plans["texts"]


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


def test_the_job_graph_reads_as_the_pipeline_does(plans: dict[str, str]) -> None:
    """From topic by windows to feature group; nothing of what a connection says stands in it."""
    (planned, told), (_, native) = (json.loads(plans[f"graphs of {name}"]) for name in ("reference", "native"))
    group = "card_transactions_10m_agg"
    assert [vertex["name"] for vertex in told] == [
        "Source: credit_card_transactions -> events -> 10 m every 1 m by cc_num, combined",
        "10 m every 1 m by cc_num -> ("
        f"rows -> {group} v1: Writer -> {group} v1: Committer, "
        f"rows (2) -> {group} v2: Writer -> {group} v2: Committer)",
    ]
    assert "GlobalWindowAggregate" in planned[1]["name"], "the planner does not say it in words by itself"
    assert "10 m every 1 m by cc_num" in told[1]["shown"]
    assert not any(word in vertex["shown"] for vertex in told for word in ("Aggregate(", "Calc(", "broker:9092"))
    names = " ".join(vertex["name"] for vertex in native)
    for one in ("credit_card_transactions", "card_transactions_late", "credit_card_transactions_quarantine"):
        assert f"{one}: Writer" in names or f"Source: {one} -> " in names
    assert " -> 10 m every 1 m by cc_num, combined" in names
    assert native[1]["name"].startswith("10 m every 1 m by cc_num -> ")


def test_state_is_found_again_whatever_operators_are_called(plans: dict[str, str]) -> None:
    for name in ("reference", "native"):
        planned, told = json.loads(plans[f"graphs of {name}"])
        assert [vertex["ids"] for vertex in planned] == [vertex["ids"] for vertex in told]
        assert all(vertex["ids"] for vertex in told)
