"""Checkpoints of a job that Flink has forgotten, found where the cluster keeps them.

A session cluster without high availability loses all its jobs when its JobManager ends; the checkpoints of those that
retain them stay (Flink: ``execution.checkpointing.externalized-checkpoint-retention``).
"""

from __future__ import annotations

import re

from hopsworks_flink._compat import ObjectStoragePath

# Flink's names for its S3 file systems, which are one to everybody else.
_S3 = re.compile(r"^s3[ap]://")
# Not every Airflow takes this scheme in each of the forms that Flink writes.
_LOCAL = re.compile(r"^file:/+")


def newest_checkpoint(folder: str) -> str | None:
    """The newest completed checkpoint in a job's folder, as Flink takes it for ``savepointPath``.

    The folder is read with the credentials of Airflow's connection for that kind of storage.

    :param folder: ``<checkpoint directory>/<job id>``; its name is a URI or a local path.
    :return: None if there is none.
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
