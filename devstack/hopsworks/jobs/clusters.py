"""Flink clusters of the project: a running execution of a job of type FLINK represents the stack's one cluster."""

from __future__ import annotations

import httpx

from devstack.config import DevstackConfig
from devstack.hopsworks.home import errors
from devstack.hopsworks.home.layout import Layout
from devstack.hopsworks.home.log import get_logger
from devstack.hopsworks.jobs.store import JobStore
from devstack.hopsworks.metadata.models import Execution, Job

TYPE = "FLINK"
_TIMEOUT_SECONDS = 10.0
log = get_logger("clusters")


class FlinkClusters:
    """Starts and stops executions that represent the cluster; never the cluster itself."""

    def __init__(self, config: DevstackConfig, jobs: JobStore) -> None:
        self.url = config.flink_url
        self.layout = Layout(config)
        self.jobs = jobs

    def start(self, job: Job, args: str, env_vars: dict[str, str]) -> Execution:
        """An execution that runs until it is stopped; refused while another one of the job runs, or without Flink."""
        try:
            # Without proxies of the environment.
            with httpx.Client(timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
                client.get(f"{self.url}/overview").raise_for_status()
        except httpx.HTTPError as error:
            raise errors.JOB_START_FAILED(f"job {job.name!r}: Flink at {self.url} does not answer: {error}") from error
        execution = self.jobs.new_execution(job, args, env_vars, f"{self.layout.project_path}/Logs/Flink")
        if execution is None:
            raise errors.EXECUTION_LIMIT(f"job {job.name!r} is running already; wait for it or stop it.")
        for path in (execution.stdout_path, execution.stderr_path):
            file = self.layout.datasets / path.removeprefix(f"{self.layout.project_path}/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        self.jobs.mark_running(execution.id)
        log.info("execution %d of %s represents the cluster at %s", execution.id, job.name, self.url)
        return self.jobs.execution(execution.id) or execution

    def stop(self, execution: Execution, state: str = "KILLED") -> Execution:
        """End the execution: its address stops answering. Jobs in Flink go on."""
        self.jobs.finish(execution.id, state, "SUCCEEDED" if state == "FINISHED" else state)
        return self.jobs.execution(execution.id) or execution

    def running(self, application: str) -> Execution | None:
        """The execution behind an application id, while it runs."""
        return next((one for one in self.jobs.unfinished(clusters=True) if one.app_id == application), None)
