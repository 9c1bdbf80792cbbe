"""What a deployment does in every situation that it may find."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from hopsworks_flink.clients.flink.jobs import FlinkJob, RestorePoint
from hopsworks_flink.deployment.decision import (
    DeploymentFacts,
    KnownDeployment,
    NoOp,
    Recover,
    Refuse,
    Replace,
    Start,
    StartPolicy,
    Submit,
    Wait,
    decide,
)

HASH, OTHER = "a" * 64, "b" * 64
W = 1_700_000_000_000
SAVEPOINT = RestorePoint("sp", "savepoint 3 of job j1")
CHECKPOINT = RestorePoint("chk", "checkpoint 7 of job j1", watermark=W)
LOST = RestorePoint(None, "Flink has discarded them", lost=True)
NONE = RestorePoint(None, "job j1 ended before its first checkpoint")
IN_VAIN = replace(NONE, watermark=W, marks={"state_policy": "rewarm"})
PROVEN = KnownDeployment("k1", True, "sp-old")
BROKEN_OFF = KnownDeployment("k1", False, "sp-kept", W)
FIRST_BROKEN_OFF = KnownDeployment("k1", False)
REWARMED = KnownDeployment("k1", False, watermark=W)


def job(state: str, deployment_hash: str | None = None, job_id: str = "j1", start: int = 1) -> FlinkJob:
    return FlinkJob(job_id, "cards", state, start, deployment_hash=deployment_hash)


def seen(*jobs: FlinkJob, **kwargs: Any) -> DeploymentFacts:
    return DeploymentFacts(jobs, **kwargs)


def asked(state: Any = "restore", **kwargs: Any) -> StartPolicy:
    return StartPolicy(state, **kwargs)


def start(path: str | None, replay: bool = False, watermark: int | None = None) -> tuple[str | None, bool, int | None]:
    return path, replay, watermark


EMPTY, REWARM, FRESH = seen(), asked("rewarm"), asked("fresh")
NAMED = asked(savepoint_path="named")
RESTORE = asked()

CASES = [
    # --- nothing runs: what the new job starts from
    ("first deployment", EMPTY, None, RESTORE, Submit, start(None)),
    ("first deployment, rewarm", EMPTY, None, REWARM, Submit, start(None)),
    ("unknown to this cluster, rewarm said", EMPTY, None, asked("rewarm", watermark=5), Submit, start(None, True, 5)),
    ("first deployment, named", EMPTY, None, NAMED, Submit, start("named")),
    ("ended with savepoint", seen(job("FINISHED"), left=SAVEPOINT), None, RESTORE, Submit, start("sp")),
    ("cancelled, checkpoint", seen(job("CANCELED"), left=CHECKPOINT), None, RESTORE, Submit, start("chk", False, W)),
    ("failed, same", seen(job("FAILED", HASH), left=CHECKPOINT), None, RESTORE, Recover, start("chk", False, W)),
    ("failed, another", seen(job("FAILED", OTHER), left=CHECKPOINT), None, RESTORE, Submit, start("chk", False, W)),
    ("failed at its start", seen(job("FAILED", HASH), left=NONE), None, RESTORE, Recover, start(None)),
    ("failed in its rewarm", seen(job("FAILED", HASH), left=IN_VAIN), None, RESTORE, Recover, start(None, True, W)),
    ("failed in its rewarm, fresh", seen(job("FAILED", HASH), left=IN_VAIN), None, FRESH, Recover, start(None)),
    ("failed after a rewarm", seen(job("FAILED"), left=IN_VAIN), BROKEN_OFF, RESTORE, Submit, start(None, True, W)),
    ("state lost", seen(job("FAILED", HASH), left=LOST), None, RESTORE, Refuse, "savepoint_path=….*state='fresh'"),
    ("state lost, named", seen(job("FAILED", OTHER), left=LOST), None, NAMED, Submit, start("named")),
    ("state lost, fresh", seen(job("FAILED", OTHER), left=LOST), None, FRESH, Submit, start(None)),
    # --- the JobManager lost its memory
    ("forgotten, was healthy", EMPTY, PROVEN, RESTORE, Refuse, "k1.*forgotten.*sp-old.*savepoint_path=….*'fresh'"),
    ("forgotten, newer one empty", seen(job("FAILED"), left=NONE), PROVEN, RESTORE, Refuse, "forgotten"),
    ("forgotten, named", EMPTY, PROVEN, NAMED, Submit, start("named")),
    ("forgotten, fresh", EMPTY, PROVEN, FRESH, Submit, start(None)),
    ("forgotten in mid-deployment", EMPTY, BROKEN_OFF, RESTORE, Submit, start("sp-kept", False, W)),
    ("forgotten before any state", EMPTY, FIRST_BROKEN_OFF, RESTORE, Submit, start(None)),
    ("forgotten, was rewarmed", EMPTY, REWARMED, RESTORE, Submit, start(None, True, W)),
    ("remembered by Flink too", seen(job("FAILED", job_id="k1"), left=NONE), PROVEN, RESTORE, Submit, start(None)),
    ("Flink knows better", seen(job("FINISHED"), left=SAVEPOINT), PROVEN, RESTORE, Submit, start("sp")),
    # --- rewarm without a running job
    ("rewarm, broken off", seen(job("FINISHED")), BROKEN_OFF, REWARM, Submit, start(None, True, W)),
    ("rewarm, watermark kept", seen(job("FINISHED"), watermark=W), None, REWARM, Submit, start(None, True, W)),
    ("rewarm, watermark gone", seen(job("FAILED", OTHER)), None, REWARM, Refuse, "rewarm_from=…"),
    ("rewarm, forgotten", EMPTY, PROVEN, REWARM, Refuse, "rewarm_from=…"),
    ("rewarm, said", seen(job("FAILED")), None, asked("rewarm", watermark=5), Submit, start(None, True, 5)),
    # --- the desired job is there
    ("same runs", seen(job("RUNNING", HASH)), None, RESTORE, NoOp, None),
    ("same runs, fresh asked", seen(job("RUNNING", HASH)), None, FRESH, NoOp, None),
    ("same runs, rewarm asked", seen(job("RUNNING", HASH), watermark=W), None, REWARM, NoOp, None),
    ("same starts up", seen(job("CREATED", HASH)), None, RESTORE, NoOp, None),
    ("same among ended ones", seen(job("CANCELED"), job("RUNNING", HASH, "j2", 2)), None, RESTORE, NoOp, None),
    ("same restarts", seen(job("RESTARTING", HASH)), None, RESTORE, Wait, None),
    (
        "same goes on restarting",
        seen(job("RESTARTING", HASH), left=CHECKPOINT, unwell_for=31),
        None,
        RESTORE,
        Recover,
        start("chk", False, W),
    ),
    (
        "same restarts in its rewarm",
        seen(job("RESTARTING", HASH), left=IN_VAIN, unwell_for=31),
        None,
        RESTORE,
        Recover,
        start(None, True, W),
    ),
    ("same restarts, no state", seen(job("RESTARTING", HASH), left=LOST, unwell_for=31), None, RESTORE, Refuse, "j1"),
    ("same restarts, named", seen(job("RESTARTING", HASH), unwell_for=31), None, NAMED, Recover, start("named")),
    ("same is ending", seen(job("CANCELLING", HASH)), None, RESTORE, Wait, None),
    # --- another job is there
    ("another runs", seen(job("RUNNING", OTHER)), None, RESTORE, Replace, (True, None)),
    ("somebody else's", seen(job("RUNNING", None)), None, RESTORE, Replace, (True, None)),
    ("another runs, named", seen(job("RUNNING", OTHER)), None, NAMED, Replace, (True, start("named"))),
    ("another runs, fresh", seen(job("RUNNING", OTHER)), None, FRESH, Replace, (False, start(None))),
    (
        "another runs, rewarm",
        seen(job("RUNNING", OTHER), watermark=W),
        None,
        REWARM,
        Replace,
        (True, start(None, True, W)),
    ),
    (
        "another runs, no watermark",
        seen(job("RUNNING", OTHER)),
        None,
        REWARM,
        Refuse,
        "its watermark is not known.*rewarm_from",
    ),
    ("another restarts", seen(job("RESTARTING", OTHER)), None, RESTORE, Wait, None),
    (
        "another goes on restarting",
        seen(job("RESTARTING", OTHER), left=CHECKPOINT, unwell_for=31),
        None,
        RESTORE,
        Replace,
        (False, start("chk", False, W)),
    ),
    (
        "another restarts in its rewarm",
        seen(job("RESTARTING", OTHER), left=IN_VAIN, unwell_for=31),
        None,
        RESTORE,
        Replace,
        (False, start(None, True, W)),
    ),
    (
        "another has no TaskManager",
        seen(job("CREATED", OTHER), left=SAVEPOINT, unwell_for=31),
        None,
        RESTORE,
        Replace,
        (False, start("sp")),
    ),
    (
        "another restarts, lost",
        seen(job("RESTARTING", OTHER), left=LOST, unwell_for=31),
        None,
        RESTORE,
        Refuse,
        "not touched",
    ),
    ("another restarts, named", seen(job("RESTARTING", OTHER)), None, NAMED, Replace, (False, start("named"))),
    ("another restarts, fresh", seen(job("RESTARTING", OTHER)), None, FRESH, Replace, (False, start(None))),
    (
        "another restarts, rewarm said",
        seen(job("RESTARTING", OTHER), unwell_for=31),
        None,
        asked("rewarm", watermark=W),
        Replace,
        (False, start(None, True, W)),
    ),
    ("does not tell its hash yet", seen(job("INITIALIZING")), None, RESTORE, Wait, None),
    ("another is failing", seen(job("FAILING", OTHER)), None, RESTORE, Wait, None),
    # --- more than one
    ("two run", seen(job("RUNNING", HASH), job("RUNNING", OTHER, "j2")), None, RESTORE, Refuse, "2 jobs.*j1.*j2"),
    ("two of the same", seen(job("RUNNING", HASH), job("RUNNING", HASH, "j2")), None, FRESH, Refuse, "2 jobs"),
    ("one runs, one ends", seen(job("RUNNING", HASH), job("CANCELLING", HASH, "j2")), None, RESTORE, Refuse, "2 jobs"),
]


def told(start: Start | None) -> tuple[str | None, bool, int | None] | None:
    return (start.path, start.replay, start.watermark) if start else None


@pytest.mark.parametrize(
    ("found", "known", "policy", "kind", "expected"), [pytest.param(*c[1:], id=c[0]) for c in CASES]
)
def test_decision(
    found: DeploymentFacts, known: KnownDeployment | None, policy: StartPolicy, kind: type, expected: Any
) -> None:
    decision = decide(HASH, found, known, policy)
    assert isinstance(decision, kind), decision
    assert decision.reason
    if isinstance(decision, Refuse):
        assert re.search(expected, decision.reason), decision.reason
        assert decision.ambiguous == ("jobs named" in decision.reason)
    elif isinstance(decision, (Submit, Recover)):
        assert told(decision.start) == expected
        assert decision.start.origin
    elif isinstance(decision, Replace):
        assert (decision.savepoint, told(decision.start)) == expected


MARKS = {"state_source": "s", "state_groups": "o", "state_group.cards_1": "w.a"}
OTHER_AGGREGATES, OTHER_WINDOWS = ({**MARKS, "state_group.cards_1": other} for other in ("w.b", "x.a"))


@pytest.mark.parametrize(
    ("state", "marks", "watermark", "expected"),
    [
        ("auto", MARKS, W, (None, False)),
        ("auto", OTHER_AGGREGATES, W, (W, True)),
        ("auto", OTHER_AGGREGATES, None, (None, False)),
        ("restore", OTHER_AGGREGATES, W, (None, False)),
        ("rewarm", OTHER_AGGREGATES, W, (W, False)),
        ("auto", OTHER_WINDOWS, W, (W, False)),
        ("auto", OTHER_WINDOWS, None, "its watermark is not known"),
        ("restore", OTHER_WINDOWS, W, "cannot be carried over"),
        ("rewarm", OTHER_AGGREGATES, None, "its watermark is not known"),
    ],
)
def test_panes_of_native_windows(state: Any, marks: dict[str, str], watermark: int | None, expected: Any) -> None:
    """The rewarm's watermark (None: begin with the savepoint), and whether the panes take its place if need be."""
    running = replace(job("RUNNING", OTHER), marks=marks)
    decision = decide(HASH, seen(running, watermark=watermark), None, asked(state, marks=MARKS))
    if isinstance(expected, str):
        assert isinstance(decision, Refuse)
        assert expected in decision.reason
    else:
        assert isinstance(decision, Replace)
        assert decision.savepoint
        assert (decision.start.watermark if decision.start else None, decision.panes) == expected


