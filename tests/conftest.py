"""The one conftest: where fixtures come from, and which tests need the stack."""

import pytest

import tests.support.airflow_home  # noqa: F401 - before anything imports Airflow

# What these need they import when a fixture is used: a test of the compiler waits for no Airflow and no SDK.
pytest_plugins = [
    "tests.support.fixtures",
    "tests.support.deploying",
    "tests.support.hopsworks_fixtures",
    "tests.support.pipelines",
    "tests.support.live.stack",
    "tests.support.live.sdk",
]


def group_of(item: pytest.Item) -> str:
    """What runs in one process of pytest-xdist, which has one stack: all that needs Airflow, and all that does not.

    Modules with a stack of their own, or none, go where there is room.
    """
    fixtures = getattr(item, "fixturenames", ())
    if "stack" in fixtures and not hasattr(getattr(item, "module", None), "stack"):
        return "airflow" if "with_airflow" in fixtures else "platform"
    return item.nodeid.partition("::")[0]


# First: pytest's own selection by -m comes among these hooks as well, and has to see the marker.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the local stack, or processes of its own, carries the marker ``integration``, and begins first."""
    first = ["platform", "airflow"]
    for item in items:
        if "integration" in item.path.parts or "stack" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.integration)
            first.append(group_of(item))
        item.add_marker(pytest.mark.xdist_group(group_of(item)))
    place = {group: first.index(group) for group in first}
    items.sort(key=lambda item: place.get(group_of(item), len(first)))
