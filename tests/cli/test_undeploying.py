"""`undeploy`: shows what it would do, and does only that."""

from __future__ import annotations

import io
import sys

import pytest

from hopsworks_flink.cli import main
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from tests.support.flink_stub import FlinkStub, Job
from tests.support.hopsworks_server import LocalHopsworks


@pytest.fixture
def job(flink: FlinkStub) -> Job:
    return flink.add("cards__features")


def say(monkeypatch: pytest.MonkeyPatch, answer: str | None) -> None:
    """Somebody at a terminal, who ends the input where there is no answer."""
    typed = io.StringIO("" if answer is None else f"{answer}\n")
    monkeypatch.setattr(typed, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", typed)


def make_groups(*names: str) -> None:
    with HopsworksHook().session() as session:
        for name in names:
            group = session.feature_store.create_feature_group(name, 1, primary_key=["k"], stream=True)
            from hsfs.feature import Feature

            group.features = [Feature("k", "bigint", primary=True)]
            group.save()


def groups() -> set[str]:
    with HopsworksHook().session() as session:
        return {group.name for group in session.feature_store.get_feature_groups()}


@pytest.mark.parametrize("answer", ["something else", "", None])
def test_it_shows_and_asks_first(
    flink: FlinkStub, job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, answer: str | None
) -> None:
    say(monkeypatch, answer)
    assert main(["undeploy", "cards"]) == 0
    told = capsys.readouterr().out
    assert f"stop job cards__features ({job.job_id}, RUNNING) with a savepoint" in told
    assert "keep every feature group and topic" in told
    assert "Nothing was done." in told
    assert job.state == "RUNNING"

    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert main(["undeploy", "cards"]) == 1
    assert "nobody can be asked here" in capsys.readouterr().err
    assert job.state == "RUNNING"

    say(monkeypatch, "cards")
    assert main(["undeploy", "cards"]) == 0
    told = capsys.readouterr().out
    assert f"job {job.job_id} is FINISHED; its state is in file:/savepoints/" in told
    assert "cards__supervise is not told: pause it" in told
    assert main(["undeploy", "cards", "--yes"]) == 0
    assert "no job cards__features runs: nothing to stop" in capsys.readouterr().out


def test_cancel(flink: FlinkStub, job: Job, capsys: pytest.CaptureFixture) -> None:
    assert main(["undeploy", "cards", "--yes", "--mode", "cancel"]) == 0
    assert f"job {job.job_id} is CANCELED" in capsys.readouterr().out
    assert job.savepoint is None


def test_it_deletes_what_is_named_and_no_more(
    flink: FlinkStub, job: Job, hopsworks: LocalHopsworks, capsys: pytest.CaptureFixture
) -> None:
    before = groups()
    make_groups("cards", "shops")
    assert main(["undeploy", "cards", "--yes", "--delete-feature-group", "cards_1"]) == 0
    told = capsys.readouterr().out
    assert "delete feature group cards_1 with its online rows, offline table and topic" in told
    assert "deleted feature group cards_1" in told
    assert groups() == {*before, "shops"}
    assert job.state == "FINISHED"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--delete-feature-group", "cards"], "must be a name with a version"),
        (["--delete-feature-group", "gone_1"], "gone"),
        (["--delete-topic", "gone"], "There is no topic 'gone'"),
    ],
)
def test_a_name_that_is_wrong_stops_nothing(
    flink: FlinkStub,
    job: Job,
    hopsworks: LocalHopsworks,
    arguments: list[str],
    error: str,
    capsys: pytest.CaptureFixture,
) -> None:
    assert main(["undeploy", "cards", "--yes", *arguments]) == 1
    assert error in capsys.readouterr().err
    assert job.state == "RUNNING"


def test_two_jobs_of_the_name_are_nobodys_guess(flink: FlinkStub, job: Job, capsys: pytest.CaptureFixture) -> None:
    flink.add("cards__features")
    assert main(["undeploy", "cards", "--yes"]) == 1
    assert "2 jobs named 'cards__features' run" in capsys.readouterr().err
    assert job.state == "RUNNING"
