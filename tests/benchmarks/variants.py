"""The rows of the throughput table: what runs, on which topic, with which options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hopsworks_flink.pipeline.sql.features import FORMAT
from tests.benchmarks import jobs
from tests.benchmarks.cluster import Cluster
from tests.benchmarks.jobs import Run
from tests.benchmarks.topics import PARTITIONS

LARGE = {"taskmanager.memory.process.size": "4096m"}
ROCKSDB = {"state.backend.type": "rocksdb", "execution.checkpointing.incremental": "true"}


@dataclass(frozen=True)
class Variant:
    """One row.

    :param start: submits the job and returns its id.
    :param cards: number of cards of the topic that is read.
    :param check: what its output is held against. ``windows``: what the events imply, and the other variants' sums on
        the same topic. ``rows``: a row for each event. ``twice``: twice the rows of those windows. ``nothing``: it has
        no output.
    :param share: part of the events that are read; a slow job would take the time of all others, and with many cards
        a span of a few seconds would be all windows and hardly events.
    :param cold_share: part of those that the first job of a JVM reads, which makes it ready for the second.
    :param partitions: of the topic that is read.
    :param taskmanager: Flink options of the TaskManager over the stack's.
    :param every_round: whether a goal is about its rate. The others are measured in the first round only.
    :param limit: seconds within which a run has to end. That a variant without a goal does not is a result as well.
    """

    name: str
    title: str
    start: Callable[[Cluster, Run], str]
    cards: int = 1_000
    check: Literal["windows", "rows", "twice", "nothing"] = "windows"
    configuration: Mapping[str, str] = field(default_factory=dict)
    partitions: int = PARTITIONS
    parallelism: int = 1
    taskmanager: Mapping[str, str] = field(default_factory=dict)
    share: float = 1.0
    cold_share: float = 0.25
    every_round: bool = False
    limit: float = 300.0


def _java(job_class: str, **arguments: str) -> Callable[[Cluster, Run], str]:
    return lambda cluster, run: jobs.run_java(cluster, run, job_class, **arguments)


def _compiled(**changes: Any) -> Callable[[Cluster, Run], str]:
    return lambda cluster, run: jobs.run_compiled(cluster, run, **changes)


def _reading(copy: bool = False) -> Callable[[Cluster, Run], str]:
    decoding = f"'format' = '{FORMAT}',\n  '{FORMAT}.encoding' = 'avro'"
    return lambda cluster, run: jobs.run_floor(cluster, run, decoding, copy=copy)


_SQL = _compiled(engine="sql")
_ON_EVENT: dict[str, Any] = {"emit": "on_event", "window": {"size": "10m"}}
# The features of the reference, then those of shorter windows, which stand behind them in a record.
_LENGTHS: dict[str, Any] = {
    "aggregates": {
        "num_trans_per_10m": "count",
        "avg_amt_per_10m": {"avg": "amount"},
        "stdev_amt_per_10m": {"stddev_samp": "amount"},
        "avg_amt_per_5m": {"avg": "amount", "window": "5m"},
        "stdev_amt_per_5m": {"stddev_samp": "amount", "window": "5m"},
        "num_trans_per_1m": {"count": "*", "window": "1m"},
        "avg_amt_per_1m": {"avg": "amount", "window": "1m"},
    }
}
_ROWS: dict[str, Any] = {
    "features": {"tid": "UPPER(tid)", "amount": "amount"},
    "event_time": "event",
    "window": None,
    "aggregates": None,
}
_MANY: dict[str, Any] = {"cards": 100_000, "cold_share": 1.0}
_MILLION: dict[str, Any] = {
    "cards": 1_000_000,
    "taskmanager": LARGE,
    "share": 4.0,
    "cold_share": 0.0625,
    "limit": 900.0,
}

VARIANTS = (
    Variant("floor", "Kafka + Avro → nothing", jobs.run_floor, check="nothing", every_round=True),
    Variant("floor_strict", "the same, this package's strict format", _reading(), check="nothing"),
    Variant("pipeline", "pipeline, 1,000 cards", jobs.run_compiled, every_round=True),
    Variant("java_tutorial", "Java, as the tutorial", _java("TutorialJob"), every_round=True),
    Variant("java_fair", "Java, schema once, Welford", _java("FairJob"), every_round=True),
    Variant("java_panes", "Java, one-minute panes", _java("PanesJob"), every_round=True),
    Variant("pipeline_100k", "pipeline, 100,000 cards", jobs.run_compiled, **_MANY, every_round=True),
    Variant("java_panes_100k", "Java, one-minute panes, 100,000 cards", _java("PanesJob"), **_MANY, every_round=True),
    Variant("on_event", "pipeline, emit: on_event", _compiled(**_ON_EVENT), check="rows", share=0.5, every_round=True),
    Variant("one_slot", "pipeline, 4 partitions, one slot", jobs.run_compiled, partitions=4),
    Variant("two_slots", "pipeline, 4 partitions, two slots", jobs.run_compiled, partitions=4, parallelism=2),
    Variant("java_panes_by_hand", "Java, panes, Avro decoded by hand", _java("PanesJob", decoder="by-hand")),
    Variant("two_groups", "pipeline as shipped: two feature groups", _compiled(groups=2), check="twice"),
    Variant("lengths", "pipeline, windows of three lengths", _compiled(**_LENGTHS)),
    Variant("rocksdb", "pipeline, 1,000 cards, RocksDB", jobs.run_compiled, configuration=ROCKSDB),
    Variant("100k_rocksdb", "pipeline, 100,000 cards, RocksDB", jobs.run_compiled, configuration=ROCKSDB, **_MANY),
    Variant("1m", "pipeline, 1,000,000 cards", jobs.run_compiled, **_MILLION),
    Variant("1m_rocksdb", "pipeline, 1,000,000 cards, RocksDB", jobs.run_compiled, configuration=ROCKSDB, **_MILLION),
    Variant("refused", "pipeline, refused: quarantine", _compiled(source={"refused": "quarantine"})),
    Variant("quarantine", "pipeline, on_decode_error: quarantine", _compiled(source={"on_decode_error": "quarantine"})),
    Variant("rows", "pipeline, rows without windows", _compiled(**_ROWS), check="rows"),
    Variant("copy", "Kafka + Avro, strict → Kafka, every event", _reading(copy=True), check="rows"),
    Variant("sql", "engine: sql, 1,000 cards", _SQL),
    Variant("sql_two_groups", "engine: sql, two feature groups", _compiled(groups=2, engine="sql"), check="twice"),
    Variant("sql_lengths", "engine: sql, windows of three lengths", _compiled(engine="sql", **_LENGTHS)),
    Variant("sql_rocksdb", "engine: sql, 1,000 cards, RocksDB", _SQL, configuration=ROCKSDB),
    Variant("sql_100k", "engine: sql, 100,000 cards", _SQL, **_MANY),
    Variant("sql_100k_rocksdb", "engine: sql, 100,000 cards, RocksDB", _SQL, configuration=ROCKSDB, **_MANY, limit=120),
    Variant("sql_on_event", "engine: sql, on_event", _compiled(engine="sql", **_ON_EVENT), check="rows", share=0.1),
)
