"""Parts die, hang and run full while events arrive. Afterwards one job runs and no value is wrong, without a hand.

In every test run: the faults marked short, one after the other, and one comparison at the end. ``make chaos`` does all
of them in an order drawn from ``SEED``, compares after each one, and tells how long it took until values were right.
What stands for Airflow here are its operators, run again as its retries and the supervising DAG do.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.exceptions import AirflowException

from hopsworks_flink._compat import AirflowFailException
from hopsworks_flink.exceptions import HopsworksFlinkError
from tests.support.live import events as simulated
from tests.support.live.faults import FAULTS, Fault
from tests.support.live.jobs import Live, living

pytestmark = [pytest.mark.timeout(3000), pytest.mark.chaos]

MINUTE = simulated.MINUTE
SEED = int(os.environ.get("FAULTS_SEED", "1"))
LONG = os.environ.get("FAULTS_LONG") == "1"


@pytest.fixture(scope="module")
def live(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    live = Live(stack, tmp_path_factory.mktemp("certificates"), "fault_cards")
    # Every event counts, however long a partition was silent.
    live.spec["source"]["idle_timeout"] = None
    if LONG:
        # All faults together take half a day of event time, which must not get ahead of the broker's clock.
        live.start -= 20 * 60 * MINUTE
    with living(live) as live:
        yield live


class Arriving:
    """Events that go on, five minutes' worth at a time; amounts and cards follow from the seed."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._number = 0

    def __call__(self) -> None:
        self._number += 1
        begin = self._live.start + self._number * 5 * MINUTE
        self._live.produce(simulated.transactions(SEED * 1000 + self._number, begin, 5, cards=20, count=600))

    def end(self) -> None:
        """All windows so far close."""
        after = self._live.start + (self._number + 1) * 5 * MINUTE
        self._live.produce(simulated.flush(SEED * 1000 + self._number, after))
        self._number += 8


def keep(live: Live, patience: float = 240.0) -> None:
    """Deploy again until there is one healthy job, as the supervising DAG does."""
    deadline = time.monotonic() + patience
    while True:
        try:
            live.deploy(grace_period=2.0)
            break
        except AirflowFailException:
            raise
        except (AirflowException, HopsworksFlinkError) as error:
            if time.monotonic() > deadline:
                raise
            print(f"not yet: {error}")
        time.sleep(2)
    assert len(live.running()) == 1


def suffer(live: Live, fault: Fault, arrive: Callable[[], None]) -> None:
    arrive()
    fault.happens(live, arrive)
    keep(live)
    arrive()


@pytest.mark.skipif(LONG, reason="the long form does each of them")
def test_values_are_right_after_faults(live: Live) -> None:
    arriving = Arriving(live)
    live.deploy()
    faults = [fault for fault in FAULTS if fault.short]
    random.Random(SEED).shuffle(faults)
    for fault in faults:
        print(f"now {fault.name}")
        suffer(live, fault, arriving)
    arriving.end()
    live.assert_features()


@pytest.mark.skipif(not LONG, reason="make chaos")
def test_values_are_right_after_each_fault(live: Live) -> None:
    arriving = Arriving(live)
    live.deploy()
    faults = list(FAULTS)
    random.Random(SEED).shuffle(faults)
    measured = {}
    for fault in faults:
        print(f"now {fault.name}", flush=True)
        began = time.monotonic()
        suffer(live, fault, arriving)
        arriving.end()
        live.assert_served(timeout=240)
        measured[fault.name] = round(time.monotonic() - began, 1)
        print(f"{fault.name}: values right after {measured[fault.name]} s", flush=True)
        live.assert_features()
    report = os.environ.get("FAULTS_REPORT")
    if report:
        Path(report).write_text(json.dumps({"seed": SEED, "seconds": measured}, indent=1) + "\n")
