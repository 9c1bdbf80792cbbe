"""The supervise DAG under Airflow itself: what it remembers from run to run, and what it starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import REPOSITORY

pytestmark = pytest.mark.airflow


def test_a_missing_job_is_deployed_once_and_judged_again_afterwards(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.dags.run_supervise", str(tmp_path / "dags")],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines() if line.startswith(("STATES ", "PAGE ")))
    assert "PAGE" in told, done.stdout[-3000:] + done.stderr[-3000:]
    assert json.loads(told["STATES"]) == [
        {"supervise_job": "success", "redeploy": "skipped"},
        {"supervise_job": "success", "redeploy": "success"},
        # The deployment is queued.
        {"supervise_job": "skipped", "redeploy": "skipped"},
    ]
    # The second look is the last one; the third run left it alone.
    assert json.loads(told["PAGE"]) == {
        "verdict": "missing",
        "deploying": True,
        "dags": ["audit", "deploy", "offline_backfill", "recompute", "simulate", "supervise", "undeploy"],
        "looks": [0, 3],
        "deployments": ["queued"],
    }
