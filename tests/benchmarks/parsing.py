"""What Airflow pays for the package: its import, and folders of a hundred and of five hundred pipelines."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import yaml

from tests.benchmarks.jobs import REFERENCE
from tests.support import REPOSITORY

PIPELINES = 100
MANY_PIPELINES = 500
_REPEATS = 3

# Airflow first: only what the package adds counts.
_IMPORT = """
import time
import airflow.sdk, airflow.sdk.bases.hook, airflow.sdk.bases.operator, airflow.sdk.bases.sensor, airflow.triggers.base
from airflow.dag_processing.dagbag import DagBag
began = time.process_time()
import hopsworks_flink.assets, hopsworks_flink.pipeline.catalog
import hopsworks_flink.operators.flink, hopsworks_flink.operators.hopsworks
import hopsworks_flink.sensors.flink, hopsworks_flink.sensors.hopsworks
print(time.process_time() - began)
"""
_PARSE = """
import sys, time
from airflow.dag_processing.dagbag import DagBag
import hopsworks_flink.pipeline.catalog
import hopsworks_flink.operators.flink, hopsworks_flink.operators.hopsworks, hopsworks_flink.operators.simulate
began = time.process_time()
bag = DagBag(dag_folder=sys.argv[1])
seconds = time.process_time() - began
assert not bag.import_errors, bag.import_errors
assert len(bag.dags) >= int(sys.argv[2]), len(bag.dags)
print(seconds)
"""


def measure(*, tell: Callable[[str], None]) -> dict[str, float]:
    """CPU seconds of the import beyond Airflow's, and of parsing pipelines beyond an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        full, empty = Path(folder) / "full", Path(folder) / "empty"
        empty.mkdir()
        shutil.copytree(REPOSITORY / "dags", full, ignore=shutil.ignore_patterns("__pycache__"))
        _write_pipelines(full / "pipelines", PIPELINES)
        nothing = _seconds(_PARSE, str(empty), "0")
        found = {
            "import_seconds": _seconds(_IMPORT),
            "empty_folder_seconds": nothing,
            "pipelines_seconds": _seconds(_PARSE, str(full), str(5 * PIPELINES)) - nothing,
        }
        _write_pipelines(full / "pipelines", MANY_PIPELINES)
        found["many_pipelines_seconds"] = _seconds(_PARSE, str(full), str(5 * MANY_PIPELINES)) - nothing
    tell(f"parsing: {found}")
    return found


def _write_pipelines(folder: Path, count: int) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    for number in range(count):
        spec = yaml.safe_load(REFERENCE.read_text())
        spec["name"] = f"pipeline_{number}"
        spec["source"]["topic"] = f"topic_{number}"
        for group in spec["feature_groups"]:
            group["name"] = f"group_{number}"
        (folder / f"pipeline_{number}.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))


def _seconds(program: str, *arguments: str) -> float:
    """Median over processes of what the program prints."""
    times = []
    for _ in range(_REPEATS):
        command = [sys.executable, "-c", program, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=REPOSITORY)
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        times.append(float(done.stdout.strip().splitlines()[-1]))
    return median(times)
