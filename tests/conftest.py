"""The one conftest: where fixtures come from, and which tests need the stack."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

import tests.support.airflow_home  # noqa: F401 - before anything imports Airflow
from tests.support.groups import SHARING, STACKS, WITHOUT_STACK, group_of

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

# What these need they import when a fixture is used: a test of the compiler waits for no Airflow and no SDK.
pytest_plugins = [
    "tests.support.fixtures",
    "tests.support.deploying",
    "tests.support.hopsworks_fixtures",
    "tests.support.pipelines",
    "tests.support.live.stack",
    "tests.support.live.sdk",
]


@pytest.fixture(autouse=True)
def no_secrets_of_other_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    """Airflow compiles all secrets that a process has seen into one pattern, again with each new one."""
    yield
    masker = sys.modules.get("airflow.sdk._shared.secrets_masker")
    if masker is not None and request.node.get_closest_marker("integration") is None:
        masker.reset_secrets_masker()


def pytest_configure() -> None:
    """With TEST_ENGINE=sql, pipelines that name no engine have that one (`make test-sql`)."""
    if engine := os.environ.get("TEST_ENGINE"):
        from hopsworks_flink.pipeline.spec import Pipeline

        Pipeline.model_fields["engine"].default = engine
        Pipeline.model_rebuild(force=True)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """With ``--dist loadscope``: by these groups."""
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    # With more tests than these before it a process is given none.
    few = 2

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

        def _reschedule(self, node: Any) -> None:
            # Tests often wait, and a third process uses that time. It does not start a stack.
            if self.nodes.index(node) >= STACKS and self._pending_of(self.assigned_work[node]) <= few:
                others = (one for one in self.workqueue if not one.startswith("tests/integration/"))
                following = next(others, None) or next((one for one in WITHOUT_STACK if one in self.workqueue), None)
                if following is None:
                    node.shutdown()
                    return
                self.workqueue.move_to_end(following, last=False)
            super()._reschedule(node)

    return ByGroup(config, log)


def place(item: pytest.Item) -> int:
    """First all tests without services, then the others as tests/support/groups.py says."""
    if item.get_closest_marker("integration") is None:
        return 0
    group = group_of(item.nodeid)
    if group in SHARING:
        return 2 + SHARING.index(group)
    return 1 if "stack_beside" in vars(item.module) else 2 + len(SHARING)


# First: pytest's own selection by -m comes among these hooks as well, and has to see the marker.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the local stack, or processes of its own, carries the marker ``integration``."""
    for item in items:
        if "integration" in item.path.parts or "stack" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.integration)
    items.sort(key=place)
