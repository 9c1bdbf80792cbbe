"""Airflow reads its configuration at import: everything below must be set before any test imports it."""

import os
import tempfile
from pathlib import Path

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
