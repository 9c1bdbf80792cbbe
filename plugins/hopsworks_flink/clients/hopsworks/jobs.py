"""Jobs of a Hopsworks project and their executions, through the SDK, within one login."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from hopsworks_flink.clients.hopsworks.connection import HopsworksConnection
from hopsworks_flink.clients.hopsworks.errors import quiet, translated
from hopsworks_flink.clients.hopsworks.executions import ERROR, SUCCEEDED, Execution, ExecutionWatch, executions_url
from hopsworks_flink.clients.hopsworks.progress import RECORDS_PER_RUN, Progress, RunOffsets
from hopsworks_flink.clients.hopsworks.rest import follow
from hopsworks_flink.exceptions import HopsworksConnectionError, HopsworksError, HopsworksNotFoundError

_NO_COMMIT = 270227
# An execution is running already, or too many of them are.
_BUSY = (130040, 130065)
_LOG_LINES = 40
# Logs of so many executions are searched for offsets.
_LOOKED_BACK = 5


class HopsworksJobs:
    """Made by :attr:`HopsworksSession.jobs`.

    :param project: the SDK's project.
    :param settings: of the login.
    """

    def __init__(self, project: Any, settings: HopsworksConnection) -> None:
        self.project = project
        self.settings = settings

    def get(self, name: str) -> Any:
        """The SDK's job.

        :raises HopsworksNotFoundError: there is no job of this name.
        """
        with translated(f"read job {name!r}"), quiet():
            job = self.project.get_job_api().get_job(name)
        if job is None:
            raise HopsworksNotFoundError(f"Job {name!r} does not exist in project {self.project.name!r}.")
        return job

    def materialization(self, group: Any) -> Any:
        """The job that materializes a feature group.

        :raises HopsworksNotFoundError: the group has no such job.
        """
        from hsfs.client.exceptions import FeatureStoreException

        with translated(f"read the materialization job of feature group {group.name!r}"), quiet():
            try:
                return group.materialization_job
            except FeatureStoreException as error:
                raise HopsworksNotFoundError(
                    f"Feature group {group.name!r} version {group.version} has no materialization job: is it a stream "
                    "feature group? If its creation was cut off, delete it and create it again."
                ) from error

    def executions(self, job: Any) -> list[Any]:
        """All executions of a job, the newest first; the SDK's objects."""
        with translated(f"read the executions of job {job.name}"):
            return list(job.get_executions() or ())

    def execution(self, job: Any, execution_id: int) -> Any:
        """One execution, the SDK's object; None if Hopsworks does not know it."""
        try:
            with translated(f"read execution {execution_id} of job {job.name}"):
                return job._execution_api._get(job, execution_id)
        except HopsworksNotFoundError:
            return None

    def start(
        self, job: Any, args: str | None = None, start_time: datetime | None = None, end_time: datetime | None = None
    ) -> Any:
        """Start an execution; the SDK's object, or None while another execution of the job blocks it.

        :param args: None: the job's own default arguments.
        :param start_time: begin of the data interval, for the execution's ``HOPS_START_TIME``.
        :param end_time: end of the data interval, for ``HOPS_END_TIME``.
        """
        from hopsworks.client.exceptions import RestAPIError

        with translated(f"start job {job.name}"), quiet():
            try:
                return job.run(args=args, await_termination=False, start_time=start_time, end_time=end_time)
            except RestAPIError as error:
                if error.error_code in _BUSY:
                    return None
                raise

    def end_of(self, job: Any, execution_id: int, *, deadline: float, poll_interval: float, log: Any) -> str:
        """Wait until an execution has ended.

        :param deadline: epoch seconds.
        :param poll_interval: seconds between two looks.
        :return: ``SUCCEEDED``, ``FAILED``, ``KILLED``, ``NOT_FOUND`` or ``timeout``.
        :raises HopsworksConnectionError: Hopsworks was away for too long.
        """
        watch = ExecutionWatch(job.name, execution_id, deadline)
        common = {"project_id": self.project.id, "job_type": job.job_type or "", "poll_interval": poll_interval}
        event = asyncio.run(follow(self.settings, watch, log=log, **common)) or {}
        if event["status"] == ERROR:
            raise HopsworksConnectionError(event["message"])
        return str(event["status"])

    def url_of(self, job: Any) -> str:
        """Address of the job's executions in Hopsworks' UI."""
        return executions_url(self.settings.url, self.project.id, job.name)

    def logs(self, execution: Any) -> dict[str, str]:
        """Standard output and error of an execution by file name, as far as they can be read."""
        import requests
        from hopsworks.client.exceptions import RestAPIError

        found = {}
        with tempfile.TemporaryDirectory(prefix="hopsworks-logs-") as folder:
            try:
                with quiet():
                    paths = execution.download_logs(folder)
            except (RestAPIError, requests.exceptions.RequestException, OSError):
                return {}
            for path in paths or ():
                if path and Path(path).is_file():
                    found[Path(path).name] = Path(path).read_text(errors="replace")
        return found

    def log_tail(self, execution: Any) -> str:
        """The last lines of an execution's standard output and error."""
        lines: list[str] = []
        for name, text in self.logs(execution).items():
            lines += [f"--- {name}", *text.splitlines()[-_LOG_LINES:]]
        return "\n".join(lines) or "(the execution's logs cannot be read)"

    # --- materialization -------------------------------------------------------------------------------------------

    def progress(self, job: Any, executions: Sequence[Any], topic: str) -> tuple[Progress | None, Execution | None]:
        """How far a feature group is materialized, and the newest execution whose log says so; None if no log does.

        :param executions: of the job, the newest first.
        """
        for one in executions[:_LOOKED_BACK]:
            execution = Execution.from_sdk(one, job.job_type)
            if execution.outcome is None:
                continue
            told = RunOffsets.from_log("\n".join(self.logs(one).values()), topic)
            if told is not None:
                return told.progress(execution.outcome == SUCCEEDED, self._records_per_run(job)), execution
        return None, None

    def _records_per_run(self, job: Any) -> int:
        """The job's limit of records, from the configuration file that its arguments name."""
        words = str((job.config or {}).get("defaultArgs") or "").split()
        if "-path" not in words[:-1]:
            return RECORDS_PER_RUN
        path = words[words.index("-path") + 1]
        try:
            with translated("read the job's configuration"), tempfile.TemporaryDirectory() as folder, quiet():
                local = self.project.get_dataset_api().download(path.removeprefix("hdfs://"), folder)
                options = json.loads(Path(local).read_text()).get("write_options") or {}
            return int(options.get("job_limit", RECORDS_PER_RUN))
        except (HopsworksError, OSError, ValueError, TypeError, AttributeError):
            # The file may not be readable; the limit is hardly ever changed.
            return RECORDS_PER_RUN

    def commits(self, group: Any) -> dict[Any, dict[str, Any]]:
        """The group's offline commits: id -> ``rowsInserted``, ``rowsUpdated``, ``rowsDeleted``."""
        from hopsworks.client.exceptions import RestAPIError
        from hsfs.client.exceptions import FeatureStoreException

        with translated(f"read the commits of feature group {group.name!r}"):
            try:
                return dict(group.commit_details())
            except RestAPIError as error:
                # Hopsworks' answer for a group that was never materialized.
                if error.error_code == _NO_COMMIT:
                    return {}
                raise
            except FeatureStoreException:
                # A group without time travel has no commits.
                return {}
