"""The stack that is measured: Kafka and Flink of its own, and a fresh TaskManager whenever one is asked for."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import requests
import yaml

from devstack import flink, jars, processes
from devstack.config import REPOSITORY, DevstackConfig
from devstack.stack import Stack

PORT_BASE = int(os.environ.get("DEVSTACK_PORT_BASE", "25000"))
HOME = REPOSITORY / ".devstack-bench"
BUILD = REPOSITORY / ".devstack-cache" / "benchmarks"
POM = Path(__file__).parent / "java" / "pom.xml"
# The goal for 100,000 cards: a TaskManager that may take more proves nothing.
TASKMANAGER_MEMORY = "1536m"
_JOBMANAGER, _TASKMANAGER = "flink-jobmanager", "flink-taskmanager"
_COMPILER_THREADS = ("C1 CompilerThre", "C2 CompilerThre")


class Cpu(NamedTuple):
    """CPU seconds of a process, user and system: all of them, and those of the JVM's compilers among them."""

    total: float
    compiling: float

    def since(self, before: Cpu) -> Cpu:
        return Cpu(self.total - before.total, self.compiling - before.compiling)


class Cluster:
    """Kafka and Flink under the benchmarks' own folder and ports."""

    def __init__(self) -> None:
        self.config = DevstackConfig(
            home=HOME, port_base=PORT_BASE, taskmanager_memory=TASKMANAGER_MEMORY, task_slots=2
        )
        self.stack = Stack(self.config)
        self.session = requests.Session()
        self._java_jar_id = ""

    def up(self, *parts: str) -> None:
        self.stack.up(parts or ("kafka", _JOBMANAGER, _TASKMANAGER))
        os.environ["AIRFLOW_CONN_FLINK_DEFAULT"] = json.dumps(
            {
                "conn_type": "flink",
                "host": self.config.flink_url,
                "extra": {"python_executable": str(flink.PYTHON), "jars_dir": str(jars.CONNECTOR_JARS)},
            }
        )

    def fresh_jobmanager(self) -> None:
        """End the JobManager and start a new one: each job leaves classes there, and some thirty fill its metaspace."""
        self.stack._supervisor.stop_program(_JOBMANAGER)
        self.stack.up([_JOBMANAGER])
        self._java_jar_id = ""

    # -- the process that is measured -------------------------------------------------------------------------------

    def fresh_taskmanager(self, overrides: Mapping[str, Any] | None = None) -> None:
        """End the TaskManager and start a new one, with these options over the stack's."""
        supervisor = self.stack._supervisor
        supervisor.stop_program(_TASKMANAGER)
        deadline = time.monotonic() + 60
        while self.flink("/taskmanagers")["taskmanagers"]:
            _within(deadline, "the old TaskManager did not leave")
        flink.prepare(self.config)
        file = flink.home(self.config) / "conf" / "config.yaml"
        settings = {**yaml.safe_load(file.read_text()), **(overrides or {})}
        file.write_text(yaml.safe_dump(settings, width=10_000, sort_keys=True))
        supervisor.start_program(_TASKMANAGER)
        deadline = time.monotonic() + 120
        while not self.flink("/taskmanagers")["taskmanagers"]:
            _within(deadline, "no TaskManager registered")
        self._settle()

    def taskmanager(self) -> psutil.Process:
        pid = self.stack._supervisor.states()[_TASKMANAGER]["pid"]
        (process,) = [one for one in processes.tree(pid) if one.name() == "java"]
        return process

    def cpu(self) -> Cpu:
        """What the TaskManager has taken so far."""
        process = self.taskmanager()
        times = process.cpu_times()
        compiling = sum(
            thread.user_time + thread.system_time
            for thread in process.threads()
            if _thread_name(process.pid, thread.id).startswith(_COMPILER_THREADS)
        )
        return Cpu(times.user + times.system, compiling)

    def peak_memory(self) -> int:
        """Largest resident size of the TaskManager so far, in bytes."""
        status = Path(f"/proc/{self.taskmanager().pid}/status").read_text()
        (line,) = [one for one in status.splitlines() if one.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024

    def _settle(self) -> None:
        """Wait until the start's own work is done: it would count for the first job."""
        deadline, before = time.monotonic() + 30, self.cpu().total
        while time.monotonic() < deadline:
            time.sleep(1)
            now = self.cpu().total
            if now - before < 0.1:
                return
            before = now

    # -- jobs -------------------------------------------------------------------------------------------------------

    def flink(self, path: str, method: str = "GET", **kwargs: Any) -> Any:
        answer = self.session.request(method, f"{self.config.flink_url}{path}", timeout=120, **kwargs)
        if not answer.ok:
            raise RuntimeError(f"Flink answers {answer.status_code} to {method} {path}: {answer.text[:2000]}")
        return answer.json() if answer.content else None

    def wait_finished(self, job_id: str, timeout: float) -> dict[str, Any]:
        """The job as Flink describes it once it has FINISHED.

        :raises RuntimeError: it ended otherwise.
        :raises TimeoutError: it did not end in time; it is cancelled.
        """
        deadline = time.monotonic() + timeout
        while True:
            job = self.flink(f"/jobs/{job_id}")
            if job["state"] == "FINISHED":
                return dict(job)
            if job["state"] in ("FAILED", "CANCELED", "RESTARTING"):
                cause = self.flink(f"/jobs/{job_id}/exceptions").get("root-exception") or ""
                if job["state"] == "RESTARTING":
                    self.cancel(job_id)
                raise RuntimeError(f"job {job['name']} is {job['state']}: {cause[:3000]}")
            if time.monotonic() > deadline:
                self.cancel(job_id)
                raise TimeoutError(f"job {job['name']} was still {job['state']} after {timeout:.0f} s")
            time.sleep(0.2)

    def checkpoints(self, job_id: str) -> tuple[float | None, int | None]:
        """The longest checkpoint of a job in seconds, and its largest state in bytes; None where it took none."""
        told = self.flink(f"/jobs/{job_id}/checkpoints")
        if not told["counts"]["completed"]:
            return None, None
        return told["summary"]["end_to_end_duration"]["max"] / 1000, told["summary"]["state_size"]["max"]

    def cancel(self, job_id: str) -> None:
        self.flink(f"/jobs/{job_id}?mode=cancel", "PATCH")

    def run_java_job(self, job_class: str, arguments: Mapping[str, str], configuration: Mapping[str, str]) -> str:
        """Start a job of our jar; returns its id."""
        if not self._java_jar_id:
            with java_jar().open("rb") as file:
                answer = self.flink("/jars/upload", "POST", files={"jarfile": ("benchmarks.jar", file)})
            self._java_jar_id = answer["filename"].rpartition("/")[2]
        request = {
            "entryClass": f"bench.{job_class}",
            "programArgsList": [word for pair in arguments.items() for word in pair],
            "parallelism": 1,
            "flinkConfiguration": dict(configuration),
        }
        return str(self.flink(f"/jars/{self._java_jar_id}/run", "POST", json=request)["jobid"])


def build_java() -> None:
    """The jar of the Java jobs, built anew when a source is newer."""
    jar = BUILD / "benchmarks-1.jar"
    sources = [path for path in POM.parent.rglob("*") if path.is_file()]
    if jar.is_file() and all(path.stat().st_mtime < jar.stat().st_mtime for path in sources):
        return
    command = ["mvn", "-q", "-B", "-f", str(POM), "package", f"-DbuildDirectory={BUILD}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(f"Maven could not build the Java jobs:\n{(done.stdout + done.stderr)[-3000:]}")


def java_jar() -> Path:
    return BUILD / "benchmarks-1.jar"


def run_java_tool(tool: str, **arguments: Any) -> dict[str, Any]:
    """Run a command line tool of our jar; its last line is JSON."""
    words = [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
    # Kafka's client classes are in the jar; Flink's, which the shared command line refers to, are in the distribution.
    classpath = f"{java_jar()}:{flink.distribution() / 'lib'}/*"
    command = [jars.java(), "-Xmx512m", "-XX:+UseSerialGC", "-cp", classpath, f"bench.{tool}", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, cwd=BUILD)
    if done.returncode:
        raise RuntimeError(f"{tool} failed: {(done.stdout + done.stderr)[-3000:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def _thread_name(pid: int, thread_id: int) -> str:
    try:
        return Path(f"/proc/{pid}/task/{thread_id}/comm").read_text()
    except FileNotFoundError:
        return ""  # it ended a moment ago


def _within(deadline: float, problem: str) -> None:
    if time.monotonic() > deadline:
        raise RuntimeError(problem)
    time.sleep(0.2)