@pytest.mark.parametrize(
    ("facts", "marks", "expected"),
    [
        (seen(job("FINISHED"), left=SAVEPOINT, watermark=W), OTHER_AGGREGATES, (start(None, True, W), start("sp"))),
        (seen(job("FINISHED"), left=SAVEPOINT), OTHER_AGGREGATES, (start("sp"), None)),
        (seen(job("FINISHED"), left=NONE, watermark=W), OTHER_AGGREGATES, (start(None, True, W), None)),
        (seen(job("FINISHED"), left=SAVEPOINT, watermark=W), OTHER_WINDOWS, (start(None, True, W), None)),
        (seen(job("FINISHED"), left=SAVEPOINT, watermark=W), MARKS, (start("sp"), None)),
    ],
)
def test_panes_of_a_job_that_has_ended(facts: DeploymentFacts, marks: dict[str, str], expected: Any) -> None:
    ended = replace(facts, jobs=[replace(facts.jobs[0], marks=marks)])
    decision = decide(HASH, ended, None, asked("auto", marks=MARKS))
    assert isinstance(decision, Submit)
    assert (told(decision.start), told(decision.panes)) == expected


@pytest.mark.parametrize(
    ("state", "marks", "expected"),
    [
        ("auto", MARKS, (start("sp-kept", False, W), None)),
        ("auto", OTHER_WINDOWS, (start(None, True, W), None)),
        ("auto", OTHER_AGGREGATES, (start(None, True, W), start("sp-kept", False, W))),
        ("restore", OTHER_WINDOWS, "cannot be carried over"),
        ("fresh", OTHER_WINDOWS, (start(None), None)),
    ],
)
def test_what_was_kept_for_a_forgotten_job_may_mean_something_else(
    state: Any, marks: dict[str, str], expected: Any
) -> None:
    decision = decide(HASH, EMPTY, replace(BROKEN_OFF, marks=marks), asked(state, marks=MARKS))
    if isinstance(expected, str):
        assert isinstance(decision, Refuse)
        assert expected in decision.reason
    else:
        assert isinstance(decision, Submit)
        assert (told(decision.start), told(decision.panes)) == expected


