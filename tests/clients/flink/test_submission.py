"""Submissions of Python programs, and what becomes of those that break off, against the stub cluster."""

from __future__ import annotations

import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from hopsworks_flink.clients.flink.rest import FlinkRestClient
from hopsworks_flink.clients.flink.submission import PythonSubmission
from hopsworks_flink.exceptions import (
    ConfigurationError,
    FlinkConnectionError,
    FlinkDuplicateJobId,
    FlinkForeignJobError,
    FlinkJobIdTaken,
    FlinkSubmissionError,
)
from hopsworks_flink.hooks.flink import FlinkHook
from tests.support.fixtures import set_connection
from tests.support.flink_stub import UPLOADS, FlinkStub, Job
from tests.support.submitting import BUNDLE, JOB_ID, hook, impatient, run

__all__ = ["hook", "impatient"]


def test_submission(hook: FlinkHook, flink: FlinkStub) -> None:
    assert (
        run(
            hook,
            arguments=["--cards", "5"],
            parallelism=2,
            savepoint_path="file:/sp",
            flink_configuration={"a": "b", "pipeline.global-job-parameters": "mine:1"},
            marks={"deployment_hash": "abc"},
        )
        == JOB_ID
    )
    request = flink.jobs[JOB_ID].request
    arguments = request.pop("programArgsList")
    assert request == {
        "entryClass": "hopsworksflink.submit.PythonLauncher",
        "jobId": JOB_ID,
        "parallelism": 2,
        "savepointPath": "file:/sp",
        "allowNonRestoredState": False,
        "flinkConfiguration": {
            "a": "b",
            "pipeline.name": "cards",
            "pipeline.global-job-parameters": "mine:1,deployment_hash:abc",
        },
    }
    kafka_jar, python_jar = (next(jar for jar in flink.jars if part in jar) for part in ("kafka", "flink-python"))
    assert arguments[:6] == ["--flink-python", f"{UPLOADS}/{python_jar}", "--job-id", JOB_ID, "--module", "my_job"]
    assert arguments[8:13] == ["--python", "/opt/python", "--", "--cards", "5"]
    assert arguments[13:] == ["--jars", f"file://{UPLOADS}/{kafka_jar}"]
    assert "hunter22" not in json.dumps(request) + json.dumps(arguments)


def test_bundle_is_sent_and_deleted(hook: FlinkHook, flink: FlinkStub) -> None:
    sent: list[bytes] = []
    flink.on_run = lambda job: sent.extend(
        content for name, content in flink.jars.values() if name.startswith("my_job")
    )
    run(hook)
    with zipfile.ZipFile(io.BytesIO(sent[0])) as archive:
        assert sorted(archive.namelist()) == ["bindings.json", "my_job.py"]
    assert not any(name.startswith("my_job") for name, _ in flink.jars.values())


def test_jars_are_uploaded_once(hook: FlinkHook, flink: FlinkStub, jars_dir: Path) -> None:
    run(hook)
    assert len(flink.jars) == 3
    del flink.jobs[JOB_ID]
    run(hook)
    assert len(flink.jars) == 3
    (jars_dir / "flink-sql-connector-kafka-5.0.0.jar").write_bytes(b"another kafka jar")
    del flink.jobs[JOB_ID]
    run(hook)
    assert len(flink.jars) == 4


def test_no_connectors(hook: FlinkHook, flink: FlinkStub) -> None:
    hook.run_python_job(BUNDLE, job_name="cards", job_id=JOB_ID, jars=hook.find_jars([]))
    assert "--jars" not in flink.jobs[JOB_ID].request["programArgsList"]


def test_connectors_on_the_cluster(flink: FlinkStub, monkeypatch: pytest.MonkeyPatch, jars_dir: Path) -> None:
    extra = {"jars_dir": str(jars_dir), "connectors_on_cluster": True}
    set_connection(monkeypatch, "flink_default", conn_type="flink", host=flink.url, extra=extra)
    assert FlinkHook().find_jars().connectors == ()


