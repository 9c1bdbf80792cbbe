"""``make demo``: the stack from nothing, and the card transactions pipeline through Airflow."""

from __future__ import annotations

import io
import logging
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

from devstack.airflow_client import AirflowClient
from devstack.config import DevstackConfig, DevstackError
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
    stack, begun = Stack(DevstackConfig()), time.monotonic()

    def tell(subject: str, message: str) -> None:
        style = {"healthy": "green", "success": "green", "failed": "red"}.get(message)
        console.print(f"{time.monotonic() - begun:6.1f} s  {subject:<44} {message}", style=style, markup=False)

    try:
        console.rule("The stack: Kafka, Flink, Hopsworks, Airflow", align="left")
        stack.up(progress=tell)
        airflow = AirflowClient(stack.config.airflow_url, stack.airflow_credentials)
        with feature_store(stack) as store:
            run_pipeline(airflow, store, console, tell)
            console.rule("What came out", align="left")
            console.print(online_table(store), offline_table(store))
        console.print(addresses(stack))
    except DevstackError as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        return 1
    console.print(f"Done in {time.monotonic() - begun:.0f} s. The stack stays up; `make down` ends it.", markup=False)
    return 0


def run_pipeline(airflow: AirflowClient, store: Any, console: Console, tell: Callable[[str, str], None]) -> None:
    """Deploy, simulate, wait for features online, and bring them into the offline store."""
    deploy, simulate, backfill = (f"{PIPELINE}__{verb}" for verb in ("deploy", "simulate", "offline_backfill"))
    airflow.wait_for_dags({deploy, simulate, backfill})
    for title, dag_id, conf in (
        ("Deploy: topic, feature groups, streaming job", deploy, None),
        ("Simulate: card transactions into the source topic", simulate, SIMULATION),
    ):
        console.rule(title, align="left")
        airflow.run(dag_id, conf, on_change=lambda task, state: tell(task, state))
    tell("features online", f"{wait_for_features(store)} cards")
    console.rule("Backfill: from the online topic into the offline store", align="left")
    airflow.run(backfill, on_change=lambda task, state: tell(task, state))


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
    return store.get_feature_group(GROUP, version=version).read(online=True)


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


def online_table(store: Any) -> Table:
    """The newest features of a few cards."""
    rows = online_features(store, 2).sort_values(["window_end", "num_trans_per_10m"], ascending=False)
    table = _table(f"Online store: {GROUP} (version 2), {len(rows)} cards, read by the SDK")
    for column in rows.columns:
        table.add_column(column, justify="right", overflow="fold", no_wrap=column == "cc_num")
    for row in rows.head(SHOWN_CARDS).itertuples(index=False):
        table.add_row(*map(_cell, row))
    return table


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    # A timestamp's date is today's; its minute is what changes.
    return f"{value:%H:%M} UTC" if hasattr(value, "strftime") else str(value)


def _table(title: str, **options: Any) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, **options)


def offline_table(store: Any) -> Table:
    """How many rows each feature group has in the offline store."""
    table = _table("Offline store, read by the SDK")
    table.add_column("feature group")
    table.add_column("rows", justify="right")
    table.add_column("keeps")
    for version, keeps in zip(VERSIONS, ("the newest window of each card", "every window"), strict=True):
        rows = store.get_feature_group(GROUP, version=version).read()
        table.add_row(f"{GROUP} {version}", str(len(rows)), keeps)
    return table


def addresses(stack: Stack) -> Table:
    """The running job and the addresses of the stack."""
    config, (user, password) = stack.config, stack.airflow_credentials
    jobs = requests.get(f"{config.flink_url}/jobs/overview", timeout=30).json()["jobs"]
    running = [job["jid"] for job in jobs if job["name"] == JOB and job["state"] == "RUNNING"]
    table = _table("Go and look", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("Airflow", f"{config.airflow_url}  user {user}, password {password}")
    table.add_row("Flink", f"{config.flink_url}  streaming job {', '.join(running)}")
    table.add_row("Hopsworks", f"{config.hopsworks_url}  API key in {config.hopsworks_api_key_file}")
    table.add_row("Kafka", config.kafka_address)
    table.add_row("Offline store", str(config.hopsworks_home / "warehouse"))
    return table


if __name__ == "__main__":
    sys.exit(main())
