"""From where a job goes on whose feature groups grew: a table of cases."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hopsworks_flink.clients.flink.jobs import FlinkJob
from hopsworks_flink.deployment.decision import DeploymentFacts, KnownDeployment, StartPolicy
from hopsworks_flink.deployment.growth import Growth, grow
from hopsworks_flink.exceptions import FlinkStateError

LACKING = {"cards_1": ["most"]}
JOB = FlinkJob("a" * 32, "cards", "RUNNING")
KNOWN = KnownDeployment("a" * 32, True)
ASKED = StartPolicy()


def found(*jobs: FlinkJob, watermark: int | None = None) -> DeploymentFacts:
    return DeploymentFacts(jobs, watermark=watermark)


def begun(stage: Any, watermark: int = 100) -> Growth:
    return Growth("rewarm", watermark, {"cards_2": ["least"]}, stage)


@pytest.mark.parametrize(
    ("asked", "seen", "known", "remembered", "anew", "state", "watermark", "stage"),
    [
        pytest.param(ASKED, found(JOB, watermark=500), KNOWN, None, False, "rewarm", 500, "stopping", id="runs"),
        pytest.param(
            StartPolicy("rewarm", watermark=400), found(JOB, watermark=500), KNOWN, None, False, "rewarm", 400,
            "stopping", id="said",
        ),
        pytest.param(StartPolicy("fresh"), found(JOB), KNOWN, None, False, "fresh", None, "stopping", id="fresh"),
        pytest.param(ASKED, found(JOB), KNOWN, None, True, "fresh", None, "stopping", id="nothing emitted"),
        pytest.param(ASKED, found(), None, None, False, "fresh", None, "stopping", id="never deployed"),
        pytest.param(
            ASKED, found(), KnownDeployment("b" * 32, False, None, 300), None, False, "rewarm", 300, "stopping",
            id="a rewarm that broke off",
        ),
        pytest.param(
            ASKED, found(), KNOWN, begun("stopping"), False, "rewarm", 100, "stopping", id="broken off before appending"
        ),
        pytest.param(
            ASKED, found(JOB, watermark=500), KNOWN, begun("stopping"), False, "rewarm", 500, "stopping",
            id="brought back before appending",
        ),
        pytest.param(
            ASKED, found(JOB, watermark=500), KNOWN, begun("appended"), False, "rewarm", 100, "appending",
            id="brought back after appending",
        ),
        pytest.param(
            StartPolicy(savepoint_path="s"), found(JOB), KNOWN, None, False, "fresh", None, "stopping", id="savepoint"
        ),
    ],
)  # fmt: skip
def test_where_the_successor_begins(
    asked: StartPolicy,
    seen: DeploymentFacts,
    known: KnownDeployment | None,
    remembered: Growth | None,
    anew: bool,
    state: str,
    watermark: int | None,
    stage: str,
) -> None:
    growth = grow(LACKING, asked, seen, known, remembered, may_begin_anew=anew)
    assert (growth.state, growth.watermark, growth.stage) == (state, watermark, stage)
    assert growth.groups["cards_1"] == ["most"]
    assert Growth.read(json.loads(json.dumps(growth.to_json()))) == growth


@pytest.mark.parametrize("seen", [found(JOB), found()], ids=["no event yet", "does not run"])
def test_a_watermark_that_nobody_knows_is_refused(seen: DeploymentFacts) -> None:
    with pytest.raises(FlinkStateError, match=r"cards_1 lacks most\..*Nothing was touched.*rewarm_from.*fresh"):
        grow(LACKING, ASKED, seen, KNOWN, None, may_begin_anew=False)


@pytest.mark.parametrize(
    ("asked", "state", "watermark"),
    [
        (StartPolicy(), "rewarm", 100),
        (StartPolicy("rewarm"), "rewarm", 100),
        (StartPolicy("rewarm", watermark=50), "rewarm", 50),
        (StartPolicy("fresh"), "fresh", None),
    ],
)
def test_what_the_task_says_goes_first(asked: StartPolicy, state: str, watermark: int | None) -> None:
    start = begun("appended").policy(asked)
    assert (start.state, start.watermark) == (state, watermark)
