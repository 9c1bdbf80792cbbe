"""Executions as processes: start, watch, stop, and adopt after a restart of the server.

Each process inherits an exclusive lock on a file and holds it until it exits. Whoever can take that lock knows that the
process is gone, even if its parent is gone too or its process id was given to another process.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import threading
from pathlib import Path

from devstack.config import PYTHON, REPOSITORY, DevstackConfig
from devstack.hopsworks.home import errors
from devstack.hopsworks.home.layout import Layout
from devstack.hopsworks.home.log import get_logger
from devstack.hopsworks.jobs.store import JobStore
from devstack.hopsworks.metadata.models import Execution, Job

log = get_logger("executions")
# Verbs of `python -m devstack.hopsworks`.
MATERIALIZE, PROGRAM = "materialize", "program"
PYTHON_TYPE = "PYTHON"
STOP_TIMEOUT_SECONDS = 10.0
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
MOST_VARIABLE = 32_768
# Of the loader, the interpreter, the network and the certificates of a process, and of this stack.
RESERVED_VARIABLES = tuple(
    [
        "PATH",
        "HOME",
        "TMPDIR",
        "BASH_",
        "LD_",
        "DYLD_",
        "GLIBC_",
        "MALLOC_",
        "PYTHON",
        "VIRTUAL_ENV",
        "JAVA_",
        "_JAVA_",
        "JDK_",
        "SSL_",
        "REQUESTS_",
        "CURL_",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "DEVSTACK_",
    ]
)


def check_variables(variables: dict[str, str]) -> None:
    """Refuse environment variables that would change how a process of this server runs, or that none can have."""
    for name, value in variables.items():
        if not VARIABLE.fullmatch(name) or len(value) > MOST_VARIABLE:
            raise errors.ILLEGAL_ARGUMENT(
                f"envVars {name[:100]!r}: letters, digits and '_', with at most {MOST_VARIABLE} characters as value."
            )
        if name.upper().startswith(RESERVED_VARIABLES):
            raise errors.ILLEGAL_ARGUMENT(f"envVars {name!r}: this name is reserved; choose another one.")


class Executor:
    """Runs executions as child processes, at most one per job at a time."""

    def __init__(self, config: DevstackConfig, jobs: JobStore) -> None:
        self.config = config
        self.layout = Layout(config)
        self.jobs = jobs
        self._gone: dict[int, threading.Event] = {}

    def start(self, job: Job, args: str, env_vars: dict[str, str]) -> Execution:
        """Start one execution; refuses (130040) while another one of the job has not finished."""
        folder = f"{self.layout.project_path}/Logs/{'Python' if job.job_type == PYTHON_TYPE else 'Spark'}"
        execution = self.jobs.new_execution(job, args, env_vars, folder)
        if execution is None:
            raise errors.EXECUTION_LIMIT(f"job {job.name!r} is running already; wait for it or stop it.")
        try:
            self._spawn(execution)
        except OSError as error:
            self.jobs.finish(execution.id, "INITIALIZATION_FAILED", "FAILED")
            raise errors.JOB_START_FAILED(f"job {job.name!r}: {error}") from error
        log.info("execution %d of %s started", execution.id, job.name)
        return execution

    def _spawn(self, execution: Execution) -> None:
        job = self.jobs.job_by_id(execution.job_id)
        verb = PROGRAM if job and job.job_type == PYTHON_TYPE else MATERIALIZE
        lock = self._open_lock(execution.id)
        try:
            # The child shares this open file, so it stays locked until the child's copy is closed too.
            fcntl.flock(lock, fcntl.LOCK_EX)
            stdout, stderr = self._local(execution.stdout_path), self._local(execution.stderr_path)
            stdout.parent.mkdir(parents=True, exist_ok=True)
            with stdout.open("wb") as out, stderr.open("wb") as err:
                process = subprocess.Popen(
                    [PYTHON, "-m", "devstack.hopsworks", verb, "--execution", str(execution.id)],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    cwd=REPOSITORY,
                    env={**os.environ, **self.config.environment()},
                    pass_fds=(lock,),
                    # A group of its own, so that stopping ends what a program has started, too.
                    start_new_session=True,
                )
        finally:
            os.close(lock)
        self.jobs.set_pid(execution.id, process.pid)
        self._watch(execution.id, process)

    def _watch(self, execution_id: int, process: subprocess.Popen[bytes] | None) -> None:
        gone = self._gone[execution_id] = threading.Event()

        def wait() -> None:
            if process is not None:
                process.wait()
            lock = self._open_lock(execution_id)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._finish_after_death(execution_id)
            finally:
                os.close(lock)
                gone.set()
            self._lock_path(execution_id).unlink(missing_ok=True)

        threading.Thread(target=wait, name=f"execution-{execution_id}", daemon=True).start()

    def _finish_after_death(self, execution_id: int) -> None:
        """The final state of an execution whose process is gone without having written one."""
        execution = self.jobs.execution(execution_id)
        if execution is None or execution.finished:
            return
        for path in (self._local(execution.stdout_path), self._local(execution.stderr_path)):
            # Both files must be there before the final state: the SDK waits minutes for a missing one.
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        status = "KILLED" if execution.stop_requested else "FAILED"
        if status == "FAILED":
            with self._local(execution.stderr_path).open("a") as file:
                file.write("The process of this execution ended without a result (killed, or the machine went down).\n")
        self.jobs.finish(execution_id, status, status)
        log.info("execution %d is %s: its process is gone", execution_id, status)

    def stop(self, execution: Execution) -> Execution:
        """Kill the process and wait for the final state; a finished execution stays as it is.

        Killing at any point is safe: the table is written before the offsets, and writing again changes nothing.
        """
        if not execution.finished:
            self.jobs.request_stop(execution.id)
            gone = self._gone.get(execution.id)
            if execution.pid and gone is not None and not gone.is_set():
                try:
                    os.killpg(execution.pid, signal.SIGKILL)
                except ProcessLookupError:
                    log.info("execution %d had ended by itself", execution.id)
            if gone is not None:
                gone.wait(STOP_TIMEOUT_SECONDS)
        return self.jobs.execution(execution.id) or execution

    def adopt(self) -> None:
        """After a start of the server: watch what still runs, mark as FAILED what does not."""
        for execution in self.jobs.unfinished():
            self._watch(execution.id, None)
            # Wait a moment for a free lock to be taken, so that no client sees a dead run as running.
            self._gone[execution.id].wait(0.5)

    def shutdown(self) -> None:
        """Stop everything that runs: an orderly end of the server leaves no process behind."""
        for execution in self.jobs.unfinished():
            self.stop(execution)

    def _local(self, path: str) -> Path:
        return self.layout.datasets / path.removeprefix(f"{self.layout.project_path}/")

    def _lock_path(self, execution_id: int) -> Path:
        return self.layout.locks / f"execution-{execution_id}.lock"

    def _open_lock(self, execution_id: int) -> int:
        self.layout.locks.mkdir(parents=True, exist_ok=True)
        return os.open(self._lock_path(execution_id), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
