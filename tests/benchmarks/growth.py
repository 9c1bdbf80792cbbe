"""How the cost of the pipeline grows with events, with keys, and with the length of a window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.benchmarks.cluster import Cluster
from tests.benchmarks.jobs import Run, run_compiled
from tests.benchmarks.topics import Events, Topics
from tests.benchmarks.variants import LARGE

MILLION = 1_000_000
EVENTS = (MILLION, 2 * MILLION, 4 * MILLION, 8 * MILLION, 16 * MILLION)
CARDS = (1_000, 10_000, 100_000, 1_000_000)
#: Minutes of a window that slides by one.
MINUTES = (10, 30, 90, 360)
QUICK = 2


def measure(cluster: Cluster, *, quick: bool, tell: Callable[[str], None]) -> dict[str, list[dict[str, float]]]:
    """One warm run for each point, all on one TaskManager of 4 GiB: what it read and wrote, and its CPU seconds without
    those of the JVM's compilers.

    Events are always 12 a minute and card. With more cards, as many events span less time, and each card has its rows
    for ten windows at least: rows grow, not events.
    """
    topics = Topics(cluster)
    cluster.fresh_taskmanager(LARGE)
    standard = 4 * MILLION

    def point(of: str, value: int, cards: int, events: int, minutes: int = 10) -> dict[str, float]:
        found = _measure(cluster, topics, topics.filled(cards, events), minutes)
        tell(f"growth {of} {value:,}: {found}")
        return {of: value, **found}

    def some(values: Sequence[int]) -> Sequence[int]:
        return values[:QUICK] if quick else values

    point("warm-up", 1, 1_000, MILLION)
    return {
        "events": [point("events", n, 1_000, n) for n in some(EVENTS)],
        "cards": [point("cards", n, n, standard) for n in some(CARDS)],
        "minutes of the window": [point("minutes", n, 1_000, standard, n) for n in some(MINUTES)],
    }


def _measure(cluster: Cluster, topics: Topics, source: Events, minutes: int) -> dict[str, float]:
    sink = "results_growth"
    topics.remove(sink)
    topics.create(sink)
    before = cluster.cpu()
    changes: dict[str, Any] = {"window": {"size": f"{minutes}m", "slide": "1m"}}
    cluster.wait_finished(run_compiled(cluster, Run(source.topic, sink), **changes), 900)
    cpu = cluster.cpu().since(before)
    found = topics.digest(sink)
    assert found["events"] == minutes * source.events, found
    topics.remove(sink)
    return {"events": source.events, "rows": found["rows"], "cpu_seconds": cpu.total - cpu.compiling}
