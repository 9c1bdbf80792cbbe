"""Trigger that watches a new deployment's job until it is healthy, or cannot become so."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from hopsworks_flink.exceptions import FlinkJobNotFound
from hopsworks_flink.health.gate import HealthCriteria, HealthGate
from hopsworks_flink.hooks.flink_async import AsyncFlinkHook
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

    async def watch(self, flink: AsyncFlinkHook) -> dict[str, Any]:
        """Look until the gate knows, or the deadline passes."""
        gate = HealthGate(HealthCriteria(self.require_checkpoint, self.grace_period, self.max_restarts))
        reason = None
        while True:
            try:
                health = await self.ask(lambda: flink.health(self.job_id))
            except FlinkJobNotFound:
                return self._event("failed", "Flink does not know it (any more)", "NOT_FOUND")
            verdict = gate.observe(health, time.monotonic())
            if gate.reason != reason:
                self.log.info("Job %s: %s.", self.job_id, gate.reason)
            reason = gate.reason
            if verdict != "waiting":
                return self._event(verdict, gate.reason, health.state)
            if time.time() >= self.deadline:
                return self._event("late", gate.reason, health.state)
            await asyncio.sleep(self.poll_interval)

    def _event(self, status: str, reason: str, state: str) -> dict[str, Any]:
        return {"status": status, "message": reason, "state": state, "job_id": self.job_id}
