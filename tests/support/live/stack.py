"""The real local stack for the integration tests: its own folder and ports, so a running demo does not matter.

Each process of pytest-xdist has a stack of its own: what one module does to a broker or a shared topic, no other sees.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import REPOSITORY

if TYPE_CHECKING:
    from devstack.stack import Stack

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
HOME = REPOSITORY / f".devstack-test{WORKER and '-' + WORKER}"
# Two checkouts can be tested at the same time: each needs ports of its own. So do the workers of one: the ports of a
# stack lie within twenty.
PORT_BASE = int(os.environ.get("DEVSTACK_TEST_PORT_BASE", "29000")) + 20 * int(WORKER.removeprefix("gw") or 0)
#: What a stack beside the shared one has.
PARTS_BESIDE = ("kafka", "flink-jobmanager", "flink-taskmanager", "hopsworks", "hopsworks-onlinefs")
#: Jobs of tests live for seconds: the time in which the JVM's second compiler makes them fast is never earned back.
#: Without it the JVM has room for a fifth of the compiled code: a JobManager that plans job after job spends a fifth
#: of its time to throw some of it away, and compiles it again. Heaps are small, and the collector without threads of
#: its own takes a twentieth less.
JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC"


@contextmanager
def one_after_the_other() -> Iterator[None]:
    """A run's processes start their stacks in turn: the JVMs of all at once hold each other up past every deadline."""
    with (REPOSITORY / ".devstack-test.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """All parts but Airflow, healthy, on an empty state. ``DEVSTACK_TEST_REUSE=1`` keeps a stack from run to run."""
    from devstack.config import DevstackConfig
    from devstack.parts import NAMES
    from devstack.stack import Stack

    # A run that needs Kafka and Flink alone starts nothing else.
    chosen = os.environ.get("DEVSTACK_TEST_PARTS")
    parts = chosen.split(",") if chosen else [part for part in NAMES if part != "airflow"]
    reuse = os.environ.get("DEVSTACK_TEST_REUSE") == "1"
    config = DevstackConfig(home=HOME, port_base=PORT_BASE, dags_folder=HOME / "dags", java_options=JAVA_OPTIONS)
    stack = Stack(config)
    if not reuse:
        stack.down(wipe=True)
    # A copy: tests change pipeline files and watch Airflow follow.
    for folder in (REPOSITORY / "dags", REPOSITORY / "tests" / "integration" / "dags"):
        shutil.copytree(folder, stack.config.dags_folder, dirs_exist_ok=True)
    try:
        with one_after_the_other():
            stack.up(parts)
        yield stack
    finally:
        if not reuse:
            stack.down()


@contextmanager
def stack_beside(name: str, **settings: Any) -> Iterator[Stack]:
    """A stack beside the shared one, for modules that need other settings; without Airflow, on an empty state."""
    from devstack.config import DevstackConfig
    from devstack.stack import Stack

    config = DevstackConfig(
        home=HOME.with_name(f"{HOME.name}-{name}"),
        port_base=PORT_BASE + 200,
        taskmanager_memory="1536m",
        java_options=JAVA_OPTIONS,
        **settings,
    )
    stack = Stack(config)
    stack.down(wipe=True)
    try:
        with one_after_the_other():
            stack.up(PARTS_BESIDE)
        yield stack
    finally:
        stack.down()


@pytest.fixture(scope="session")
def with_airflow(stack: Stack) -> None:
    """Airflow beside the other parts, for the modules that use this fixture."""
    with one_after_the_other():
        stack.up()
