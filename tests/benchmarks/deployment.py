"""How long deployments take, from the call of the operator to a job that is healthy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import yaml

from tests.benchmarks.cluster import Cluster
from tests.benchmarks.jobs import REFERENCE
from tests.benchmarks.platform import Deployed


def measure(cluster: Cluster, *, tell: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of each step of a deployment's life, and where those of a new job go.

    Healthy means: every task runs, a checkpoint was completed, no restart for the default grace period of 5 s. The
    first job on a new JobManager is another pipeline's: before it, hardly any of Flink's classes are loaded there.
    """
    cluster.fresh_jobmanager()
    cluster.up("kafka", "flink-jobmanager", "flink-taskmanager", "hopsworks", "hopsworks-onlinefs")
    other, deployed = _pipeline(cluster, "other"), _pipeline(cluster, "deploy")
    try:
        other.register()
        began, done = other.deploy("submitted")
        found: dict[str, Any] = {"first_on_a_new_jobmanager_seconds": done - began}
        found["topic_and_feature_groups_seconds"] = deployed.register()
        found["the_same_again_seconds"] = deployed.register()
        began, done = deployed.deploy("submitted")
        found["first_deployment_seconds"] = done - began
        found["of_the_first"] = _phases(cluster, deployed.job_id, began, done)
        began, done = deployed.deploy("none")
        found["deployment_without_a_change_seconds"] = done - began
        deployed.spec["source"]["max_disorder"] = "7s"
        old = deployed.job_id
        began, done = deployed.deploy("replaced")
        found["upgrade_with_savepoint_seconds"] = done - began
        ended = cluster.flink(f"/jobs/{old}")["end-time"] / 1000
        phases = _phases(cluster, deployed.job_id, ended, done)
        found["of_the_upgrade"] = {"the old job stops with a savepoint": ended - began, **phases}
    finally:
        for one in (other, deployed):
            one.end()
    tell(f"deployment: {found}")
    return found


def _pipeline(cluster: Cluster, name: str) -> Deployed:
    spec = yaml.safe_load(REFERENCE.read_text())
    spec["name"] = spec["source"]["topic"] = name = f"{name}_{int(time.time())}"
    for group in spec["feature_groups"]:
        group["name"] = name
    return Deployed(cluster, spec)


def _phases(cluster: Cluster, job_id: str, began: float, done: float) -> dict[str, float]:
    """Seconds by what the deployment did, as Flink's own times of the job tell."""
    job, told = cluster.flink(f"/jobs/{job_id}"), cluster.flink(f"/jobs/{job_id}/checkpoints")
    first = min(told["history"], key=lambda one: one["trigger_timestamp"])
    times = [
        began,
        job["start-time"] / 1000,
        first["trigger_timestamp"] / 1000,
        first["latest_ack_timestamp"] / 1000,
        done,
    ]
    names = (
        "the pipeline compiles, its program runs in the JobManager",
        "all tasks run",
        "the first checkpoint",
        "the rest of the grace period",
    )
    return {name: after - before for name, before, after in zip(names, times, times[1:], strict=False)}