DRAINED = RestorePoint(f"s3://sp/drained-at-{W}/sp", "savepoint 3 of job j1")


@pytest.mark.parametrize(
    ("state", "left", "expected"),
    [
        ("auto", DRAINED, start(None, True, W)),
        ("auto", replace(DRAINED, path="s3://sp/drained/sp"), "was drained.*its watermark is not known.*rewarm_from"),
        ("restore", DRAINED, "cannot be carried over: the last job was drained"),
        ("fresh", DRAINED, start(None)),
    ],
)
def test_windows_that_a_drained_job_emitted_early_are_computed_again(
    state: Any, left: RestorePoint, expected: Any
) -> None:
    ended = replace(job("FINISHED", HASH), marks=MARKS)
    decision = decide(HASH, seen(ended, left=left), None, asked(state, marks=MARKS))
    if isinstance(expected, str):
        assert isinstance(decision, Refuse)
        assert re.search(expected, decision.reason), decision.reason
    else:
        assert isinstance(decision, Submit)
        assert told(decision.start) == expected


@pytest.mark.parametrize("found", [EMPTY, seen(job("FINISHED", OTHER)), seen(job("RUNNING", OTHER), watermark=W + 5)])
@pytest.mark.parametrize(
    ("state", "path", "expected"),
    [
        ("auto", DRAINED.path, start(None, True, W)),
        ("restore", DRAINED.path, start(DRAINED.path)),
        ("auto", "s3://sp/savepoint", start("s3://sp/savepoint")),
    ],
)
def test_so_they_are_where_the_task_names_its_savepoint(
    found: DeploymentFacts, state: Any, path: str, expected: Any
) -> None:
    decision = decide(HASH, found, None, asked(state, marks=MARKS, savepoint_path=path))
    assert isinstance(decision, (Submit, Replace))
    assert told(decision.start) == expected
    assert ("was drained" in decision.reason) is expected[1]


