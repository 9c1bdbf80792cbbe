"""How far a group is materialized and what to do about it: tables of cases, no services."""

from __future__ import annotations

import json

import pytest

from hopsworks_flink.clients.hopsworks.executions import Execution
from hopsworks_flink.clients.hopsworks.progress import (
    Progress,
    RunOffsets,
    Situation,
    decide,
    newest_commit,
    parse_offsets,
    rows_since,
)

# What Hopsworks' own job prints, and what the local server's does.
PLATFORM = """
23/11/24 INFO SparkContext: starting
startingOffsets: {"demo_onlinefs": {"0": 5, "1": 7}}
endingOffsets: {"demo_onlinefs": {"0": 9, "1": 7}}
"""
LOCAL = """
start offsets: demo_onlinefs,0:5,1:7
end offsets: demo_onlinefs,0:9,1:7
records read: 4 in 0.1 s (40/s)
next offsets: demo_onlinefs,0:8,1:7
"""


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (PLATFORM, RunOffsets({0: 5, 1: 7}, {0: 9, 1: 7}, None)),
        (LOCAL, RunOffsets({0: 5, 1: 7}, {0: 9, 1: 7}, {0: 8, 1: 7})),
        (LOCAL.replace("demo_onlinefs", "other"), None),
        ('startingOffsets: {"demo_onlinefs": "earliest"}', None),
        ("startingOffsets: {broken", None),
        ('startingOffsets: {"demo_onlinefs": {"0": 1}}', RunOffsets({0: 1})),
        ("nothing of the kind", None),
    ],
)
def test_offsets_out_of_a_log(log: str, expected: RunOffsets | None) -> None:
    assert RunOffsets.from_log(log, "demo_onlinefs") == expected


def test_offsets_of_the_sdk() -> None:
    assert parse_offsets("topic,0:12,1:7") == {0: 12, 1: 7}
    assert parse_offsets("") == {}


@pytest.mark.parametrize(
    ("told", "succeeded", "limit", "expected"),
    [
        (RunOffsets({0: 1}, {0: 9}, {0: 8}), True, 100, Progress({0: 8})),
        (RunOffsets({0: 1}, {0: 9}), True, 100, Progress({0: 9})),
        (RunOffsets({0: 1}, {0: 9}), True, 8, Progress({0: 1}, exact=False)),
        (RunOffsets({0: 1}, {0: 9}), False, 100, Progress({0: 1})),
        (RunOffsets({0: 1}), True, 100, Progress({0: 1}, exact=False)),
        # The topic was made anew: from the old one's offsets on, the job reads nothing of it.
        (RunOffsets({0: 50}, {0: 9}), True, 1, Progress({})),
        (RunOffsets({0: 1, 1: 50}, {0: 9, 1: 9}, {0: 9, 1: 50}), True, 100, Progress({})),
        (RunOffsets({0: 9}, {0: 9}, {0: 9}), True, 100, Progress({0: 9})),
        (RunOffsets({0: 50, 1: 3}, {0: 9, 1: 5}), False, 100, Progress({})),
    ],
)
def test_progress_after_a_run(told: RunOffsets, succeeded: bool, limit: int, expected: Progress) -> None:
    assert told.progress(succeeded, limit) == expected


END = {0: 10, 1: 5}


@pytest.mark.parametrize(
    ("situation", "action", "words"),
    [
        (Situation(END, running=3, progress=Progress(END)), "wait", "execution 3 runs already"),
        (Situation(END), "start", "it is unknown how far"),
        (Situation(END, own_runs=1), "done", "it printed no offsets"),
        (Situation({}), "start", "it is unknown how far"),
        (Situation({}, own_runs=1, progress=Progress({0: 3})), "done", "no offsets"),
        (Situation(END, progress=Progress(END)), "done", "everything before"),
        (Situation(END, progress=Progress({0: 99, 1: 5})), "start", "it is unknown how far"),
        (Situation(END, own_runs=1, progress=Progress({0: 99, 1: 5})), "done", "everything"),
        (Situation(END, progress=Progress({0: 10})), "start", "partition 1: 0 of 5"),
        (Situation(END, progress=Progress({0: 3, 1: 5})), "start", "partition 0: 3 of 10"),
        (
            Situation(END, progress=Progress({0: 5, 1: 5}), before=Progress({0: 3, 1: 5}), own_runs=1),
            "start",
            "one run does not read everything",
        ),
        (
            Situation(END, progress=Progress({0: 3, 1: 5}), before=Progress({0: 3, 1: 5}), own_runs=1),
            "refuse",
            "did not move",
        ),
        (Situation(END, own_runs=1, progress=Progress({}), before=Progress({})), "refuse", "the topic was made anew"),
        (Situation(END, progress=Progress({})), "start", "records are waiting"),
        # A run that met its limit shows how far it came only when the next one starts.
        (
            Situation(END, progress=Progress({0: 3}, exact=False), before=Progress({0: 3}), own_runs=1),
            "start",
            "one run",
        ),
        (
            Situation(END, progress=Progress({0: 3}, exact=False), before=Progress({0: 3}, exact=False), own_runs=2),
            "refuse",
            "did not move",
        ),
        (
            Situation(END, progress=Progress({0: 5}), before=Progress({0: 3}), own_runs=2, max_runs=2),
            "refuse",
            "after 2 execution",
        ),
        (Situation(END, progress=Progress({0: 5}), own_runs=1), "start", "one run"),
    ],
)
def test_decision(situation: Situation, action: str, words: str) -> None:
    decision = decide(situation)
    assert decision.action == action
    assert words in decision.reason
    assert decision.verified is (words in ("everything before", "everything"))


def test_progress_survives_a_deferral() -> None:
    progress = Progress({0: 3, 1: 5}, exact=False)
    assert Progress.from_json(json.loads(json.dumps(progress.to_json()))) == progress


def test_rows_of_the_commits_since() -> None:
    commits = {5: {"rowsInserted": 1, "rowsUpdated": None}, 7: {"rowsInserted": 2, "rowsUpdated": 3}}
    assert newest_commit(commits) == 7
    assert newest_commit({}) == 0
    assert rows_since(commits, 5) == {"rows_inserted": 2, "rows_updated": 3}
    assert rows_since(commits, 7) == {"rows_inserted": 0, "rows_updated": 0}


@pytest.mark.parametrize(
    ("job_type", "state", "final_status", "outcome"),
    [
        ("SPARK", "FINISHED", "SUCCEEDED", "SUCCEEDED"),
        # YARN's state ends before its final status is known.
        ("SPARK", "FINISHED", "UNDEFINED", None),
        ("PYSPARK", "FAILED", "UNDEFINED", None),
        ("SPARK", "FINISHED", "FAILED", "FAILED"),
        ("SPARK", "KILLED", "KILLED", "KILLED"),
        ("PYTHON", "FINISHED", "UNDEFINED", "SUCCEEDED"),
        ("PYTHON", "RUNNING", "UNDEFINED", None),
        ("PYTHON", "INITIALIZATION_FAILED", "UNDEFINED", "FAILED"),
        ("DOCKER", "AGGREGATING_LOGS", "UNDEFINED", None),
        ("", "SOMETHING_NEW", None, None),
    ],
)
def test_outcome(job_type: str, state: str, final_status: str | None, outcome: str | None) -> None:
    body = {"id": 1, "state": state, "finalStatus": final_status}
    assert Execution.from_json(body, job_type).outcome == outcome
