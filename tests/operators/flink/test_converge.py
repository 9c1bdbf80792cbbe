"""What a deployment does about the jobs that it finds, against the stub cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hopsworks_flink._compat import AirflowFailException
from hopsworks_flink.clients.flink.jobs import MAX_IDS, next_job_id
from hopsworks_flink.clients.flink.submission import PythonSubmission
from hopsworks_flink.exceptions import (
    FlinkConnectionError,
    FlinkJobFailed,
    FlinkJobIdTaken,
    FlinkSavepointError,
    FlinkSubmissionError,
)
from hopsworks_flink.operators.flink import FlinkDeployJobOperator
from tests.support.fixtures import set_connection, task_context
from tests.support.flink_stub import FlinkStub, Job

Deploy = Callable[..., dict[str, Any]]


@pytest.fixture
def deploy(flink: FlinkStub, program: Path) -> Deploy:
    def run(context: dict[str, Any] | None = None, **kwargs: Any) -> dict[str, Any]:
        defaults = {"grace_period": 0.01, "poll_interval": 0.01, "timeout": 5.0}
        operator = FlinkDeployJobOperator(
            task_id="deploy", job_name="cards", program=str(program), **{**defaults, **kwargs}
        )
        return operator.execute(context or task_context())

    return run


@pytest.fixture
def make_stranger(flink: FlinkStub) -> Callable[..., Job]:
    def stranger(job_id: str, state: str) -> Job:
        return flink.add("theirs", job_id=job_id, state=state, user_config={"deployment_hash": "theirs"})

    return stranger


def test_first_deployment(deploy: Deploy, flink: FlinkStub) -> None:
    context = task_context()
    result = deploy(context, parallelism="3", flink_configuration={"state.backend.type": "rocksdb", "x": True})
    job = flink.jobs[result["job_id"]]
    assert (result["action"], result["savepoint_path"], result["replaced_job_id"]) == ("submitted", None, None)
    assert job.request["parallelism"] == 3
    configuration = job.request["flinkConfiguration"]
    assert configuration["execution.checkpointing.interval"] == "10 s"
    assert configuration["x"] == "true"
    assert job.user_config == {
        "dag_id": "cards__deploy",
        "task_id": "deploy",
        "deployment_hash": result["deployment_hash"],
        "deployed_by": "airflow-provider-hopsworks-flink",
        "state_policy": "fresh",
        "submitted_as": result["job_id"],
    }
    assert context["ti"].pushed["flink_job_url"] == result["web_url"]


def test_second_deployment_touches_nothing(deploy: Deploy, flink: FlinkStub) -> None:
    first = deploy()
    before = len(flink.requests)
    second = deploy()
    assert second["action"] == "none"
    assert second["job_id"] == first["job_id"]
    assert {request.method for request in flink.requests[before:]} == {"GET"}


def test_changed_deployment_replaces_by_savepoint(deploy: Deploy, flink: FlinkStub) -> None:
    first = deploy()
    second = deploy(parallelism=2, savepoint_directory="s3://sp")
    assert (second["action"], second["replaced_job_id"]) == ("replaced", first["job_id"])
    assert second["savepoint_path"] == f"s3://sp/savepoint-{first['job_id'][:6]}"
    assert flink.jobs[second["job_id"]].restored_from == second["savepoint_path"]
    assert [job.job_id for job in flink.running()] == [second["job_id"]]


def test_job_of_somebody_else_is_replaced_too(deploy: Deploy, flink: FlinkStub) -> None:
    foreign = flink.add()
    assert deploy()["replaced_job_id"] == foreign.job_id


@pytest.mark.parametrize("state", ["RUNNING", "FINISHED"])
def test_an_id_that_a_stranger_has_used_up_blocks_nothing(
    deploy: Deploy, flink: FlinkStub, make_stranger: Callable[..., Job], state: str
) -> None:
    expected = deploy()["job_id"]
    flink.jobs.clear()
    stranger = make_stranger(expected, state)
    result = deploy()
    assert result["job_id"] == next_job_id(expected)
    assert (stranger.state, flink.jobs[result["job_id"]].name) == (state, "cards")
    # Nobody remembers anything: the retry finds the job, and a deployment that races chooses the same id.
    assert deploy()["job_id"] == result["job_id"]


def test_ids_that_are_used_up_again_and_again_are_told(
    deploy: Deploy, flink: FlinkStub, make_stranger: Callable[..., Job]
) -> None:
    job_id = deploy()["job_id"]
    flink.jobs.clear()
    for _ in range(MAX_IDS):
        make_stranger(job_id, "RUNNING")
        job_id = next_job_id(job_id)
    with pytest.raises(FlinkJobIdTaken, match=r"for job .* named 'theirs'"):
        deploy()
    assert {job.name for job in flink.running()} == {"theirs"}


def test_kill_leaves_a_stranger_under_our_id_alone(flink: FlinkStub, program: Path) -> None:
    operator = FlinkDeployJobOperator(task_id="deploy", job_name="cards", program=str(program), timeout=5)

    def other_program(job: Job) -> None:
        job.name = "theirs"

    flink.on_run = other_program
    with pytest.raises(AirflowFailException, match=r"shows job .* named 'theirs'.*left alone"):
        operator.execute(task_context())
    operator.on_kill()
    assert [job.state for job in flink.jobs.values()] == ["RUNNING"]


def test_two_jobs_are_refused_for_good(deploy: Deploy, flink: FlinkStub) -> None:
    one, two = flink.add(), flink.add()
    with pytest.raises(AirflowFailException, match=f"2 jobs named 'cards' run at once: {one.job_id}.*{two.job_id}"):
        deploy()
    assert len(flink.running()) == 2


def test_job_that_is_ending_is_waited_for(deploy: Deploy, flink: FlinkStub) -> None:
    job = flink.add(state="CANCELLING", checkpoint="chk")
    polls = iter(range(3))

    def observe() -> None:
        if next(polls, None) is None:
            job.end("CANCELED")

    original = flink._overview
    flink._overview = lambda j: (observe(), original(j))[1]  # type: ignore[method-assign, assignment]
    assert deploy()["savepoint_path"] == "chk"


def test_stop_then_failed_submission_keeps_the_state(deploy: Deploy, flink: FlinkStub) -> None:
    first = deploy()
    flink.program_error = "ValueError: broken"
    with pytest.raises(FlinkSubmissionError) as caught:
        deploy(parallelism=2)
    savepoint = flink.jobs[first["job_id"]].savepoint
    assert caught.value.savepoint_path == savepoint
    assert "ValueError: broken" in str(caught.value)
    assert str(savepoint) in str(caught.value)
    assert flink.running() == []
    flink.program_error = None
    retry = deploy(parallelism=2)
    assert (retry["action"], retry["savepoint_path"]) == ("submitted", savepoint)
    assert flink.jobs[retry["job_id"]].restored_from == savepoint


def test_flink_lost_between_stop_and_submission(
    deploy: Deploy, flink: FlinkStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PythonSubmission, "settle_seconds", 0.1)
    first = deploy()
    flink.fail("POST", "/run", times=2, reset=True)
    with pytest.raises(FlinkSubmissionError, match="cannot be reached") as caught:
        deploy(parallelism=2)
    assert caught.value.savepoint_path == flink.jobs[first["job_id"]].savepoint


def test_job_that_never_ran_does_not_hide_the_state(deploy: Deploy, flink: FlinkStub) -> None:
    """A job that failed at its own start has neither marks nor checkpoints: the one before it holds the state."""
    flink.add(state="FINISHED", savepoint="sp-old")
    flink.add(state="FAILED", completed=0, vertices=[])
    assert deploy()["savepoint_path"] == "sp-old"


def test_job_that_failed_before_its_first_checkpoint(deploy: Deploy, flink: FlinkStub) -> None:
    flink.add(state="FAILED", completed=0, restored_from="sp-before")
    assert deploy()["savepoint_path"] == "sp-before"


def test_lost_state_is_refused_unless_fresh(deploy: Deploy, flink: FlinkStub) -> None:
    flink.add(state="CANCELED", checkpoint="chk", checkpoint_discarded=True)
    with pytest.raises(AirflowFailException, match=r"savepoint_path=….*state='fresh'"):
        deploy()
    assert flink.running() == []
    assert deploy(state="fresh")["savepoint_path"] is None


def test_named_savepoint_wins(deploy: Deploy, flink: FlinkStub) -> None:
    flink.add(state="FINISHED", savepoint="sp-found")
    assert deploy(savepoint_path="sp-named", allow_non_restored_state="true")["savepoint_path"] == "sp-named"
    assert flink.running()[0].request["allowNonRestoredState"] is True


def test_fresh_leaves_a_running_job_behind(deploy: Deploy, flink: FlinkStub) -> None:
    first = deploy()
    second = deploy(parallelism=2, state="fresh")
    assert flink.jobs[first["job_id"]].state == "CANCELED"
    assert flink.jobs[second["job_id"]].restored_from is None
    assert "state='fresh'" in second["reason"]


def test_failed_savepoint_leaves_the_job_alone(deploy: Deploy, flink: FlinkStub) -> None:
    first = deploy()
    flink.savepoint_failure = "java.io.IOException: disk full"
    with pytest.raises(FlinkSavepointError, match=r"disk full.*Nothing was submitted"):
        deploy(parallelism=2)
    assert [job.job_id for job in flink.running()] == [first["job_id"]]


def test_a_job_that_runs_for_moments_only_is_replaced_from_its_checkpoint(deploy: Deploy, flink: FlinkStub) -> None:
    """RUNNING between two failures at the same record, when the savepoint is asked for."""
    first = flink.jobs[deploy()["job_id"]]
    first.checkpoint = "file:/checkpoints/chk-1"
    first.failures, first.vertices = [0.5], ["FAILED", "CANCELED"]
    flink.savepoint_failure = "CheckpointException: Not all required tasks are currently running"
    result = deploy(parallelism=2)
    assert (first.state, result["replaced_job_id"]) == ("CANCELED", first.job_id)
    assert flink.jobs[result["job_id"]].restored_from == first.checkpoint


def test_crash_after_submission_finds_the_job(deploy: Deploy, flink: FlinkStub) -> None:
    flink.on_run = lambda job: setattr(job, "completed", 0)
    with pytest.raises(FlinkJobFailed, match="no checkpoint has completed"):
        deploy(timeout=0.2)
    (job,) = flink.running()
    job.completed = 1
    assert deploy()["job_id"] == job.job_id


def test_two_that_race_make_one_job(deploy: Deploy, flink: FlinkStub) -> None:
    """Both see that nothing runs; the other one is faster, so Flink refuses the id, and its job is adopted."""
    first = deploy()
    winner = flink.jobs.pop(first["job_id"])

    def once(method: str, path: str, body: Any) -> Any:
        if path == "/jobs/overview" and winner.job_id not in flink.jobs:
            flink.jobs[winner.job_id] = winner
            return 200, {"jobs": []}
        return answer_normally(method, path, body)

    answer_normally = flink._answer
    flink._answer = once  # type: ignore[method-assign]
    second = deploy()
    assert (second["job_id"], second["action"]) == (winner.job_id, "none")
    assert len(flink.running()) == 1


def test_unhealthy_job_is_named_with_its_cause(deploy: Deploy, flink: FlinkStub) -> None:
    def incompatible(job: Job) -> None:
        job.state, job.exception = "RESTARTING", "x.Y: o\nCaused by: org.StateMigrationException: incompatible"

    first = deploy()
    flink.on_run = incompatible
    with pytest.raises(FlinkJobFailed, match="StateMigrationException: incompatible") as caught:
        deploy(parallelism=2, timeout=0.5)
    assert caught.value.state == "RESTARTING"
    assert str(flink.jobs[first["job_id"]].savepoint) in str(caught.value)


def test_job_that_fails_at_once(deploy: Deploy, flink: FlinkStub) -> None:
    flink.on_run = lambda job: job.end("FAILED")
    with pytest.raises(FlinkJobFailed, match="is not healthy: the job is FAILED"):
        deploy()


def test_job_without_checkpoints(deploy: Deploy, flink: FlinkStub) -> None:
    flink.on_run = lambda job: setattr(job, "completed", 0)
    assert deploy(require_checkpoint="false")["action"] == "submitted"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"state": "warm"}, "state must be one of auto, restore, rewarm, fresh, not 'warm'"),
        ({"state": "rewarm"}, "state='rewarm' is for feature pipelines"),
        ({"state": "fresh", "savepoint_path": "/sp"}, "savepoint_path and state='fresh' contradict each other; leave"),
        ({"parallelism": "many"}, "parallelism must be a whole number, not 'many'"),
        ({"parallelism": 0}, "parallelism must be at least 1"),
        ({"program": "no_such_program"}, "neither the path of a .py file nor one of the programs"),
        ({"program": "/no/such.py"}, "cannot be read on this worker: No such file"),
        ({"files": {"x.json": "/no/such.json"}}, r"files\['x.json'\]: the file"),
        ({"flink_configuration": {"a": {"b": 1}}}, r"flink_configuration\['a'\] must be a text or a number"),
        ({"jars": ["no.jar"]}, "no.jar' cannot be read"),
        ({"allow_non_restored_state": "perhaps"}, "must be true or false"),
        ({"timeout": 0}, "timeout must be above 0"),
        ({"job_name": " "}, "job_name must be a text that is not empty"),
    ],
)
def test_bad_arguments_fail_for_good_before_anything_is_touched(
    flink: FlinkStub, program: Path, arguments: dict[str, Any], text: str
) -> None:
    operator = FlinkDeployJobOperator(task_id="t", **{"job_name": "cards", "program": str(program), **arguments})
    with pytest.raises(AirflowFailException, match=text):
        operator.execute(task_context())
    assert {request.method for request in flink.requests} <= {"GET"}


def test_unreachable_flink_may_be_retried(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_connection(monkeypatch, "flink_default", conn_type="flink", host="http://127.0.0.1:1")
    with pytest.raises(FlinkConnectionError, match="cannot be reached: Connection refused"):
        FlinkDeployJobOperator(task_id="t", job_name="cards", program=str(program)).execute(task_context())


def test_files_travel_in_the_bundle(deploy: Deploy, flink: FlinkStub, program: Path) -> None:
    first = deploy(data_files={"plan.json": {"a": 1}}, files={"helper.py": str(program)})
    assert deploy(data_files={"plan.json": {"a": 1}}, files={"helper.py": str(program)})["action"] == "none"
    second = deploy(data_files={"plan.json": {"a": 2}}, files={"helper.py": str(program)})
    assert second["replaced_job_id"] == first["job_id"]
