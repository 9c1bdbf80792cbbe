"""One verdict on a supervised job, as a table: what is seen, what it means, what follows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from hopsworks_flink.health.bounds import Bounds
from hopsworks_flink.health.facts import JobFacts
from hopsworks_flink.health.rows import OnlineRows
from hopsworks_flink.health.verdict import KINDS, Reason, Verdict, judge, next_action
from tests.support import REPOSITORY

BOUNDS = Bounds(max_checkpoint_age=60, max_restarts=2, restart_window=600, max_lag=1000, max_silence=120)
WELL = JobFacts(
    at=10_000.0,
    job_ids=("a",),
    job_id="a",
    state="RUNNING",
    parallelism=2,
    age=5000.0,
    vertices=2,
    checkpoint_age=8.0,
    watermark=1_000_000,
    lag=10,
    read=5000,
    late=0,
    written=100,
    written_at=9_990.0,
)
BEFORE = replace(WELL, at=9_700.0, watermark=700_000, lag=20, read=4000, written=90)


def look(**changes: Any) -> JobFacts:
    return replace(WELL, **changes)


def rows(taken: int, failed: int, ingestion: int = 7, *, short: tuple[str, ...] = ()) -> dict[str, OnlineRows]:
    """The online store's count for one feature group."""
    results = {"UPSERTED": taken - 1, "IGNORED": 1, "FAILED": failed}
    return {"g_1": OnlineRows.counted(ingestion, results, short)}


def served(now: dict[str, OnlineRows], *earlier: dict[str, OnlineRows]) -> tuple[JobFacts, JobFacts | None]:
    """The look with these counts, and the look before; ``earlier`` ones, the last look first."""
    before = None
    for online in reversed(earlier):
        before = replace(BEFORE, online=online).after(before)
    return look(online=now).after(before), before


