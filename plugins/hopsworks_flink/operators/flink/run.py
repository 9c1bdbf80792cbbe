"""Operator that runs a bounded Flink job to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import conf
from hopsworks_flink.clients.flink.bundle import Bundle
from hopsworks_flink.clients.flink.jobs import (
    MARK_EPOCH,
    MARK_HASH,
    MARK_OWNER,
    MARK_RUN,
    MAX_IDS,
    NOT_FOUND,
    OWNER,
    FlinkJob,
    derive_job_id,
    identity_marks,
    newest,
    next_job_id,
)
from hopsworks_flink.clients.flink.submission import delete_left_bundles
from hopsworks_flink.clients.retry import ask_blocking
from hopsworks_flink.deployment.desired import DesiredJob
from hopsworks_flink.deployment.record import Record
from hopsworks_flink.exceptions import (
    FlinkConnectionError,
    FlinkDuplicateJobId,
    FlinkError,
    FlinkJobFailed,
    FlinkJobIdTaken,
    HopsworksFlinkError,
)
from hopsworks_flink.health.gate import is_still_ending
from hopsworks_flink.health.wait import ERROR, TIMEOUT
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.operators.flink.base import BOUNDED_DEFAULTS, FlinkPythonJobOperator, wait_for_event
from hopsworks_flink.tasks.arguments import as_bool, as_float
from hopsworks_flink.tasks.context import owner_marks, run_mark, task_errors, time_limit
from hopsworks_flink.tasks.links import push_links

if TYPE_CHECKING:
    from hopsworks_flink._compat import Context

_RECORD = "flink_job"
# How many jobs of the name a retry looks through for the one of the try before.
_REMEMBERED = 20
# Not to be followed by a retry: these end, or ended, without success.
_LOST = ("FAILED", "CANCELED", "CANCELLING", "FAILING")


class FlinkRunJobOperator(FlinkPythonJobOperator):
    """Runs a bounded Python job to its end.

    A retry attaches to the job that an earlier try of the same task run has started, instead of starting a second one;
    after a clear, what still runs of the task's earlier job is cancelled first. A killed task cancels its job, also
    while it is deferred (before Airflow 3.3: if the triggerer can still ask for the task's state).

    :param job_name: name of the job, as the program sets it (templated).
    :param program: path of a Python file on the worker, or the name of a program of this package (templated).
    :param files: name in the bundle → path on the worker; they lie beside the program when it runs; default: none
        (templated).
    :param data_files: name in the bundle → value, written as JSON; shown in Airflow, so nothing secret; default: none
        (templated).
    :param arguments: command line arguments of the program; shown in Airflow and Flink, so options called like a
        secret are refused; default: none (templated).
    :param parallelism: of the job; default: 1 (templated).
    :param flink_configuration: Flink's configuration for this job, over ``BOUNDED_DEFAULTS`` (it gives up after three
        restarts); shown, as the arguments are; default: none (templated).
    :param jars: names or paths of the connector jars that the job brings along; None: all of the connection's folder,
        an empty list: none (templated).
    :param timeout: seconds until the job is cancelled and the try fails; in a deferred task ``execution_timeout``
        bounds the same time; default: 3600.
    :param poll_interval: seconds between two looks; default: 2.
    :param deferrable: wait in the triggerer, without a worker slot. Default: Airflow's setting
        ``[operators] default_deferrable``.
    :param flink_conn_id: Airflow connection of type ``flink``; default: ``flink_default`` (templated).
    :return: (XCom) ``job_id``, ``job_name``, ``state``, ``deployment_hash``, ``duration_seconds``, ``web_url``.
    :raises AirflowFailException: an argument or the connection is wrong; no retry helps.
    :raises FlinkSubmissionError: the program did not start.
    :raises FlinkJobFailed: the job failed, was cancelled, was forgotten by Flink, or did not end in time.
    :raises FlinkConnectionError: Flink stayed away; the job may go on, and a retry attaches to it.
    """

    def __init__(
        self,
        *,
        timeout: float = 3600.0,
        poll_interval: float = 2.0,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.deferrable = deferrable
        # What a subclass knows of its job; JSON, part of the result.
        self._facts: dict[str, Any] = {}
        self._started: tuple[FlinkHook, str] | None = None
        self._submitting: Callable[[], None] | None = None
        self._began_again = False
        self._killed = False

    def execute(self, context: Context) -> dict[str, Any]:
        """Start or find the job, and wait for its end."""
        with task_errors():
            return self.run_job(context)

    def run_job(self, context: Context) -> dict[str, Any]:
        """Start or find the job, and wait for its end; errors are this package's own."""
        deadline = time.time() + time_limit(self, as_float(self.timeout, "timeout"))
        poll_interval = as_float(self.poll_interval, "poll_interval")
        deferrable = as_bool(self.deferrable, "deferrable")
        hook = FlinkHook(self.flink_conn_id)
        desired = self.desired_job(hook, BOUNDED_DEFAULTS)
        marks = {MARK_RUN: run_mark(context), MARK_EPOCH: str(context["ti"].max_tries), MARK_HASH: desired.hash}
        job_id = self._attach(context, hook, desired, marks, deadline, poll_interval)
        if job_id is None:
            job_id = self._submit(context, hook, desired, {**owner_marks(context), **marks, MARK_OWNER: OWNER})
        self._started = (hook, job_id)
        self.show_job(context, hook, job_id)
        identity = {
            "job_id": job_id,
            "job_name": desired.job_name,
            "deployment_hash": desired.hash,
            **self._facts,
        }
        from hopsworks_flink.triggers.flink import FlinkJobTrigger

        trigger = FlinkJobTrigger(
            job_id=job_id,
            flink_conn_id=self.flink_conn_id,
            deadline=deadline,
            poll_interval=poll_interval,
            kill_job_id=job_id,
        )
        event = wait_for_event(self, hook, trigger, deferrable, identity)
        return self._settle(context, hook, event, **identity)

    def execute_complete(
        self, context: Context, event: Mapping[str, Any] | None = None, **identity: Any
    ) -> dict[str, Any]:
        """Go on when the trigger has reported."""
        with task_errors():
            hook = FlinkHook(self.flink_conn_id)
            push_links(context, self, hook, identity["job_id"])
            return self._settle(context, hook, event, **identity)

    def on_kill(self) -> None:
        """Cancel the job that this try follows."""
        self._killed = True
        if self._submitting:
            self.log.info("Cancelling the job that is being submitted.")
            self._submitting()
        elif self._started:
            hook, job_id = self._started
            self.log.info("Cancelling job %s.", job_id)
            hook.cancel(job_id)

    def _attach(
        self,
        context: Context,
        hook: FlinkHook,
        desired: DesiredJob,
        marks: Mapping[str, str],
        deadline: float,
        poll_interval: float,
    ) -> str | None:
        """The job of an earlier try, running or finished; jobs of the task run that are not wanted any more end."""
        recalled = Record.across_tries(context, _RECORD).read()
        if recalled and recalled["hash"] == desired.hash:
            state = hook.job_state(recalled["id"])
            if state and state not in _LOST and self._is_own(hook, recalled["id"], desired, marks):
                self.log.info("Job %s (%s) was started by an earlier try of this task.", recalled["id"], state)
                delete_left_bundles(hook.client)
                return str(recalled["id"])
        jobs = hook.jobs_named(desired.job_name)
        while any(job.state == "INITIALIZING" and not job.deployment_hash for job in jobs):
            if time.time() > deadline:
                break
            time.sleep(poll_interval)
            jobs = hook.jobs_named(desired.job_name)
        for job in jobs[:_REMEMBERED]:
            found = hook.job_marks(job.job_id)
            if found.get(MARK_RUN) != marks[MARK_RUN]:
                continue
            same = all(found.get(key) == value for key, value in marks.items())
            if same and job.state not in _LOST:
                self.log.info("Job %s (%s) was started by an earlier try of this task.", job.job_id, job.state)
                delete_left_bundles(hook.client)
                return job.job_id
            if not job.is_terminal:
                self._end(hook, job, poll_interval)
        return None

    def _end(self, hook: FlinkHook, job: FlinkJob, poll_interval: float) -> None:
        self.log.info("Cancelling job %s (%s) of an earlier run of this task.", job.job_id, job.state)
        hook.cancel(job.job_id)
        hook.wait_until_ended(job.job_id, poll_interval=poll_interval)

    def _submit(self, context: Context, hook: FlinkHook, desired: DesiredJob, marks: Mapping[str, str]) -> str:
        record = Record.across_tries(context, _RECORD)
        job_id = self._choose_id(record, hook, desired, marks)
        for _ in range(MAX_IDS):
            try:
                self._send(record, hook, desired, marks, job_id)
                break
            except FlinkJobIdTaken as error:
                taken, job_id = error, next_job_id(job_id)
                self.log.warning("%s The job gets the next id.", error)
        else:
            raise taken
        self._submitting = None
        if self._killed:
            hook.cancel(job_id)
        return job_id

    def _send(
        self, record: Record, hook: FlinkHook, desired: DesiredJob, marks: Mapping[str, str], job_id: str
    ) -> None:
        # Before the call: whatever happens to this try, the next one knows where to look.
        record.write({"id": job_id, "hash": desired.hash})
        self.log.info("Submitting %r as job %s.", desired.job_name, job_id)
        # A kill while the submission is under way must cancel what may come of it.
        self._submitting = lambda: self._cancel_own(hook, job_id, desired, marks)
        try:
            hook.run_python_job(
                desired.bundle.with_secret_files(desired.secret_files()),
                job_name=desired.job_name,
                job_id=job_id,
                jars=desired.jars,
                arguments=desired.arguments,
                parallelism=desired.parallelism,
                flink_configuration=desired.flink_configuration,
                marks=marks,
            )
        except FlinkDuplicateJobId as error:
            # It is this very job, although the submission did not say so.
            self.log.info("%s Following it.", error)

    @staticmethod
    def _is_own(hook: FlinkHook, job_id: str, desired: DesiredJob, marks: Mapping[str, str]) -> bool:
        return hook.is_job(job_id, desired.job_name, identity_marks(job_id, marks)) is not False

    def _cancel_own(self, hook: FlinkHook, job_id: str, desired: DesiredJob, marks: Mapping[str, str]) -> None:
        if self._is_own(hook, job_id, desired, marks):
            hook.cancel(job_id)

    @staticmethod
    def _choose_id(record: Record, hook: FlinkHook, desired: DesiredJob, marks: Mapping[str, str]) -> str:
        recalled = record.read()
        if recalled and recalled["hash"] == desired.hash and hook.job_state(recalled["id"]) is None:
            # It never arrived, or is arriving just now: Flink takes an id only once.
            return str(recalled["id"])
        predecessor = newest(hook.jobs_named(desired.job_name))
        identity = f"{desired.job_name}\n{marks[MARK_RUN]}\n{marks[MARK_EPOCH]}"
        return derive_job_id(identity, desired.hash, predecessor.job_id if predecessor else None)

    def _settle(
        self, context: Context, hook: FlinkHook, event: Mapping[str, Any] | None, **identity: Any
    ) -> dict[str, Any]:
        """The result, or the error, that the end of the wait means."""
        job_id = identity["job_id"]
        status, state = (event or {}).get("status"), str((event or {}).get("state"))
        if event and status == "FINISHED":
            Record.across_tries(context, _RECORD).delete()
            duration = {"duration_seconds": event["duration_seconds"], "web_url": hook.job_url(job_id)}
            return {**identity, "state": status, **duration}
        if status in ("FAILED", "CANCELED"):
            cause = hook.failure(job_id, self._secrets())
            if is_still_ending(cause) and not self._began_again:
                self.log.warning("Job %s failed (%s); starting it under another id.", job_id, cause)
                self._began_again = True
                return self.execute(context)
            raise FlinkJobFailed(f"Job {job_id} is {status}" + (f": {cause}." if cause else "."), job_id, status)
        if status == NOT_FOUND:
            raise FlinkJobFailed(f"Job {job_id} is NOT_FOUND: Flink has forgotten it.", job_id, NOT_FOUND)
        if status == TIMEOUT:
            ask_blocking(lambda: hook.cancel(job_id), time.time() + 60, max_errors=5)
            seen = state if state != "None" else "out of sight"
            limit = time_limit(self, as_float(self.timeout, "timeout"))
            text = f"Job {job_id} was still {seen} after {limit:g} s and was cancelled."
            raise FlinkJobFailed(text, job_id, state)
        left = f"Job {job_id} is left as it is; a retry attaches to it."
        if event and status == ERROR:
            error = FlinkConnectionError(f"{event.get('message')} {left}")
            error.permanent = bool(event.get("permanent"))
            raise error
        raise FlinkError(f"The trigger reported {event!r}, which this version does not know. {left}")

    def _secrets(self) -> list[str]:
        """What a stack trace must not show; after a deferral nobody has registered it yet."""
        try:
            bundle = Bundle("none", {"none.py": b""}, self.secret_files())
        except HopsworksFlinkError as error:
            self.log.debug("The job's secret files cannot be made: %s", error)
            return []
        return bundle.secrets()
