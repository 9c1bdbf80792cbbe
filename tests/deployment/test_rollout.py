"""The table of rules by which a deployment is concluded, recovered or undone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from hopsworks_flink.deployment.desired import DeploymentResult
from hopsworks_flink.deployment.rollout import HealthResult, Rollback, Rollout, is_hopeless, next_step

OWN = DeploymentResult(
    "new", "cards", "replaced", "h2", "sp", "old", "r", replaced_hash="h1", kept_state="sp", own=True
)
FOUND = replace(OWN, action="none", own=False, kept_state=None)
FIRST = replace(OWN, action="submitted", kept_state=None, replaced_hash=None)
BACK = Rollback("cards", "new", "FAILED", "broken", "h1", "sp", 17)
HEALTHY = HealthResult("healthy", "well", "RUNNING")
FAILED = HealthResult("failed", "broken", "RESTARTING")
STILL_ENDING = HealthResult(
    "failed", "x.Y: The library registration references a different set of library BLOBs", "FAILED"
)
LATE = HealthResult("late", "no checkpoint", "RUNNING")
FORGOTTEN = HealthResult("failed", "Flink does not know it", "NOT_FOUND")


def watching(result: DeploymentResult, phase: Any = "new") -> Rollout:
    return Rollout(phase, result.job_id, 1.0, result)


GOING_BACK = Rollout("back", "old2", 1.0, back=BACK)


@pytest.mark.parametrize(
    ("rollout", "health", "previous", "then"),
    [
        (watching(OWN), HEALTHY, True, "stable"),
        (watching(OWN), FAILED, True, "roll_back"),
        (watching(OWN), LATE, True, "roll_back"),
        (watching(OWN), STILL_ENDING, True, "recover"),
        (watching(FIRST), STILL_ENDING, True, "recover"),
        (watching(OWN, "recovered"), STILL_ENDING, True, "roll_back"),
        (watching(OWN), FAILED, False, "give_up"),
        (watching(OWN), FORGOTTEN, True, "give_up"),
        (watching(FIRST), HEALTHY, False, "stable"),
        (watching(FIRST), FAILED, True, "give_up"),
        (watching(FOUND), HEALTHY, True, "stable"),
        (watching(FOUND), FAILED, True, "recover"),
        (watching(FOUND), FORGOTTEN, True, "recover"),
        (watching(FOUND), LATE, True, "give_up"),
        (watching(OWN, "recovered"), HEALTHY, True, "stable"),
        (watching(OWN, "recovered"), FAILED, True, "roll_back"),
        (watching(FOUND, "recovered"), FAILED, True, "give_up"),
        (GOING_BACK, HEALTHY, True, "rolled_back"),
        (GOING_BACK, FAILED, True, "stranded"),
        (GOING_BACK, LATE, True, "stranded"),
        (GOING_BACK, FORGOTTEN, True, "stranded"),
    ],
)
def test_next_step(rollout: Rollout, health: HealthResult, previous: bool, then: str) -> None:
    assert next_step(rollout, health, previous) == then


@pytest.mark.parametrize(
    ("rollout", "killable"),
    [(watching(OWN), True), (watching(OWN, "recovered"), True), (watching(FOUND), False), (GOING_BACK, False)],
)
def test_only_what_the_task_started_and_proved_not_yet_may_be_killed(rollout: Rollout, killable: bool) -> None:
    assert rollout.killable is killable


@pytest.mark.parametrize(
    ("health", "hopeless"),
    [(FAILED, True), (LATE, False), (replace(LATE, state="RESTARTING"), True), (FORGOTTEN, False)],
)
def test_a_job_that_is_only_slow_is_left_alone(health: HealthResult, hopeless: bool) -> None:
    assert is_hopeless(health) is hopeless


@pytest.mark.parametrize("rollout", [watching(OWN), GOING_BACK])
def test_outlives_a_deferral(rollout: Rollout) -> None:
    assert Rollout.from_json(json.loads(json.dumps(rollout.to_json()))) == rollout
