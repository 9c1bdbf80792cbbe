"""The savepoints and checkpoints that jobs left: asked of Flink, and of the storage of its checkpoints.

A session cluster without high availability loses all its jobs when its JobManager ends; the checkpoints of those that
retain them stay (Flink: ``execution.checkpointing.externalized-checkpoint-retention``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from hopsworks_flink._compat import ObjectStoragePath
from hopsworks_flink.clients.flink.jobs import FlinkJob, RestorePoint, find_restore_point, restore_point
from hopsworks_flink.deployment.decision import KnownDeployment
from hopsworks_flink.hooks.flink import FlinkHook

# Flink's names for its S3 file systems, which are one to everybody else.
_S3 = re.compile(r"^s3[ap]://")
# Not every Airflow takes this scheme in each of the forms that Flink writes.
_LOCAL = re.compile(r"^file:/+")


class RestorePoints:
    """The states that a successor could start from."""

    def __init__(self, hook: FlinkHook) -> None:
        self._hook = hook

    def by(self, jobs: Iterable[FlinkJob]) -> RestorePoint:
        """The newest state; of jobs that have not ended, what a cancellation would leave.

        :param jobs: the last one first.
        """
        return find_restore_point(self._each(jobs))

    def by_ended(self, jobs: Sequence[FlinkJob], known: KnownDeployment | None) -> RestorePoint:
        """What ended jobs have left, or the last healthy one if Flink has forgotten that one.

        :param known: the last deployment, as Airflow remembers it.
        """
        left = self.by(jobs)
        if left.path or left.lost or known is None or not known.stable or not known.checkpoints:
            return left
        if known.job_id in {job.job_id for job in jobs}:
            return left
        return _retained(known) or left

    def _each(self, jobs: Iterable[FlinkJob]) -> Iterator[tuple[RestorePoint, Mapping[str, str]]]:
        for job in jobs:
            point = self._hook.restore_point(job) if job.is_terminal else self._when_cancelled(job)
            yield point, self._hook.job_marks(job.job_id)

    def _when_cancelled(self, job: FlinkJob) -> RestorePoint:
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
        path = _newest_checkpoint(folder)
    except Exception as error:  # each kind of storage has its own
        why = f"Flink has forgotten job {known.job_id}, and its checkpoints in {folder} cannot be looked at from here"
        return RestorePoint(None, f"{why} ({type(error).__name__}: {error})", lost=True)
    if path is None:
        return None
    origin = f"the newest retained checkpoint of job {known.job_id}, which Flink has forgotten"
    return RestorePoint(path, origin, watermark=known.watermark)


def _newest_checkpoint(folder: str) -> str | None:
    """The newest completed checkpoint in a job's folder, as Flink takes it for ``savepointPath``; None: there is none.

    The folder is read with the credentials of Airflow's connection for that kind of storage.

    :param folder: ``<checkpoint directory>/<job id>``; its name is a URI or a local path.
    :raises Exception: the storage cannot be read, for any reason that its file system has.
    """
    root = ObjectStoragePath(_LOCAL.sub("/", _S3.sub("s3://", folder)))
    if not root.is_dir():
        return None
    # Flink writes _metadata last: without it a checkpoint was not completed.
    numbers = [int(match[1]) for path in root.iterdir() if (match := _completed(path))]
    return f"{folder}/chk-{max(numbers)}" if numbers else None


def _completed(path: ObjectStoragePath) -> re.Match[str] | None:
    match = re.fullmatch(r"chk-(\d+)", path.name)
    return match if match and (path / "_metadata").is_file() else None