@pytest.mark.parametrize("marks", [MARKS, OTHER_WINDOWS])
def test_a_named_savepoint_is_taken_and_what_it_may_mean_is_said(marks: dict[str, str]) -> None:
    ended, running = (replace(job(state, OTHER), marks=marks) for state in ("FINISHED", "RUNNING"))
    for found, known in ((seen(ended), None), (seen(running), None), (EMPTY, replace(PROVEN, marks=marks))):
        decision = decide(HASH, found, known, asked("auto", marks=MARKS, savepoint_path="named"))
        assert isinstance(decision, (Submit, Replace))
        assert told(decision.start) == start("named")
        said = "it means something else: cards_1 has another key, other windows" in decision.reason
        assert said is (marks is not MARKS)


def test_a_named_savepoint_that_does_not_tell_what_was_complete_is_refused() -> None:
    decision = decide(HASH, EMPTY, None, asked("auto", marks=MARKS, savepoint_path="s3://sp/drained/sp"))
    assert isinstance(decision, Refuse)
    assert re.search("was drained.*its watermark is not known.*rewarm_from", decision.reason)


def test_a_job_that_is_no_pipeline_goes_on_from_what_it_left_when_it_was_drained() -> None:
    decision = decide(HASH, seen(job("FINISHED", HASH), left=DRAINED), None, RESTORE)
    assert isinstance(decision, Submit)
    assert decision.start.path == DRAINED.path


