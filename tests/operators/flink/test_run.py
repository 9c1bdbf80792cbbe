"""Runs to their end, on a worker and in the triggerer, against the stub's sockets."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hopsworks_flink._compat import AirflowFailException, BaseOperator
from hopsworks_flink.clients.flink.jobs import next_job_id
from hopsworks_flink.exceptions import (
    FlinkConnectionError,
    FlinkError,
    FlinkJobFailed,
)
from hopsworks_flink.operators.flink import FlinkRunJobOperator
from tests.support.deferral import context_of, defer, event_of, resume
from tests.support.fixtures import StateStore, task_context
from tests.support.flink_stub import FlinkStub, Job

pytestmark = pytest.mark.airflow

Make = Callable[..., BaseOperator]


# --- on a worker ------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(flink: FlinkStub, program: Path) -> Callable[..., dict[str, Any]]:
    def execute(context: dict[str, Any] | None = None, **kwargs: Any) -> dict[str, Any]:
        operator = FlinkRunJobOperator(
            task_id="run", job_name="sim", program=str(program), **{"poll_interval": 0.01, "timeout": 5, **kwargs}
        )
        return operator.execute(context or task_context())

    flink.on_run = lambda job: job.end("FINISHED")
    return execute


def test_run_to_the_end(run: Callable[..., dict[str, Any]], flink: FlinkStub) -> None:
    result = run(arguments=["--events", 5])
    assert (result["state"], result["duration_seconds"]) == ("FINISHED", 1.5)
    assert "5" in flink.jobs[result["job_id"]].request["programArgsList"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"flink_configuration": {"s3.secret-key": "marker-4711"}},
            "flink_configuration must not hold 's3.secret-key'",
        ),
        (
            {"flink_configuration": {"fs.azure.account.key.store.example": "marker-4711"}},
            "flink_configuration must not hold 'fs.azure.account.key.store.example'",
        ),
        ({"arguments": ["--db-password", "marker-4711"]}, "arguments must not hold 'db-password'"),
        ({"arguments": ["--api_key=marker-4711"]}, "arguments must not hold 'api_key'"),
    ],
)
def test_secrets_where_flink_and_airflow_would_show_them_are_refused(
    run: Callable[..., dict[str, Any]], flink: FlinkStub, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(AirflowFailException, match=sentence) as refused:
        run(**changes)
    assert "marker" not in str(refused.value)
    assert flink.requests == []


def test_settings_that_only_speak_of_secrets_are_not_secrets(run: Callable[..., dict[str, Any]]) -> None:
    harmless = {"security.delegation.tokens.enabled": "false", "security.ssl.rest.key-password-file": "/run/x"}
    assert run(flink_configuration=harmless, arguments=["--max-tokens", "5", "--secret-file", "/run/y"])["job_id"]


def test_runs_are_different_jobs(run: Callable[..., dict[str, Any]]) -> None:
    assert run(task_context(run_id="a"))["job_id"] != run(task_context(run_id="b"))["job_id"]


def test_retry_attaches(run: Callable[..., dict[str, Any]], flink: FlinkStub) -> None:
    flink.on_run = lambda job: None
    with pytest.raises(FlinkJobFailed, match="was cancelled"):
        run(timeout=0.05)
    flink.on_run = lambda job: job.end("FINISHED")
    second = run()
    assert len(flink.jobs) == 2  # a cancelled job is not attached to
    assert run()["job_id"] == second["job_id"]
    assert len(flink.jobs) == 2


def test_a_retry_deletes_what_the_killed_try_could_not(run: Callable[..., dict[str, Any]], flink: FlinkStub) -> None:
    name = f"job-{run()['job_id']}.jar"
    flink.jars["left"] = (name, b"")
    run()
    assert len(flink.jobs) == 1
    assert "left" not in flink.jars


def test_clear_cancels_and_starts_anew(run: Callable[..., dict[str, Any]], flink: FlinkStub) -> None:
    first = run()
    old = flink.jobs[first["job_id"]]
    old.state = "RUNNING"
    second = run(task_context(max_tries=1))
    assert old.state == "CANCELED"
    assert second["job_id"] != first["job_id"]


def test_failed_run_tells_the_cause(run: Callable[..., dict[str, Any]], flink: FlinkStub) -> None:
    def fail(job: Job) -> None:
        job.exception = "x.Y: o\nCaused by: java.lang.ArithmeticException: / by zero"
        job.end("FAILED")

    flink.on_run = fail
    with pytest.raises(FlinkJobFailed, match="by zero"):
        run()


STILL_ENDING = "java.lang.IllegalStateException: The library registration references a different set of library BLOBs"


def test_a_lost_job_of_the_same_id_that_still_ends_is_no_failure(
    run: Callable[..., dict[str, Any]], flink: FlinkStub
) -> None:
    def fail_once(job: Job) -> None:
        job.exception = f"x.Y: o\nCaused by: {STILL_ENDING}"
        job.end("FAILED" if len(flink.jobs) == 1 else "FINISHED")

    flink.on_run = fail_once
    result = run()
    first, second = flink.jobs.values()
    assert (first.state, second.state, result["job_id"]) == ("FAILED", "FINISHED", second.job_id)


def test_it_is_a_failure_the_second_time(run: Callable[..., dict[str, Any]], flink: FlinkStub) -> None:
    def fail(job: Job) -> None:
        job.exception = f"x.Y: o\nCaused by: {STILL_ENDING}"
        job.end("FAILED")

    flink.on_run = fail
    with pytest.raises(FlinkJobFailed, match="library BLOBs"):
        run()
    assert len(flink.jobs) == 2


def test_kill_cancels_only_the_own_job(flink: FlinkStub, program: Path) -> None:
    operator = FlinkRunJobOperator(task_id="run", job_name="sim", program=str(program), timeout=5, poll_interval=0.01)
    operator.on_kill()
    other = flink.add("sim")
    flink.on_run = lambda job: threading.Timer(0.02, operator.on_kill).start()
    with pytest.raises(FlinkJobFailed):
        operator.execute(task_context())
    assert flink.running() == [other]


def test_an_id_that_a_stranger_has_used_up(run: Callable[..., dict[str, Any]], flink: FlinkStub) -> None:
    expected = run()["job_id"]
    flink.jobs.clear()
    stranger = flink.add("theirs", job_id=expected)
    context = {**task_context(), "task_state_store": StateStore()}
    result = run(context)
    assert result["job_id"] == next_job_id(expected)
    assert stranger.state == "RUNNING"


def test_retry_does_not_follow_a_stranger(run: Callable[..., dict[str, Any]], flink: FlinkStub) -> None:
    """The try before has written down an id under which another program came to run."""
    context = {**task_context(), "task_state_store": StateStore()}
    flink.on_run = lambda job: None
    with pytest.raises(FlinkJobFailed):
        run(context, timeout=0.05)
    (job,) = flink.jobs.values()
    job.name, job.state, job.end_time = "theirs", "RUNNING", -1
    flink.on_run = lambda job: job.end("FINISHED")
    assert run(context)["job_id"] != job.job_id
    assert job.state == "RUNNING"


def test_kill_by_a_signal_interrupts_the_wait(flink: FlinkStub, program: Path) -> None:
    """As Airflow's task runner does it: in the main thread, while the wait's event loop runs there."""
    operator = FlinkRunJobOperator(task_id="run", job_name="sim", program=str(program), timeout=30, poll_interval=0.05)
    handler = signal.signal(signal.SIGALRM, lambda *_: operator.on_kill())
    flink.on_run = lambda job: signal.setitimer(signal.ITIMER_REAL, 0.5, 0.5)
    try:
        with pytest.raises(FlinkJobFailed, match="is CANCELED"):
            operator.execute(task_context())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    assert flink.running() == []


# --- in the triggerer -------------------------------------------------------------------------------------------------


@pytest.fixture
def make_run(flink: FlinkStub, program: Path) -> Make:
    def make(**kwargs: Any) -> BaseOperator:
        own = {"job_name": "sim", "program": str(program), "deferrable": True, "poll_interval": 0.02, "timeout": 5}
        return FlinkRunJobOperator(task_id="run", **{**own, **kwargs})

    return make


def test_run_deferred_to_the_end(make_run: Make, flink: FlinkStub) -> None:
    context = context_of()
    deferred = defer(make_run(), context)
    (job,) = flink.running()
    assert context["ti"].pushed["flink_job_url"].endswith(f"{job.job_id}/overview")
    assert context["ti"].pushed["flink_exceptions_url"].endswith(f"{job.job_id}/exceptions")
    job.end("FINISHED")
    resumed = context_of()
    result = resume(make_run(), deferred, event_of(deferred), resumed)
    assert (result["job_id"], result["state"], result["duration_seconds"]) == (job.job_id, "FINISHED", 1.5)
    assert result["job_name"] == "sim"
    assert len(result["deployment_hash"]) == 64
    assert resumed["ti"].pushed == context["ti"].pushed


def test_run_that_ended_before_the_trip(make_run: Make, flink: FlinkStub) -> None:
    flink.on_run = lambda job: job.end("FINISHED")
    assert make_run().execute(context_of())["state"] == "FINISHED"  # type: ignore[attr-defined]
    flink.on_run = lambda job: job.end("FAILED")
    with pytest.raises(FlinkJobFailed, match="is FAILED"):
        make_run().execute(context_of(run_id="other"))


def test_failed_run_shows_the_exception(make_run: Make, flink: FlinkStub, caplog: pytest.LogCaptureFixture) -> None:
    deferred = defer(make_run(), context_of())
    (job,) = flink.running()
    job.exception = "x.JobException: outer\n\tat x.Y.z(Y.java:1)\nCaused by: java.lang.ArithmeticException: / by zero"
    job.end("FAILED")
    operator = make_run()
    from hopsworks_flink.operators.flink import run as flink_run

    class Hook(flink_run.FlinkHook):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self._log = logging.getLogger("hook")  # where Airflow keeps a hook's logger

    with pytest.MonkeyPatch.context() as patch, caplog.at_level("INFO"):
        patch.setattr(flink_run, "FlinkHook", Hook)
        with pytest.raises(FlinkJobFailed, match=r"is FAILED: java\.lang.ArithmeticException: / by zero") as caught:
            resume(operator, deferred, event_of(deferred))
    assert (caught.value.job_id, caught.value.state) == (job.job_id, "FAILED")
    (text,) = [record.getMessage() for record in caplog.records if "::group::" in record.getMessage()]
    assert text.startswith(f"::group::Exception of Flink job {job.job_id}\nx.JobException: outer")
    assert text.endswith("::endgroup::")


def test_cancelled_and_forgotten_runs(make_run: Make, flink: FlinkStub) -> None:
    deferred = defer(make_run(), context_of())
    (job,) = flink.running()
    job.end("CANCELED")
    with pytest.raises(FlinkJobFailed, match="is CANCELED"):
        resume(make_run(), deferred, event_of(deferred))
    del flink.jobs[job.job_id]
    with pytest.raises(FlinkJobFailed, match="Flink has forgotten it"):
        resume(make_run(), deferred, event_of(deferred))


@pytest.mark.parametrize(
    "limits", [{"timeout": 3}, {"timeout": 60, "execution_timeout": timedelta(seconds=3)}], ids=str
)
def test_deadline_cancels_the_job(make_run: Make, flink: FlinkStub, limits: dict[str, Any]) -> None:
    def run() -> None:
        deferred = defer(make_run(**limits), context_of())
        resume(make_run(**limits), deferred, event_of(deferred))

    # On a machine that is busy enough the time may be up before the task is deferred: it makes no difference.
    with pytest.raises(FlinkJobFailed, match=r"was still RUNNING after 3(\.0)? s and was cancelled"):
        run()
    (job,) = flink.jobs.values()
    assert job.state == "CANCELED"


def test_transport_errors_leave_the_job(make_run: Make, flink: FlinkStub) -> None:
    deferred = defer(make_run(), context_of())
    (job,) = flink.running()
    event = {"status": "error", "message": "Flink answered 503.", "permanent": False}
    with pytest.raises(FlinkConnectionError, match="a retry attaches to it"):
        resume(make_run(), deferred, event)
    with pytest.raises(AirflowFailException, match="answered 401"):
        resume(make_run(), deferred, {"status": "error", "message": "answered 401", "permanent": True})
    assert job.state == "RUNNING"


@pytest.mark.parametrize("event", [None, {}, {"status": "new"}, {"status": None}])
def test_events_nobody_knows_fail_loudly(make_run: Make, flink: FlinkStub, event: Any) -> None:
    deferred = defer(make_run(), context_of())
    with pytest.raises(FlinkError, match="which this version does not know"):
        resume(make_run(), deferred, event)
    assert len(flink.running()) == 1


def test_kill_of_a_deferred_run_cancels_its_job(make_run: Make, flink: FlinkStub) -> None:
    other = flink.add("sim")
    deferred = defer(make_run(), context_of())
    asyncio.run(deferred.trigger.on_kill())
    assert flink.running() == [other]


def test_retry_of_a_deferred_run_attaches(make_run: Make, flink: FlinkStub) -> None:
    store = StateStore()
    defer(make_run(), context_of(store))
    (job,) = flink.running()
    second = context_of(store, try_number=2)
    deferred = defer(make_run(), second)
    assert deferred.kwargs["job_id"] == job.job_id  # type: ignore[index]
    assert job.job_id in second["ti"].pushed["flink_job_url"]
    assert len(flink.jobs) == 1
    job.end("FINISHED")
    resume(make_run(), deferred, event_of(deferred), context_of(store))
    assert store.values == {}


def test_clear_of_a_deferred_run_starts_anew(make_run: Make, flink: FlinkStub) -> None:
    store = StateStore()
    first = defer(make_run(), context_of(store))
    (old,) = flink.running()
    defer(make_run(), context_of(store, max_tries=1, try_number=2))
    (new,) = flink.running()
    assert (old.state, new.job_id != old.job_id) == ("CANCELED", True)
    # The old trigger's kill comes late, and must not touch the new job.
    asyncio.run(first.trigger.on_kill())
    assert new.state == "RUNNING"


def test_id_is_remembered_before_the_submission(make_run: Make, flink: FlinkStub) -> None:
    store, seen = StateStore(), []
    flink.on_run = lambda job: seen.append((store.get("flink_job")["id"], job.job_id))
    defer(make_run(), context_of(store))
    assert [remembered == submitted for remembered, submitted in seen] == [True]


def test_worker_lost_between_remember_and_submit(make_run: Make, flink: FlinkStub) -> None:
    """The remembered id never arrived: it is used again, so that a late arrival cannot make a second job."""
    store = StateStore()
    flink.fail("POST", "/run", status=400)
    with pytest.raises(FlinkError):
        make_run().execute(context_of(store))
    remembered = store.get("flink_job")["id"]
    flink.add("sim", state="FINISHED")  # another predecessor would have given another id
    defer(make_run(), context_of(store, try_number=2))
    assert [job.job_id for job in flink.running()] == [remembered]


def test_changed_arguments_end_the_job_of_the_try_before(make_run: Make, flink: FlinkStub) -> None:
    store = StateStore()
    defer(make_run(arguments=["--day", "1"]), context_of(store))
    (old,) = flink.running()
    defer(make_run(arguments=["--day", "2"]), context_of(store, try_number=2))
    assert old.state == "CANCELED"
    assert len(flink.running()) == 1


def test_remembered_job_that_failed_is_not_followed(make_run: Make, flink: FlinkStub) -> None:
    store = StateStore()
    defer(make_run(), context_of(store))
    (old,) = flink.running()
    old.end("FAILED")
    defer(make_run(), context_of(store, try_number=2))
    (new,) = flink.running()
    assert new.job_id != old.job_id


def test_kill_during_the_submission(make_run: Make, flink: FlinkStub) -> None:
    """The cancel request is ahead of the job that it means."""
    operator = make_run(deferrable=False)
    flink.fail("POST", "/run", delay=0.5)

    def kill_while_it_is_under_way() -> None:
        end = time.monotonic() + 10
        while not flink.calls("POST", ".*/run") and time.monotonic() < end:
            time.sleep(0.01)
        operator.on_kill()

    threading.Thread(target=kill_while_it_is_under_way, daemon=True).start()
    with pytest.raises(FlinkJobFailed, match="is CANCELED"):
        operator.execute(context_of())
    assert len(flink.calls("PATCH", ".*")) == 2
    assert flink.running() == []


def test_flink_away_while_a_worker_waits(make_run: Make, flink: FlinkStub) -> None:
    def away(job: Job) -> None:
        flink.fail("GET", f"/jobs/{job.job_id}$", times=6, status=503)
        job.end("FINISHED")

    flink.on_run = away
    assert make_run(deferrable=False, timeout=60).execute(context_of())["state"] == "FINISHED"  # type: ignore[attr-defined]


def test_deadline_is_absolute(make_run: Make, flink: FlinkStub) -> None:
    before = time.time()
    deferred = defer(make_run(timeout=100), context_of())
    assert before + 100 <= deferred.trigger.deadline <= time.time() + 100  # type: ignore[attr-defined]
    assert flink.running()
