"""Bundles that a killed worker left on the cluster: they hold credentials, so whoever comes next deletes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hopsworks_flink.exceptions import FlinkError

if TYPE_CHECKING:
    from hopsworks_flink.hooks.flink import FlinkHook

_NAME = re.compile(r"[A-Za-z_][\w.]*-([0-9a-f]{32})\.jar")
# Longer than any submission takes, its uploads and second try included.
_SUBMISSION_MILLISECONDS = 30 * 60 * 1000


def bundle_name(module: str, job_id: str) -> str:
    """What a bundle is called on the cluster."""
    return f"{module}-{job_id}.jar"


def delete_left_bundles(hook: FlinkHook) -> None:
    """Delete the bundles of jobs that have arrived, and of submissions that must have ended long ago.

    What cannot be deleted is told in the log: it does no harm to the job.
    """
    try:
        for jar_id, name in _left(hook):
            hook.client.delete_jar(jar_id)
            hook.log.info("Deleted the bundle %s, which an earlier submission has left on the cluster.", name)
    except FlinkError as error:
        hook.log.warning("Bundles that earlier submissions may have left could not be deleted: %s", error)


def _left(hook: FlinkHook) -> Iterator[tuple[str, str]]:
    jars = hook.client.jars()
    # The cluster's clock, as far as it shows: this host's may be another.
    newest = max((int(jar["uploaded"]) for jar in jars), default=0)
    for jar in jars:
        if match := _NAME.fullmatch(jar["name"]):
            old = newest - int(jar["uploaded"]) > _SUBMISSION_MILLISECONDS
            # A job that is known has its files from elsewhere by now.
            if old or hook.job_state(match[1]) is not None:
                yield str(jar["id"]), str(jar["name"])
