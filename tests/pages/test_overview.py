"""From figures to words: what the overview and a pipeline's page say of each state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hopsworks_flink.health.status import MOST_LOOKS, Status, day_after
from hopsworks_flink.pages.known import Dag, Deployment, History, Known, Materialization
from hopsworks_flink.pages.overview import overview, row_of
from hopsworks_flink.pages.pipeline import pipeline_page
from tests.support.status_pages import VERBS, day_of, healthy, pipeline, statuses

NOW = 1_800_000_000.0


def known(status: Status | None, paused: bool = False, name: str = "cards", **more: Any) -> Known:
    dags = {verb: Dag(f"{name}__{verb}", paused, None if paused else NOW + 190) for verb in VERBS}
    return Known(f"{name}__supervise", dags, status, **more)


WELL = healthy("cards", NOW - 20)


@pytest.mark.parametrize(
    ("one", "kind", "reason"),
    [
        (known(WELL), "healthy", ""),
        (known(WELL, deploying=True), "deploying", "a deployment runs or is queued"),
        (known(None), "unwatched", "there was no look yet"),
        (known(None, paused=True), "unwatched", "nobody looks: unpause cards__supervise"),
        (known(healthy("cards", NOW - 3 * 3600)), "unwatched", "the last look was 3 h ago (healthy): see why runs"),
        (known(healthy("cards", NOW - 3 * 3600), paused=True), "unwatched", "(healthy): unpause cards__supervise"),
        (known(replace(WELL, at=NOW - 9e5, verdict="undeployed")), "undeployed", "taken out of service"),
        (known(replace(WELL, verdict="of tomorrow")), "unknown", ""),
    ],
)
def test_what_is_said_first(one: Known, kind: str, reason: str) -> None:
    look = row_of(one, NOW).look
    assert look.kind == kind
    assert reason in look.reason
    assert bool(look.reason) == bool(reason)


def test_the_worst_comes_first_and_with_its_worst_reason() -> None:
    page = overview([known(status, name=name) for name, status in statuses(NOW).items()], NOW)
    assert [row.look.kind for row in page.rows] == [
        *("missing", "sick", "unknown", "unwatched", "degraded", "healthy", "healthy"),
    ]
    assert page.counts == {"missing": 1, "sick": 1, "unknown": 1, "unwatched": 1, "degraded": 1, "healthy": 2}
    sick = page.rows[1]
    assert (sick.lag, sick.more) == ("48,211", 1)
    assert sick.look.reason.startswith("it restarted 5 times")
    late = {"topic": "late", "kind": "degraded", "text": "some came late"}
    mixed = replace(WELL, verdict="sick", reasons=[late, {**late, "kind": "sick", "text": "it is stuck"}])
    assert row_of(known(mixed), NOW).look.reason == "it is stuck"


def test_the_figures_of_a_row() -> None:
    brought = {"cards_10m_agg_1": Materialization(NOW - 240, 322, True, 91_872)}
    row = row_of(known(WELL, materialized=brought), NOW)
    assert (row.job, row.job_details) == ("a3f0c2d1", "up 4 d, 1 restart, parallelism 2")
    assert (row.lag, row.behind, row.rates, row.checkpoint) == ("12", "8.4 s", "413 in, 24 out", "6.2 s ago")
    assert (row.freshness, row.freshness_bad, row.version) == ("41 s / 78 s of 2 min", False, "as the file")
    assert (row.materialized, row.materialized_details) == ("4 min ago", "322 rows, to offset 91,872")
    assert ("supervise", "in 3 min") in row.next_runs


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"p99": 130.0}, ("41 s / 2 min of 2 min", True)),
        ({"missed": 1}, ("41 s / 78 s of 2 min", True)),
    ],
)
def test_freshness_beyond_its_bound_is_marked(change: dict[str, Any], expected: tuple[str, bool]) -> None:
    row = row_of(known(replace(WELL, freshness={**WELL.freshness, **change})), NOW)
    assert (row.freshness, row.freshness_bad) == expected


def test_an_address_that_is_none_is_no_link() -> None:
    assert row_of(known(replace(WELL, flink_url="javascript:alert(1)")), NOW).flink_url is None


def page_of(status: Status | None, history: History, **rights: bool) -> Any:
    return pipeline_page(known(status), history, NOW, **{"with_code": True, "with_rows": True, **rights})


def test_what_differs_and_what_a_deployment_would_do() -> None:
    status = statuses(NOW)["parcels"]
    assert status is not None
    page = page_of(status, History(day_of(status, NOW, deployed=True)))
    assert page.row.differs == "feature group parcels_10m_agg_2 gets max_amt_per_10m"
    assert page.consequence.startswith("A deployment would rewarm")
    assert "+  version: 2" in page.difference
    assert not [line for line in page.difference if line.startswith("-") and not line.startswith("---")]
    assert "INSERT INTO" in page.sql
    assert page.file.startswith("name: parcels\n")


def test_code_and_rows_are_for_those_who_may_read_them() -> None:
    history = History(day_of(WELL, NOW, deployed=True))
    shown = page_of(WELL, history)
    assert shown.groups[0].sample
    assert [place for _, _, place, *_ in shown.topics[0].newest] == ["0:81204", "1:79001"]
    guest = page_of(replace(WELL, version={"same": False}), history, with_code=False, with_rows=False)
    assert (guest.file, guest.sql, guest.difference, guest.groups[0].sample) == ("", "", (), [])
    assert guest.topics[0].newest == []
    assert guest.topics[0].reasons == "undecodable (9), cc_num is null (5)"


def test_deployments_and_other_jobs_as_a_timeline() -> None:
    jobs = [{"at": NOW - 500, "job_id": "ffff0000", "hash": "1"}, {"at": NOW - 90, "job_id": "aaaa0000", "hash": "2"}]
    failed = {"action": "rolled_back", "text": "Job x is not healthy. Rolled back."}
    runs = [
        Deployment(
            "r3", NOW - 100, "success", 44.0, {"action": "replaced", "job_id": "aaaa0000", "savepoint_path": "s"}
        ),
        Deployment("r2", NOW - 300, "failed", 90.0, failed),
        Deployment("r1", NOW - 400, "success", 9.0, {"action": "none", "job_id": "eeee0000"}),
    ]
    events = page_of(WELL, History({"jobs": jobs}, deployments=runs)).events
    assert [(event.kind, event.run_id) for event in events] == [
        *(("success", "r3"), ("rolled_back", "r2"), ("success", "r1"), ("job", None)),
    ]
    assert events[0].text == "replaced, job aaaa0000 from a savepoint (after 44 s)"
    assert events[1].text == "Job x is not healthy. Rolled back. (after 90 s)"
    assert events[3].text == "supervision saw job ffff0000 for the first time"


def test_a_pipeline_that_nobody_has_looked_at_has_a_page() -> None:
    page = page_of(None, History())
    assert (page.flow, page.charts, page.events) == (None, (), [])
    assert len(page.actions) == 7


def test_a_day_has_an_end() -> None:
    day: dict[str, Any] = {}
    for number in range(400):
        day = day_after(day, replace(WELL, at=NOW + number * 120), pipeline("cards").to_dict())
    looks = day["looks"]
    assert {len(values) for values in looks.values()} == {MOST_LOOKS}
    later = day_after(day, replace(WELL, at=NOW + 1e6))
    assert later["looks"]["at"] == [round(NOW + 1e6)]
    assert len(later["jobs"]) == 1


def test_a_day_that_an_older_version_left_is_gone_on_with() -> None:
    day = day_after({"looks": {"at": [NOW - 600, NOW - 300], "lag": [1, 2]}}, WELL)
    assert day["looks"]["lag"] == [1, 2, 12]
    assert day["looks"]["checkpoint"] == [None, None, 0.31]