def test_missing_jars_name_the_remedy(hook: FlinkHook, jars_dir: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing\.jar.*cannot be read"):
        hook.find_jars(["nothing.jar"])
    (jars_dir / "flink-python-2.3.0.jar").rename(jars_dir / "flink-python-2.2.0.jar")
    with pytest.raises(
        ConfigurationError, match=r"runs Flink 2\.3\.0.*only flink-python-2\.2\.0\.jar.*`mvn -f .*pom\.xml"
    ):
        hook.find_jars()


def test_failed_program_tells_its_cause_without_secrets(hook: FlinkHook, flink: FlinkStub) -> None:
    flink.program_error = "ValueError: no broker for hunter22"
    with pytest.raises(FlinkSubmissionError) as caught:
        run(hook)
    assert str(caught.value) == f"The program did not start the job {JOB_ID}: ValueError: no broker for ***"
    assert not any(name.startswith("my_job") for name, _ in flink.jars.values())


def test_only_the_own_part_of_the_log_counts(hook: FlinkHook, flink: FlinkStub) -> None:
    driver = "2026-01-01 00:00:00,000 INFO  hopsworksflink.submit.PythonLauncher [] - "
    flink.log += f"{driver}ValueError: of another submission\n"
    flink.program_error = ""
    with pytest.raises(FlinkSubmissionError, match="Python process exits with code: 1"):
        run(hook)


def test_failed_program_without_log(hook: FlinkHook, flink: FlinkStub) -> None:
    flink.program_error = "ValueError: never seen"
    flink.fail("GET", "/jobmanager/log", status=404)
    with pytest.raises(FlinkSubmissionError, match="Python process exits with code: 1"):
        run(hook)


def test_job_that_fails_at_its_own_start(hook: FlinkHook, flink: FlinkStub) -> None:
    """Flink keeps such a job as FAILED, and refuses the submission (seen with a savepoint that is not there)."""

    def refuse(job: Job) -> None:
        job.end("FAILED")

    flink.on_run = refuse
    flink.fail("POST", "/run", status=400, after=True, body={"errors": ["Python process exits with code: 1"]})
    flink.fail("GET", "/jobmanager/log", status=404)
    with pytest.raises(FlinkSubmissionError):
        run(hook)


MARKS = {"deployment_hash": "abc", "submitted_as": JOB_ID}


@pytest.mark.parametrize("state", ["RUNNING", "FINISHED", "FAILED"])
def test_duplicate_id_of_this_very_job(hook: FlinkHook, flink: FlinkStub, state: str) -> None:
    flink.add(job_id=JOB_ID, state=state, user_config={**MARKS, "dag_id": "another"})
    with pytest.raises(FlinkDuplicateJobId):
        run(hook, marks={"deployment_hash": "abc"})


def test_duplicate_id_of_a_job_that_never_ran(hook: FlinkHook, flink: FlinkStub) -> None:
    """It ended before Flink knew what it was started with."""
    flink.add(job_id=JOB_ID, state="FAILED")
    with pytest.raises(FlinkDuplicateJobId):
        run(hook)


STRANGERS = [
    pytest.param("theirs", MARKS, id="name"),
    pytest.param("cards", {**MARKS, "deployment_hash": "def"}, id="hash"),
    pytest.param("cards", {**MARKS, "run": "other"}, id="run"),
    pytest.param("cards", {"deployment_hash": "abc"}, id="not by the launcher"),
    pytest.param("cards", {}, id="no marks"),
]


@pytest.mark.parametrize(("name", "marks"), STRANGERS)
def test_id_of_a_stranger(hook: FlinkHook, flink: FlinkStub, name: str, marks: dict[str, str]) -> None:
    flink.add(name, job_id=JOB_ID, user_config={"run": "mine", **marks} if marks else {})
    with pytest.raises(FlinkJobIdTaken, match=f"{JOB_ID} up, for job {JOB_ID} named '{name}'"):
        run(hook, marks={"deployment_hash": "abc", "run": "mine"})


@pytest.mark.usefixtures("impatient")
def test_id_that_is_used_up_without_a_job(hook: FlinkHook, flink: FlinkStub) -> None:
    flink.program_error = "Caused by: org.apache.flink.runtime.client.DuplicateApplicationSubmissionException: seen"
    with pytest.raises(FlinkJobIdTaken, match="shows no job under it"):
        run(hook)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("name", "marks"), STRANGERS)
def test_stranger_who_turns_up_after_a_lost_answer(
    hook: FlinkHook, flink: FlinkStub, name: str, marks: dict[str, str]
) -> None:
    config = {"run": "mine", **marks} if marks else {}
    flink.fail("POST", "/run", reset=True, then=lambda: flink.add(name, job_id=JOB_ID, user_config=config))
    with pytest.raises(FlinkJobIdTaken):
        run(hook, marks={"deployment_hash": "abc", "run": "mine"})


