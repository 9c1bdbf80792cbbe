"""Trigger that watches a new deployment's job until it is healthy, or cannot become so."""

from __future__ import annotations

from typing import Any

from hopsworks_flink.health.bounds import Bounds
from hopsworks_flink.health.wait import Wait, until_stable
from hopsworks_flink.triggers.flink import FlinkTrigger


class FlinkDeploymentTrigger(FlinkTrigger):
    """Applies the health criteria of a deployment to one job.

    The event's ``status`` is ``healthy``, ``failed`` or ``late`` (the deadline passed while the job was neither), with
    ``message`` (the reason), ``state`` (Flink's, or ``NOT_FOUND``) and ``job_id``; or as for
    :class:`~hopsworks_flink.triggers.flink.FlinkTrigger`. The watch is over one object's life: after a failover the
    grace period begins again.

    :param job_id: the job.
    :param require_checkpoint: a checkpoint must have completed since the job started.
    :param grace_period: seconds without a restart, all vertices running.
    :param max_restarts: more restarts than this mean failure at once.
    :param kwargs: as for :class:`~hopsworks_flink.triggers.flink.FlinkTrigger`; ``kill_job_id`` is given only if the
        deployment itself has started the job.
    """

    def __init__(
        self, *, job_id: str, require_checkpoint: bool, grace_period: float, max_restarts: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.require_checkpoint = require_checkpoint
        self.grace_period = grace_period
        self.max_restarts = max_restarts

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, for Airflow."""
        return "hopsworks_flink.triggers.flink_deploy.FlinkDeploymentTrigger", {
            **self.arguments(),
            "job_id": self.job_id,
            "require_checkpoint": self.require_checkpoint,
            "grace_period": self.grace_period,
            "max_restarts": self.max_restarts,
        }

    async def watch(self, wait: Wait) -> dict[str, Any]:
        """Look until the gate knows, or the deadline passes."""
        bounds = Bounds(
            require_checkpoint=self.require_checkpoint, grace_period=self.grace_period, max_restarts=self.max_restarts
        )
        return await until_stable(wait, self.job_id, bounds)
