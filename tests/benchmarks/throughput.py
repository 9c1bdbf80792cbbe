"""Rounds of all variants, each on a fresh TaskManager, first cold and then warm."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tests.benchmarks.cluster import Cluster
from tests.benchmarks.jobs import Run
from tests.benchmarks.results import Measurement
from tests.benchmarks.topics import WINDOWS_PER_EVENT, Events, Topics
from tests.benchmarks.variants import Variant

_FLOAT_TOLERANCE = 1e-8


def measure(
    cluster: Cluster,
    variants: Sequence[Variant],
    *,
    events: int,
    rounds: int,
    minutes: float,
    overrides: Mapping[str, Any],
    unfinished: dict[str, float],
    tell: Callable[[str], None],
) -> Iterator[Measurement]:
    """Run the variants in rounds; the order turns, so that none always follows the same one.

    :param events: that the second, warm job of a variant reads.
    :param minutes: a round that would probably end later than that is left out; the first one is not.
    :param overrides: Flink options of the TaskManager over the stack's.
    :param unfinished: is given the variants without a goal that did not end, and their limits in seconds.
    :raises AssertionError: two variants disagree on the results.
    :raises TimeoutError: a variant that a goal is about did not end in time.
    """
    topics = Topics(cluster)
    checker = Checker(topics)
    seconds: dict[str, float] = {}
    began = time.monotonic()
    for number in range(rounds):
        chosen = [variant for variant in variants if not number or variant.every_round]
        passed, needed = time.monotonic() - began, sum(seconds.get(variant.name, 0) for variant in chosen)
        if number and passed + needed > minutes * 60:
            tell(f"no time for round {number + 1}: {passed / 60:.1f} minutes have passed, it needs {needed / 60:.1f}")
            return
        if number:
            cluster.fresh_jobmanager()
        turn = number % max(1, len(chosen))
        for variant in [*chosen[turn:], *chosen[:turn]]:
            started = time.monotonic()
            try:
                for one in _cold_and_warm(cluster, topics, checker, variant, int(events * variant.share), overrides):
                    tell(
                        f"round {number + 1} {variant.name:<22} {'warm' if one.warm else 'cold'}  {one.wall:6.1f} s  "
                        f"{one.cpu:6.1f} CPU s, {one.compiling:4.1f} of them compiling  "
                        f"{one.per_cpu_second / 1000:6.1f} K events per CPU second"
                    )
                    yield one
            except TimeoutError as late:
                if variant.every_round:
                    raise
                unfinished[variant.name] = variant.limit
                tell(f"round {number + 1} {variant.name}: {late}")
            seconds[variant.name] = time.monotonic() - started


def _cold_and_warm(
    cluster: Cluster, topics: Topics, checker: Checker, variant: Variant, events: int, overrides: Mapping[str, Any]
) -> Iterator[Measurement]:
    """Two jobs on a new TaskManager."""
    sources = [
        topics.filled(variant.cards, int(events * share), variant.partitions) for share in (variant.cold_share, 1)
    ]
    cluster.fresh_taskmanager({**variant.taskmanager, **overrides})
    for source, warm in zip(sources, (False, True), strict=True):
        yield _measure(cluster, topics, variant, source, warm, checker)


def collect(measured: Iterable[Measurement], found: list[Measurement]) -> None:
    """Add what is measured as it comes, so that a run that breaks keeps its rounds.

    :raises AssertionError: variants disagree; then nothing is kept.
    """
    try:
        for one in measured:
            found.append(one)
    except AssertionError:
        found.clear()
        raise


def _measure(
    cluster: Cluster, topics: Topics, variant: Variant, source: Events, warm: bool, checker: Checker
) -> Measurement:
    sink = f"results_{variant.name}"
    topics.remove(sink)
    topics.create(sink)
    before = cluster.cpu()
    job_id = variant.start(cluster, Run(source.topic, sink, variant.configuration, variant.parallelism))
    job = cluster.wait_finished(job_id, variant.limit)
    cpu = cluster.cpu().since(before)
    if warm:
        checker.check(variant, source, sink)
    topics.remove(sink)
    checkpoint, state = cluster.checkpoints(job_id)
    return Measurement(
        variant=variant.name,
        warm=warm,
        events=source.events,
        wall=(job["timestamps"]["FINISHED"] - job["timestamps"]["RUNNING"]) / 1000,
        cpu=cpu.total,
        compiling=cpu.compiling,
        peak_memory=cluster.peak_memory(),
        checkpoint=checkpoint,
        state=state,
    )


class Checker:
    """Holds every output against what the events imply, and against the output of the other variants."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._agreed: dict[str, tuple[str, dict[str, Any]]] = {}

    def check(self, variant: Variant, source: Events, sink: str) -> None:
        if variant.check == "nothing":
            return
        if variant.check != "windows":
            rows = source.events
            if variant.check == "twice":
                if source.topic not in self._agreed:
                    return
                rows = 2 * self._agreed[source.topic][1]["rows"]
            assert_same(variant.name, {"rows": self._topics.records(sink)}, {"rows": rows})
            return
        found = self._topics.digest(sink)
        # Every event is in ten windows, all of which are closed by the end of the topic.
        assert found["events"] == WINDOWS_PER_EVENT * source.events, (variant.name, found)
        assert_same(variant.name, {"amount": found["amount"]}, {"amount": WINDOWS_PER_EVENT * source.amount})
        other, agreed = self._agreed.setdefault(source.topic, (variant.name, found))
        assert_same(f"{variant.name} against {other}", found, agreed)


def assert_same(what: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Integers equal, floats to the rounding of a sum.

    :raises AssertionError: a value differs; the text names both.
    """
    for name, value in expected.items():
        close = math.isclose(found[name], value, rel_tol=_FLOAT_TOLERANCE) if isinstance(value, float) else False
        if not close and found[name] != value:
            raise AssertionError(f"{what}: {name} is {found[name]!r}, not {value!r}")


def by_names(variants: Iterable[Variant], names: Sequence[str]) -> list[Variant]:
    """The named variants, all for no names.

    :raises ValueError: one does not exist.
    """
    chosen = [variant for variant in variants if not names or variant.name in names]
    if missing := set(names) - {variant.name for variant in chosen}:
        raise ValueError(f"there is no variant {', '.join(sorted(missing))}")
    return chosen
