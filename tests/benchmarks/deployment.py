"""How long deployments take, from the call of the operator to a job that is healthy."""

from __future__ import annotations

import time
from collections.abc import Callable

import yaml

from tests.benchmarks.cluster import Cluster
from tests.benchmarks.jobs import REFERENCE
from tests.benchmarks.platform import Deployed


def measure(cluster: Cluster, *, tell: Callable[[str], None]) -> dict[str, float]:
    """Seconds of each step of a deployment's life.

    Healthy means: every task runs, a checkpoint was completed (every 10 s here), no restart for the default grace
    period of 10 s. Most of a first deployment is that.
    """
    cluster.up("kafka", "flink-jobmanager", "flink-taskmanager", "hopsworks", "hopsworks-onlinefs")
    spec = yaml.safe_load(REFERENCE.read_text())
    unique = int(time.time())
    spec["name"] = f"deploy_{unique}"
    spec["source"]["topic"] = f"deploy_{unique}"
    for group in spec["feature_groups"]:
        group["name"] = f"deploy_{unique}"
    deployed = Deployed(cluster, spec)
    try:
        found = {
            "topic_and_feature_groups_seconds": deployed.register(),
            "the_same_again_seconds": deployed.register(),
            "first_deployment_seconds": deployed.deploy("submitted"),
            "deployment_without_a_change_seconds": deployed.deploy("none"),
        }
        spec["source"]["max_disorder"] = "7s"
        found["upgrade_with_savepoint_seconds"] = deployed.deploy("replaced")
    finally:
        deployed.end()
    tell(f"deployment: {found}")
    return found
