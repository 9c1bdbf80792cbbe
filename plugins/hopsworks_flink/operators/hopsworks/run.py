"""Operator that runs any Hopsworks job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hopsworks_flink.clients.hopsworks.executions import FAILED, KILLED, TIMEOUT, Execution
from hopsworks_flink.clients.hopsworks.rest import HopsworksRest
from hopsworks_flink.deployment.record import Record
from hopsworks_flink.exceptions import ConfigurationError, HopsworksConnectionError, HopsworksJobFailed
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.links import HopsworksExecutionLink
from hopsworks_flink.operators.hopsworks.base import HopsworksJobOperator
from hopsworks_flink.pipeline.times import as_time
from hopsworks_flink.tasks.arguments import as_bool, as_text
from hopsworks_flink.tasks.links import HOPSWORKS_COLOUR
from hopsworks_flink.tasks.outlets import emit

if TYPE_CHECKING:
    from hopsworks_flink._compat import Context
    from hopsworks_flink.clients.hopsworks.session import HopsworksSession

_RECORD = "hopsworks_execution"


class HopsworksRunJobOperator(HopsworksJobOperator):
    """Runs a job of the project and follows this very execution to its end, whatever else of the job runs.

    A retry follows the execution that an earlier try of the same task run has started (Airflow 3.3 and later remember
    it), unless that one failed; after a clear a new one is started. Hopsworks takes no number of the client's choice:
    a worker that dies between the start and the next line of its program leaves an execution that no retry finds.

    :param job_name: name of the job (templated).
    :param args: its arguments as one text; None: the job's own defaults (templated).
    :param start_time: begin of the data interval, a datetime or ISO 8601 text (without offset: UTC), for the job's
        environment variable ``HOPS_START_TIME``; e.g. ``"{{ data_interval_start }}"``. Needs Hopsworks 5; default: none
        (templated).
    :param end_time: its end, for ``HOPS_END_TIME``; default: none (templated).
    :param wait_for_completion: whether to wait for the execution's end; default: true (templated).
    :param poll_interval: seconds between two looks; default: 5.
    :param timeout: seconds until the try fails; the execution is then stopped if ``cancel_on_kill``. In a deferred task
        ``execution_timeout`` bounds the same time. Default: 3600.
    :param deferrable: wait in the triggerer, without a worker slot. Default: Airflow's setting
        ``[operators] default_deferrable``.
    :param cancel_on_kill: whether a kill of the task (marked failed, cleared, timed out) stops the execution; default:
        true.
    :param hopsworks_conn_id: Airflow connection of type ``hopsworks``; default: ``hopsworks_default`` (templated).
    :return: (XCom) ``execution_id``, ``job_name``, ``state``, ``final_status``, ``url``. Events of the task's outlets
        carry the same and ``window``, the run's data interval.
    :raises AirflowFailException: an argument or the connection is wrong, or there is no such job.
    :raises HopsworksJobFailed: the execution failed (its log is in the task's), was stopped, is not known any more, or
        did not end in time; or another execution of a job that runs only once at a time is in the way.
    :raises HopsworksConnectionError: Hopsworks stayed away; the execution may go on, and a retry follows it.
    """

    template_fields: Sequence[str] = (
        "job_name",
        "args",
        "start_time",
        "end_time",
        "wait_for_completion",
        "hopsworks_conn_id",
    )
    operator_extra_links = (HopsworksExecutionLink(),)
    ui_color = HOPSWORKS_COLOUR

    def __init__(
        self,
        *,
        job_name: str,
        args: str | None = None,
        start_time: datetime | str | None = None,
        end_time: datetime | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_name = job_name
        self.args = args
        self.start_time = start_time
        self.end_time = end_time

    def begin(self, context: Context, work: dict[str, Any]) -> dict[str, Any]:
        """Start or find the execution, and wait for its end."""
        name = as_text(self.job_name, "job_name")
        start, end = as_time(self.start_time, "start_time"), as_time(self.end_time, "end_time")
        if start and end and start > end:
            raise ConfigurationError(f"start_time {start.isoformat()} is after end_time {end.isoformat()}.")
        with HopsworksHook(self.hopsworks_conn_id).session() as session:
            job = session.jobs.get(name)
            self.show(context, work, session.project.id, job, session.jobs.url_of(job))
            execution = self._earlier(context, session, job)
            if execution is None:
                execution = self._start(session, job, start, end)
                self.log.info("Started execution %d of %s: %s", execution.execution_id, name, work["url"])
            self.follow(work, execution.execution_id, stoppable=True)
            Record.across_tries(context, _RECORD).write({"id": execution.execution_id, "job": name})
        if not as_bool(self.wait_for_completion, "wait_for_completion"):
            return self._result(context, work, execution.state, execution.final_status)
        return self.go_on(context, work, self.wait(work))

    def go_on(self, context: Context, work: dict[str, Any], event: Mapping[str, Any]) -> dict[str, Any]:
        """The result of the execution, or its error."""
        self._followed = None
        error = self.failure(work, event)
        if event.get("status") == TIMEOUT and as_bool(self.cancel_on_kill, "cancel_on_kill"):
            self.log.info("Time is up: stopping execution %d.", work["waiting"])
            self._stop(work)
        if error is not None:
            raise error
        return self._result(context, work, event["state"], event["final_status"])

    def _start(self, session: HopsworksSession, job: Any, start: datetime | None, end: datetime | None) -> Execution:
        started = session.jobs.start(job, self.args or None, start, end)
        if started is None:
            raise HopsworksJobFailed(
                f"Job {job.name} was not started: another execution of it is in the way, or too many are queued.",
                None,
                "UNDEFINED",
            )
        return Execution.from_sdk(started, job.job_type)

    def _earlier(self, context: Context, session: HopsworksSession, job: Any) -> Execution | None:
        """The execution of an earlier try, if it runs or has succeeded."""
        recalled = Record.across_tries(context, _RECORD).read()
        if not recalled or recalled["job"] != job.name:
            return None
        found = session.jobs.execution(job, recalled["id"])
        execution = Execution.from_sdk(found, job.job_type) if found else None
        if execution is None or execution.outcome in (FAILED, KILLED):
            return None
        self.log.info(
            "Execution %d (%s) was started by an earlier try of this task.", execution.execution_id, execution.state
        )
        return execution

    def _stop(self, work: Mapping[str, Any]) -> None:
        try:
            with HopsworksRest(HopsworksHook(self.hopsworks_conn_id).settings) as hopsworks:
                hopsworks.stop(work["project_id"], work["job_name"], work["waiting"])
        except HopsworksConnectionError as error:
            # What the task fails with is the time limit.
            self.log.warning("%s It may go on.", error)

    def _result(self, context: Context, work: Mapping[str, Any], state: str, final_status: str) -> dict[str, Any]:
        result = {
            "execution_id": work["waiting"],
            "job_name": work["job_name"],
            "state": state,
            "final_status": final_status,
            "url": work["url"],
        }
        emit(context, self, result)
        return result