@pytest.mark.parametrize(("name", "marks"), STRANGERS)
def test_accepted_job_that_is_another(hook: FlinkHook, flink: FlinkStub, name: str, marks: dict[str, str]) -> None:
    def swap(job: Job) -> None:
        job.name, job.user_config = name, ({"run": "mine", **marks} if marks else {})

    flink.on_run = swap
    with pytest.raises(FlinkForeignJobError, match=f"named '{name}' with the marks .*left alone"):
        run(hook, marks={"deployment_hash": "abc", "run": "mine"})
    assert len(flink.running()) == 1


def test_job_that_shows_its_marks_late(hook: FlinkHook, flink: FlinkStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FlinkRestClient, "marks_poll", 0.01)

    def initialise(job: Job) -> None:
        job.state = "INITIALIZING"
        flink.fail("GET", f"/jobs/{job.job_id}/config", times=3, status=404)

    flink.on_run = initialise
    assert run(hook) == JOB_ID
    assert len(flink.calls("GET", f"/jobs/{JOB_ID}/config")) == 4


BUSY = {"errors": ["x.Y: outer\nCaused by: hopsworksflink.submit.BusyException: being started: job_7"]}


def test_other_programs_are_waited_for(hook: FlinkHook, flink: FlinkStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PythonSubmission, "busy_pauses", (0.01, 0.02))
    flink.fail("POST", "/run", times=5, status=400, body=BUSY)
    assert run(hook) == JOB_ID
    assert len(flink.calls("POST", "/jars/upload")) == 4


def test_other_programs_are_not_waited_for_without_end(
    hook: FlinkHook, flink: FlinkStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PythonSubmission, "busy_pauses", (0.01, 0.02))
    monkeypatch.setattr(PythonSubmission, "busy_seconds", 0.05)
    flink.fail("POST", "/run", times=99, status=400, body=BUSY)
    with pytest.raises(FlinkSubmissionError, match="BusyException: being started: job_7"):
        run(hook)
    assert flink.jobs == {}


def test_lost_answer_is_no_second_job(hook: FlinkHook, flink: FlinkStub) -> None:
    flink.fail("POST", "/run", reset=True, after=True)
    assert run(hook) == JOB_ID
    assert len(flink.calls("POST", r"/jars/[^/]+/run")) == 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", [{"reset": True}, {"status": 503}])
def test_submission_that_never_arrived_is_sent_again(hook: FlinkHook, flink: FlinkStub, fault: dict[str, Any]) -> None:
    flink.fail("POST", "/run", **fault)
    assert run(hook) == JOB_ID
    assert len(flink.running()) == 1


@pytest.mark.usefixtures("impatient")
def test_submission_gives_up_after_the_second_break(hook: FlinkHook, flink: FlinkStub) -> None:
    flink.fail("POST", "/run", times=2, reset=True)
    with pytest.raises(FlinkConnectionError):
        run(hook)
    assert not any(name.startswith("my_job") for name, _ in flink.jars.values())


@pytest.mark.usefixtures("impatient")
def test_cluster_that_restarts_between_upload_and_run(hook: FlinkHook, flink: FlinkStub) -> None:
    """A new JobManager has lost the uploads: the second attempt brings them again."""
    flink.fail("POST", "/run", reset=True, then=flink.jars.clear)
    assert run(hook) == JOB_ID


def test_bundle_that_cannot_be_deleted_is_no_failure(hook: FlinkHook, flink: FlinkStub) -> None:
    flink.fail("DELETE", "/jars", status=500)
    assert run(hook) == JOB_ID


def test_bundles_that_killed_workers_have_left_are_deleted(hook: FlinkHook, flink: FlinkStub) -> None:
    """Of a job that is known, and of one that never arrived; not of a submission that may be under way."""
    run(hook)
    ages = {f"my_job-{JOB_ID}.jar": 5, f"other-{'b' * 32}.jar": 45, f"other-{'c' * 32}.jar": 5, "users-own.jar": 999}
    for name, minutes in ages.items():
        flink.jars[name] = (name, b"")
        flink.uploaded[name] = round(time.time() * 1000) - minutes * 60_000
    hook.run_python_job(BUNDLE, job_name="more", job_id="d" * 32, jars=hook.find_jars())
    assert set(ages) & set(flink.jars) == {f"other-{'c' * 32}.jar", "users-own.jar"}


def test_marks_are_plain_words(hook: FlinkHook) -> None:
    with pytest.raises(ConfigurationError, match="may only hold letters"):
        run(hook, marks={"a": "b,c:d"})
