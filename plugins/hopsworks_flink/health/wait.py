"""Waits for a Flink job, as coroutines over the asynchronous client: a trigger runs them, or a worker.

Each returns an event, JSON: its ``status`` says how the wait ended.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from hopsworks_flink.clients.flink.http import Question
from hopsworks_flink.clients.flink.jobs import ENDING_STATES, NOT_FOUND, TERMINAL_STATES
from hopsworks_flink.exceptions import FlinkApiError, FlinkError, FlinkSavepointError
from hopsworks_flink.health.bounds import Bounds
from hopsworks_flink.health.facts import JobFacts, job_facts
from hopsworks_flink.health.gate import HealthGate
from hopsworks_flink.health.verdict import MISSING, away, judge

if TYPE_CHECKING:
    from hopsworks_flink.clients.flink.rest_async import AsyncFlinkRestClient

T = TypeVar("T")
#: How a wait can end besides a state of the job: time is up, an error, no savepoint could be taken.
TIMEOUT, ERROR, SAVEPOINT_FAILED = "timeout", "error", "savepoint_failed"

_STARTING = ("INITIALIZING", "CREATED", "RUNNING")
_STARTING_SECONDS, _STARTING_POLL = 10.0, 0.25
_CACHED_SECONDS, _CACHED_POLL = 10.0, 0.5


@dataclass(frozen=True)
class Wait:
    """How to wait.

    :param deadline: epoch seconds.
    :param poll_interval: seconds between two looks.
    :param max_errors: transport errors in a row that are tolerated.
    """

    client: AsyncFlinkRestClient
    deadline: float
    poll_interval: float
    max_errors: int = 10
    log: Any = field(default_factory=lambda: logging.getLogger(__name__))

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return time.time() >= self.deadline

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """The answer to a question, asked again while Flink is away."""
        from hopsworks_flink.clients.retry import ask

        return await ask(question, self.deadline, max_errors=self.max_errors)

    async def state_of(self, job_id: str) -> str | None:
        """Flink's state of a job; None if Flink does not know it."""
        state: str | None = await self.ask(lambda: self.client.job_state(job_id))
        return state

    async def pause(self, longest: float = math.inf) -> None:
        """Wait until the next look, but not beyond the deadline.

        :param longest: seconds.
        """
        await asyncio.sleep(max(0.0, min(self.poll_interval, longest, self.deadline - time.time())))


async def until_gone(wait: Wait, job_id: str) -> dict[str, Any]:
    """Look until a job has ended, no further.

    :return: ``status`` is a terminal state, ``NOT_FOUND`` or ``timeout``; with ``job_id`` and ``state`` (the last one
        seen).
    """
    known = None
    while True:
        state = await wait.state_of(job_id) or NOT_FOUND
        if state != known:
            wait.log.info("Job %s is %s.", job_id, state)
        known = state
        ended = state == NOT_FOUND or state in TERMINAL_STATES
        if ended or wait.is_over:
            return {"status": state if ended else TIMEOUT, "job_id": job_id, "state": state}
        await wait.pause()


async def until_ended(wait: Wait, job_id: str) -> dict[str, Any]:
    """Look until a job has ended, and until its rows and its failure are known.

    Flink tells them, as all details of a job, out of a cache that is some seconds old (``web.refresh-interval``).

    :return: as :func:`until_gone`, with ``duration_seconds`` (None if Flink does not say).
    """
    event = await until_gone(wait, job_id)
    milliseconds = None
    patience = time.monotonic() + _CACHED_SECONDS
    while event["status"] in TERMINAL_STATES and time.monotonic() < patience:
        try:
            job = await wait.client.find_job(job_id)
        except FlinkError as error:
            # The end is known: it must not be lost for its details.
            wait.log.info("The details of job %s cannot be read: %s", job_id, error)
        else:
            if job is None or job["state"] == event["state"]:
                milliseconds = (job or {}).get("duration")
                break
        await asyncio.sleep(min(_CACHED_POLL, wait.poll_interval))
    return {**event, "duration_seconds": None if milliseconds is None else milliseconds / 1000}


async def until_saved(wait: Wait, job_id: str, request_id: str) -> str | None:
    """Look until the savepoint of a stop is written.

    :return: where it lies; None if it was not written in time, or Flink has forgotten the request and the job ends.
    :raises FlinkSavepointError: it failed, or Flink has forgotten the request and the job goes on.
    """
    while True:
        try:
            path = await wait.ask(lambda: wait.client.savepoint(job_id, request_id))
        except FlinkApiError as error:
            if error.status_code != 404:
                raise
            state = await wait.state_of(job_id)
            if state is None or state in TERMINAL_STATES | ENDING_STATES:
                return None
            message = f"Flink has forgotten the request to stop job {job_id}, which is {state}"
            raise FlinkSavepointError(message) from error
        if path or wait.is_over:
            return path
        await wait.pause()


async def until_stopped(wait: Wait, job_id: str, request_id: str) -> dict[str, Any]:
    """Look until the savepoint of a stop is written, then until the job has ended.

    :return: as :func:`until_gone`, with ``savepoint_path`` (None if Flink does not say); ``status`` is
        ``savepoint_failed`` (with ``message``) if none could be taken: the job may go on running.
    """
    try:
        path = await until_saved(wait, job_id, request_id)
    except FlinkSavepointError as error:
        state = await wait.state_of(job_id)
        return {"status": SAVEPOINT_FAILED, "job_id": job_id, "state": state, "message": str(error)}
    if path:
        wait.log.info("The state of job %s is in %s.", job_id, path)
    return {**await until_gone(wait, job_id), "savepoint_path": path}


