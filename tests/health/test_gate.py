from __future__ import annotations

import math
from dataclasses import replace

import pytest

from hopsworks_flink.health.bounds import Bounds
from hopsworks_flink.health.facts import JobFacts
from hopsworks_flink.health.gate import HealthGate


def health(state: str = "RUNNING", vertices: str = "RUNNING", completed: int = 1, restarts: int | None = 0) -> JobFacts:
    behind = (f"a: {vertices}",) if vertices != "RUNNING" else ()
    return JobFacts(
        0.0,
        job_id="j1",
        state=state,
        vertices=2,
        behind=behind,
        checkpoints=completed,
        restarts_ever=restarts,
        cause="boom",
    )


def gate(**kwargs: object) -> HealthGate:
    return HealthGate(Bounds(**{"grace_period": 10.0, "require_checkpoint": True, "max_restarts": 5, **kwargs}))  # type: ignore[arg-type]


def test_healthy_after_the_grace_period() -> None:
    watched = gate()
    assert watched.observe(health("CREATED", "CREATED"), 0) == "waiting"
    assert watched.observe(health(), 1) == "waiting"
    assert watched.observe(health(), 10.9) == "waiting"
    assert watched.observe(health(), 11) == "healthy"


def test_what_remains_of_the_grace_period_is_known_where_nothing_else_is_missing() -> None:
    watched, found = gate(), []
    for now, seen in ((0, health("CREATED", "CREATED")), (1, health(completed=0)), (4, health()), (11, health())):
        watched.observe(seen, now)
        found.append(watched.remaining)
    assert found == [math.inf, math.inf, 7, math.inf]


def test_the_grace_period_begins_when_the_tasks_were_seen_running() -> None:
    """What Flink tells of a job's vertices may be older than that."""
    for restarts, verdict in ((0, "healthy"), (1, "waiting")):
        watched = HealthGate(gate().bounds, running_since=100.0)
        assert watched.observe(health("CREATED", "CREATED", restarts=restarts), 101) == "waiting"
        assert watched.observe(health(restarts=restarts), 105) == "waiting"
        assert watched.observe(health(restarts=restarts), 110) == verdict


def test_a_running_job_with_a_waiting_vertex_is_not_healthy() -> None:
    watched = gate(grace_period=0)
    assert watched.observe(health(vertices="DEPLOYING"), 0) == "waiting"
    assert "a: DEPLOYING" in watched.reason


def test_no_vertices_is_not_healthy() -> None:
    assert gate(grace_period=0).observe(replace(health(), vertices=0), 0) == "waiting"


def test_a_restart_starts_the_grace_period_again() -> None:
    watched = gate()
    watched.observe(health(restarts=0), 0)
    assert watched.observe(health(restarts=1), 9) == "waiting"
    assert watched.observe(health(restarts=1), 12) == "waiting"
    assert watched.observe(health(restarts=1), 19) == "healthy"


def test_without_checkpoint_not_healthy_unless_allowed() -> None:
    assert gate(grace_period=0).observe(health(completed=0), 0) == "waiting"
    assert gate(grace_period=0, require_checkpoint=False).observe(health(completed=0), 0) == "healthy"


@pytest.mark.parametrize("state", ["FAILED", "CANCELED", "FINISHED"])
def test_ended_is_failed_with_its_cause(state: str) -> None:
    watched = gate()
    assert watched.observe(health(state), 0) == "failed"
    assert "boom" in watched.reason


def test_many_restarts_fail_early_and_old_ones_do_not_count() -> None:
    watched = gate(max_restarts=2)
    assert watched.observe(health("RESTARTING", restarts=50), 0) == "waiting"
    assert watched.observe(health("RESTARTING", restarts=52), 1) == "waiting"
    assert watched.observe(health("RESTARTING", restarts=53), 2) == "failed"


STILL_ENDING = (
    "java.lang.IllegalStateException: The library registration references a different set of library BLOBs than "
    "previous registrations for this job:"
)


def test_restarts_until_a_lost_job_has_ended_do_not_count() -> None:
    watched = gate(max_restarts=2)
    facts = replace(health("RESTARTING", "CREATED", completed=0), cause=STILL_ENDING)
    for restarts in range(9):
        assert watched.observe(replace(facts, restarts_ever=restarts), restarts) == "waiting"
    other = replace(facts, cause="java.lang.ArithmeticException: / by zero")
    assert watched.observe(replace(other, restarts_ever=10), 9) == "waiting"
    assert watched.observe(replace(other, restarts_ever=11), 10) == "failed"


@pytest.mark.parametrize(("state", "verdict"), [("RESTARTING", "failed"), ("RUNNING", "waiting")])
def test_state_that_cannot_be_carried_over_is_not_tried_again(state: str, verdict: str) -> None:
    """As long as the job does not run: later it may stand in the history of one that was started without state."""
    cause = "org.apache.flink.util.StateMigrationException: the new state serializer must not be incompatible"
    watched = gate()
    assert watched.observe(replace(health(state), cause=cause), 0) == verdict
    assert ("cannot carry over the state" in watched.reason and cause in watched.reason) == (verdict == "failed")
