"""Airflow reads its configuration at import: everything below must be set before any test imports it."""

import os
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
_AIRFLOW_HOME = tempfile.mkdtemp(prefix="airflow-tests-")

os.environ.update(
    {
        "AIRFLOW_HOME": _AIRFLOW_HOME,
        "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_AIRFLOW_HOME}/airflow.db",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        # A proxy in the environment must not stand between the tests and the servers they start.
        "NO_PROXY": "127.0.0.1,localhost",
    }
)

pytest_plugins = ["tests.support.fixtures", "tests.support.hopsworks_fixtures", "tests.support.deploying"]


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
