"""Operator that ends a Flink job."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import BaseOperator, conf
from hopsworks_flink.clients.flink.jobs import ENDING_STATES, NOT_FOUND, TERMINAL_STATES, FlinkJob, newest
from hopsworks_flink.exceptions import (
    FlinkAmbiguousJobError,
    FlinkApiError,
    FlinkConnectionError,
    FlinkError,
    FlinkJobNotFound,
    FlinkSavepointError,
)
from hopsworks_flink.health.wait import ERROR, SAVEPOINT_FAILED, TIMEOUT
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.links import FlinkExceptionsLink, FlinkJobLink
from hopsworks_flink.operators.flink.base import wait_for_event
from hopsworks_flink.tasks.arguments import as_bool, as_float, check_name_or_id, one_of
from hopsworks_flink.tasks.context import run_mark, task_errors, time_limit
from hopsworks_flink.tasks.links import FLINK_COLOUR, push_links

if TYPE_CHECKING:
    from hopsworks_flink._compat import Context

_MODES = ("savepoint", "drain", "cancel")
# So many earlier tries are looked through for a request that is under way.
_TRIES = 5


class FlinkStopJobOperator(BaseOperator):
    """Ends a job. One that has ended or is unknown already is success.

    A retry joins the request of an earlier try, if Flink still works on it or has just completed it, and so finds its
    savepoint. A killed task leaves the request standing: Flink completes it.

    :param job_name: name of the job; more than one that runs is an error; None: ``job_id`` is given (templated).
    :param job_id: id of the job, instead of its name; default: none (templated).
    :param mode: ``savepoint`` keeps the state, and the next deployment continues from it; ``drain`` keeps it too but
        first emits what open windows hold, as if they were complete, also when the topic has been silent; a later
        deployment of a feature pipeline computes these windows again; ``cancel`` ends it at once; default:
        ``savepoint`` (templated).
    :param savepoint_directory: where the savepoint goes, of a drained job in a folder ``drained-at-<watermark>``; None:
        the cluster's default (templated).
    :param timeout: seconds until the task gives up; default: 600.
    :param poll_interval: seconds between two looks; default: 1.
    :param deferrable: wait in the triggerer, without a worker slot. Default: Airflow's setting
        ``[operators] default_deferrable``.
    :param flink_conn_id: Airflow connection of type ``flink``; default: ``flink_default`` (templated).
    :return: (XCom) ``job_id`` (None if there was nothing to end), ``job_name``, ``action`` (``none``, ``stopped``,
        ``cancelled``), ``state``, ``savepoint_path`` (of a job that has ended already: the savepoint with which it
        was stopped, if Flink still shows one).
    :raises AirflowFailException: an argument or the connection is wrong, or several jobs of the name run.
    :raises FlinkSavepointError: no savepoint could be taken, or not in time; the job may go on running.
    :raises FlinkConnectionError: Flink stayed away; a retry joins what is under way.
    """

    template_fields: Sequence[str] = ("job_name", "job_id", "mode", "savepoint_directory", "flink_conn_id")
    operator_extra_links = (FlinkJobLink(), FlinkExceptionsLink())
    ui_color = FLINK_COLOUR

    def __init__(
        self,
        *,
        job_name: str | None = None,
        job_id: str | None = None,
        mode: str = "savepoint",
        savepoint_directory: str | None = None,
        timeout: float = 600.0,
        poll_interval: float = 1.0,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        flink_conn_id: str = FlinkHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_name = job_name
        self.job_id = job_id
        self.mode = mode
        self.savepoint_directory = savepoint_directory
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.deferrable = deferrable
        self.flink_conn_id = flink_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """End the job and wait for its end."""
        with task_errors():
            mode = one_of(self.mode, "mode", _MODES)
            deadline = time.time() + time_limit(self, as_float(self.timeout, "timeout"))
            as_float(self.poll_interval, "poll_interval")
            as_bool(self.deferrable, "deferrable")
            hook = FlinkHook(self.flink_conn_id)
            job, request_id = self._find(context, hook, mode)
            if job is None:
                self.log.info("No job %s runs: nothing to end.", self.job_id or repr(self.job_name))
                return self._result(None, "none", NOT_FOUND, None)
            push_links(context, self, hook, job.job_id)
            if job.is_terminal and request_id is None:
                self.log.info("Job %s has ended already: %s.", job.job_id, job.state)
                return self._result(job.job_id, "none", job.state, self._last_savepoint(hook, job.job_id, job.state))
            if request_id is None and job.state not in ENDING_STATES:
                try:
                    request_id = self._request(context, hook, job, mode)
                except (FlinkJobNotFound, FlinkSavepointError) as error:
                    return self._ended_by_itself(hook, job.job_id, error)
            return self._wait(hook, job.job_id, request_id, deadline)

    def execute_complete(
        self, context: Context, event: Mapping[str, Any] | None = None, *, job_id: str
    ) -> dict[str, Any]:
        """Go on when the trigger has reported."""
        with task_errors():
            hook = FlinkHook(self.flink_conn_id)
            push_links(context, self, hook, job_id)
            return self._settle(hook, job_id, event)

    # --- asking ----------------------------------------------------------------------------------------------------

    def _find(self, context: Context, hook: FlinkHook, mode: str) -> tuple[FlinkJob | None, str | None]:
        """The job, and the request of an earlier try that Flink knows."""
        check_name_or_id(self.job_name, self.job_id)
        if self.job_id:
            state = hook.job_state(self.job_id)
            job = FlinkJob(self.job_id, "", state) if state else None
            return job, self._earlier_request(context, hook, job, mode)
        jobs = hook.jobs_named(str(self.job_name))
        active = [job for job in jobs if not job.is_terminal]
        if len(active) > 1:
            listed = ", ".join(f"{job.job_id} ({job.state})" for job in active)
            raise FlinkAmbiguousJobError(f"{len(active)} jobs named {self.job_name!r} run: {listed}. Give job_id.")
        if active:
            return active[0], self._earlier_request(context, hook, active[0], mode)
        # Nothing runs; but an earlier try may have stopped it and died before it could say so.
        last = newest(jobs)
        request_id = self._earlier_request(context, hook, last, mode)
        return (last, request_id) if request_id else (None, None)

    def _earlier_request(self, context: Context, hook: FlinkHook, job: FlinkJob | None, mode: str) -> str | None:
        if job is None or mode == "cancel":
            return None
        this = int(context["ti"].try_number)
        for number in range(this - 1, max(0, this - 1 - _TRIES), -1):
            request_id = self._request_id(context, job.job_id, mode, number)
            try:
                hook.client.savepoint(job.job_id, request_id)
            except FlinkSavepointError:
                return None
            except FlinkApiError as error:
                if error.status_code != 404:
                    raise
            else:
                self.log.info("An earlier try has asked Flink to stop job %s: joining it.", job.job_id)
                return request_id
        return None

    def _request_id(self, context: Context, job_id: str, mode: str, try_number: int) -> str:
        parts = (run_mark(context), job_id, mode, str(self.savepoint_directory or ""), str(try_number))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    def _request(self, context: Context, hook: FlinkHook, job: FlinkJob, mode: str) -> str | None:
        if mode == "cancel":
            self.log.info("Cancelling job %s (%s).", job.job_id, job.state)
            hook.cancel(job.job_id)
            return None
        request_id = self._request_id(context, job.job_id, mode, int(context["ti"].try_number))
        self.log.info("Stopping job %s (%s) with a savepoint.", job.job_id, job.state)
        directory = self.savepoint_directory or None
        hook.request_stop(job.job_id, drain=mode == "drain", target_directory=directory, request_id=request_id)
        return request_id

    # --- waiting ---------------------------------------------------------------------------------------------------

    def _wait(self, hook: FlinkHook, job_id: str, request_id: str | None, deadline: float) -> dict[str, Any]:
        from hopsworks_flink.triggers.flink import FlinkJobTrigger, FlinkSavepointTrigger

        # No kill_job_id: who kills a task that ends a job does not ask for anything to be cancelled.
        common: dict[str, Any] = {
            "job_id": job_id,
            "flink_conn_id": self.flink_conn_id,
            "deadline": deadline,
            "poll_interval": as_float(self.poll_interval, "poll_interval"),
        }
        trigger = FlinkSavepointTrigger(request_id=request_id, **common) if request_id else FlinkJobTrigger(**common)
        event = wait_for_event(self, hook, trigger, as_bool(self.deferrable, "deferrable"), {"job_id": job_id})
        return self._settle(hook, job_id, event)

    # --- the end ---------------------------------------------------------------------------------------------------

    def _settle(self, hook: FlinkHook, job_id: str, event: Mapping[str, Any] | None) -> dict[str, Any]:
        """The result, or the error, that the end of the wait means."""
        event = event or {}
        status, state, path = event.get("status"), event.get("state"), event.get("savepoint_path")
        if status == SAVEPOINT_FAILED:
            return self._ended_by_itself(hook, job_id, FlinkSavepointError(str(event.get("message"))))
        if status in TERMINAL_STATES or status == NOT_FOUND:
            if path:
                self.log.info("Job %s is %s; its state is in %s.", job_id, status, path)
            elif self.mode != "cancel":
                path = self._last_savepoint(hook, job_id, str(status))
                self.log.warning("Flink does not say how the stop went; the job's last savepoint is %s.", path)
            if self.mode == "cancel":
                return self._result(job_id, "cancelled" if status == "CANCELED" else "none", str(status), None)
            return self._result(job_id, "stopped", str(status), path)
        if status == TIMEOUT:
            limit = time_limit(self, as_float(self.timeout, "timeout"))
            text = f"Job {job_id} ({state or 'out of sight'}) has not ended within {limit:g} s"
            if self.mode == "cancel":
                raise FlinkError(f"{text}; Flink goes on cancelling it.")
            raise FlinkSavepointError(f"{text}; Flink goes on with the savepoint, and a retry joins it.")
        if status == ERROR:
            error = FlinkConnectionError(f"{event.get('message')} The request to end job {job_id} stands.")
            error.permanent = bool(event.get("permanent"))
            raise error
        raise FlinkError(
            f"The trigger reported {dict(event) or None!r}, which this version does not know. The request to end job "
            f"{job_id} stands."
        )

    def _ended_by_itself(self, hook: FlinkHook, job_id: str, error: FlinkError) -> dict[str, Any]:
        """No savepoint, but also nothing left to stop; otherwise the error."""
        state = hook.job_state(job_id)
        if state is not None and state not in TERMINAL_STATES:
            raise error
        self.log.info("Job %s ended by itself: %s.", job_id, state or "unknown to Flink")
        return self._result(job_id, "none", state or NOT_FOUND, None)

    def _last_savepoint(self, hook: FlinkHook, job_id: str, state: str) -> str | None:
        """The savepoint that a job was stopped with; only such a job is FINISHED with one."""
        if self.mode == "cancel" or state != "FINISHED":
            return None
        try:
            jobs = [FlinkJob.from_rest(entry) for entry in hook.client.jobs() if entry["jid"] == job_id]
            latest = (hook.last_checkpoints(jobs[0]) or {}).get("latest") if jobs else None
        except FlinkApiError as error:
            self.log.debug("Flink shows no checkpoints of job %s: %s", job_id, error)
            return None
        return ((latest or {}).get("savepoint") or {}).get("external_path")

    def _result(self, job_id: str | None, action: str, state: str, savepoint_path: str | None) -> dict[str, Any]:
        return {
            "job_id": job_id,
            "job_name": self.job_name or None,
            "action": action,
            "state": state,
            "savepoint_path": savepoint_path,
        }
