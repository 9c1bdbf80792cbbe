"""What was measured, and what follows from it: medians, goals and verdicts. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

MIB = 1024 * 1024
MATERIALIZED_PER_SECOND = 700_000
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Measurement:
    """One run of one variant.

    :param warm: whether the TaskManager had run the same job before.
    :param wall: seconds from RUNNING to FINISHED.
    :param cpu: CPU seconds of the TaskManager from the submission to the end.
    :param compiling: those of them that the JVM's compilers took. A job that runs for weeks does not notice them; in a
        run of seconds they are a third.
    :param peak_memory: largest resident size of the TaskManager so far, bytes.
    :param checkpoint: seconds of the longest checkpoint; None: it took none.
    :param state: bytes of the largest checkpoint, with what it shares with earlier ones.
    """

    variant: str
    warm: bool
    events: int
    wall: float
    cpu: float
    compiling: float
    peak_memory: int
    checkpoint: float | None = None
    state: int | None = None

    @property
    def per_cpu_second(self) -> float:
        """Rate of a job whose code is compiled."""
        return self.events / (self.cpu - self.compiling)

    @property
    def per_cpu_second_in_all(self) -> float:
        """Rate with the compilers' share."""
        return self.events / self.cpu

    @property
    def per_second(self) -> float:
        return self.events / self.wall


@dataclass(frozen=True)
class Summary:
    """Medians of a variant, and the spread of its rate: smallest and largest."""

    per_cpu_second: float
    per_cpu_second_in_all: float
    per_second: float
    smallest: float
    largest: float
    peak_memory: int
    runs: int
    checkpoint: float | None
    state: int | None


@dataclass(frozen=True)
class Verdict:
    """A goal and whether it was met. ``met`` is None where nothing was measured."""

    goal: str
    found: str
    met: bool | None


def summarize(measurements: Iterable[Measurement], *, warm: bool) -> dict[str, Summary]:
    """Medians by variant, in order of appearance."""
    grouped: dict[str, list[Measurement]] = {}
    for one in measurements:
        if one.warm is warm:
            grouped.setdefault(one.variant, []).append(one)
    return {name: _summary(runs) for name, runs in grouped.items()}


def _summary(runs: Sequence[Measurement]) -> Summary:
    rates = [run.per_cpu_second for run in runs]
    return Summary(
        median(rates),
        median(run.per_cpu_second_in_all for run in runs),
        median(run.per_second for run in runs),
        min(rates),
        max(rates),
        max(run.peak_memory for run in runs),
        len(runs),
        max((run.checkpoint for run in runs if run.checkpoint is not None), default=None),
        max((run.state for run in runs if run.state is not None), default=None),
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def verdicts(warm: Mapping[str, Summary], others: Mapping[str, Any]) -> list[Verdict]:
    """Every goal with its figure. Throughput goals are about the warm medians, compilation left out.

    :param others: results of the other benchmarks by name, each as its module returns it.
    """
    ratios = [
        ("4 x the tutorial's Java job, in events per CPU second", "pipeline", "java_tutorial", 4.0),
        ("2.5 x the fair Java job", "pipeline", "java_fair", 2.5),
        ("1.15 x Java with one-minute panes, 1,000 cards", "pipeline", "java_panes", 1.15),
        ("1 x Java with one-minute panes, 100,000 cards", "pipeline_100k", "java_panes_100k", 1.0),
        ("at most 1.4 x the CPU of reading and decoding alone", "pipeline", "floor", 1 / 1.4),
    ]
    found = [_ratio(goal, warm.get(ours), warm.get(theirs), bound) for goal, ours, theirs, bound in ratios]
    found += [
        _least("emit: on_event: events per CPU second", _of(warm, "on_event", "per_cpu_second"), 100_000),
        _least("1,000,000 cards, RocksDB: events per CPU second", _of(warm, "1m_rocksdb", "per_cpu_second"), 60_000),
        _bound("1,000,000 cards, hashmap: resident memory", _of(warm, "1m", "peak_memory", 1 / MIB), 4096, "MiB"),
        _bound("1,000,000 cards, RocksDB: longest checkpoint", _of(warm, "1m_rocksdb", "checkpoint"), 10, "s"),
        _slots(warm.get("one_slot"), warm.get("two_slots")),
    ]
    latency = others.get("latency") or {}
    parsing, deployment = others.get("parsing") or {}, others.get("deployment") or {}
    found += [
        _bound(
            "event to topic of features, p99, on_event, 10,000 events/s",
            (latency.get("on_event_into_the_topic") or {}).get("p99_ms"),
            300,
            "ms",
        ),
        _bound("first deployment", deployment.get("first_deployment_seconds"), 12, "s"),
        _bound("deployment without a change", deployment.get("deployment_without_a_change_seconds"), 3, "s"),
        _bound("upgrade with savepoint", deployment.get("upgrade_with_savepoint_seconds"), 12, "s"),
    ]
    stored = ((others.get("materialization") or {}).get("rows_per_second") or {}).get("first fill")
    found.append(_least("rows a second into the offline store", stored, MATERIALIZED_PER_SECOND))
    found.append(_bound("import of the provider over Airflow's", parsing.get("import_seconds"), 0.1, "s"))
    hundred, many = parsing.get("pipelines_seconds"), parsing.get("many_pipelines_seconds")
    found.append(_bound("100 pipelines parse", hundred, 1.0, "s"))
    # Five times as many; the rest is what a larger heap costs.
    ratio = many / hundred if many and hundred else None
    found.append(_bound("500 pipelines parse in linear time, held against 100", ratio, 6.0, "x"))
    return found


def _of(warm: Mapping[str, Summary], variant: str, figure: str, factor: float = 1.0) -> float | None:
    value = getattr(warm.get(variant), figure, None)
    return None if value is None else value * factor


def _slots(one: Summary | None, two: Summary | None) -> Verdict:
    """Of wall time; on two cores the broker is in the way of the second slot, so the cost in CPU is shown as well."""
    goal = "two slots give 1.8 x one, 4 partitions"
    if one is None or two is None:
        return Verdict(goal, NOT_MEASURED, None)
    wall, cpu = two.per_second / one.per_second, two.per_cpu_second / one.per_cpu_second
    return Verdict(goal, f"{wall:.2f} x; {cpu:.2f} x the events per CPU second", wall >= 1.8)


def _least(goal: str, found: float | None, bound: float) -> Verdict:
    goal = f"at least {bound:,.0f}: {goal}"
    return Verdict(goal, NOT_MEASURED, None) if found is None else Verdict(goal, f"{found:,.0f}", found >= bound)


def _ratio(goal: str, ours: Summary | None, theirs: Summary | None, bound: float) -> Verdict:
    if ours is None or theirs is None:
        return Verdict(goal, NOT_MEASURED, None)
    ratio = ours.per_cpu_second / theirs.per_cpu_second
    in_all = ours.per_cpu_second_in_all / theirs.per_cpu_second_in_all
    shown = [f"{1 / one:.2f}" if bound < 1 else f"{one:.2f}" for one in (ratio, in_all)]
    return Verdict(goal, f"{shown[0]} x ({shown[1]} x with compilation)", ratio >= bound)


def _bound(goal: str, found: float | None, bound: float, unit: str) -> Verdict:
    goal = f"{goal}: at most {bound:g} {unit}"
    if found is None:
        return Verdict(goal, NOT_MEASURED, None)
    return Verdict(goal, f"{found:.3g} {unit}" if found < 10 else f"{found:.0f} {unit}", found <= bound)
