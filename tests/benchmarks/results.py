"""What was measured, and what follows from it: medians, goals and verdicts. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

MIB = 1024 * 1024
MATERIALIZED_PER_SECOND = 700_000


@dataclass(frozen=True)
class Measurement:
    """One run of one variant.

    :param warm: whether the TaskManager had run the same job before.
    :param wall: seconds from RUNNING to FINISHED.
    :param cpu: CPU seconds of the TaskManager from the submission to the end.
    :param compiling: those of them that the JVM's compilers took. A job that runs for weeks does not notice them; in a
        run of seconds they are a third.
    :param peak_memory: largest resident size of the TaskManager so far, bytes.
    """

    variant: str
    warm: bool
    events: int
    wall: float
    cpu: float
    compiling: float
    peak_memory: int

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
        ("at least 3 x the tutorial's Java job, in events per CPU second", "pipeline", "java_tutorial", 3.0),
        ("at least 2 x the fair Java job", "pipeline", "java_fair", 2.0),
        ("not behind Java with one-minute panes", "pipeline", "java_panes", 1.0),
        ("at most 1.5 x the CPU of reading and decoding alone", "pipeline", "floor", 1 / 1.5),
    ]
    found = [_ratio(goal, warm.get(ours), warm.get(theirs), bound) for goal, ours, theirs, bound in ratios]
    large = [one.peak_memory for name, one in warm.items() if name.startswith("pipeline_100k")]
    found.append(
        _bound(
            "TaskManager below 1.5 GiB with 100,000 cards", max(large) / MIB if large else None, 1536, "MiB resident"
        )
    )
    latency = (others.get("latency") or {}).get("on_event") or {}
    found.append(_bound("event to online store, p99, emit on_event, disorder 0", latency.get("p99_ms"), 1000, "ms"))
    stored = ((others.get("materialization") or {}).get("rows_per_second") or {}).get("first fill")
    met = None if stored is None else stored >= MATERIALIZED_PER_SECOND
    shown = "not measured" if stored is None else f"{stored:,.0f} rows/s"
    found.append(Verdict(f"at least {MATERIALIZED_PER_SECOND:,} rows a second into the offline store", shown, met))
    parsing = others.get("parsing") or {}
    found.append(_bound("import of the provider over Airflow's", parsing.get("import_seconds"), 0.1, "s"))
    hundred, many = parsing.get("pipelines_seconds"), parsing.get("many_pipelines_seconds")
    found.append(_bound("100 pipelines parse", hundred, 1.0, "s"))
    # Five times as many; the rest is what a larger heap costs.
    ratio = many / hundred if many and hundred else None
    found.append(_bound("500 pipelines parse in linear time, held against 100", ratio, 6.0, "x"))
    return found


def _ratio(goal: str, ours: Summary | None, theirs: Summary | None, bound: float) -> Verdict:
    if ours is None or theirs is None:
        return Verdict(goal, "not measured", None)
    ratio = ours.per_cpu_second / theirs.per_cpu_second
    in_all = ours.per_cpu_second_in_all / theirs.per_cpu_second_in_all
    shown = [f"{1 / one:.2f}" if bound < 1 else f"{one:.2f}" for one in (ratio, in_all)]
    return Verdict(goal, f"{shown[0]} x ({shown[1]} x with compilation)", ratio >= bound)


def _bound(goal: str, found: float | None, bound: float, unit: str) -> Verdict:
    if found is None:
        return Verdict(goal, "not measured", None)
    return Verdict(goal, f"{found:.3g} {unit}" if found < 10 else f"{found:.0f} {unit}", found <= bound)
