"""Airflow reads its configuration at import: import this module before anything imports Airflow."""

import os
import tempfile

from tests.support import REPOSITORY

# Removed when the process ends.
_FOLDER = tempfile.TemporaryDirectory(prefix="airflow-tests-", ignore_cleanup_errors=True)
_HOME = _FOLDER.name

os.environ.update(
    {
        "AIRFLOW_HOME": _HOME,
        "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_HOME}/airflow.db",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        # A proxy in the environment must not stand between the tests and the servers they start.
        "NO_PROXY": "127.0.0.1,localhost",
    }
)
