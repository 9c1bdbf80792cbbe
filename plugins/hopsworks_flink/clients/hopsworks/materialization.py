"""Materializes feature groups into the offline store: one observation with its decision, and the whole loop."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hopsworks_flink.clients.hopsworks.executions import FAILED, SUCCEEDED, TIMEOUT, Execution
from hopsworks_flink.clients.hopsworks.progress import (
    Decision,
    Offsets,
    Progress,
    Situation,
    decide,
    newest_commit,
    rows_since,
    with_text_keys,
)
from hopsworks_flink.exceptions import HopsworksJobFailed

if TYPE_CHECKING:
    from hopsworks_flink.clients.hopsworks.session import HopsworksSession

_MAX_EXECUTIONS = 20


@dataclass(frozen=True)
class Look:
    """One observation of a feature group's materialization.

    :param executions: of its job, the newest first.
    :param running: number of one that has not ended.
    :param progress: how far the group is; None if unknown.
    :param source: the execution whose log says so.
    :param decision: the next step.
    """

    executions: Sequence[Any]
    running: int | None
    progress: Progress | None
    source: Execution | None
    decision: Decision


def look(
    session: HopsworksSession,
    group: Any,
    job: Any,
    end: Offsets,
    *,
    before: Progress | None,
    own_runs: int,
    max_runs: int,
) -> Look:
    """Observe a feature group's materialization job once, and decide.

    :param end: partition -> offset: what has to be materialized.
    :param before: how far the group was before the last own execution.
    :param own_runs: executions started for this that succeeded.
    """
    executions = session.jobs.executions(job)
    running = next((one.id for one in executions if Execution.from_sdk(one, job.job_type).outcome is None), None)
    progress, source = session.jobs.progress(job, executions, group._online_topic_name)
    situation = Situation(
        end=end, running=running, progress=progress, before=before, own_runs=own_runs, max_runs=max_runs
    )
    return Look(executions, running, progress, source, decide(situation))


def materialize(
    session: HopsworksSession, group: Any, *, timeout: float, poll_interval: float, log: Any
) -> dict[str, Any]:
    """Materialize everything that a feature group's topic holds now, and wait for it.

    Where no offsets are printed, executions are repeated until one finds no more rows.

    :param timeout: seconds for all of it.
    :param poll_interval: seconds between two looks.
    :return: ``end_offsets``, ``offsets_verified``, ``rows_inserted`` and ``rows_updated``.
    :raises HopsworksJobFailed: an execution failed, did not move its offsets, or did not end in time.
    """
    wait: dict[str, Any] = {"deadline": time.time() + timeout, "poll_interval": poll_interval, "log": log}
    job, end = session.jobs.materialization(group), session.topic_end_offsets(group._online_topic_name)
    since = last = newest_commit(session.jobs.commits(group))
    before, own = None, 0
    while True:
        now = look(session, group, job, end, before=before, own_runs=own, max_runs=_MAX_EXECUTIONS)
        decision, commits = now.decision, session.jobs.commits(group)
        if decision.action == "done" and not decision.verified and any(rows_since(commits, last).values()):
            action = "start" if own < _MAX_EXECUTIONS else "refuse"
            decision = Decision(action, "no offsets are printed, and the last execution wrote rows")
        log.info("Feature group %s version %s: %s.", group.name, group.version, decision.reason)
        if decision.action == "refuse":
            newest = now.executions[0].id if now.executions else None
            raise HopsworksJobFailed(f"Execution {newest} of job {job.name}: {decision.reason}.", newest, SUCCEEDED)
        if decision.action == "done":
            rows = rows_since(commits, since)
            return {"end_offsets": with_text_keys(end), "offsets_verified": decision.verified, **rows}
        if decision.action == "wait" and now.running is not None:
            if session.jobs.end_of(job, now.running, **wait) == TIMEOUT:
                raise HopsworksJobFailed(f"Job {job.name} was never free in {timeout:g} s.", now.running, TIMEOUT)
            continue
        before, last = now.progress, newest_commit(commits)
        started = session.jobs.start(job)
        if started is not None:
            status = session.jobs.end_of(job, started.id, **wait)
            if status != SUCCEEDED:
                execution = session.jobs.execution(job, started.id)
                for line in session.jobs.log_tail(execution).splitlines() if execution is not None else ():
                    log.info("%s", line)
                text = f"Execution {started.id} of job {job.name} ended {status}."
                raise HopsworksJobFailed(text, started.id, FAILED)
            own += 1
        elif time.time() > wait["deadline"]:
            raise HopsworksJobFailed(f"Job {job.name} was never free in {timeout:g} s.", None, TIMEOUT)
        else:
            # Another execution was started meanwhile.
            time.sleep(poll_interval)
