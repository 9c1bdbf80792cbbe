"""Airflow's hook to a Flink session cluster: Python jobs, savepoints and health over the REST API."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hopsworks_flink._compat import AirflowNotFoundException, BaseHook, conf, mask_secret
from hopsworks_flink.clients.flink.bundle import Bundle
from hopsworks_flink.clients.flink.connection import FlinkConnection, missing_connection
from hopsworks_flink.clients.flink.failures import head, innermost_cause, stack_trace
from hopsworks_flink.clients.flink.files import JobJars, find_jars
from hopsworks_flink.clients.flink.jobs import (
    FlinkJob,
    RestorePoint,
    drained_directory,
    identity_marks,
    lowest_watermark,
    restore_point,
    state_directories,
    watermark_of,
)
from hopsworks_flink.clients.flink.submission import PythonSubmission, job_configuration
from hopsworks_flink.clients.hopsworks.flink_clusters import find_cluster
from hopsworks_flink.clients.masking import mask
from hopsworks_flink.exceptions import (
    FlinkApiError,
    FlinkConnectionError,
    FlinkError,
    FlinkJobNotFound,
    FlinkSavepointError,
)
from hopsworks_flink.health.bounds import Bounds
from hopsworks_flink.health.facts import JobFacts, job_facts
from hopsworks_flink.health.wait import TIMEOUT, Wait, examine, until_gone, until_saved
from hopsworks_flink.hooks.connection_form import ConnectionForm
from hopsworks_flink.hooks.hopsworks import HopsworksHook

if TYPE_CHECKING:
    from hopsworks_flink.clients.flink.rest import FlinkRestClient

T = TypeVar("T")
# Flink caches its checkpoint statistics (web.refresh-interval, 3 s): an answer this old may lack the last savepoint.
_STATISTICS_SECONDS = 3.5
_RECENT_SECONDS = 60.0
# How long a job may take from its submission until it shows its marks.


class FlinkHook(ConnectionForm, BaseHook):
    """Talks to the JobManager of one Flink session cluster.

    :param flink_conn_id: Airflow connection of type ``flink``: host = URL of the REST API; login and password for HTTP
        basic authentication; extra ``python_executable``, ``web_ui_url``, ``verify_tls``, ``ca_path``, ``jars_dir``,
        ``connectors_on_cluster``, and for a cluster that Hopsworks manages, instead of host and login,
        ``hopsworks_conn_id`` and ``hopsworks_job``; default: ``flink_default``. Each is explained in
        ``FlinkConnection``, where they are read.
    """

    conn_name_attr = "flink_conn_id"
    default_conn_name = "flink_default"
    conn_type = "flink"
    hook_name = "Apache Flink (REST)"

    #: How long a watermark is asked for, and the seconds between two questions. Flink answers with metrics as they were
    #: when last asked for, and fetches them anew for the next question, at most every 10 s
    #: (metrics.fetcher.update-interval). A job that nobody has asked about since its start seems to have seen nothing.
    metrics_seconds = 12.0
    metrics_poll = 1.0

    def __init__(self, flink_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.flink_conn_id = flink_conn_id

    @cached_property
    def settings(self) -> FlinkConnection:
        """The connection, read and checked; the address of a cluster that Hopsworks manages is asked for.

        :raises ConfigurationError: it does not exist or a field of it is wrong.
        :raises FlinkConnectionError: Hopsworks does not answer, or its cluster does not run.
        """
        try:
            connection = self.get_connection(self.flink_conn_id)
        except AirflowNotFoundException as error:
            raise missing_connection(self.flink_conn_id) from error
        settings = FlinkConnection.from_airflow(connection)
        if isinstance(settings.auth, tuple):
            mask_secret(settings.auth[1])
        if settings.hopsworks_conn_id:
            return find_cluster(settings, HopsworksHook(settings.hopsworks_conn_id).settings)
        return settings

    def get_conn(self) -> FlinkRestClient:
        """The REST client."""
        return self.client

    @cached_property
    def client(self) -> FlinkRestClient:
        """The REST client; no request is made yet."""
        settings = self.settings
        # Not above: requests would be half of what importing the operators costs, and each parse of the DAGs would pay.
        from hopsworks_flink.clients.flink.rest import FlinkRestClient

        return FlinkRestClient(settings.url, auth=settings.auth, verify=settings.verify)

    def test_connection(self) -> tuple[bool, str]:
        """One authenticated read, for Airflow's test button."""
        try:
            overview = self.client.overview()
            return True, (
                f"Flink {overview['flink-version']} with {overview['taskmanagers']} task manager(s), "
                f"{overview['slots-available']} of {overview['slots-total']} slots free"
            )
        except (KeyError, TypeError):
            return False, f"{self.settings.url} does not answer as Flink's REST API does: is this its address?"
        except Exception as error:  # whatever it is, the button shows it: Airflow makes nothing useful of an exception
            return False, str(error) or type(error).__name__

    def job_url(self, job_id: str, page: str = "overview") -> str:
        """Address of the job in Flink's web UI."""
        return f"{self.settings.web_ui_url or self.settings.url}/#/job/running/{job_id}/{page}"

    # --- looking ---------------------------------------------------------------------------------------------------

    def jobs_named(self, job_name: str) -> list[FlinkJob]:
        """All jobs of exactly this name that Flink remembers, the last one started first.

        Those that have not ended carry the deployment hash that they were started with.
        """
        jobs = [FlinkJob.from_rest(entry) for entry in self.client.jobs() if entry["name"] == job_name]
        jobs = [job if job.is_terminal else job.with_marks(self.job_marks(job.job_id)) for job in jobs]
        return sorted(jobs, key=lambda job: job.start_time, reverse=True)

    def others_running(self, job_name: str) -> list[FlinkJob]:
        """All jobs of other names that have not ended, with their marks."""
        jobs = [FlinkJob.from_rest(entry) for entry in self.client.jobs() if entry["name"] != job_name]
        return [job.with_marks(self.job_marks(job.job_id)) for job in jobs if not job.is_terminal]

    def job_state(self, job_id: str) -> str | None:
        """Flink's state of the job; None if Flink does not know it."""
        state: str | None = self.client.job_state(job_id)
        return state

    def find_job(self, job_id: str) -> dict[str, Any] | None:
        """``GET /jobs/{id}``; None if Flink does not know it."""
        return self.client.find_job(job_id)

    def facts(
        self,
        job_name: str | None = None,
        job_id: str | None = None,
        restart_window: float = 600.0,
        counts: bool = False,
    ) -> JobFacts:
        """Look at one job once, see :func:`~hopsworks_flink.health.facts.job_facts`."""
        steps = job_facts(job_name, job_id, time.time(), restart_window=restart_window, counts=counts)
        return self.client.answer(steps)

    def examine(self, job_name: str | None, job_id: str | None, bounds: Bounds) -> dict[str, Any]:
        """Look at one job once and judge it, see :func:`~hopsworks_flink.health.wait.examine`."""
        return self.client.answer(examine(job_name, job_id, bounds, time.time()))

    def failure(self, job_id: str, secrets: Sequence[str] = ()) -> str | None:
        """The root cause of a job's failure in one line; its stack trace goes to the log, folded.

        :param secrets: values that must not be shown.
        :return: None if Flink has none to tell.
        """
        try:
            stack = stack_trace(self.client.exceptions(job_id))
        except FlinkError as error:
            # A help for an error that is being reported, never a reason for another one.
            self.log.warning("The job's exceptions cannot be read: %s", error)
            return None
        if stack:
            self.log.error("::group::Exception of Flink job %s\n%s\n::endgroup::", job_id, mask(head(stack), secrets))
        return mask(innermost_cause(stack), secrets) or None

    def job_marks(self, job_id: str) -> dict[str, str]:
        """The job's ``pipeline.global-job-parameters``; empty while a job initialises or when Flink forgot it."""
        return self.client.job_marks(job_id)

    def is_job(self, job_id: str, job_name: str, marks: Mapping[str, str]) -> bool | None:
        """Whether the job under an id is a certain one, see :meth:`FlinkRestClient.is_job`."""
        return self.client.is_job(job_id, job_name, marks)

    def watermark(self, job_id: str) -> int | None:
        """How far event time has come in all of a running job, in epoch milliseconds; the truth is never behind it.

        None, after some seconds in which Flink gathers its metrics, if a part of the job has seen no event.
        """
        deadline = time.monotonic() + self.metrics_seconds
        while True:
            vertices = self.client.job(job_id).get("vertices") or ()
            lowest = lowest_watermark([self.client.watermarks(job_id, vertex["id"]) for vertex in vertices])
            if lowest is not None or time.monotonic() > deadline:
                return lowest
            time.sleep(self.metrics_poll)

    def emitted_until(self, job_id: str) -> int | None:
        """Windows ending by then have been emitted: the watermark that the job shows, or the one it started with."""
        shown, marked = self.watermark(job_id), watermark_of(self.job_marks(job_id))
        return max((value for value in (shown, marked) if value is not None), default=None)

    def restore_point(self, job: FlinkJob) -> RestorePoint:
        """The newest state that an ended job left.

        Waits a few seconds if the job has just ended, until Flink's statistics are sure to show its last savepoint.
        """
        return restore_point(job.job_id, self.last_checkpoints(job))

    def last_checkpoints(self, job: FlinkJob) -> dict[str, Any] | None:
        """``GET /jobs/{id}/checkpoints`` of an ended job, as it was at its end; None if Flink does not know them."""
        if time.time() - job.end_time / 1000 < _RECENT_SECONDS:
            time.sleep(_STATISTICS_SECONDS)
        try:
            return dict(self.client.checkpoints(job.job_id))
        except FlinkApiError as error:
            if error.status_code != 404:
                raise
            return None

    # --- starting --------------------------------------------------------------------------------------------------

    def find_jars(self, connectors: Sequence[str] | None = None, formats: Sequence[str] = ()) -> JobJars:
        """The jars on this worker that fit the cluster's Flink version.

        :param connectors: see :func:`~hopsworks_flink.clients.flink.files.find_jars`; None follows the connection.
        :param formats: what else the job needs that has jars of its own: `OWN_JARS`, or a file format such as
            ``parquet``.
        :raises ConfigurationError: a jar is missing.
        """
        settings = self.settings
        folder = settings.jars_dir or conf.get("hopsworks_flink", "jars_dir", fallback="") or None
        if connectors is None and settings.connectors_on_cluster:
            connectors = ()
        version = str(self.client.config()["flink-version"])
        return find_jars(Path(folder) if folder else None, version, connectors, formats)

    def run_python_job(
        self,
        bundle: Bundle,
        *,
        job_name: str,
        job_id: str,
        jars: JobJars,
        arguments: Sequence[str] = (),
        parallelism: int = 1,
        savepoint_path: str | None = None,
        allow_non_restored_state: bool = False,
        flink_configuration: Mapping[str, str] | None = None,
        marks: Mapping[str, str] | None = None,
    ) -> str:
        """Start a Python program as a job with an id of our choice.

        A submission whose answer was lost is looked up by that id and sent again only if it never arrived: there is
        never a second job.

        :param bundle: the program; uploaded for the submission and deleted afterwards.
        :param job_name: becomes ``pipeline.name``.
        :param job_id: 32 hex digits.
        :param arguments: the program's own; ``--jars <urls>`` follows when the job brings connectors along.
        :param savepoint_path: state to start from.
        :param marks: put into ``pipeline.global-job-parameters``; letters, digits, ``_ . -`` only.
        :return: the job's id.
        :raises FlinkDuplicateJobId: Flink has seen the id before, for this very job.
        :raises FlinkJobIdTaken: Flink has seen the id before, for another job or one that it does not show.
        :raises FlinkForeignJobError: the job that runs under the id is not the one that was submitted.
        :raises FlinkSubmissionError: the program failed; the text holds the cause.
        :raises FlinkConnectionError: Flink could not be reached, and the job did not turn up.
        """
        configuration = job_configuration(job_name, flink_configuration or {}, marks or {})
        identity = identity_marks(job_id, marks or {})
        python = self.settings.python_executable
        submission = PythonSubmission(self.client, job_id, job_name, identity, bundle, jars, arguments, python)
        return submission.send(
            {
                "parallelism": parallelism,
                "savepointPath": savepoint_path,
                "allowNonRestoredState": allow_non_restored_state,
                "flinkConfiguration": configuration,
            }
        )

    # --- ending ----------------------------------------------------------------------------------------------------

    def stop_with_savepoint(
        self,
        job_id: str,
        *,
        drain: bool = False,
        target_directory: str | None = None,
        timeout: float = 600.0,
        poll_interval: float = 1.0,
    ) -> str:
        """End a job and keep its state.

        :param drain: emit what open windows hold, as if they were complete; a later deployment computes these again.
        :param target_directory: default: the cluster's ``execution.checkpointing.savepoint-dir``.
        :param timeout: seconds.
        :param poll_interval: seconds.
        :return: the savepoint's path.
        :raises FlinkJobNotFound: Flink does not know the job.
        :raises FlinkSavepointError: no savepoint could be taken, or not in time; the job may still run.
        """
        request_id = uuid.uuid4().hex
        self.request_stop(job_id, drain=drain, target_directory=target_directory, request_id=request_id)
        path = self.wait(lambda wait: until_saved(wait, job_id, request_id), timeout, poll_interval)
        if path is None:
            raise FlinkSavepointError(
                f"The savepoint of job {job_id} was not complete after {timeout:g} s; Flink goes on writing it, or has "
                "forgotten the request."
            )
        return path

    def request_stop(self, job_id: str, *, drain: bool, target_directory: str | None, request_id: str) -> None:
        """Ask Flink to end a job with a savepoint; does not wait.

        The savepoint of a drained job goes into a folder of its own, whose name a later deployment understands.

        :param request_id: 32 hex digits; sent again with the same id, it is one request.
        :raises FlinkJobNotFound: Flink does not know the job.
        :raises FlinkSavepointError: Flink refused.
        """
        if drain and (folder := target_directory or state_directories(self.client.jobmanager_config())[0]):
            target_directory = drained_directory(folder, self.watermark(job_id))
        try:
            self.client.stop(job_id, drain=drain, target_directory=target_directory, request_id=request_id)
        except FlinkConnectionError:
            # The id makes it the same request if the first one has arrived.
            self.client.stop(job_id, drain=drain, target_directory=target_directory, request_id=request_id)
        except FlinkJobNotFound:
            raise
        except FlinkApiError as error:
            raise FlinkSavepointError(f"Flink refused to stop job {job_id} with a savepoint: {error}") from error

    def cancel(self, job_id: str) -> None:
        """Ask Flink to end a job without a savepoint; does not wait. A job that is gone or ended is no error."""
        self.client.cancel(job_id)

    def wait_until_ended(self, job_id: str, *, timeout: float = 120.0, poll_interval: float = 1.0) -> str:
        """Wait for a job's terminal state; what else Flink tells of it may be some seconds older.

        :param timeout: seconds.
        :return: the state; ``NOT_FOUND`` if Flink has forgotten the job.
        :raises FlinkError: it did not end in time.
        """
        event = self.wait(lambda wait: until_gone(wait, job_id), timeout, poll_interval)
        if event["status"] == TIMEOUT:
            raise FlinkError(f"Job {job_id} is still {event['state']} after {timeout:g} s.")
        return str(event["status"])

    def wait(self, watch: Callable[[Wait], Awaitable[T]], timeout: float, poll_interval: float) -> T:
        """Run one of the waits of :mod:`~hopsworks_flink.health.wait` on this worker.

        :param timeout: seconds.
        """
        from hopsworks_flink.hooks.flink_async import AsyncFlinkHook

        async def run() -> T:
            async with AsyncFlinkHook(self.flink_conn_id, self.settings) as flink:
                return await watch(Wait(flink.client, time.time() + timeout, poll_interval, log=self.log))

        return asyncio.run(run())
