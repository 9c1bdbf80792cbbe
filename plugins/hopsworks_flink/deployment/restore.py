"""What state jobs have left, or would leave if they were cancelled: asked of Flink, and of its checkpoint storage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from hopsworks_flink.clients.flink.jobs import ObservedJob, RestorePoint, find_restore_point, restore_point
from hopsworks_flink.deployment.decision import KnownDeployment
from hopsworks_flink.deployment.retained import newest_checkpoint
from hopsworks_flink.hooks.flink import FlinkHook


class Leftovers:
    """The states that a successor could start from."""

    def __init__(self, hook: FlinkHook) -> None:
        self._hook = hook

    def by(self, jobs: Iterable[ObservedJob]) -> RestorePoint:
        """The newest state; of jobs that have not ended, what a cancellation would leave.

        :param jobs: the last one first.
        """
        return find_restore_point(self._each(jobs))

    def by_ended(self, jobs: Sequence[ObservedJob], known: KnownDeployment | None) -> RestorePoint:
        """What ended jobs have left, or the last healthy one if Flink has forgotten that one.

        :param known: the last deployment, as Airflow remembers it.
        """
        left = self.by(jobs)
        if left.path or left.lost or known is None or not known.proven or not known.checkpoints:
            return left
        if known.job_id in {job.job_id for job in jobs}:
            return left
        return _retained(known) or left

    def _each(self, jobs: Iterable[ObservedJob]) -> Iterator[tuple[RestorePoint, Mapping[str, str]]]:
        for job in jobs:
            point = self._hook.restore_point(job) if job.is_terminal else self._when_cancelled(job)
            yield point, self._hook.job_marks(job.job_id)

    def _when_cancelled(self, job: ObservedJob) -> RestorePoint:
        client = self._hook.client
        checkpoints = client.checkpoints(job.job_id)
        point = restore_point(job.job_id, checkpoints)
        own = (checkpoints.get("counts") or {}).get("completed", 0)
        retention = client.checkpoint_config(job.job_id).get("externalization") or {}
        if point.path and own and (not retention.get("enabled") or retention.get("delete_on_cancellation")):
            return RestorePoint(
                None,
                f"Flink would delete the checkpoints of job {job.job_id} when it is cancelled "
                "(execution.checkpointing.externalized-checkpoint-retention)",
                lost=True,
            )
        return point


def _retained(known: KnownDeployment) -> RestorePoint | None:
    """The newest checkpoint of a healthy job that Flink has forgotten."""
    folder = f"{known.checkpoints}/{known.job_id}"
    try:
        path = newest_checkpoint(folder)
    except Exception as error:  # each kind of storage has its own
        why = f"Flink has forgotten job {known.job_id}, and its checkpoints in {folder} cannot be looked at from here"
        return RestorePoint(None, f"{why} ({type(error).__name__}: {error})", lost=True)
    if path is None:
        return None
    origin = f"the newest retained checkpoint of job {known.job_id}, which Flink has forgotten"
    return RestorePoint(path, origin, watermark=known.watermark)
