"""One execution of a job of type PYTHON: the program of its ``appPath``, as a process."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from devstack.config import PYTHON, DevstackConfig
from devstack.hopsworks.home.datasets import Datasets
from devstack.hopsworks.home.errors import HopsworksError
from devstack.hopsworks.home.layout import Layout
from devstack.hopsworks.home.setup import read_api_key
from devstack.hopsworks.jobs.store import JobStore
from devstack.hopsworks.metadata.models import Execution, Job
from devstack.hopsworks.metadata.store import MetadataStore
from devstack.processes import MARKER

# What a program gets of the server's own environment.
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", MARKER)


def run_program(config: DevstackConfig, execution_id: int) -> None:
    """The process: runs the program to its end and writes the execution's final state. Raises SystemExit."""
    layout = Layout(config)
    jobs = JobStore(MetadataStore(layout).db)
    execution = jobs.execution(execution_id)
    job = jobs.job_by_id(execution.job_id) if execution else None
    if execution is None or job is None:
        raise SystemExit(f"Execution {execution_id} does not exist in {layout.metadata_db}.")
    jobs.mark_running(execution_id)
    try:
        with tempfile.TemporaryDirectory(prefix="job-") as folder:
            code = _run(config, job, execution, Path(folder))
    except (HopsworksError, OSError, ValueError) as error:
        sys.stderr.write(f"The program could not be started: {error}\n")
        code = 1
    else:
        if code != 0:
            sys.stderr.write(f"The program ended with exit code {code}.\n")
    sys.stderr.flush()
    jobs.finish(execution_id, *(("FAILED", "FAILED") if code else ("FINISHED", "SUCCEEDED")))
    raise SystemExit(1 if code else 0)


def _run(config: DevstackConfig, job: Job, execution: Execution, folder: Path) -> int:
    """The program's exit code. It works on a copy, in a folder that is removed afterwards."""
    datasets = Datasets(Layout(config))
    program = Path(shutil.copy(datasets.existing(job.config["appPath"]), folder))
    for path in filter(None, str(job.config.get("files") or "").split(",")):
        shutil.copy(datasets.existing(path), folder)
    environment = {
        **{name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ},
        "HOME": str(folder),
        # `hopsworks.login()` without arguments works in a job, as on the platform.
        "HOPSWORKS_HOST": config.host("hopsworks"),
        "HOPSWORKS_PORT": str(config.hopsworks_port),
        "HOPSWORKS_PROJECT": config.project,
        "HOPSWORKS_API_KEY": read_api_key(config),
        "HOPSWORKS_ENGINE": "python",
        "HOPSWORKS_HOSTNAME_VERIFICATION": "True",
        "HOPSWORKS_TRUST_STORE_PATH": str(config.hopsworks_ca),
        "HOPSWORKS_CERT_FOLDER": str(folder / "certificates"),
        **execution.env_vars,
    }
    command = [PYTHON, "-u", str(program), *shlex.split(execution.args)]
    return subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, check=False).returncode
