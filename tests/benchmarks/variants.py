"""The rows of the throughput table: what runs, on which topic, with which options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hopsworks_flink.pipeline.sql.features import FORMAT
from tests.benchmarks import jobs
from tests.benchmarks.cluster import Cluster
from tests.benchmarks.jobs import Run

ROCKSDB = {"state.backend.type": "rocksdb", "execution.checkpointing.incremental": "true"}
# Events of each card in a minute of event time, whatever the number of cards.
EVENTS_PER_CARD_AND_MINUTE = 12


@dataclass(frozen=True)
class Variant:
    """One row.

    :param start: submits the job and returns its id.
    :param cards: number of cards of the topic that is read.
    :param check: what its output is held against. ``windows``: what the events imply, and the other variants' sums on
        the same topic. ``rows``: a row for each event. ``twice``: twice the rows of those windows. ``nothing``: it has
        no output.
    :param share: part of the events that are read; a slow job would take the time of all others.
    :param cold_share: part of those that the first job of a JVM reads, which makes it ready for the second.
    :param every_round: whether a goal is about its rate. The others are measured in the first round only.
    :param limit: seconds within which a run has to end. That a variant without a goal does not is a result as well.
    """

    name: str
    title: str
    start: Callable[[Cluster, Run], str]
    cards: int = 1_000
    check: Literal["windows", "rows", "twice", "nothing"] = "windows"
    configuration: Mapping[str, str] = field(default_factory=dict)
    share: float = 1.0
    cold_share: float = 0.25
    every_round: bool = False
    limit: float = 300.0


def _java(job_class: str, **arguments: str) -> Callable[[Cluster, Run], str]:
    return lambda cluster, run: jobs.run_java(cluster, run, job_class, **arguments)


def _native(groups: int = 1) -> Callable[[Cluster, Run], str]:
    return lambda cluster, run: jobs.run_compiled(cluster, run, groups, engine="native")


def _two_groups(cluster: Cluster, run: Run) -> str:
    return jobs.run_compiled(cluster, run, groups=2)


def _with_source(**settings: str) -> Callable[[Cluster, Run], str]:
    return lambda cluster, run: jobs.run_compiled(cluster, run, source=settings)


def _strict_floor(cluster: Cluster, run: Run) -> str:
    return jobs.run_floor(cluster, run, f"'format' = '{FORMAT}',\n  '{FORMAT}.encoding' = 'avro'")


def _on_event(engine: str) -> Callable[[Cluster, Run], str]:
    changes: dict[str, Any] = {"emit": "on_event", "window": {"size": "10m"}, "engine": engine}
    return lambda cluster, run: jobs.run_compiled(cluster, run, **changes)


def _copy(cluster: Cluster, run: Run) -> str:
    return jobs.run_floor(cluster, run, f"'format' = '{FORMAT}',\n  '{FORMAT}.encoding' = 'avro'", copy=True)


def _rows(cluster: Cluster, run: Run) -> str:
    features = {"tid": "UPPER(tid)", "amount": "amount"}
    return jobs.run_compiled(cluster, run, window=None, aggregates=None, features=features, event_time="event")


VARIANTS = (
    Variant("floor", "Kafka + Avro → nothing", jobs.run_floor, check="nothing", every_round=True),
    Variant("floor_strict", "the same, this package's strict format", _strict_floor, check="nothing", every_round=True),
    Variant("pipeline", "pipeline, 1,000 cards, hashmap", jobs.run_compiled, every_round=True),
    Variant("native", "engine: native, 1,000 cards, hashmap", _native(), every_round=True),
    Variant("java_tutorial", "Java, as the tutorial", _java("TutorialJob"), every_round=True),
    Variant("java_fair", "Java, schema once, Welford", _java("FairJob"), every_round=True),
    Variant("java_panes", "Java, one-minute panes", _java("PanesJob"), every_round=True),
    Variant("java_panes_by_hand", "Java, panes, Avro decoded by hand", _java("PanesJob", decoder="by-hand")),
    Variant("pipeline_rocksdb", "pipeline, 1,000 cards, RocksDB", jobs.run_compiled, configuration=ROCKSDB),
    Variant("pipeline_two_groups", "pipeline as shipped: two feature groups", _two_groups, check="twice"),
    Variant("native_rocksdb", "engine: native, 1,000 cards, RocksDB", _native(), configuration=ROCKSDB),
    Variant("native_two_groups", "engine: native, two feature groups", _native(2), check="twice"),
    Variant("native_100k", "engine: native, 100,000 cards, hashmap", _native(), cards=100_000, cold_share=1.0),
    Variant(
        "native_100k_rocksdb",
        "engine: native, 100,000 cards, RocksDB",
        _native(),
        cards=100_000,
        configuration=ROCKSDB,
        cold_share=1.0,
        limit=120.0,
    ),
    Variant("pipeline_100k", "pipeline, 100,000 cards, hashmap", jobs.run_compiled, cards=100_000, cold_share=1.0),
    Variant(
        "pipeline_100k_rocksdb",
        "pipeline, 100,000 cards, RocksDB",
        jobs.run_compiled,
        cards=100_000,
        configuration=ROCKSDB,
        cold_share=1.0,
        limit=120.0,
    ),
    Variant(
        "java_panes_100k",
        "Java, one-minute panes, 100,000 cards",
        _java("PanesJob"),
        cards=100_000,
        cold_share=1.0,
    ),
    Variant("refused", "pipeline, refused: quarantine", _with_source(refused="quarantine")),
    Variant("quarantine", "pipeline, on_decode_error: quarantine", _with_source(on_decode_error="quarantine")),
    Variant("on_event", "pipeline, a row for each event", _on_event("sql"), check="rows", share=0.1),
    Variant("native_on_event", "engine: native, a row for each event", _on_event("native"), check="rows", share=0.5),
    Variant("copy", "Kafka + Avro, strict → Kafka, every event", _copy, check="rows"),
    Variant("rows", "pipeline, rows without windows", _rows, check="rows"),
)
