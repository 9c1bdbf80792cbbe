"""The real local stack for the integration tests: its own folder and ports, so a running demo does not matter."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.config import REPOSITORY, DevstackConfig
from devstack.parts import NAMES
from devstack.stack import Stack
from tests.support.live.sdk import fs, login, name, project

__all__ = ["fs", "login", "name", "project"]

HOME = REPOSITORY / ".devstack-test"
# Two checkouts can be tested at the same time: each needs ports of its own.
PORT_BASE = int(os.environ.get("DEVSTACK_TEST_PORT_BASE", "29000"))
WITHOUT_AIRFLOW = [part for part in NAMES if part != "airflow"]
# A run that needs Kafka and Flink alone starts nothing else.
PARTS = os.environ["DEVSTACK_TEST_PARTS"].split(",") if os.environ.get("DEVSTACK_TEST_PARTS") else WITHOUT_AIRFLOW


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """All parts but Airflow, healthy, on an empty state. ``DEVSTACK_TEST_REUSE=1`` keeps a stack from run to run."""
    reuse = os.environ.get("DEVSTACK_TEST_REUSE") == "1"
    stack = Stack(DevstackConfig(home=HOME, port_base=PORT_BASE, dags_folder=HOME / "dags"))
    if not reuse:
        stack.down(wipe=True)
    # A copy: tests change pipeline files and watch Airflow follow.
    for folder in (REPOSITORY / "dags", Path(__file__).parent / "dags"):
        shutil.copytree(folder, stack.config.dags_folder, dirs_exist_ok=True)
    try:
        stack.up(PARTS)
        yield stack
    finally:
        if not reuse:
            stack.down()


@pytest.fixture(scope="session")
def with_airflow(stack: Stack) -> None:
    """Airflow beside the other parts, for the modules that use this fixture."""
    stack.up()
