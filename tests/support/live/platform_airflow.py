"""Airflow as Hopsworks ships it, beside a stack: 3.0.6 with LocalExecutor, and no triggerer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import requests

from devstack import airflow
from devstack.airflow_client import AirflowClient
from devstack.config import DevstackConfig
from devstack.processes import MARKER, clean_environment, write_private
from tests.support import REPOSITORY

VERSION = "3.0.6"
PYTHON = REPOSITORY / f".venv-airflow-{VERSION}" / "bin" / "python"
_PARTS = ("api-server", "scheduler", "dag-processor")
_SECONDS = 180


@contextmanager
def platform_airflow(
    config: DevstackConfig, dags: Path, connections: dict[str, Any], environment: dict[str, str]
) -> Iterator[AirflowClient]:
    """Runs while the block lasts.

    :param config: of the stack; Airflow takes two free ports of its twenty, and a folder in its home.
    :param connections: by id, with the keys of Airflow's connection JSON.
    :param environment: of Airflow's processes, and so of its tasks.
    """
    own = config.model_copy(
        update={
            "home": config.home / "platform",
            "dags_folder": dags,
            "airflow_port": config.port_base + 98,
            "airflow_log_port": config.port_base + 99,
        }
    )
    own.airflow_home.mkdir(parents=True, exist_ok=True)
    write_private(own.airflow_home / "passwords.json", json.dumps({airflow.USER: "platform"}))
    settings = airflow.settings(own, airflow._keys(own))
    settings["operators"]["default_deferrable"] = False
    # The files do not change: parsing them again and again would take a core.
    settings["dag_processor"] |= {"refresh_interval": 600, "min_file_process_interval": 600}
    write_private(own.airflow_home / "airflow.cfg", airflow.render(settings))
    # Marked as a part of the stack: what should be left of a killed test ends with the stack.
    process_environment = {
        **clean_environment(),
        **airflow.environment(own),
        **environment,
        MARKER: str(config.home),
    }
    subprocess.run(
        [PYTHON, "-m", "devstack.airflow.initialise"],
        input=json.dumps(connections),
        text=True,
        check=True,
        timeout=_SECONDS,
        cwd=REPOSITORY,
        env=process_environment,
        capture_output=True,
    )
    processes = []
    try:
        for part in _PARTS:
            with (config.logs / f"platform-{part}.log").open("w") as log:
                command = [PYTHON, "-m", "airflow", part, *(["--skip-serve-logs"] if part == "scheduler" else [])]
                processes.append(
                    subprocess.Popen(
                        command, env=process_environment, cwd=REPOSITORY, stdout=log, stderr=log, start_new_session=True
                    )
                )
        _wait(own.airflow_url)
        yield AirflowClient(own.airflow_url, (airflow.USER, "platform"))
    finally:
        living = [child for one in processes for child in _tree(one.pid)]
        for one in processes:
            os.killpg(one.pid, signal.SIGTERM)
        _, stubborn = psutil.wait_procs(living, timeout=10)
        for process in stubborn:
            process.kill()
        for one in processes:
            one.wait(10)


def _tree(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _wait(url: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            found = requests.get(f"{url}/api/v2/monitor/health", timeout=5).json()
            if found["scheduler"]["status"] == found["dag_processor"]["status"] == "healthy":
                return
        except (requests.RequestException, ValueError):
            pass
        assert time.monotonic() < deadline, "Airflow is not healthy in time"
        time.sleep(0.5)
