"""``python -m tests.benchmarks``: measures, checks the results, and writes docs/benchmarks/."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pygal.style  # noqa: F401  which the report needs: what is missing shall show before the measurements

import tests.support.airflow_home  # noqa: F401  before anything imports Airflow
from tests.benchmarks import deployment, growth, latency, materialization, parsing, profile, report, throughput
from tests.benchmarks.cluster import PORT_BASE, TASKMANAGER_MEMORY, Cluster, build_java
from tests.benchmarks.variants import VARIANTS

PARTS = ("throughput", "growth", "profile", "latency", "deployment", "materialization", "parsing")
# All parts together are meant to take about an hour; the others need some twenty minutes of it.
THROUGHPUT_MINUTES = 40.0


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    quick = options.quick
    events = options.events or (1_000_000 if quick else 4_000_000)
    rounds = options.rounds or (1 if quick else 5)
    variants = throughput.by_names(VARIANTS, options.variants)
    overrides = dict(pair.split("=", 1) for pair in options.flink)
    began = time.monotonic()

    def tell(text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began:7.1f} s  {text}\n")
        sys.stdout.flush()

    load = os.getloadavg()[0]
    tell(f"{report.machine()}, load {load:.1f}")
    cluster = Cluster()
    # What is not measured now stays as it was.
    again = {variant.name for variant in variants} if "throughput" in options.parts else set()
    kept = {variant.name for variant in VARIANTS} - again
    measurements, unfinished, others = report.earlier(options.output, set(PARTS) - set(options.parts), kept)
    measured = throughput.measure(
        cluster,
        variants,
        events=events,
        rounds=rounds,
        minutes=options.minutes,
        overrides=overrides,
        unfinished=unfinished,
        tell=tell,
    )
    on_the_cluster: dict[str, Callable[[], Any]] = {
        "throughput": lambda: throughput.collect(measured, measurements),
        "growth": lambda: growth.measure(cluster, quick=quick, tell=tell),
        "profile": lambda: profile.measure(cluster, events=events, tell=tell),
        "latency": lambda: latency.measure(cluster, seconds=15 if quick else 45, tell=tell),
        "deployment": lambda: deployment.measure(cluster, tell=tell),
    }
    # These have the cores for themselves.
    alone: dict[str, Callable[[], Any]] = {
        "materialization": lambda: materialization.measure(300_000 if quick else 3_000_000, PORT_BASE, tell=tell),
        "parsing": lambda: parsing.measure(tell=tell),
    }
    failed: dict[str, str] = {}

    def run_parts(parts: dict[str, Callable[[], Any]]) -> None:
        for part in parts:
            if part not in options.parts:
                continue
            try:
                if (figures := parts[part]()) is not None:
                    others[part] = figures
            except Exception as problem:
                # What the other parts find is worth its report; the run as a whole has failed.
                failed[part] = f"{type(problem).__name__}: {problem}"
                tell(f"{part} failed:\n{traceback.format_exc()}")

    try:
        if on_the_cluster.keys() & set(options.parts):
            build_java()
            cluster.up()
            run_parts(on_the_cluster)
    finally:
        if not options.keep:
            cluster.stack.down()
    run_parts(alone)
    run = {
        "date": date.today().isoformat(),
        "events": events,
        "load": load,
        "memory": TASKMANAGER_MEMORY,
        "flink": overrides,
        "minutes": (time.monotonic() - began) / 60,
        "again": _again(options),
        "unfinished": unfinished,
        "titles": {variant.name: variant.title for variant in VARIANTS},
        "failed": failed,
    }
    ordered = {part: others[part] for part in PARTS if part in others}
    order = [variant.name for variant in VARIANTS]
    report.write(options.output, sorted(measurements, key=lambda one: order.index(one.variant)), ordered, run)
    tell(f"written to {options.output}")
    return 1 if failed else 0


def _again(options: argparse.Namespace) -> str:
    """What a run measures that is not a whole one, in words."""
    if set(options.parts) == set(PARTS) and not options.variants:
        return ""
    only = f" of {', '.join(options.variants)}" if options.variants else ""
    return ", ".join(f"{part}{only}" if part == "throughput" else part for part in options.parts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of a million events: a smoke test")
    parser.add_argument("--events", type=int, help="events of a warm run (default 4,000,000)")
    parser.add_argument("--rounds", type=int, help="rounds of throughput (default 5)")
    parser.add_argument(
        "--minutes", type=float, default=THROUGHPUT_MINUTES, help="no further round would end after these (default 40)"
    )
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS), help=",".join(PARTS))
    parser.add_argument("--variants", type=lambda text: text.split(","), default=[], help="of throughput; default all")
    parser.add_argument("--flink", action="append", default=[], metavar="KEY=VALUE", help="option of the TaskManager")
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks"), help="folder of the report")
    parser.add_argument("--keep", action="store_true", help="leave the stack up")
    return parser


if __name__ == "__main__":
    sys.exit(main())
