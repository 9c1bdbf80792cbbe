from __future__ import annotations

from typing import Any

import pytest

from hopsworks_flink.clients.flink.jobs import (
    RestorePoint,
    derive_job_id,
    find_restore_point,
    lowest_watermark,
    restore_point,
    rows_written,
    watermark_of,
)

HASH, OTHER = "a" * 64, "b" * 64


def test_job_id_depends_on_each_part() -> None:
    ids = {
        derive_job_id("cards", HASH, None),
        derive_job_id("cards", OTHER, None),
        derive_job_id("other", HASH, None),
        derive_job_id("cards", HASH, "j1"),
    }
    assert len(ids) == 4
    assert all(len(job_id) == 32 and int(job_id, 16) >= 0 for job_id in ids)
    assert derive_job_id("cards", HASH, "j1") == derive_job_id("cards", HASH, "j1")


def entry(number: int, path: str, savepoint: bool = False, discarded: bool = False, **kwargs: Any) -> dict[str, Any]:
    return {
        "id": number,
        "trigger_timestamp": number,
        "external_path": path,
        "is_savepoint": savepoint,
        "discarded": discarded,
        "status": "COMPLETED",
        **kwargs,
    }


def statistics(completed: int = 1, history: list[dict[str, Any]] | None = None, **latest: Any) -> dict[str, Any]:
    return {"counts": {"completed": completed}, "latest": latest, "history": history or []}


@pytest.mark.parametrize(
    ("checkpoints", "path", "lost"),
    [
        pytest.param(None, None, True, id="statistics forgotten"),
        pytest.param(statistics(0), None, False, id="no checkpoint ever"),
        pytest.param(statistics(completed=3), None, True, id="completed but nothing listed"),
        pytest.param(statistics(savepoint=entry(6, "sp", True), completed=5), "sp", False, id="savepoint"),
        pytest.param(statistics(history=[entry(6, "sp", True)]), "sp", False, id="savepoint only in the history"),
        pytest.param(
            statistics(history=[entry(5, "chk", discarded=True), entry(6, "x", True, status="FAILED")]),
            None,
            True,
            id="discarded checkpoint and failed savepoint",
        ),
        pytest.param(
            {**statistics(), "latest": {"completed": entry(9, "chk-9"), "savepoint": entry(4, "sp", True)}},
            "chk-9",
            False,
            id="retained checkpoint newer than savepoint",
        ),
        pytest.param(
            {
                **statistics(),
                "latest": {"completed": entry(9, "chk-9", discarded=True), "savepoint": entry(4, "sp", True)},
            },
            "sp",
            False,
            id="newer checkpoint is discarded",
        ),
        pytest.param(
            statistics(0, restored={"external_path": "origin"}),
            "origin",
            False,
            id="failed before its first checkpoint",
        ),
    ],
)
def test_restore_point(checkpoints: dict[str, Any] | None, path: str | None, lost: bool) -> None:
    point = restore_point("j1", checkpoints)
    assert (point.path, point.lost) == (path, lost)
    assert point.origin


def test_search_passes_over_jobs_that_never_ran() -> None:
    found = find_restore_point([(RestorePoint(None, "never ran"), {}), (RestorePoint("sp", "older"), {})])
    assert found.path == "sp"


def test_search_ends_at_a_fresh_start() -> None:
    found = find_restore_point(
        [(RestorePoint(None, "nothing yet"), {"state_policy": "fresh"}), (RestorePoint("sp", "older"), {})]
    )
    assert (found.path, found.lost) == (None, False)


def test_search_ends_at_lost_state() -> None:
    assert find_restore_point([(RestorePoint(None, "gone", lost=True), {}), (RestorePoint("sp", "older"), {})]).lost


def test_search_tells_what_windows_the_state_leaves_out() -> None:
    marks = {"rewarmed_at": "1700000000000"}
    assert find_restore_point([(RestorePoint("sp", "of a rewarmed job"), marks)]).watermark == 1_700_000_000_000
    assert watermark_of({}) is None


@pytest.mark.parametrize(
    ("values", "lowest"),
    [
        pytest.param([[], ["1700000000005", "1700000000000"]], 1_700_000_000_000, id="slowest subtask"),
        pytest.param([["1700000000005"], ["-9223372036854775808"]], None, id="one has seen nothing"),
        pytest.param([[]], None, id="nobody tells"),
        pytest.param([[None, "1700000000000"]], 1_700_000_000_000, id="one metric is not there yet"),
    ],
)
def test_lowest_watermark(values: list[list[str | None]], lowest: int | None) -> None:
    vertices = [[{"id": f"{n}.currentInputWatermark", "value": v} for n, v in enumerate(vertex)] for vertex in values]
    assert lowest_watermark(vertices) == lowest


def vertex(name: str, read: int = 0, write: int = 0, complete: bool = True) -> dict[str, Any]:
    metrics = {"read-records": read, "write-records": write}
    return {"name": name, "metrics": {**metrics, "read-records-complete": complete, "write-records-complete": complete}}


def test_what_the_writer_sent_without_its_messages_to_the_committer() -> None:
    vertices = [
        vertex("Source: transactions -> events", 4009, 1010),
        vertex("sorted -> rows (2) -> cards v2: Writer", 1010, 1012),
        vertex("cards v2: Committer", 2, 0),
    ]
    assert rows_written(vertices, ["cards_2"]) == {"cards_2": 1010}


def test_figures_that_tell_nothing() -> None:
    shared = [vertex("rows -> (a v1: Writer, b v1: Writer)", 5, 12), vertex("a v1: Committer", 1)]
    assert rows_written(shared, ["a_1", "b_1"]) == {"a_1": None, "b_1": None}
    unfinished = [vertex("a v1: Writer", 1, 7, complete=False), vertex("a v1: Committer", 1)]
    assert rows_written(unfinished, ["a_1"]) == {"a_1": None}
    assert rows_written([], ["a_1"]) == {"a_1": None}
