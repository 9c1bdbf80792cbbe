"""Texts as a live Flink 2.3 wrote them, shortened."""

from __future__ import annotations

from hopsworks_flink.clients.flink.failures import excerpt, innermost_cause, root_exception, submission_cause

DRIVER = "2026-11-23 23:33:00,115 INFO  hopsworksflink.submit.PythonLauncher                  [] - "
PLANNER = f"""\
2026-11-23 23:32:59,511 WARN  org.apache.flink.runtime.dispatcher.DispatcherRestEndpoint   [] - Unhandled exception
java.net.SocketException: Connection reset
{DRIVER}--------------------------- Python Process Started --------------------------
{DRIVER}Traceback (most recent call last):
{DRIVER}  File "/tmp/pyflink/x/trivial.py", line 8, in main
{DRIVER}py4j.protocol.Py4JJavaError: An error occurred while calling o8.executeSql.
{DRIVER}: org.apache.flink.table.api.ValidationException: SQL validation failed.
{DRIVER}\tat org.apache.flink.table.planner.calcite.FlinkPlannerImpl.validate(FlinkPlannerImpl.scala:119)
{DRIVER}Caused by: org.apache.calcite.runtime.CalciteContextException: From line 1: Object 'nowhere' not found
{DRIVER}\tat java.base/java.lang.reflect.Constructor.newInstance(Constructor.java:481)
{DRIVER}Caused by: org.apache.calcite.sql.validate.SqlValidatorException: Object 'nowhere' not found
{DRIVER}Run python process failed
"""


def test_planner_error() -> None:
    assert submission_cause(PLANNER) == (
        "org.apache.calcite.sql.validate.SqlValidatorException: Object 'nowhere' not found"
    )


def test_python_error() -> None:
    log = f"{DRIVER}Traceback (most recent call last):\n{DRIVER}ValueError: my own failure\n"
    assert submission_cause(log) == "ValueError: my own failure"


def test_nothing_to_say() -> None:
    assert submission_cause("") is None
    assert submission_cause(f"{DRIVER}Run python process failed") is None


def test_secrets_are_cut() -> None:
    log = f"{DRIVER}ValueError: cannot log in with hunter22\n"
    assert submission_cause(log, ["hunter22"]) == "ValueError: cannot log in with ***"
    assert "hunter22" not in excerpt(log, ["hunter22"])


def test_excerpt_has_no_stack_frames() -> None:
    assert "at org.apache" not in excerpt(PLANNER)
    assert "line 8, in main" in excerpt(PLANNER)


def test_innermost_cause() -> None:
    assert innermost_cause("a.B: outer\n\tat x\nCaused by: c.D: inner\n\tat y\nCaused by: e.F: root") == "e.F: root"
    assert innermost_cause("a.B: only\n\tat x") == "a.B: only"
    assert innermost_cause("") == ""


def test_root_exception_of_old_and_new_answers() -> None:
    assert (
        root_exception({"exceptionHistory": {"entries": [{"stacktrace": "a.B: new"}, {"stacktrace": "old"}]}})
        == "a.B: new"
    )
    assert root_exception({"root-exception": "a.B: old form"}) == "a.B: old form"
    assert root_exception({"exceptionHistory": {"entries": []}}) is None
    assert root_exception(None) is None
