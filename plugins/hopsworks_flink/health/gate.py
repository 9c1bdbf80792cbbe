"""Whether a new job becomes stable: a gate that is fed with looks. Pure, no I/O."""

from __future__ import annotations

import math
from typing import Literal

from hopsworks_flink.clients.flink.jobs import NOT_FOUND, TERMINAL_STATES
from hopsworks_flink.health.bounds import Bounds
from hopsworks_flink.health.facts import JobFacts

# No restart cures this: it reads the same state with the same program once more.
_STATE_UNREADABLE = "org.apache.flink.util.StateMigrationException"
# A TaskManager still runs the job of this id that a lost JobManager had started: it ends that one by itself.
_STILL_ENDING = "different set of library BLOBs"


def is_still_ending(cause: str | None) -> bool:
    """Whether a job failed only because tasks of the same id, whose JobManager was lost, have not ended yet."""
    return _STILL_ENDING in (cause or "")


class HealthGate:
    """Watches one job until it keeps to the bounds, or cannot any more. Fed with facts and a clock.

    :param running_since: when all its tasks were seen running, seconds of the clock; facts may be older than that.
    """

    def __init__(self, bounds: Bounds, running_since: float | None = None) -> None:
        self.bounds = bounds
        self._running_since = running_since
        self.reason = "nothing seen yet"
        #: Seconds until the grace period is over, if that is all that is waited for.
        self.remaining = math.inf
        self._well_since: float | None = None
        self._first_restarts: int | None = None
        self._last_restarts: int | None = None

    def observe(self, facts: JobFacts, now: float) -> Literal["healthy", "waiting", "failed"]:
        """Take the next look; ``reason`` then says why.

        :param now: seconds of a monotonic clock.
        """
        self.remaining = math.inf
        if facts.state == NOT_FOUND:
            self.reason = "Flink does not know it (any more)"
            return "failed"
        if facts.state in TERMINAL_STATES:
            self.reason = f"the job is {facts.state}{_because(facts)}"
            return "failed"
        if not facts.all_running and (facts.cause or "").startswith(_STATE_UNREADABLE):
            self.reason = f"the job cannot carry over the state it was given{_because(facts)}"
            return "failed"
        if self._too_many_restarts(facts):
            return "failed"
        if not facts.all_running:
            self._well_since = None
            behind = f", {'; '.join(facts.behind[:5])}" if facts.behind else ""
            self.reason = f"the job is {facts.state}{behind}{_because(facts)}"
            return "waiting"
        if self._well_since is None:
            self._well_since = now - facts.well_for
            if self._running_since is not None and not facts.restarts and not facts.restarts_ever:
                self._well_since = min(self._well_since, self._running_since)
        if self.bounds.require_checkpoint and facts.checkpoints < 1:
            self.reason = "all vertices run, but no checkpoint has completed since the start"
            return "waiting"
        remaining = self._well_since + self.bounds.grace_period - now
        if remaining > 0:
            self.remaining = remaining
            self.reason = f"all vertices run since less than {self.bounds.grace_period:g} s"
            return "waiting"
        self.reason = "all vertices run"
        if self.bounds.require_checkpoint:
            self.reason += f", {facts.checkpoints} checkpoint(s) completed since the start"
        return "healthy"

    def _too_many_restarts(self, facts: JobFacts) -> bool:
        restarts = facts.restarts_ever
        if restarts is None:
            return False
        if self._first_restarts is None or is_still_ending(facts.cause):
            self._first_restarts = restarts
        if self._last_restarts is not None and restarts > self._last_restarts:
            self._well_since = None
        self._last_restarts = restarts
        seen = restarts - self._first_restarts
        if self.bounds.max_restarts is None or seen <= self.bounds.max_restarts:
            return False
        self.reason = f"the job restarted {seen} times within the watch{_because(facts)}"
        return True


def _because(facts: JobFacts) -> str:
    return f" (cause: {facts.cause})" if facts.cause else ""
