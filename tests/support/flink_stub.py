"""A scriptable JobManager on a real socket: enough of Flink's REST API to deploy, watch and end jobs.

It keeps jobs, uploads and savepoints like the real one, with the answers that a live Flink 2.3 gave. ``fail`` puts an
answer (or a fault of the transport) in front of what it would say by itself.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VERSION = "2.3.0"
UPLOADS = "/tmp/flink-web-1/flink-web-upload"
_ids = itertools.count(1)


@dataclass
class Fault:
    """What happens to the next matching requests instead of (or before) the normal answer."""

    method: str
    path: str
    times: int
    status: int = 0
    body: Any = None
    text: str | None = None
    delay: float = 0.0
    reset: bool = False
    after: bool = False  # do the work first, then lose the answer
    then: Callable[[], object] = lambda: None  # what else happens at that moment


@dataclass
class Job:
    """One job of the stub."""

    job_id: str
    name: str
    state: str = "RUNNING"
    user_config: dict[str, str] = field(default_factory=dict)
    start_time: int = field(default_factory=lambda: 1_700_000_000_000 + next(_ids) * 1000)
    end_time: int = -1
    completed: int = 1
    restarts: int | None = 0
    vertices: list[str] = field(default_factory=lambda: ["RUNNING", "RUNNING"])
    names: list[str] = field(default_factory=lambda: ["vertex 0", "vertex 1"])
    restored_from: str | None = None
    checkpoint: str | None = None
    checkpoint_discarded: bool = False
    savepoint: str | None = None
    exception: str | None = None
    checkpoint_age: float | None = None  # seconds since the last completed checkpoint
    proof: tuple[float, float] | None = None  # seconds since a completed checkpoint's trigger, and since it last ran
    failures: list[float] = field(default_factory=list)  # seconds since each failure, newest first
    failures_truncated: bool = False
    request: dict[str, Any] = field(default_factory=dict)
    retained: bool = True
    watermark: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)  # of the first vertex, summed over its subtasks
    cached: int = 0  # so many more looks at its details show it running, whatever it is

    def end(self, state: str) -> None:
        self.state, self.end_time = state, 1_700_000_000_000
        self.vertices = [{"FINISHED": "FINISHED", "CANCELED": "CANCELED"}.get(state, "FAILED")] * 2


@dataclass
class Request:
    """A request as it arrived."""

    method: str
    path: str
    body: Any
    headers: dict[str, str]


class FlinkStub:
    """The cluster; use as a context manager, ``url`` is its address."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.jars: dict[str, tuple[str, bytes]] = {}
        #: Epoch milliseconds at which a file that did not come just now was uploaded, by its id.
        self.uploaded: dict[str, int] = {}
        self.requests: list[Request] = []
        self.log = "2026-01-01 00:00:00,000 INFO  org.apache.flink.Main [] - started\n"
        self.configuration = {
            "execution.checkpointing.dir": "file:/checkpoints",
            "execution.checkpointing.savepoint-dir": "file:/savepoints",
        }
        self.slots_available = 3
        self.savepoint_failure: str | None = None
        self.pending_polls = 1
        #: Whether a checkpoint that is asked for completes.
        self.takes_checkpoints = False
        self.on_run: Callable[[Job], None] = lambda job: None
        self.program_error: str | None = None
        self._savepoints: dict[str, tuple[Job, bool, int]] = {}
        self._faults: list[Fault] = []
        self._lock = threading.RLock()

    # --- scripting -------------------------------------------------------------------------------------------------

    def add(self, name: str = "cards", **kwargs: Any) -> Job:
        """A job that is there already."""
        job = Job(kwargs.pop("job_id", uuid.uuid4().hex), name, **kwargs)
        self.jobs[job.job_id] = job
        return job

    def fail(self, method: str, path: str, times: int = 1, **kwargs: Any) -> None:
        """The next ``times`` requests whose path matches the regular expression go wrong."""
        self._faults.append(Fault(method, path, times, **kwargs))

    def calls(self, method: str, path: str) -> list[Request]:
        """The requests so far whose path matches the whole regular expression."""
        return [r for r in self.requests if r.method == method and re.fullmatch(path, r.path.partition("?")[0])]

    def running(self) -> list[Job]:
        """Jobs that have not ended."""
        return [job for job in self.jobs.values() if job.state not in ("FINISHED", "CANCELED", "FAILED")]

    # --- server ----------------------------------------------------------------------------------------------------

    def __enter__(self) -> FlinkStub:
        return self.start_at(0)

    def start_at(self, port: int) -> FlinkStub:
        """Listen on a port of the caller's choice; 0: a free one."""
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                stub._handle(self, self.rfile.read(length))

            do_GET = do_POST = do_PATCH = do_DELETE = _serve

            def log_message(self, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, handler: BaseHTTPRequestHandler, raw: bytes) -> None:
        method, path = handler.command, handler.path
        kind = handler.headers.get("Content-Type", "")
        body = json.loads(raw) if raw and "json" in kind else raw
        fault = None
        with self._lock:
            self.requests.append(Request(method, path, body, dict(handler.headers)))
            for candidate in self._faults:
                if candidate.times and candidate.method == method and re.search(candidate.path, path):
                    candidate.times -= 1
                    fault = candidate
                    break
        if fault and fault.delay:
            time.sleep(fault.delay)
        if fault and fault.after:
            self._answer(method, path.partition("?")[0], body)
        if fault:
            fault.then()
        if fault and fault.reset:
            # Linger 0 turns the close into a reset, as a dying JobManager does.
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.close_connection = True
            with contextlib.suppress(OSError):
                handler.connection.close()
            handler.wfile = handler.rfile = open("/dev/null", "r+b", buffering=0)  # noqa: SIM115 - closed by the handler
            return
        if fault and fault.status:
            content = fault.text if fault.text is not None else json.dumps(fault.body or {"errors": ["scripted"]})
            self._reply(handler, fault.status, content.encode())
            return
        with self._lock:
            status, answer = self._answer(method, path.partition("?")[0], body)
        self._reply(handler, status, answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    @staticmethod
    def _reply(handler: BaseHTTPRequestHandler, status: int, content: bytes) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        with contextlib.suppress(OSError):
            handler.wfile.write(content)

    # --- Flink -----------------------------------------------------------------------------------------------------

    def _answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        for verb, pattern, answer in self._routes():
            match = re.fullmatch(pattern, path)
            if match and verb == method:
                return answer(body, *match.groups())
        return 404, {"errors": ["Not found."]}

    def _routes(self) -> Iterator[tuple[str, str, Callable[..., tuple[int, Any]]]]:
        job = r"/jobs/([0-9a-f]{32})"
        yield (
            "GET",
            "/overview",
            lambda _: (
                200,
                {
                    "flink-version": VERSION,
                    "taskmanagers": 1,
                    "slots-total": 4,
                    "slots-available": self.slots_available,
                },
            ),
        )
        yield "GET", "/config", lambda _: (200, {"flink-version": VERSION, "refresh-interval": 3000})
        yield (
            "GET",
            "/jobmanager/config",
            lambda _: (200, [{"key": key, "value": value} for key, value in self.configuration.items()]),
        )
        yield "GET", "/jobmanager/log", lambda _: (200, self.log.encode())
        yield (
            "GET",
            "/jars",
            lambda _: (200, {"files": [self._file(jar_id) for jar_id in self.jars]}),
        )
        yield "POST", "/jars/upload", self._upload
        yield "DELETE", "/jars/([^/]+)", self._delete
        yield "POST", "/jars/([^/]+)/run", self._run
        yield "GET", "/jobs/overview", lambda _: (200, {"jobs": [self._overview(j) for j in self.jobs.values()]})
        yield "GET", job, self._of(self._detail)
        yield "GET", f"{job}/status", self._status
        yield (
            "GET",
            f"{job}/config",
            self._of(lambda j: {"jid": j.job_id, "name": j.name, "execution-config": {"user-config": j.user_config}}),
        )
        yield "GET", f"{job}/checkpoints", self._of(self._checkpoints)
        yield "POST", f"{job}/checkpoints", self._of(self._take_checkpoint)
        yield (
            "GET",
            f"{job}/checkpoints/config",
            self._of(lambda j: {"externalization": {"enabled": True, "delete_on_cancellation": not j.retained}}),
        )
        yield "GET", f"{job}/vertices/([0-9a-f]+)/watermarks", self._watermarks
        yield "GET", f"{job}/vertices/([0-9a-f]+)/subtasks/metrics", self._metrics
        yield (
            "GET",
            f"{job}/exceptions",
            self._of(self._exceptions),
        )
        yield (
            "GET",
            f"{job}/metrics",
            self._of(lambda j: [] if j.restarts is None else [{"id": "numRestarts", "value": str(j.restarts)}]),
        )
        yield "PATCH", job, self._cancel
        yield "POST", f"{job}/stop", self._stop
        yield "GET", f"{job}/savepoints/([0-9a-f]+)", self._savepoint

    def _of(self, answer: Callable[[Job], Any]) -> Callable[..., tuple[int, Any]]:
        def wrapped(_: Any, job_id: str) -> tuple[int, Any]:
            job = self.jobs.get(job_id)
            return (200, answer(job)) if job else self._unknown(job_id)

        return wrapped

    def _status(self, _: Any, job_id: str) -> tuple[int, Any]:
        if job := self.jobs.get(job_id):
            return 200, {"status": job.state}
        name = "org.apache.flink.runtime.messages.FlinkJobNotFoundException"
        text = f"<Exception on server side:\n{name}: Could not find Flink job ({job_id})\n\tat x.Y\n"
        return 500, {"errors": ["Internal server error.", text]}

    @staticmethod
    def _unknown(job_id: str) -> tuple[int, Any]:
        return 404, {"errors": [f"Job {job_id} not found"]}

    def _upload(self, body: bytes) -> tuple[int, Any]:
        name = re.search(rb'filename="([^"]+)"', body).group(1).decode()  # type: ignore[union-attr]
        content = body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
        jar_id = f"{uuid.uuid4()}_{name}"
        self.jars[jar_id] = (name, content)
        return 200, {"filename": f"{UPLOADS}/{jar_id}", "status": "success"}

    def _file(self, jar_id: str) -> dict[str, Any]:
        uploaded = self.uploaded.get(jar_id, round(time.time() * 1000))
        return {"id": jar_id, "name": self.jars[jar_id][0], "uploaded": uploaded}

    def _delete(self, _: Any, jar_id: str) -> tuple[int, Any]:
        return (200, {}) if self.jars.pop(jar_id, None) else (400, {"errors": ["File not found"]})

    def _run(self, body: dict[str, Any], jar_id: str) -> tuple[int, Any]:
        if jar_id not in self.jars:
            return 400, {"errors": ["jar not found"]}
        arguments = body["programArgsList"]
        paths = {
            name: arguments[arguments.index(name) + 1].rpartition("/")[2] for name in ("--files", "--flink-python")
        }
        bundle = paths["--files"]
        if missing := [jar for jar in paths.values() if jar not in self.jars]:
            return 400, {"errors": [f"{missing} not found"]}
        started = f"Starting Python process with environment variables: {{PYTHONPATH=/tmp/pyflink/{bundle[:-4]}}}"
        self.log += f"2026-01-01 00:00:01,000 INFO  org.apache.flink.client.python.PythonEnvUtils [] - {started}\n"
        if body["jobId"] in self.jobs:
            return self._python_failed(
                "Caused by: org.apache.flink.runtime.client.DuplicateApplicationSubmissionException: "
                "Application has already been submitted."
            )
        if self.program_error is not None:
            return self._python_failed(self.program_error)
        configuration = body["flinkConfiguration"]
        marks = configuration.get("pipeline.global-job-parameters", "")
        job = Job(
            body["jobId"],
            configuration["pipeline.name"],
            # The launcher adds a mark of its own.
            user_config={
                **dict(part.split(":", 1) for part in marks.split(",") if part),
                "submitted_as": arguments[arguments.index("--job-id") + 1],
            },
            restored_from=body["savepointPath"],
            request=body,
        )
        self.jobs[job.job_id] = job
        self.on_run(job)
        return 200, {"jobid": job.job_id}

    def _python_failed(self, output: str) -> tuple[int, Any]:
        for line in ("Traceback (most recent call last):", *output.splitlines(), "Run python process failed"):
            self.log += f"2026-01-01 00:00:02,000 INFO  hopsworksflink.submit.PythonLauncher [] - {line}\n"
        stack = "Caused by: java.lang.RuntimeException: Python process exits with code: 1"
        return 400, {"errors": ["org.apache.flink.client.program.ProgramAbortException\n" + stack]}

    @staticmethod
    def _overview(job: Job) -> dict[str, Any]:
        return {
            "jid": job.job_id,
            "name": job.name,
            "state": job.state,
            "start-time": job.start_time,
            "end-time": job.end_time,
            "tasks": {"total": len(job.vertices), "running": job.vertices.count("RUNNING")},
        }

    def _detail(self, job: Job) -> dict[str, Any]:
        named = zip(job.names, job.vertices, strict=False)
        vertices = [
            {"id": f"{n:032x}", "name": name, "status": "RUNNING" if job.cached else status}
            for n, (name, status) in enumerate(named)
        ]
        now = int(time.time() * 1000)
        times = {"RUNNING": now - int(job.proof[1] * 1000) if job.proof else job.start_time}
        shown = {"state": "RUNNING"} if job.cached else {}
        job.cached = max(0, job.cached - 1)
        return {**self._overview(job), **shown, "vertices": vertices, "duration": 1500, "now": now, "timestamps": times}

    @staticmethod
    def _exceptions(job: Job) -> dict[str, Any]:
        ages = job.failures or ([0.0] if job.exception else [])
        entries = [
            {"stacktrace": job.exception or "x.Y: failed", "timestamp": int((time.time() - age) * 1000)} for age in ages
        ]
        return {"exceptionHistory": {"entries": entries, "truncated": job.failures_truncated}}

    @staticmethod
    def _checkpoints(job: Job) -> dict[str, Any]:
        completed = savepoint = restored = None
        if job.checkpoint:
            completed = _checkpoint(1, job.checkpoint, False, job.checkpoint_discarded)
            if job.checkpoint_age is not None:
                completed["latest_ack_timestamp"] = int((time.time() - job.checkpoint_age) * 1000)
            if job.proof:
                completed["trigger_timestamp"] = int((time.time() - job.proof[0]) * 1000)
        if job.savepoint:
            savepoint = _checkpoint(2, job.savepoint, True, False)
        if job.restored_from:
            restored = {"id": 1, "external_path": job.restored_from, "is_savepoint": True}
        return {
            "counts": {"completed": job.completed, "restored": int(bool(restored))},
            "latest": {"completed": completed, "savepoint": savepoint, "failed": None, "restored": restored},
            "history": [entry for entry in (savepoint, completed) if entry],
        }

    def _take_checkpoint(self, job: Job) -> dict[str, Any]:
        job.completed += self.takes_checkpoints
        return {"request-id": "0" * 32}

    def _watermarks(self, _: Any, job_id: str, vertex: str) -> tuple[int, Any]:
        job = self.jobs.get(job_id)
        if job is None:
            return self._unknown(job_id)
        if int(vertex, 16) == 0:
            return 200, []  # a source has no input
        value = job.watermark if job.watermark is not None else -(2**63)
        return 200, [{"id": "0.currentInputWatermark", "value": str(value)}]

    def _metrics(self, _: Any, job_id: str, vertex: str) -> tuple[int, Any]:
        """All of them, as names (and as values, which the real one gives only when it is asked for them)."""
        job = self.jobs.get(job_id)
        if job is None:
            return self._unknown(job_id)
        found = job.metrics if int(vertex, 16) == 0 else {}
        return 200, [{"id": name, "sum": value} for name, value in found.items()]

    def _cancel(self, _: Any, job_id: str) -> tuple[int, Any]:
        job = self.jobs.get(job_id)
        if job is None:
            return self._unknown(job_id)
        if job not in self.running():
            return 409, {"errors": ["already terminated"]}
        job.end("CANCELED")
        return 202, {}

    def _stop(self, body: dict[str, Any], job_id: str) -> tuple[int, Any]:
        job = self.jobs.get(job_id)
        if job is None:
            return self._unknown(job_id)
        request_id = body.get("triggerId") or uuid.uuid4().hex
        if request_id not in self._savepoints:
            self._savepoints[request_id] = (job, body["drain"], self.pending_polls)
            if not self.savepoint_failure:
                target = body.get("targetDirectory", "file:/savepoints")
                job.savepoint = f"{target}/savepoint-{job_id[:6]}"
        return 202, {"request-id": request_id}

    def _savepoint(self, _: Any, job_id: str, request_id: str) -> tuple[int, Any]:
        job, drain, polls = self._savepoints[request_id]
        if polls:
            self._savepoints[request_id] = (job, drain, polls - 1)
            return 200, {"status": {"id": "IN_PROGRESS"}}
        if self.savepoint_failure:
            failure = {"class": "X", "stack-trace": f"java.util.X: outer\nCaused by: {self.savepoint_failure}"}
            return 200, {"status": {"id": "COMPLETED"}, "operation": {"failure-cause": failure}}
        job.end("FINISHED")
        return 200, {"status": {"id": "COMPLETED"}, "operation": {"location": job.savepoint}}


def _checkpoint(number: int, path: str, savepoint: bool, discarded: bool) -> dict[str, Any]:
    return {
        "id": number,
        "status": "COMPLETED",
        "is_savepoint": savepoint,
        "external_path": path,
        "discarded": discarded,
        "trigger_timestamp": number * 1000,
    }
