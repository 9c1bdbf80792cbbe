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


# First: pytest's own selection by -m comes among these hooks as well, and has to see the marker.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the local stack, or processes of its own, carries the marker ``integration``.

    What needs Airflow's processes comes last: they keep a core busy, of which the others have more use.
    """
    for item in items:
        if "integration" in item.path.parts or "stack" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.integration)
    items.sort(key=lambda item: "with_airflow" in getattr(item, "fixturenames", ()))
