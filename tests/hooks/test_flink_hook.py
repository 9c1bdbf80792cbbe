"""The Flink hook over real sockets."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from hopsworks_flink.clients.flink import rest as flink_rest
from hopsworks_flink.exceptions import (
    ConfigurationError,
    FlinkApiError,
    FlinkError,
    FlinkJobNotFound,
    FlinkSavepointError,
)
from hopsworks_flink.hooks.flink import FlinkHook
from tests.support.fixtures import set_connection
from tests.support.flink_stub import FlinkStub
from tests.support.submitting import JOB_ID, hook, impatient, run

__all__ = ["hook", "impatient"]


# --- connection -------------------------------------------------------------------------------------------------------


def test_connection_test(hook: FlinkHook) -> None:
    assert hook.test_connection() == (True, "Flink 2.3.0 with 1 task manager(s), 3 of 4 slots free")


def test_unreachable_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    set_connection(monkeypatch, "flink_default", conn_type="flink", host="http://127.0.0.1:1")
    ok, text = FlinkHook().test_connection()
    assert not ok
    assert text == "Flink at http://127.0.0.1:1 cannot be reached: Connection refused."


def test_unknown_host_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    set_connection(monkeypatch, "flink_default", conn_type="flink", host="http://no-such-host.invalid")
    ok, text = FlinkHook().test_connection()
    assert not ok
    assert text.startswith("Flink at http://no-such-host.invalid cannot be reached: ")
    assert "HTTPConnection" not in text


def test_missing_connection() -> None:
    with pytest.raises(ConfigurationError, match="There is no Airflow connection 'flink_nowhere'"):
        _ = FlinkHook("flink_nowhere").settings


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "host is empty"),
        ({"host": "ftp://x"}, "http or https URL"),
        ({"host": "http://user:pw@x"}, "without user and password"),
        ({"host": "http://x:port"}, "is not a URL"),
        ({"host": "http://x", "extra": {"verify_tls": "perhaps"}}, "expected true or false"),
        ({"host": "http://x", "extra": {"jars_dir": 5}}, "extra 'jars_dir' is 5"),
    ],
)
def test_wrong_connection(monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], text: str) -> None:
    set_connection(monkeypatch, "flink_default", conn_type="flink", **fields)
    with pytest.raises(ConfigurationError, match=text):
        _ = FlinkHook().settings


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "http://jm:8081/"}, "http://jm:8081"),
        ({"host": "jm", "port": 8081}, "http://jm:8081"),
        ({"host": "jm", "schema": "https"}, "https://jm"),
        ({"host": "https://jm/flinkmaster/app_1", "port": 0}, "https://jm/flinkmaster/app_1"),
    ],
)
def test_address(monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], url: str) -> None:
    set_connection(monkeypatch, "flink_default", conn_type="flink", **fields)
    assert FlinkHook().settings.url == url


def test_basic_authentication(flink: FlinkStub, monkeypatch: pytest.MonkeyPatch) -> None:
    set_connection(monkeypatch, "flink_default", conn_type="flink", host=flink.url, login="u", password="pw-of-flink")
    hook = FlinkHook()
    hook.client.overview()
    assert flink.requests[0].headers["Authorization"].startswith("Basic ")
    assert "pw-of-flink" not in repr(hook.settings)
    flink.fail("GET", "/overview", status=401)
    assert "Check login and password" in hook.test_connection()[1]


def test_job_url_is_the_public_one(hook: FlinkHook) -> None:
    assert hook.job_url(JOB_ID) == f"https://flink.example/ui/#/job/running/{JOB_ID}/overview"


# --- transport --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 502}, {"status": 429}, {"reset": True}])
def test_reads_are_repeated(hook: FlinkHook, flink: FlinkStub, fault: dict[str, Any]) -> None:
    flink.add()
    flink.fail("GET", "/jobs/overview", times=2, **fault)
    assert len(hook.jobs_named("cards")) == 1
    assert len(flink.calls("GET", "/jobs/overview")) == 3


def test_a_server_error_is_not_repeated(hook: FlinkHook, flink: FlinkStub) -> None:
    flink.fail("GET", "/config", status=500, body={"errors": ["x.Y: outer\nCaused by: a.B: the cause"]})
    with pytest.raises(FlinkApiError, match=r"answered 500: a\.B: the cause"):
        hook.client.config()
    assert len(flink.calls("GET", "/config")) == 1


def test_not_json(hook: FlinkHook, flink: FlinkStub) -> None:
    flink.fail("GET", "/config", status=200, text="<html>login</html>")
    with pytest.raises(FlinkApiError, match=r"not Flink's JSON .* is this the address of Flink's REST API"):
        hook.client.config()


def test_slow_answer_is_no_endless_wait(hook: FlinkHook, flink: FlinkStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flink_rest, "RUN_SECONDS", 0.2)
    flink.fail("POST", "/run", delay=1.0, after=True)
    assert run(hook) == JOB_ID
    assert len(flink.running()) == 1


# --- looking ----------------------------------------------------------------------------------------------------------


def test_jobs_are_found_by_their_exact_name(hook: FlinkHook, flink: FlinkStub) -> None:
    old = flink.add(state="FINISHED")
    new = flink.add(user_config={"deployment_hash": "abc"})
    flink.add("cards_2")
    jobs = hook.jobs_named("cards")
    assert [job.job_id for job in jobs] == [new.job_id, old.job_id]
    assert [job.deployment_hash for job in jobs] == ["abc", None]


def test_facts(hook: FlinkHook, flink: FlinkStub) -> None:
    job = flink.add(completed=3, restarts=2, checkpoint="chk-3", exception="x.Y: outer\nCaused by: a.B: root")
    facts = hook.facts(job_id=job.job_id)
    assert facts.all_running
    assert (facts.checkpoints, facts.restarts_ever, facts.cause) == (3, 2, "a.B: root")


@pytest.mark.parametrize(("status", "lag"), [("RUNNING", 0), ("FAILED", None)])
def test_a_source_that_does_not_run_knows_no_lag(
    hook: FlinkHook, flink: FlinkStub, status: str, lag: int | None
) -> None:
    job = flink.add(vertices=[status, "RUNNING"], names=["Source: cards", "sink"], metrics={"0.pendingRecords": 0.0})
    assert hook.facts(job_id=job.job_id, counts=True).lag == lag


def test_changes_of_a_joined_topic_that_wait_are_no_events(hook: FlinkHook, flink: FlinkStub) -> None:
    """The bound on the lag and the word of a watermark that stands are about events."""
    waiting = {"prices_topic.KafkaSourceReader.pendingRecords": 5_000.0}
    names = ["Source: prices topic -> prices versions", "Source: cards -> events"]
    job = flink.add(names=names, metrics=waiting)
    assert hook.facts(job_id=job.job_id, counts=True).lag is None
    job.names, job.vertices = names[::-1], ["RUNNING", "FAILED"]
    assert hook.facts(job_id=job.job_id, counts=True).lag == 5_000


def test_events_and_rows_count_once(hook: FlinkHook, flink: FlinkStub) -> None:
    """What a real job tells: each operator of a chain counts what it gets, and so does the task, as its head does."""
    chain = "Source: cards -> events -> (rows -> cards_rows v1: Writer, cards_late: Writer, cards_quarantine: Writer)"
    counted = {
        "numRecordsIn": 100.0,
        "Source__cards[1].numRecordsIn": 100.0,
        "events[2].numRecordsIn": 100.0,
        "rows[3].numRecordsIn": 90.0,
        "cards_rows_v1__Writer.numRecordsIn": 90.0,
        "cards_rows_v1__Writer.numRecordsSend": 90.0,
        "cards_late__Writer.numRecordsSend": 7.0,
        "cards_quarantine__Writer.numRecordsSend": 3.0,
    }
    facts = hook.facts(job_id=flink.add(names=[chain, "sink"], metrics=counted).job_id, counts=True)
    assert (facts.read, facts.written) == (100, 90)
    # A name that only has the word in it is no source, and a joined topic has no events.
    for name in ("rows -> resources v1: Writer", "Source: prices topic -> prices versions"):
        rows = hook.facts(job_id=flink.add(names=[name, ""], metrics=counted).job_id, counts=True)
        assert (rows.read, rows.written) == (None, 90)
    # Long names are cut.
    long = {f"{'g' * 59}…__Writer.numRecordsSend": 5.0}
    assert hook.facts(job_id=flink.add(metrics=long).job_id, counts=True).written == 5


def test_facts_of_a_job_that_initialises(hook: FlinkHook, flink: FlinkStub) -> None:
    job = flink.add(state="INITIALIZING", vertices=[])
    flink.fail("GET", "/exceptions", status=404)
    assert not hook.facts(job_id=job.job_id).all_running


def test_unknown_job(hook: FlinkHook) -> None:
    assert hook.job_state(JOB_ID) is None
    assert hook.facts(job_id=JOB_ID).state == "NOT_FOUND"


# --- ending -----------------------------------------------------------------------------------------------------------


def test_stop_with_savepoint(hook: FlinkHook, flink: FlinkStub) -> None:
    job = flink.add()
    flink.pending_polls = 2
    path = hook.stop_with_savepoint(job.job_id, target_directory="s3://sp", poll_interval=0.01)
    assert path == f"s3://sp/savepoint-{job.job_id[:6]}"
    assert flink.calls("POST", ".*/stop")[0].body["drain"] is False
    assert hook.wait_until_ended(job.job_id) == "FINISHED"


def test_stop_whose_answer_is_lost_is_one_request(hook: FlinkHook, flink: FlinkStub) -> None:
    job = flink.add()
    flink.fail("POST", "/stop", reset=True, after=True)
    assert hook.stop_with_savepoint(job.job_id, poll_interval=0.01)
    first, second = flink.calls("POST", ".*/stop")
    assert first.body["triggerId"] == second.body["triggerId"]


def test_failed_savepoint(hook: FlinkHook, flink: FlinkStub) -> None:
    job = flink.add()
    flink.savepoint_failure = "java.io.IOException: disk full"
    with pytest.raises(FlinkSavepointError, match="disk full"):
        hook.stop_with_savepoint(job.job_id, poll_interval=0.01)
    assert job.state == "RUNNING"


def test_savepoint_that_takes_too_long(hook: FlinkHook, flink: FlinkStub) -> None:
    job = flink.add()
    flink.pending_polls = 1000
    with pytest.raises(FlinkSavepointError, match=r"not complete after 0\.1 s"):
        hook.stop_with_savepoint(job.job_id, timeout=0.1, poll_interval=0.01)


def test_refused_stop(hook: FlinkHook, flink: FlinkStub) -> None:
    job = flink.add()
    flink.fail("POST", "/stop", status=409)
    with pytest.raises(FlinkSavepointError, match="refused to stop"):
        hook.stop_with_savepoint(job.job_id)


def test_stop_of_an_unknown_job(hook: FlinkHook) -> None:
    with pytest.raises(FlinkJobNotFound):
        hook.stop_with_savepoint(JOB_ID)


def test_cancel_is_idempotent(hook: FlinkHook, flink: FlinkStub) -> None:
    job = flink.add()
    hook.cancel(job.job_id)
    hook.cancel(job.job_id)
    hook.cancel(JOB_ID)
    flink.fail("PATCH", "/jobs", status=500)
    with pytest.raises(FlinkApiError):
        hook.cancel(job.job_id)


def test_wait_until_ended(hook: FlinkHook, flink: FlinkStub) -> None:
    assert hook.wait_until_ended(JOB_ID) == "NOT_FOUND"
    with pytest.raises(FlinkError, match="still RUNNING"):
        hook.wait_until_ended(flink.add().job_id, timeout=0.05, poll_interval=0.01)


def test_an_end_is_seen_before_the_job_s_details_show_it(hook: FlinkHook, flink: FlinkStub) -> None:
    job = flink.add(state="FINISHED", cached=1000)
    assert hook.wait_until_ended(job.job_id) == hook.job_state(job.job_id) == "FINISHED"
    assert hook.find_job(job.job_id)["state"] == "RUNNING"


def test_restore_point_without_statistics(hook: FlinkHook, flink: FlinkStub) -> None:
    flink.add(job_id=JOB_ID, state="FAILED")
    flink.fail("GET", "/checkpoints", status=404)
    assert hook.restore_point(hook.jobs_named("cards")[0]).lost


# --- watermark --------------------------------------------------------------------------------------------------------


def test_watermark_is_asked_for_until_flink_has_gathered_it(hook: FlinkHook, flink: FlinkStub) -> None:
    run(hook)
    timer = threading.Timer(0.1, setattr, (flink.jobs[JOB_ID], "watermark", 1_700_000_000_000))
    timer.start()
    try:
        assert hook.watermark(JOB_ID) == 1_700_000_000_000
    finally:
        timer.join()


def test_watermark_of_a_job_without_events_is_none(hook: FlinkHook) -> None:
    run(hook)
    assert hook.watermark(JOB_ID) is None
