"""The blocking client of Flink's REST API: errors as our own, retries only where they are safe."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import requests
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth
from urllib3.util.retry import Retry

from hopsworks_flink.clients.addresses import segment
from hopsworks_flink.clients.flink.connection import Auth
from hopsworks_flink.clients.flink.http import (
    CONNECT_SECONDS,
    READ_SECONDS,
    UNAVAILABLE,
    FlinkCalls,
    Ignore,
    Question,
    api_error,
    certificate_error,
    effective_verify,
    not_json,
    understood,
)
from hopsworks_flink.clients.tls import reason_of
from hopsworks_flink.exceptions import FlinkApiError, FlinkConnectionError, FlinkError, FlinkJobNotFound

T = TypeVar("T")
#: Starting a Python job takes a few seconds; on a busy JobManager a good deal more.
RUN_SECONDS = 300.0
_UPLOAD_SECONDS = 300.0
_LOG_TAIL_BYTES = 512 * 1024


class FlinkRestClient(FlinkCalls):
    """Speaks to one JobManager (or to a proxy in front of it).

    :param base_url: e.g. ``http://jobmanager:8081``; a path is kept.
    :param auth: user and password for HTTP basic authentication, or what signs each request.
    :param verify: False, True, or the path of a PEM file with the CA certificate.
    :raises ConfigurationError: that file is not there.
    """

    #: Seconds before the second repetition of a read, doubled with each further one; the first comes at once.
    pause_seconds = 0.3
    #: How long a job that initialises may keep its marks to itself, and how often it is asked for them.
    marks_seconds, marks_poll = 10.0, 0.5

    def __init__(self, base_url: str, *, auth: Auth | None = None, verify: bool | str = True) -> None:
        self.base_url = base_url.rstrip("/")
        self._session = requests.Session()
        if isinstance(auth, tuple):
            # As everybody does it today; of texts requests makes Latin-1.
            auth = HTTPBasicAuth(*(part.encode() for part in auth))
        # Without any, requests would take what a ~/.netrc has for the host.
        self._session.auth = auth or (lambda request: request)
        self._verify = effective_verify(verify)
        # Only GET is repeated blindly. A JobManager that restarts answers 503, one behind a proxy 502 or 504.
        retry = Retry(
            total=4,
            backoff_factor=self.pause_seconds,
            status_forcelist=sorted(UNAVAILABLE),
            allowed_methods=frozenset({"GET"}),
            raise_on_status=False,
            # A proxy under maintenance may say an hour, for which nothing could end the wait.
            respect_retry_after_header=False,
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def log_since(self, marker: str) -> str:
        """What the JobManager logged from the last line with ``marker`` on, at most half a MiB.

        Empty if it has no log to show (one that logs to the console only) or the marker is not in it: the log is a
        help for an error that is being reported, never a reason for another one.
        """
        try:
            with self._send("GET", "/jobmanager/log", stream=True) as response:
                tail = b""
                for chunk in response.iter_content(256 * 1024):
                    tail = (tail + chunk)[-_LOG_TAIL_BYTES:]
        except (FlinkApiError, FlinkConnectionError, requests.RequestException):
            return ""
        text = tail.decode("utf-8", errors="replace")
        position = text.rfind(marker)
        return "" if position < 0 else text[text.rfind("\n", 0, position) + 1 :]

    # --- jars ------------------------------------------------------------------------------------------------------

    def jars(self) -> list[dict[str, Any]]:
        """``GET /jars``: uploaded files with ``id``, ``name`` and ``uploaded`` (epoch milliseconds)."""
        return list(self._call("GET", "/jars").get("files", ()))

    def upload_jar(self, name: str, content: bytes) -> str:
        """Upload one file.

        :return: its absolute path on the JobManager; the last part is the jar's id.
        """
        files = {"jarfile": (name, content, "application/x-java-archive")}
        return str(self._call("POST", "/jars/upload", files=files, timeout=_UPLOAD_SECONDS)["filename"])

    def delete_jar(self, jar_id: str) -> None:
        """``DELETE /jars/{id}``."""
        self._call("DELETE", f"/jars/{segment(jar_id)}")

    def run_jar(self, jar_id: str, request: Mapping[str, Any]) -> str:
        """``POST /jars/{id}/run``, sent once.

        :return: the job's id.
        :raises FlinkDuplicateJobId: Flink has seen ``jobId`` before.
        """
        return str(self._call("POST", f"/jars/{segment(jar_id)}/run", json=dict(request), timeout=RUN_SECONDS)["jobid"])

    # --- jobs ------------------------------------------------------------------------------------------------------

    def job_marks(self, job_id: str) -> dict[str, str]:
        """The job's ``pipeline.global-job-parameters``; empty while a job initialises or when Flink forgot it."""
        try:
            config = self.job_config(job_id)
        except FlinkJobNotFound:
            return {}
        return dict((config.get("execution-config") or {}).get("user-config") or {})

    def is_job(self, job_id: str, job_name: str, marks: Mapping[str, str]) -> bool | None:
        """Whether the job under an id is a certain one: has its name, and was started with these marks.

        :return: None if Flink does not know the job, or cannot tell what it was started with (it has never run).
        """
        deadline = time.monotonic() + self.marks_seconds
        while True:
            job = self.find_job(job_id)
            if job is None:
                return None
            if job["name"] != job_name:
                return False
            found = self.job_marks(job_id)
            if found or job["state"] != "INITIALIZING" or time.monotonic() > deadline:
                break
            time.sleep(self.marks_poll)
        # It shows its marks once it is initialised: one that was ended before that never will.
        untold = not found and job["state"] in ("INITIALIZING", "FAILED", "CANCELED")
        return None if untold else marks.items() <= found.items()

    def checkpoint_config(self, job_id: str) -> dict[str, Any]:
        """``GET /jobs/{id}/checkpoints/config``."""
        return self._call("GET", f"/jobs/{segment(job_id)}/checkpoints/config")

    def watermarks(self, job_id: str, vertex_id: str) -> list[dict[str, Any]]:
        """``GET /jobs/{id}/vertices/{vertex}/watermarks``: ``id`` and ``value`` of each subtask that tells."""
        return list(self._call("GET", f"/jobs/{segment(job_id)}/vertices/{segment(vertex_id)}/watermarks"))

    def vertex_metrics(self, job_id: str, vertex_id: str, patterns: Mapping[str, str]) -> dict[str, float]:
        """``GET /jobs/{id}/vertices/{vertex}/subtasks/metrics``: figure -> sum over operators and subtasks.

        :param patterns: figure -> regular expression that is the whole name of its metrics; a figure that no operator
            has is left out.
        """
        path = f"/jobs/{segment(job_id)}/vertices/{segment(vertex_id)}/subtasks/metrics"
        known = [entry["id"] for entry in self._call("GET", path)]
        of = {name: figure for figure, pattern in patterns.items() for name in known if re.fullmatch(pattern, name)}
        sums: dict[str, float] = {}
        if of:
            for entry in self._call("GET", path, params={"get": ",".join(of), "agg": "sum"}):
                # A server may tell more than it was asked for.
                if figure := of.get(entry["id"]):
                    sums[figure] = sums.get(figure, 0.0) + float(entry["sum"])
        return sums

    def answer(self, steps: Generator[Question, Any, T]) -> T:
        """What a generator returns that yields questions to this client; errors are thrown in."""
        question = next(steps)
        while True:
            try:
                try:
                    answer = getattr(self, question[0])(*question[1:])
                except FlinkError as error:
                    question = steps.throw(error)
                else:
                    question = steps.send(answer)
            except StopIteration as end:
                return end.value

    # --- transport -------------------------------------------------------------------------------------------------

    def _call(
        self,
        method: str,
        path: str,
        read: Callable[[Any], Any] = lambda answer: answer,
        ignore: Ignore = lambda error: False,
        **options: Any,
    ) -> Any:
        try:
            with self._send(method, path, **options) as response:
                answer = self._json(method, path, response) if response.content else {}
                return understood(read, answer, method, self.base_url + path, response.status_code)
        except FlinkApiError as error:
            if not ignore(error):
                raise
            return None

    def _json(self, method: str, path: str, response: requests.Response) -> Any:
        try:
            return response.json()
        except requests.exceptions.ConnectionError as error:
            raise FlinkConnectionError(f"Flink at {self.base_url} broke off its answer: {_reason(error)}.") from error
        except ValueError:
            raise not_json(method, self.base_url + path, response.status_code, response.text) from None

    @contextmanager
    def _send(
        self, method: str, path: str, *, timeout: float = READ_SECONDS, **kwargs: Any
    ) -> Iterator[requests.Response]:
        try:
            # Named with each request: a CA bundle in the environment would win over the session's own setting.
            response = self._session.request(
                method, self.base_url + path, timeout=(CONNECT_SECONDS, timeout), verify=self._verify, **kwargs
            )
        except requests.exceptions.SSLError as error:
            raise certificate_error(self.base_url, _reason(error)) from error
        except requests.exceptions.RequestException as error:
            raise FlinkConnectionError(f"Flink at {self.base_url} cannot be reached: {_reason(error)}.") from error
        with response:
            if response.status_code >= 400:
                raise api_error(method, self.base_url + path, response.status_code, response.text, response.reason)
            yield response


def _reason(error: BaseException) -> str:
    return "no answer in time" if isinstance(error, requests.exceptions.Timeout) else reason_of(error)
