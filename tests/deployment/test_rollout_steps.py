"""The table of rules by which a deployment is concluded, recovered or undone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from hopsworks_flink.deployment.desired import DeploymentResult
from hopsworks_flink.deployment.rollout_steps import GoingBack, Outcome, Settling, consequence, is_hopeless

OWN = DeploymentResult(
    "new", "cards", "replaced", "h2", "sp", "old", "r", replaced_hash="h1", kept_state="sp", own=True
)
FOUND = replace(OWN, action="none", own=False, kept_state=None)
FIRST = replace(OWN, action="submitted", kept_state=None, replaced_hash=None)
BACK = GoingBack("cards", "new", "FAILED", "broken", "h1", "sp", 17)
HEALTHY = Outcome("healthy", "well", "RUNNING")
FAILED = Outcome("failed", "broken", "RESTARTING")
STILL_ENDING = Outcome("failed", "x.Y: The library registration references a different set of library BLOBs", "FAILED")
LATE = Outcome("late", "no checkpoint", "RUNNING")
FORGOTTEN = Outcome("failed", "Flink does not know it", "NOT_FOUND")


def watching(result: DeploymentResult, phase: Any = "new") -> Settling:
    return Settling(phase, result.job_id, 1.0, result)


GOING_BACK = Settling("back", "old2", 1.0, back=BACK)


@pytest.mark.parametrize(
    ("settling", "outcome", "previous", "then"),
    [
        (watching(OWN), HEALTHY, True, "prove"),
        (watching(OWN), FAILED, True, "roll_back"),
        (watching(OWN), LATE, True, "roll_back"),
        (watching(OWN), STILL_ENDING, True, "recover"),
        (watching(FIRST), STILL_ENDING, True, "recover"),
        (watching(OWN, "recovered"), STILL_ENDING, True, "roll_back"),
        (watching(OWN), FAILED, False, "give_up"),
        (watching(OWN), FORGOTTEN, True, "give_up"),
        (watching(FIRST), HEALTHY, False, "prove"),
        (watching(FIRST), FAILED, True, "give_up"),
        (watching(FOUND), HEALTHY, True, "prove"),
        (watching(FOUND), FAILED, True, "recover"),
        (watching(FOUND), FORGOTTEN, True, "recover"),
        (watching(FOUND), LATE, True, "give_up"),
        (watching(OWN, "recovered"), HEALTHY, True, "prove"),
        (watching(OWN, "recovered"), FAILED, True, "roll_back"),
        (watching(FOUND, "recovered"), FAILED, True, "give_up"),
        (GOING_BACK, HEALTHY, True, "rolled_back"),
        (GOING_BACK, FAILED, True, "stranded"),
        (GOING_BACK, LATE, True, "stranded"),
        (GOING_BACK, FORGOTTEN, True, "stranded"),
    ],
)
def test_consequence(settling: Settling, outcome: Outcome, previous: bool, then: str) -> None:
    assert consequence(settling, outcome, previous) == then


@pytest.mark.parametrize(
    ("settling", "killable"),
    [(watching(OWN), True), (watching(OWN, "recovered"), True), (watching(FOUND), False), (GOING_BACK, False)],
)
def test_only_what_the_task_started_and_proved_not_yet_may_be_killed(settling: Settling, killable: bool) -> None:
    assert settling.killable is killable


@pytest.mark.parametrize(
    ("outcome", "hopeless"),
    [(FAILED, True), (LATE, False), (replace(LATE, state="RESTARTING"), True), (FORGOTTEN, False)],
)
def test_a_job_that_is_only_slow_is_left_alone(outcome: Outcome, hopeless: bool) -> None:
    assert is_hopeless(outcome) is hopeless


@pytest.mark.parametrize("settling", [watching(OWN), GOING_BACK])
def test_outlives_a_deferral(settling: Settling) -> None:
    assert Settling.from_json(json.loads(json.dumps(settling.to_json()))) == settling
