"""Flink clusters that Hopsworks manages: found by their running job, reached through Hopsworks with its API key."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from hopsworks_flink.clients.addresses import segment
from hopsworks_flink.clients.flink.connection import FlinkConnection
from hopsworks_flink.clients.hopsworks.connection import HopsworksConnection
from hopsworks_flink.clients.hopsworks.rest import AsyncHopsworksRest, HopsworksRest
from hopsworks_flink.exceptions import (
    ConfigurationError,
    FlinkConnectionError,
    HopsworksError,
    HopsworksFlinkError,
)

_RUNNING = "UNDEFINED"
# Yields requests (address, infinitive for an error's text), and is sent their answers.
_Steps = Generator[tuple[str, str], dict[str, Any], FlinkConnection]


def find_cluster(flink: FlinkConnection, hopsworks: HopsworksConnection) -> FlinkConnection:
    """The connection with the cluster's address and authentication.

    :raises ConfigurationError: there is no such job, more than one cluster runs, or Hopsworks refuses the API key.
    :raises FlinkConnectionError: no cluster runs, or Hopsworks does not answer.
    """
    with HopsworksRest(hopsworks) as api:
        steps = _look(flink, hopsworks, api)
        question = next(steps)
        while True:
            try:
                try:
                    answer = api.get(*question)
                except HopsworksError as error:
                    raise _translated(error) from error
                question = steps.send(answer)
            except StopIteration as end:
                return end.value


async def find_cluster_async(flink: FlinkConnection, hopsworks: HopsworksConnection) -> FlinkConnection:
    """The same for an event loop."""
    async with AsyncHopsworksRest(hopsworks) as api:
        steps = _look(flink, hopsworks, api)
        question = next(steps)
        while True:
            try:
                try:
                    answer = await api.get(*question)
                except HopsworksError as error:
                    raise _translated(error) from error
                question = steps.send(answer)
            except StopIteration as end:
                return end.value


def _translated(error: HopsworksError) -> HopsworksFlinkError:
    return ConfigurationError(str(error)) if error.permanent else FlinkConnectionError(str(error))


def _look(flink: FlinkConnection, hopsworks: HopsworksConnection, api: HopsworksRest | AsyncHopsworksRest) -> _Steps:
    project = yield api.project_url(), f"read project {hopsworks.project!r}"
    project_id = int(project["projectId"])
    if flink.hopsworks_job:
        names = [flink.hopsworks_job]
    else:
        answer = yield api.jobs_url(project_id), "read the project's jobs"
        names = [job["name"] for job in answer.get("items") or () if job.get("jobType") == "FLINK"]
    running: dict[str, str] = {}
    for name in names:
        url = api.newest_execution_url(project_id, name)
        answer = yield url, f"read the executions of Flink's job {name!r}"
        for execution in answer.get("items") or ():
            if execution.get("finalStatus") == _RUNNING and execution.get("appId"):
                running[name] = str(execution["appId"])
                break
    return _with_cluster(flink, hopsworks, names, running)


def _with_cluster(
    flink: FlinkConnection, hopsworks: HopsworksConnection, names: list[str], running: dict[str, str]
) -> FlinkConnection:
    of_project = f"of Hopsworks project {hopsworks.project!r}"
    if len(running) > 1:
        raise ConfigurationError(
            f"{len(running)} Flink clusters {of_project} run: {', '.join(sorted(running))}. Name one as hopsworks_job "
            "in the extra of the Flink connection."
        )
    if not running:
        known = f"the cluster {names[0]!r}" if len(names) == 1 else "any cluster" if names else "a cluster"
        raise FlinkConnectionError(
            f"No Flink cluster {of_project} is running: start {known} there (a job of type Flink)."
        )
    (application,) = running.values()
    return replace(
        flink,
        url=f"{hopsworks.url}/hopsworks-api/flinkmaster/{segment(application)}",
        auth=hopsworks.authorize,
        verify=hopsworks.verify,
    )
