"""Deployments that break off, fail, go back and recover: against the stub cluster, with Airflow's stores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hopsworks_flink._compat import AirflowFailException
from hopsworks_flink.clients.flink.jobs import derive_job_id, next_job_id
from hopsworks_flink.exceptions import FlinkJobFailed, FlinkRollbackFailed
from hopsworks_flink.hooks.flink import FlinkHook
from tests.support.deaths import Killed, die
from tests.support.deploying import Make, broken, broken_if
from tests.support.fixtures import Memory
from tests.support.flink_stub import FlinkStub, Job

# --- going back -----------------------------------------------------------------------------------------------------


def test_unhealthy_deployment_is_rolled_back(make: Make, flink: FlinkStub, memory: Memory) -> None:
    first = make(arguments=["one"]).execute(memory.context())
    memory.new_run()
    flink.on_run = broken_if(lambda job: "two" in job.request["programArgsList"])
    with pytest.raises(AirflowFailException, match=r"StateMigrationException: incompatible.*Rolled back") as caught:
        make(arguments=["two"]).execute(memory.context())
    (back,) = flink.running()
    savepoint = flink.jobs[first["job_id"]].savepoint
    assert back.job_id in str(caught.value)
    assert back.restored_from == savepoint
    assert back.user_config["deployment_hash"] == first["deployment_hash"]
    assert "one" in back.request["programArgsList"]
    memory.new_run()
    assert make(arguments=["one"]).execute(memory.context())["job_id"] == back.job_id


def test_a_lost_job_of_the_same_id_that_still_ends_is_no_failure(make: Make, flink: FlinkStub, memory: Memory) -> None:
    """Where the job is given so few restarts that it fails before."""

    def fail_once(job: Job) -> None:
        if len(flink.jobs) == 1:
            job.exception = "x.Y: o\nCaused by: x.Z: a different set of library BLOBs than previous registrations"
            job.completed = 0
            job.end("FAILED")

    flink.on_run = fail_once
    result = make().execute(memory.context())
    first, second = flink.jobs.values()
    assert (result["action"], result["job_id"]) == ("recovered", second.job_id)
    assert (first.state, second.state) == ("FAILED", "RUNNING")


def test_roll_back_whose_id_a_stranger_has_used_up(make: Make, flink: FlinkStub, memory: Memory) -> None:
    first = make(arguments=["one"]).execute(memory.context())
    memory.new_run()

    def fail(job: Job) -> None:
        if "two" in job.request["programArgsList"]:
            broken(job)
            flink.add("theirs", job_id=derive_job_id("cards", first["deployment_hash"], job.job_id))

    flink.on_run = fail
    with pytest.raises(AirflowFailException, match="Rolled back"):
        make(arguments=["two"]).execute(memory.context())
    stranger, back = sorted(flink.running(), key=lambda job: job.name == "cards")
    assert (stranger.name, back.job_id) == ("theirs", next_job_id(stranger.job_id))
    assert back.user_config["deployment_hash"] == first["deployment_hash"]


def test_program_that_does_not_start_is_rolled_back(
    make: Make, flink: FlinkStub, memory: Memory, program: Path
) -> None:
    make().execute(memory.context())
    memory.new_run()
    program.write_text("raise ValueError('broken')\n")
    answer = flink._run

    def run(body: dict[str, Any], jar_id: str) -> Any:
        flink.program_error = "ValueError: broken" if not flink.calls("POST", ".*/run")[2:] else None
        return answer(body, jar_id)

    flink._run = run  # type: ignore[method-assign]
    with pytest.raises(AirflowFailException, match=r"ValueError: broken.*Rolled back"):
        make().execute(memory.context())
    assert len(flink.running()) == 1


def test_roll_back_that_fails_says_how_to_resume(make: Make, flink: FlinkStub, memory: Memory) -> None:
    first = make().execute(memory.context())
    memory.new_run()
    flink.on_run = broken
    with pytest.raises(FlinkRollbackFailed, match=r"Rolling back failed too.*to resume: FlinkDeployJobOp") as caught:
        make(parallelism=2).execute(memory.context())
    savepoint = flink.jobs[first["job_id"]].savepoint
    assert caught.value.savepoint_path == savepoint
    assert f"savepoint_path='{savepoint}'" in str(caught.value)


def test_without_memory_the_state_is_named_and_the_new_job_ended(make: Make, flink: FlinkStub, memory: Memory) -> None:
    make(outlets=[]).execute({"ti": memory.context()["ti"]})
    flink.on_run = lambda job: setattr(job, "state", "RESTARTING")
    with pytest.raises(FlinkJobFailed, match=r"kept in file:/savepoints/.*It was cancelled; to start the job before"):
        make(outlets=[], parallelism=2, timeout=0.3).execute({"ti": memory.context()["ti"]})
    assert flink.running() == []


def test_file_of_the_worker_is_kept_as_a_digest_only(
    make: Make, flink: FlinkStub, memory: Memory, tmp_path: Path
) -> None:
    secret = tmp_path / "key.pem"
    secret.write_text("marker-secret-8714")
    make(files={"key.pem": str(secret)}).execute(memory.context())
    kept = json.dumps([memory.of_asset.values, memory.task.values])
    assert "marker-secret-8714" not in kept
    import base64
    import zlib

    packed = memory.of_asset.get("cards.healthy")["files"]
    assert b"key.pem" not in zlib.decompress(base64.b64decode(packed))
    memory.new_run()
    secret.write_text("another")
    flink.on_run = broken
    with pytest.raises(FlinkJobFailed, match="kept in"):
        make(files={"key.pem": str(secret)}).execute(memory.context())


# --- recovering -----------------------------------------------------------------------------------------------------


def test_job_that_goes_on_restarting_is_recovered(make: Make, flink: FlinkStub, memory: Memory) -> None:
    first = make().execute(memory.context())
    job = flink.jobs[first["job_id"]]
    job.state, job.checkpoint = "RESTARTING", "chk-7"
    result = make().execute(memory.context())
    assert (result["action"], result["savepoint_path"]) == ("recovered", "chk-7")
    assert job.state == "CANCELED"


def test_a_job_that_neither_recovers_nor_ends_is_told_with_its_cause(
    make: Make, flink: FlinkStub, memory: Memory
) -> None:
    first = make().execute(memory.context())
    job = flink.jobs[first["job_id"]]
    job.state, job.exception = "RESTARTING", "java.lang.ArithmeticException: / by zero"
    told = r"Nothing could be deployed within 0.5 s: .* RESTARTING by itself \(cause: java\.lang\.ArithmeticException"
    with pytest.raises(FlinkJobFailed, match=told) as caught:
        make(timeout=0.5, grace_period=10.0).execute(memory.context())
    assert (caught.value.job_id, caught.value.state) == (job.job_id, "RESTARTING")


def test_checkpoints_that_would_be_deleted_protect_the_job(make: Make, flink: FlinkStub, memory: Memory) -> None:
    job = flink.add(state="RESTARTING", checkpoint="chk", retained=False)
    with pytest.raises(AirflowFailException, match=r"not touched.*would delete.*savepoint_path=…"):
        make().execute(memory.context())
    assert flink.running() == [job]


def test_job_without_task_manager_is_replaced_from_its_checkpoint(make: Make, flink: FlinkStub, memory: Memory) -> None:
    flink.add(state="CREATED", checkpoint="chk-3")
    result = make().execute(memory.context())
    assert (result["action"], result["savepoint_path"]) == ("replaced", "chk-3")


def test_forgetful_job_manager(make: Make, flink: FlinkStub, memory: Memory) -> None:
    make().execute(memory.context())
    flink.jobs.clear()
    memory.new_run()
    with pytest.raises(AirflowFailException, match=r"Flink has forgotten it.*savepoint_path=….*state='fresh'"):
        make().execute(memory.context())
    assert flink.running() == []
    assert make(savepoint_path="sp").execute(memory.context())["savepoint_path"] == "sp"


@pytest.mark.parametrize("scheme", ["", "file:", "file://"])
def test_retained_checkpoint_of_a_forgotten_job(
    make: Make, flink: FlinkStub, memory: Memory, tmp_path: Path, scheme: str
) -> None:
    job_id = make().execute(memory.context())["job_id"]
    for number in (7, 9, 10, 11):
        (tmp_path / "chk" / job_id / f"chk-{number}").mkdir(parents=True)
        if number < 11:  # that one was being written when all ended
            (tmp_path / "chk" / job_id / f"chk-{number}" / "_metadata").touch()
    directory = f"{scheme}{tmp_path}/chk"
    flink.jobs[job_id].checkpoint = f"{directory}/{job_id}/chk-7"
    assert make().execute(memory.context())["action"] == "none"
    flink.jobs.clear()
    memory.new_run()
    result = make().execute(memory.context())
    assert (result["action"], result["state"]) == ("submitted", "restore")
    assert result["savepoint_path"] == f"{directory}/{job_id}/chk-10"
    assert f"newest retained checkpoint of job {job_id}, which Flink has forgotten" in result["reason"]


def test_retained_checkpoints_that_nobody_can_look_at(make: Make, flink: FlinkStub, memory: Memory) -> None:
    job_id = make().execute(memory.context())["job_id"]
    flink.jobs[job_id].checkpoint = f"nowhere://chk/{job_id}/chk-7"
    make().execute(memory.context())
    flink.jobs.clear()
    with pytest.raises(AirflowFailException, match=rf"nowhere://chk/{job_id} cannot be looked at.*savepoint_path=…"):
        make().execute(memory.context())
    assert flink.jobs == {}


# --- crash points ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forgetful", [False, True], ids=["flink knows", "flink forgot"])
@pytest.mark.parametrize("cleared", [False, True], ids=["retry", "cleared"])
@pytest.mark.parametrize(
    ("where", "after"),
    [("stop_with_savepoint", False), ("wait_until_ended", True), ("run_python_job", False), ("run_python_job", True)],
    ids=["before stop", "after stop", "before submit", "after submit"],
)
def test_worker_dies(
    make: Make,
    flink: FlinkStub,
    memory: Memory,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    after: bool,
    cleared: bool,
    forgetful: bool,
) -> None:
    first = make().execute(memory.context())
    memory.new_run()
    with monkeypatch.context() as patch:
        die(patch, FlinkHook, where, after)
        with pytest.raises(Killed):
            make(parallelism=2).execute(memory.context())
    savepoint = flink.jobs[first["job_id"]].savepoint
    if forgetful:
        flink.jobs.clear()
    context = memory.context(max_tries=1 if cleared else 0)
    if forgetful and where != "run_python_job":
        # Where the state of the old job lies had not been written down yet: nobody knows it any more.
        with pytest.raises(AirflowFailException, match="has forgotten it"):
            make(parallelism=2).execute(context)
        return
    result = make(parallelism=2).execute(context)
    assert [job.job_id for job in flink.running()] == [result["job_id"]]
    assert flink.jobs[result["job_id"]].restored_from == (savepoint or flink.jobs[first["job_id"]].savepoint)
    assert len(flink.jobs) == (1 if forgetful else 2)


def test_retry_goes_back_for_a_job_of_the_try_before(
    make: Make, flink: FlinkStub, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make().execute(memory.context())
    memory.new_run()
    with monkeypatch.context() as patch:
        die(patch, FlinkHook, "run_python_job", True)
        with pytest.raises(Killed):
            make(parallelism=2).execute(memory.context())
    (new,) = flink.running()
    new.restarts, new.vertices = 0, ["RUNNING", "CREATED"]
    with pytest.raises(AirflowFailException, match="Rolled back"):
        make(parallelism=2, timeout=0.3).execute(memory.context())
    (back,) = flink.running()
    assert back.user_config["deployment_hash"] == first["deployment_hash"]
