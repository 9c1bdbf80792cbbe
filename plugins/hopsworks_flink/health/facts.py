"""Asks Flink for all that a verdict on a supervised job needs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hopsworks_flink.clients.flink.failures import root_exception
from hopsworks_flink.clients.flink.jobs import TERMINAL_STATES, lowest_watermark
from hopsworks_flink.exceptions import FlinkApiError
from hopsworks_flink.health.verdict import Look
from hopsworks_flink.health.wait import checkpoint_age, restarts_since

if TYPE_CHECKING:
    from hopsworks_flink.clients.flink.rest import FlinkRestClient

# Of the source, the window operators and the sinks. A chained operator has no counts of records at its vertex.
_LAG, _READ, _LATE, _WRITTEN = "pendingRecords", "numRecordsIn", "numLateRecordsDropped", "numRecordsSend"


def look_at(client: FlinkRestClient, job_name: str, restart_window: float, now: float) -> Look:
    """Look at the job of a name once; a few reads for each of its vertices.

    :param restart_window: seconds in which restarts count.
    :param now: epoch seconds.
    """
    named = sorted((job for job in client.jobs() if job["name"] == job_name), key=lambda job: -job["start-time"])
    ids = tuple(job["jid"] for job in named if job["state"] not in TERMINAL_STATES)
    if len(ids) > 1 or not named:
        return Look(at=now, job_ids=ids)
    entry = next(job for job in named if not ids or job["jid"] == ids[0])
    age = max(0.0, now - entry["start-time"] / 1000)
    # The list of jobs is always true. What follows it comes out of a cache of Flink's, a few seconds old.
    seen = Look(at=now, job_ids=ids, job_id=entry["jid"], state=entry["state"], age=age)
    try:
        return _detailed(client, seen, restart_window)
    except FlinkApiError as error:
        if error.status_code != 404:
            raise
        # It ended, or has no execution graph yet.
        return seen


def _detailed(client: FlinkRestClient, seen: Look, restart_window: float) -> Look:
    job_id = str(seen.job_id)
    exceptions = client.exceptions(job_id)
    if not seen.job_ids:
        return replace(seen, cause=root_exception(exceptions))
    job = client.job(job_id)
    vertices = job.get("vertices") or []
    clock = float(job.get("now") or seen.at * 1000)
    age, without = checkpoint_age(job, client.checkpoints(job_id), clock)
    restarts, _ = restarts_since(exceptions, clock - restart_window * 1000)
    sums: dict[str, float] = {}
    for vertex in vertices:
        # Every operator counts what comes in; for the topic's events it is those at the head.
        endings = (_LAG, _LATE, _WRITTEN, *([_READ] if "source" in str(vertex["name"]).lower() else []))
        for name, value in client.vertex_metrics(job_id, vertex["id"], endings).items():
            sums[name] = sums.get(name, 0.0) + value
    return replace(
        seen,
        parallelism=max((int(vertex.get("parallelism") or 1) for vertex in vertices), default=None),
        age=max(0.0, (clock - job["start-time"]) / 1000),
        behind=tuple(sorted(f"{v['name']}: {v['status']}" for v in vertices if v["status"] != "RUNNING")),
        checkpoint_age=None if without else round(age, 3),
        restarts=restarts,
        cause=root_exception(exceptions),
        watermark=lowest_watermark([client.watermarks(job_id, vertex["id"]) for vertex in vertices]),
        lag=_whole(sums.get(_LAG)),
        read=_whole(sums.get(_READ)),
        late=_whole(sums.get(_LATE)),
        written=_whole(sums.get(_WRITTEN)),
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