def test_predecessor_is_the_job_started_last() -> None:
    decision = decide(HASH, seen(job("FAILED", None, "old", 1), job("FAILED", None, "new", 2)), None, RESTORE)
    assert isinstance(decision, Submit)
    assert decision.predecessor is not None
    assert decision.predecessor.job_id == "new"


def test_the_choice_is_said_in_the_reason() -> None:
    assert "state='fresh'" in decide(HASH, seen(job("FAILED")), None, FRESH).reason
    assert "state='fresh'" in decide(HASH, seen(job("RUNNING", OTHER)), None, FRESH).reason
    assert "state='rewarm'" in decide(HASH, seen(job("RUNNING", OTHER), watermark=W), None, REWARM).reason


@pytest.mark.parametrize(
    ("running", "wanted", "state", "kind"),
    [
        ("old", "new", "RUNNING", Replace),
        ("", "new", "RUNNING", Replace),
        ("old", "", "RUNNING", Replace),
        ("new", "new", "RUNNING", NoOp),
        ("", "", "RUNNING", NoOp),
        # A program that does not say what its credentials are.
        ("", None, "RUNNING", NoOp),
        # It gets new ones anyway when it does not get well.
        ("old", "new", "RESTARTING", Wait),
        ("old", "new", "CREATED", NoOp),
    ],
)
@pytest.mark.parametrize("policy", [RESTORE, FRESH, REWARM, NAMED])
def test_renewed_credentials_replace_the_desired_job_from_its_savepoint(
    running: str, wanted: str | None, state: str, kind: Any, policy: StartPolicy
) -> None:
    found = DeploymentFacts([replace(job(state, HASH), credentials=running)])
    decision = decide(HASH, found, None, replace(policy, credentials=wanted))
    assert isinstance(decision, kind)
    if isinstance(decision, Replace):
        assert (decision.savepoint, decision.start) == (True, None)
        assert "credentials" in decision.reason
