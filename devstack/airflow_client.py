"""The few calls to Airflow's public REST API that the demo and the integration tests make."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from devstack.config import DevstackError

# A busy machine is only slow.
_TIMEOUT_SECONDS = 120
_POLL_SECONDS = 1.0
_ENDED = {"success", "failed"}
# A busy SQLite makes the API server answer so. What can be asked twice is asked again.
_RETRY = Retry(
    total=5, backoff_factor=0.5, status_forcelist=(500, 503), allowed_methods=("GET", "PATCH"), raise_on_status=False
)


@dataclass(frozen=True)
class DagRun:
    """One run of a DAG."""

    dag_id: str
    run_id: str
    state: str


class AirflowClient:
    """Airflow's REST API, as one of its users.

    :param url: base URL of the API server.
    :param credentials: user and password.
    """

    def __init__(self, url: str, credentials: tuple[str, str]) -> None:
        self._url = url
        self._credentials = credentials
        self._session = requests.Session()
        self._session.mount(url, HTTPAdapter(max_retries=_RETRY))

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        """JSON answer of one call below ``/api/v2``. Logs in when needed.

        :raises DevstackError: Airflow answered with an error.
        """
        response = self._request(method, path, arguments)
        if response.status_code == 401:
            self._log_in()
            response = self._request(method, path, arguments)
        if not response.ok:
            raise DevstackError(f"Airflow: {method} {path}: {response.status_code} {response.text[:500]}")
        return response.json() if response.content else None

    def _request(self, method: str, path: str, arguments: dict[str, Any]) -> requests.Response:
        return self._session.request(method, f"{self._url}/api/v2{path}", timeout=_TIMEOUT_SECONDS, **arguments)

    def _log_in(self) -> None:
        user, password = self._credentials
        response = self._session.post(
            f"{self._url}/auth/token", json={"username": user, "password": password}, timeout=_TIMEOUT_SECONDS
        )
        if not response.ok:
            raise DevstackError(f"Airflow refuses the login of {user!r}: {response.status_code}")
        self._session.headers["Authorization"] = f"Bearer {response.json()['access_token']}"

    def dag_ids(self) -> set[str]:
        """Ids of the DAGs that Airflow has parsed."""
        return {dag["dag_id"] for dag in self.call("GET", "/dags", params={"limit": 500})["dags"]}

    def import_errors(self) -> list[str]:
        """Import errors of the DAG folder."""
        errors = self.call("GET", "/importErrors")["import_errors"]
        return [f"{error['filename']}:\n{error['stack_trace']}" for error in errors]

    def wait_for_dags(self, dag_ids: set[str], timeout: float = 120.0) -> None:
        """Wait until all these DAGs are parsed.

        :raises DevstackError: not within ``timeout`` seconds; the text holds the import errors.
        """
        deadline = time.monotonic() + timeout
        while missing := dag_ids - self.dag_ids():
            if time.monotonic() > deadline:
                errors = "\n".join(self.import_errors()) or "no import errors"
                raise DevstackError(f"Airflow does not know {', '.join(sorted(missing))} after {timeout:g} s. {errors}")
            time.sleep(_POLL_SECONDS)

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler run the DAG."""
        self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> DagRun:
        """Start a run as the button in the UI does."""
        self.unpause(dag_id)
        answer = self.call("POST", f"/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf or {}})
        return DagRun(dag_id, answer["dag_run_id"], answer["state"])

    def run(
        self,
        dag_id: str,
        conf: dict[str, Any] | None = None,
        timeout: float = 600.0,
        on_change: Callable[[str, str], None] | None = None,
    ) -> DagRun:
        """Start a run and wait for its end.

        :param on_change: called with a task's id and its new state.
        :raises DevstackError: the run failed (with the end of the failed tasks' logs) or takes too long.
        """
        started = self.trigger(dag_id, conf)
        ended = self.wait(started, timeout, on_change)
        if ended.state != "success":
            raise DevstackError(f"{dag_id}: run {ended.run_id} failed.\n{self.failure(ended)}")
        return ended

    def wait(self, run: DagRun, timeout: float = 600.0, on_change: Callable[[str, str], None] | None = None) -> DagRun:
        """Wait for the end of a run, whatever it is.

        :raises DevstackError: it has not ended within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        seen: dict[str, str | None] = {}
        while True:
            for task in self.tasks(run):
                if on_change and task["state"] and seen.get(task["task_id"]) != task["state"]:
                    on_change(task["task_id"], task["state"])
                seen[task["task_id"]] = task["state"]
            state = self.call("GET", f"/dags/{run.dag_id}/dagRuns/{run.run_id}")["state"]
            if state in _ENDED:
                return DagRun(run.dag_id, run.run_id, state)
            if time.monotonic() > deadline:
                raise DevstackError(f"{run.dag_id}: run {run.run_id} is {state} after {timeout:g} s: {seen}")
            time.sleep(_POLL_SECONDS)

    def tasks(self, run: DagRun) -> list[dict[str, Any]]:
        """Task instances of a run."""
        return self.call("GET", f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances")["task_instances"]

    def xcom(self, run: DagRun, task_id: str, key: str = "return_value") -> Any:
        """XCom value of a task of the run."""
        path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.call("GET", path, params={"deserialize": "true"})["value"]

    def log(self, run: DagRun, task_id: str, try_number: int) -> str:
        """Log of one try of a task, a line for each event."""
        path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}/logs/{try_number}"
        content = self.call("GET", path, params={"full_content": "true"}, headers={"Accept": "application/json"})
        return "\n".join(_line(event) for event in content["content"])

    def failure(self, run: DagRun, lines: int = 40) -> str:
        """The end of the logs of the tasks that failed."""
        failed = [task for task in self.tasks(run) if task["state"] == "failed"]
        parts = []
        for task in failed:
            tail = self.log(run, task["task_id"], task["try_number"]).splitlines()[-lines:]
            parts.append(f"--- {task['task_id']}, try {task['try_number']}\n" + "\n".join(tail))
        return "\n".join(parts)


def _line(event: Any) -> str:
    if not isinstance(event, dict):
        return str(event)
    text = str(event.get("event", ""))
    # An exception comes as structured data beside the message.
    for error in event.get("error_detail") or []:
        text += f"\n{error.get('exc_type')}: {error.get('exc_value')}"
    return text