CASES: list[tuple[str, JobFacts, JobFacts | None, str, str | None]] = [
    ("well", WELL, BEFORE, "healthy", None),
    ("first look", WELL, None, "healthy", None),
    ("no job ever", JobFacts(at=1.0), None, "missing", "no job named 'cards' runs"),
    (
        "ended",
        look(job_ids=(), state="FAILED", cause="x.Y: broken"),
        BEFORE,
        "missing",
        "no job named 'cards' runs; job a is FAILED (cause: x.Y: broken)",
    ),
    (
        "all events refused",
        look(watermark=None),
        replace(BEFORE, watermark=None),
        "sick",
        "1000 events were read within 300 s, 5000 since its last start, and there is no watermark",
    ),
    ("the first watermark", WELL, replace(BEFORE, watermark=None), "healthy", None),
    ("no events yet", look(watermark=None, read=0), replace(BEFORE, watermark=None, read=0), "healthy", None),
    ("gone meanwhile", look(vertices=None, checkpoint_age=None), BEFORE, "degraded", "job a was RUNNING, and a moment"),
    ("two", look(job_ids=("a", "b")), BEFORE, "duplicated", "2 jobs named 'cards' run at once: a, b"),
    ("starting", look(state="INITIALIZING", age=3.0, checkpoint_age=None), None, "degraded", "job a is INITIALIZING"),
    ("stuck at the start", look(state="CREATED", age=61.0, checkpoint_age=None), None, "sick", "job a is CREATED"),
    (
        "a vertex behind",
        look(behind=("sink: SCHEDULED",)),
        BEFORE,
        "degraded",
        "job a is RUNNING, 1 of its vertices are not RUNNING (sink: SCHEDULED)",
    ),
    ("starting again", look(state="RESTARTING"), BEFORE, "degraded", "job a is RESTARTING"),
    ("starting again for long", look(state="RESTARTING", checkpoint_age=61.0), BEFORE, "sick", "job a is RESTARTING"),
    (
        "a restart",
        look(restarts=1, cause="x.Y: away"),
        BEFORE,
        "degraded",
        "it restarted 1 time within 600 s (cause: x.Y: away)",
    ),
    ("restarts at the bound", look(restarts=2), BEFORE, "degraded", "it restarted 2 times within 600 s"),
    ("too many", look(restarts=3), BEFORE, "sick", "it restarted 3 times within 600 s, 2 are allowed"),
    (
        "old checkpoint",
        look(checkpoint_age=61.0),
        BEFORE,
        "sick",
        "the job completed its last checkpoint 61 s ago, 60 s are allowed",
    ),
    ("checkpoint at the bound", look(checkpoint_age=60.0), BEFORE, "healthy", None),
    (
        "none for long",
        look(checkpoint_age=None, age=90.0),
        None,
        "sick",
        "the job has completed no checkpoint since its start 90 s ago, 60 s are allowed",
    ),
    ("none yet", look(checkpoint_age=None, age=20.0), None, "healthy", None),
    (
        "stuck watermark",
        look(watermark=700_000, lag=500),
        BEFORE,
        "sick",
        "the watermark has not moved within 300 s while the lag grew by 480 to 500 events",
    ),
    ("no watermark at all", look(watermark=None, lag=21), replace(BEFORE, watermark=None), "sick", "the watermark"),
    ("idle source", look(watermark=700_000, lag=20), BEFORE, "healthy", None),
    ("catching up", look(watermark=700_000, lag=5), BEFORE, "healthy", None),
    ("stuck, but another job", look(watermark=700_000, lag=500), replace(BEFORE, job_id="b"), "healthy", None),
    ("lag not told", look(watermark=700_000, lag=None), BEFORE, "healthy", None),
    ("far behind", look(lag=1001), BEFORE, "degraded", "1001 events wait in the topic, 1000 are allowed"),
    (
        "late",
        look(late=7),
        BEFORE,
        "degraded",
        "7 events came behind the watermark, too late for a window; each kind of window counts its own",
    ),
    ("late before", look(late=7), replace(BEFORE, late=7), "healthy", None),
    ("late since a restart", look(late=3, read=50), replace(BEFORE, late=7), "degraded", "3 events came behind"),
    (
        "silent",
        look(written=90, written_at=9_700.0),
        BEFORE,
        "sick",
        "nothing was written for 300 s while events were read, 120 s are allowed",
    ),
    ("silent without events", look(written_at=9_000.0, read=4000), BEFORE, "healthy", None),
    (
        "some failed",
        *served(rows(200, 3, short=("url varchar(100)",)), rows(100, 0)),
        "degraded",
        "the online store dropped 3 of 103 new rows for feature group g_1, 3 since the job's start (FAILED in online "
        "ingestion 7): a string may be longer than its column (url varchar(100)); give the group a new version with "
        "longer online_types",
    ),
    (
        "some failed at the first look",
        *served(rows(100, 3)),
        "degraded",
        "the online store dropped 3 of 103 new rows for feature group g_1, 3 since the job's start (FAILED in online "
        "ingestion 7): the platform's log of online ingestion says why",
    ),
    ("they failed before", *served(rows(200, 3), rows(100, 3)), "healthy", None),
    ("as many as before", *served(rows(300, 6), rows(200, 3), rows(100, 0)), "degraded", "the online store dropped 3"),
    ("twice as many", *served(rows(300, 9), rows(200, 3), rows(100, 0)), "sick", "the online store dropped 6 of 106"),
    ("just below half", *served(rows(110, 9), rows(100, 0)), "degraded", "the online store dropped 9 of 19 new rows"),
    ("half", *served(rows(110, 10), rows(100, 0)), "sick", "the online store dropped 10 of 20 new rows"),
    ("none taken", *served(rows(100, 10), rows(100, 0)), "sick", "the online store dropped 10 of 10 new rows"),
    ("another job's count", *served(rows(100, 3, 8), rows(100, 9, 7)), "degraded", "the online store dropped 3 of 103"),
    ("not told this time", *served({}, rows(100, 3)), "healthy", None),
    ("told again", *served(rows(200, 4), {}, rows(100, 3)), "degraded", "the online store dropped 1 of 101 new rows"),
    ("worst counts", look(late=7, checkpoint_age=100.0), BEFORE, "sick", "the job completed its last checkpoint"),
]


