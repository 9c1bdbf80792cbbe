"""Base of the operators that follow executions of Hopsworks jobs."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from hopsworks_flink._compat import BaseOperator, conf
from hopsworks_flink.clients.hopsworks.executions import ERROR, NOT_FOUND, SUCCEEDED, TIMEOUT, ExecutionWatch
from hopsworks_flink.clients.hopsworks.rest import KILL_SECONDS, HopsworksRest, follow
from hopsworks_flink.exceptions import HopsworksConnectionError, HopsworksError, HopsworksJobFailed
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.links import HopsworksExecutionLink
from hopsworks_flink.tasks.arguments import as_bool, as_float
from hopsworks_flink.tasks.context import task_errors, time_limit
from hopsworks_flink.tasks.deferral import may_defer

if TYPE_CHECKING:
    from hopsworks_flink._compat import Context


class HopsworksJobOperator(BaseOperator):
    """Base of the operators that wait for executions; not for use in DAGs.

    What such a task knows of its work is one JSON object, ``work``, which outlives a deferral: ``project_id``,
    ``job_name``, ``job_type``, ``url``, ``deadline`` (epoch seconds), and the execution waited for: ``waiting`` (its
    number), ``stoppable`` (whether it was started by this task: only then a kill stops it).
    """

    def __init__(
        self,
        *,
        wait_for_completion: bool | str = True,
        poll_interval: float = 5.0,
        timeout: float = 3600.0,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        cancel_on_kill: bool = True,
        hopsworks_conn_id: str = HopsworksHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.wait_for_completion = wait_for_completion
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.deferrable = deferrable
        self.cancel_on_kill = cancel_on_kill
        self.hopsworks_conn_id = hopsworks_conn_id
        self._followed: dict[str, Any] | None = None

    @abstractmethod
    def begin(self, context: Context, work: dict[str, Any]) -> dict[str, Any]:
        """Do the work from the start, and return the task's result."""

    @abstractmethod
    def go_on(self, context: Context, work: dict[str, Any], event: Mapping[str, Any]) -> dict[str, Any]:
        """Go on after the end of an execution that the triggerer has waited for."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Start what is needed and wait for it."""
        with task_errors():
            limit = time_limit(self, as_float(self.timeout, "timeout"))
            for name in ("wait_for_completion", "deferrable", "cancel_on_kill"):
                as_bool(getattr(self, name), name)
            as_float(self.poll_interval, "poll_interval")
            return self.begin(context, {"deadline": time.time() + limit})

    def execute_complete(
        self, context: Context, event: Mapping[str, Any] | None = None, work: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Go on when the trigger has reported."""
        with task_errors():
            if not work or not event:
                raise HopsworksError(
                    f"The trigger reported {event!r} for {work!r}, which this version does not know. "
                    "What was started in Hopsworks is left as it is."
                )
            HopsworksExecutionLink().persist(context, self, work["url"])
            return self.go_on(context, work, event)

    def on_kill(self) -> None:
        """Stop the execution that this task has started and waits for."""
        work = self._followed
        if not work or not work["stoppable"] or not as_bool(self.cancel_on_kill, "cancel_on_kill"):
            return
        self.log.info("Stopping execution %d of job %s.", work["waiting"], work["job_name"])
        with HopsworksRest(HopsworksHook(self.hopsworks_conn_id).settings, KILL_SECONDS) as hopsworks:
            hopsworks.stop(work["project_id"], work["job_name"], work["waiting"])

    # --- for subclasses --------------------------------------------------------------------------------------------

    def show(self, context: Context, work: dict[str, Any], project_id: int, job: Any, url: str) -> None:
        """Remember which job the work is about, and make its button work."""
        work.update(project_id=project_id, job_name=job.name, job_type=job.job_type or "", url=url)
        HopsworksExecutionLink().persist(context, self, url)

    def follow(self, work: dict[str, Any], execution_id: int, stoppable: bool) -> None:
        """Follow this execution; a kill stops it if ``stoppable``."""
        work.update(waiting=execution_id, stoppable=stoppable)
        self._followed = work

    def wait(self, work: dict[str, Any]) -> dict[str, Any]:
        """Wait for the end of the execution that is followed.

        :return: its event; a deferrable task gets one only if the execution has already ended.
        :raises TaskDeferred: the triggerer waits.
        """
        poll_interval = as_float(self.poll_interval, "poll_interval")
        waiting = follow(
            HopsworksHook(self.hopsworks_conn_id).settings,
            ExecutionWatch(work["job_name"], work["waiting"], work["deadline"]),
            project_id=work["project_id"],
            job_type=work["job_type"],
            poll_interval=poll_interval,
            log=self.log,
            once=may_defer(self),
        )
        return asyncio.run(waiting) or self._defer(work, poll_interval)

    def _defer(self, work: dict[str, Any], poll_interval: float) -> NoReturn:
        from hopsworks_flink.triggers.hopsworks import HopsworksExecutionTrigger

        trigger = HopsworksExecutionTrigger(
            hopsworks_conn_id=self.hopsworks_conn_id,
            project_id=work["project_id"],
            job_name=work["job_name"],
            job_type=work["job_type"],
            execution_id=work["waiting"],
            deadline=work["deadline"],
            poll_interval=poll_interval,
            stop_on_kill=work["stoppable"] and as_bool(self.cancel_on_kill, "cancel_on_kill"),
        )
        # The deadline is the trigger's: one of Airflow's own would leave the execution running, unseen.
        self.defer(trigger=trigger, method_name="execute_complete", kwargs={"work": work}, timeout=None)

    def failure(self, work: Mapping[str, Any], event: Mapping[str, Any]) -> HopsworksError | None:
        """The error for an event; None for success. The log of a failed execution is copied into the task's."""
        status = event.get("status")
        if status == SUCCEEDED:
            return None
        state = str(event.get("state"))
        what = f"Execution {work['waiting']} of job {work['job_name']}"
        if status in ("FAILED", "KILLED"):
            self.show_logs(work, work["waiting"])
            text = f"{what} ended {state} ({event.get('final_status')}); its log is above, and at {work['url']}."
            return HopsworksJobFailed(text, work["waiting"], state)
        if status == NOT_FOUND:
            return HopsworksJobFailed(f"{what} is {NOT_FOUND}: Hopsworks does not know it.", work["waiting"], NOT_FOUND)
        if status == TIMEOUT:
            limit = time_limit(self, as_float(self.timeout, "timeout"))
            return HopsworksJobFailed(f"{what} is still {state} after {limit:g} s.", work["waiting"], state)
        if status == ERROR:
            error = HopsworksConnectionError(f"{event.get('message')} {what} is left as it is.")
            error.permanent = bool(event.get("permanent"))
            return error
        return HopsworksError(
            f"The trigger reported {event!r}, which this version does not know. {what} is left alone."
        )

    def show_logs(self, work: Mapping[str, Any], execution_id: int) -> None:
        """Copy the end of an execution's logs into the task's log."""
        try:
            with HopsworksHook(self.hopsworks_conn_id).session() as session:
                execution = session.jobs.execution(session.jobs.get(work["job_name"]), execution_id)
                text = session.jobs.log_tail(execution) if execution else "(Hopsworks does not know it any more)"
        except HopsworksError as error:
            # The execution's own failure is what matters.
            text = f"(cannot be read: {error})"
        self.print_log(execution_id, text)

    def print_log(self, execution_id: int, text: str) -> None:
        """Print an execution's log as a group that Airflow's UI folds; the marks need lines of their own."""
        self.log.info("::group::Logs of execution %d", execution_id)
        for line in text.splitlines():
            self.log.info("%s", line)
        self.log.info("::endgroup::")
