"""``make demo``: the stack from nothing, and the card transactions pipeline through Airflow."""

from __future__ import annotations

import io
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import requests
from rich import box
from rich.console import Console
from rich.table import Table

from devstack.__main__ import print_addresses
from devstack.airflow_client import AirflowClient
from devstack.config import DevstackError, from_environment
from devstack.stack import Stack

PIPELINE = "card_transactions"
GROUP = "card_transactions_10m_agg"
VERSIONS = (1, 2)
JOB = f"{PIPELINE}__features"
# Eight seconds of real time; the event times cover the last hours.
SIMULATION = {"events": 12000, "rate": 1500, "cards": 40}
SHOWN_CARDS = 8
ONLINE_TIMEOUT_SECONDS = 120.0


def main() -> int:
    """Run the demo; the stack stays up. Returns the process's exit code."""
    console = Console(highlight=False)
    now = time.time()
    # Whoever called this may have begun before: with environments and jars.
    begun = float(os.environ.get("DEMO_BEGUN") or now)

    def tell(subject: str, message: str) -> None:
        style = {"healthy": "green", "success": "green", "failed": "red"}.get(message.partition(":")[0])
        console.print(f"{time.time() - begun:5.0f} s  {subject:<18} {message}", style=style, markup=False)

    try:
        stack = Stack(from_environment())
        console.rule("The stack: Kafka, Flink, Hopsworks, Airflow", align="left")
        stack.up(progress=tell)
        airflow = AirflowClient(stack.config.airflow_url, stack.airflow_credentials)
        with feature_store(stack) as store:
            run_pipeline(airflow, store, console, tell)
            console.rule("What came out", align="left")
            console.print(*online_table(store))
            console.print(*offline_table(store))
        console.rule("Go and look", align="left")
        print_addresses(stack, console)
        console.print(f"Streaming job   {job_url(stack)}", markup=False, soft_wrap=True)
    except DevstackError as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        return 1
    before = f", {now - begun:.0f} s of them for environments and jars" if now - begun >= 1 else ""
    console.print(f"\nDone in {time.time() - begun:.0f} s{before}.", markup=False)
    console.print("The stack stays up; `make status` shows this again, `make down` ends it.", markup=False)
    return 0


def run_pipeline(airflow: AirflowClient, store: Any, console: Console, tell: Callable[[str, str], None]) -> None:
    """Deploy, simulate, wait for features online, bring them into the offline store, and begin to watch the job."""
    verbs = ("deploy", "simulate", "offline_backfill", "supervise")
    deploy, simulate, backfill, supervise = (f"{PIPELINE}__{verb}" for verb in verbs)
    airflow.wait_for_dags({deploy, simulate, backfill, supervise})
    for title, dag_id, conf in (
        ("Deploy: topic, feature groups, streaming job", deploy, None),
        ("Simulate: card transactions into the source topic", simulate, SIMULATION),
    ):
        console.rule(title, align="left")
        airflow.run(dag_id, conf, on_change=lambda task, state: tell(state, task))
    tell("features online", f"{wait_for_features(store)} cards")
    console.rule("Backfill: from the online topic into the offline store", align="left")
    begun = time.time()
    airflow.run(backfill, on_change=lambda task, state: tell(state, task))
    for version in VERSIONS:
        new, updated = stored_since(store.get_feature_group(GROUP, version=version), begun)
        tell("rows", f"{new} new, {updated} updated in {GROUP}_{version}")
    console.rule("Supervise: a look at the job, from now on every few minutes", align="left")
    airflow.run(supervise, on_change=lambda task, state: tell(state, task))


def stored_since(group: Any, begun: float) -> tuple[int, int]:
    """Rows that are new, and rows that were updated.

    The DAG's scheduled run begins with ours, and may have been first: the commits of both count.
    """
    commits = [commit for at, commit in group.commit_details().items() if int(at) >= begun * 1000]
    return sum(int(one["rowsInserted"]) for one in commits), sum(int(one["rowsUpdated"]) for one in commits)


@contextmanager
def feature_store(stack: Stack) -> Iterator[Any]:
    """The feature store, through the SDK."""
    import hopsworks

    # The SDK reports each connection on stdout and in the log.
    logging.disable(logging.INFO)
    config = stack.config
    with tempfile.TemporaryDirectory() as certificates:
        with redirect_stdout(io.StringIO()):
            project = hopsworks.login(
                host=config.host("hopsworks"),
                port=config.hopsworks_port,
                project=config.project,
                api_key_value=stack.api_key,
                engine="python",
                cert_folder=certificates,
                hostname_verification=True,
                trust_store_path=str(config.hopsworks_ca),
            )
        try:
            yield project.get_feature_store()
        finally:
            hopsworks.logout()


def online_features(store: Any, version: int) -> Any:
    """Rows of a feature group's online store as a data frame."""
    return _read(store, version, online=True)


def _read(store: Any, version: int, **options: Any) -> Any:
    """The SDK tells on stdout what it reads, and how long that took."""
    with redirect_stdout(io.StringIO()):
        return store.get_feature_group(GROUP, version=version).read(**options)


def wait_for_features(store: Any) -> int:
    """Wait until every simulated card has features online; returns how many cards have."""
    deadline, found = time.monotonic() + ONLINE_TIMEOUT_SECONDS, 0
    while time.monotonic() < deadline:
        found = len(online_features(store, VERSIONS[0]))
        if found >= SIMULATION["cards"]:
            return found
        time.sleep(1)
    raise DevstackError(
        f"Only {found} of {SIMULATION['cards']} cards have features online after {ONLINE_TIMEOUT_SECONDS:.0f} s. "
        "Look at the job in Flink's UI and at `python -m devstack logs hopsworks-onlinefs`."
    )


def online_table(store: Any) -> tuple[str, Table]:
    """The newest features of a few cards."""
    rows = online_features(store, 2).sort_values(["window_end", "num_trans_per_10m"], ascending=False)
    table = _table()
    for column in rows.columns:
        # At 80 columns no name is broken but here.
        table.add_column(column.replace("_per_", "\nper_"), justify="right", no_wrap=True)
    for row in rows.head(SHOWN_CARDS).itertuples(index=False):
        table.add_row(*map(_cell, row))
    return f"Online store, read by the SDK: {len(rows)} cards in {GROUP}_2\n", table


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    # A timestamp's date is today's; its minute is what changes.
    return f"{value:%H:%M} UTC" if hasattr(value, "strftime") else str(value)


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False)


def offline_table(store: Any) -> tuple[str, Table]:
    """How many rows each feature group has in the offline store."""
    table = _table()
    table.add_column("feature group")
    table.add_column("rows", justify="right")
    table.add_column("keeps")
    for version, keeps in zip(VERSIONS, ("the newest window of each card", "every window"), strict=True):
        table.add_row(f"{GROUP}_{version}", str(len(_read(store, version))), keeps)
    return "Offline store, read by the SDK\n", table


def job_url(stack: Stack) -> str:
    """Where Flink shows the streaming job."""
    jobs = requests.get(f"{stack.config.flink_url}/jobs/overview", timeout=30).json()["jobs"]
    running = [job["jid"] for job in jobs if job["name"] == JOB and job["state"] == "RUNNING"]
    return f"{stack.config.flink_url}/#/job/running/{running[0]}/overview" if running else "does not run"


if __name__ == "__main__":
    sys.exit(main())
