"""Which deployments a person is asked about."""

from __future__ import annotations

from typing import Any

import pytest

from hopsworks_flink.tasks.planning import APPROVABLE, Comparison, Resource, approval_reasons

JOB = Resource("job", "cards__features", "change", ["the SQL differs"])
GROUP = Resource("feature_group", "cards_1", "none")


def comparison(state: Any, *resources: Resource, known: bool = True, why: tuple[str, ...] = ("because",)) -> Comparison:
    return Comparison("cards", resources or (GROUP, JOB), state, why, job_is_known=known)


@pytest.mark.parametrize(
    ("found", "reasons"),
    [
        (comparison("keeps", why=()), []),
        (comparison("rewarms"), ["the job is rewarmed (because)"]),
        (comparison("resets"), ["the job starts fresh (because)"]),
        # The first deployment of a pipeline leaves nothing behind, and creates what it needs.
        (comparison("resets", Resource("feature_group", "cards_1", "create"), JOB, known=False), []),
        (comparison("refused"), []),
        (
            comparison("rewarms", Resource("feature_group", "cards_1", "change", ["a feature more"]), JOB, why=()),
            ["the job is rewarmed", "feature group cards_1 changes"],
        ),
        (comparison("keeps", Resource("topic", "orders", "change"), why=()), []),
    ],
)
def test_what_is_asked_about(found: Comparison, reasons: list[str]) -> None:
    assert approval_reasons(found, APPROVABLE) == reasons
    assert approval_reasons(found, []) == []


def test_only_what_was_named_is_asked_about() -> None:
    found = comparison("rewarms", Resource("feature_group", "cards_1", "change"), JOB, why=())
    assert approval_reasons(found, ["rewarm"]) == ["the job is rewarmed"]
    assert approval_reasons(found, ["feature_group", "fresh"]) == ["feature group cards_1 changes"]
