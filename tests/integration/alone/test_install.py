"""The wheel in an environment of its own, with pip as its users have it: from nothing to DAGs that Airflow reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import REPOSITORY

pytestmark = pytest.mark.timeout(900)

SHOW = """
from airflow.models.dagbag import DagBag
import hopsworks
bag = DagBag(dag_folder="dags")
print("RESULT", bag.import_errors, sorted(bag.dags))
"""


def run(*command: str, cwd: Path, **env: str) -> str:
    # Not this environment's packages, and an Airflow home of its own.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AIRFLOW", "VIRTUAL"))}
    done = subprocess.run(command, cwd=cwd, env={**clean, **env}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_from_the_wheel_to_dags(tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", "env", cwd=tmp_path)
    python, script = str(tmp_path / "env" / "bin" / "python"), str(tmp_path / "env" / "bin" / "hopsworks-flink")
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(REPOSITORY), cwd=tmp_path)
    (wheel,) = tmp_path.glob("airflow_provider_hopsworks_flink-*.whl")
    run(*pip, "install", "--quiet", "--no-deps", str(wheel), cwd=tmp_path)
    packages = run(script, "requirements", "--airflow", "3.3.2", cwd=tmp_path)
    (tmp_path / "requirements.txt").write_text(packages)
    # Of most packages a few modules are used here: Python compiles those by itself.
    run(*pip, "install", "--quiet", "--no-deps", "--no-compile", "-r", "requirements.txt", cwd=tmp_path)

    assert run(*pip, "check", cwd=tmp_path).strip() == "No broken requirements found."

    run(script, "init", "dags", cwd=tmp_path)
    shown = run(python, "-c", SHOW, cwd=tmp_path, AIRFLOW_HOME=str(tmp_path / "home"))
    (result,) = [line for line in shown.splitlines() if line.startswith("RESULT")]
    verbs = ["audit", "deploy", "offline_backfill", "recompute", "simulate", "supervise", "undeploy"]
    assert result == f"RESULT {{}} {[f'card_transactions__{verb}' for verb in verbs]}"
    compiled = run(script, "compile", "dags/pipelines/card_transactions.yaml", cwd=tmp_path)
    assert "INSERT INTO" in compiled
    # The jar of this package is in the wheel: nobody needs Maven.
    program = "from hopsworks_flink.clients.flink.files import programs_folder as p; print(*p().rglob('*.jar'))"
    assert "hopsworks-flink-java" in run(python, "-c", program, cwd=tmp_path)