@pytest.mark.parametrize(("facts", "before", "kind", "reason"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_verdicts(facts: JobFacts, before: JobFacts | None, kind: str, reason: str | None) -> None:
    verdict = judge("cards", facts, before, BOUNDS)
    assert verdict.kind == kind, str(verdict)
    if reason is None:
        assert verdict.reasons == ()
    else:
        assert reason in [r.text for r in verdict.reasons] or verdict.reasons[0].text.startswith(reason)


def test_a_cause_is_told_once_and_what_the_rest_follows_from_comes_first() -> None:
    verdict = judge(
        "cards", look(state="RESTARTING", restarts=3, checkpoint_age=61.0, cause="x.Y: away"), BEFORE, BOUNDS
    )
    assert str(verdict).count("x.Y: away") == 1
    rooted = verdict.rooted_in(Reason("sick", "poison", "offset 5 cannot be decoded"))
    assert str(rooted).startswith("offset 5 cannot be decoded; job a is RESTARTING (cause: x.Y: away); it restarted")


def test_bounds_that_are_not_set_are_not_broken() -> None:
    silent = look(lag=10**9, written_at=0.0)
    assert judge("cards", silent, BEFORE, replace(BOUNDS, max_lag=None, max_silence=None)).kind == "healthy"


def test_every_kind_has_a_case() -> None:
    assert {case[3] for case in CASES} == set(KINDS)


def test_the_runbook_has_a_section_for_each_verdict_and_reason() -> None:
    text = (REPOSITORY / "docs" / "runbook.md").read_text()
    sections = {line.removeprefix("### ").lower() for line in text.splitlines() if line.startswith("### ")}
    topics = {reason.topic for case in CASES for reason in judge("cards", case[1], case[2], BOUNDS).reasons}
    assert topics | set(KINDS) | {"poison", "topic"} == sections


@pytest.mark.parametrize(
    ("changes", "curable"),
    [
        ({"job_ids": ()}, True),
        ({"restarts": 9}, True),
        ({"checkpoint_age": 999.0}, True),
        ({"checkpoint_age": 999.0, "late": 5}, True),
        ({"job_ids": ("a", "b")}, False),
        ({"watermark": 700_000, "lag": 500}, False),
        ({"watermark": 700_000, "lag": 500, "restarts": 9}, False),
        ({}, False),
    ],
)
def test_what_deploying_again_can_cure(changes: dict[str, Any], curable: bool) -> None:
    assert judge("cards", look(**changes), BEFORE, BOUNDS).curable is curable


def test_somebody_who_knows_more_can_rule_a_cure_out() -> None:
    """A record that cannot be decoded stops every job that reads it."""
    verdict = judge("cards", look(restarts=9), BEFORE, BOUNDS)
    assert verdict.curable
    assert not verdict.because(Reason("sick", "poison", "it cannot decode offset 7")).curable


REDEPLOYED = [9_000.0, 9_500.0]


@pytest.mark.parametrize(
    ("kind", "curable", "policy", "attempts", "action"),
    [
        ("degraded", False, "redeploy", [], "warn"),
        ("sick", True, "alert", [], "alert"),
        ("sick", True, "redeploy", [], "redeploy"),
        ("sick", False, "redeploy", [], "alert"),
        ("missing", True, "redeploy", REDEPLOYED[:1], "redeploy"),
        ("missing", True, "redeploy", REDEPLOYED, "alert"),
        ("missing", True, "redeploy", [100.0, 200.0, *REDEPLOYED[:1]], "redeploy"),
        ("duplicated", False, "redeploy", [], "alert"),
    ],
)
def test_what_follows(kind: str, curable: bool, policy: str, attempts: list[float], action: str) -> None:
    verdict = Verdict((Reason(kind, "x", "x", curable),))
    assert next_action(verdict, policy, attempts, at=10_000.0, limit=2, window=3600.0) == action


def test_nothing_follows_from_health() -> None:
    assert next_action(Verdict(), "redeploy", [], at=1.0, limit=1, window=1.0) == "none"


def test_facts_survive_json_and_keep_the_time_of_the_last_row() -> None:
    stored = json.loads(json.dumps(WELL.to_json()))
    assert JobFacts.from_json(stored) == WELL
    counted = replace(WELL, online=rows(5, 2, short=("url varchar(100)",)))
    assert JobFacts.from_json(json.loads(json.dumps(counted.to_json()))) == counted
    assert JobFacts.from_json({**stored, "of a later version": 1}) == WELL
    assert JobFacts.from_json(None) is None
    later = replace(WELL, at=11_000.0, written_at=None)
    assert later.after(WELL).written_at == WELL.written_at
    assert replace(later, written=101).after(WELL).written_at == 11_000.0
    assert replace(later, job_id="b").after(WELL).written_at == 11_000.0
    assert later.after(None).written_at == 11_000.0