def examine(
    job_name: str | None, job_id: str | None, bounds: Bounds, now: float
) -> Generator[Question, Any, dict[str, Any]]:
    """Look at a job once and say whether it keeps to its bounds; arguments as of :func:`until_healthy`.

    :return: ``status`` is ``healthy``, ``hopeless`` (this job id has ended) or ``waiting``; with ``reason`` (a
        sentence), ``kind`` (the same as long as only numbers in the reason change) and ``facts`` (empty without a job).
    """
    try:
        facts = yield from job_facts(job_name, job_id, now, restart_window=bounds.restart_window)
        verdict = judge(job_name, facts, None, bounds)
    except FlinkError as error:
        facts, verdict = JobFacts(now), away(error)
    shown = {
        "job_id": facts.job_id,
        "state": facts.state,
        "checkpoint_age_seconds": facts.checkpoint_age,
        "restarts_in_window": facts.restarts,
    }
    hopeless = job_name is None and verdict.kind == MISSING
    return {
        "status": "healthy" if verdict.within_bounds else "hopeless" if hopeless else "waiting",
        "reason": facts.summary if verdict.within_bounds else str(verdict),
        "kind": " ".join((str(facts.state), *(reason.topic for reason in verdict.reasons))),
        "facts": shown if facts.job_id and facts.state != NOT_FOUND else {},
    }


async def until_healthy(wait: Wait, job_name: str | None, job_id: str | None, bounds: Bounds) -> dict[str, Any]:
    """Look until a job keeps to its bounds.

    :param job_name: the one job of this name that has not ended; or
    :param job_id: this job.
    :return: as :func:`examine`, with the status ``timeout`` instead of ``waiting``.
    """
    kind = None
    while True:
        event = await wait.client.answer(examine(job_name, job_id, bounds, time.time()))
        if event["kind"] != kind:
            wait.log.info("%s%s.", event["reason"][:1].upper(), event["reason"][1:])
        kind = event["kind"]
        if event["status"] != "waiting":
            return event
        if wait.is_over:
            return {**event, "status": TIMEOUT}
        await wait.pause()


async def until_started(wait: Wait, job_id: str) -> float | None:
    """Give the tasks of a new job a few seconds to run, by the list of jobs, which is always fresh.

    What else Flink tells of a job it keeps for some seconds (``web.refresh-interval``): asked too soon, it would say
    for that long that nothing runs.

    :return: when all of them were seen running, by the monotonic clock; None: they were not.
    """
    patience = time.monotonic() + _STARTING_SECONDS
    while time.monotonic() < patience and not wait.is_over:
        state, runs = await _listed(wait, job_id)
        if runs or state not in _STARTING:
            return time.monotonic() if runs else None
        await asyncio.sleep(min(_STARTING_POLL, wait.poll_interval))
    return None


async def _listed(wait: Wait, job_id: str) -> tuple[str, bool]:
    """State of a job, and whether all its tasks run, by the list of jobs."""
    for job in await wait.ask(wait.client.jobs):
        if job["jid"] == job_id:
            tasks = job.get("tasks") or {}
            return job["state"], job["state"] == "RUNNING" and 0 < tasks.get("total", 0) == tasks.get("running")
    return NOT_FOUND, False


async def until_stable(wait: Wait, job_id: str, bounds: Bounds) -> dict[str, Any]:
    """Look at a new job until the health gate knows. The gate begins anew with each wait.

    The first checkpoint that the gate needs is asked for: by itself it would come after a whole interval. Two waits at
    once ask for two, which does no harm.

    :return: ``status`` is ``healthy``, ``failed`` or ``late`` (time was up while the job was neither); with ``message``
        (the reason), ``state`` (Flink's, or ``NOT_FOUND``) and ``job_id``.
    """
    running_since = await until_started(wait, job_id)
    gate, reason, asked = HealthGate(bounds, running_since), None, False
    while True:
        facts = await wait.ask(lambda: wait.client.answer(job_facts(None, job_id, time.time())))
        runs = facts.all_running or running_since is not None
        if runs and not facts.checkpoints and bounds.require_checkpoint and not asked:
            asked = True
            try:
                await wait.client.trigger_checkpoint(job_id)
            except FlinkError as error:
                wait.log.info("No checkpoint could be asked for, so the job's own is waited for: %s", error)
        verdict: str = gate.observe(facts, time.monotonic())
        if gate.reason != reason:
            wait.log.info("Job %s: %s.", job_id, gate.reason)
        reason = gate.reason
        # What the gate has seen may be some seconds old.
        if verdict == "healthy" and not (await _listed(wait, job_id))[1]:
            verdict, reason = "waiting", "not all vertices run any more"
        if verdict == "waiting" and wait.is_over:
            verdict = "late"
        if verdict != "waiting":
            return {"status": verdict, "message": reason, "state": facts.state, "job_id": job_id}
        await wait.pause(gate.remaining)
