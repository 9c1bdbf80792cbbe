"""Jobs of type PYTHON, as real processes."""

from __future__ import annotations

import time
from typing import Any

import psutil
import pytest

TELL = """
import os, pathlib, sys
print("arguments", sys.argv[1:])
print("here", sorted(path.name for path in pathlib.Path(".").iterdir()))
print("secret of the server", os.environ.get("SERVER_SECRET"), "mine", os.environ.get("MINE"))
print("a mistake", file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""
SLEEP = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def program(client, layout):
    """Makes a job of a program's text, and returns its address."""

    def make(text: str, **config: Any) -> str:
        (layout.datasets / "Resources" / "program.py").write_text(text)
        body = {"type": "pythonJobConfiguration", "appPath": "hdfs:///Projects/demo/Resources/program.py", **config}
        assert client.put("project/119/jobs/program", json=body).status_code == 201
        return "project/119/jobs/program/executions"

    return make


def ended(client, executions: str, number: int) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while (execution := client.get(f"{executions}/{number}").json())["finalStatus"] == "UNDEFINED":
        assert time.monotonic() < deadline, execution
        time.sleep(0.1)
    return execution


def log(client, executions: str, number: int, stream: str) -> str:
    return client.get(f"{executions}/{number}/log/{stream}").json()["log"]


@pytest.mark.parametrize(("code", "state"), [(0, ("FINISHED", "SUCCEEDED")), (3, ("FAILED", "FAILED"))])
def test_a_program_runs_to_its_end(client, layout, program, monkeypatch, code, state):
    monkeypatch.setenv("SERVER_SECRET", "geheim")
    (layout.datasets / "Resources" / "more.txt").write_text("more")
    executions = program(TELL, files="hdfs:///Projects/demo/Resources/more.txt")
    body = {"args": f"{code} 'two words'", "envVars": {"MINE": "yes"}, "logicalDate": "2024-01-01T00:00:00Z"}
    started = client.post(executions, json=body).json()
    assert started["state"] == "INITIALIZING"
    execution = ended(client, executions, started["id"])
    assert (execution["state"], execution["finalStatus"]) == state
    output = log(client, executions, started["id"], "out")
    assert f"arguments ['{code}', 'two words']" in output
    assert "here ['more.txt', 'program.py']" in output
    assert "secret of the server None mine yes" in output
    errors = log(client, executions, started["id"], "err")
    assert "a mistake" in errors
    assert ("exit code 3" in errors) is (code == 3)


def test_default_arguments_and_one_execution_at_a_time(client, program):
    executions = program("import sys, time; print(sys.argv); time.sleep(2)", defaultArgs="-of the-job")
    first = client.post(executions).json()["id"]
    refused = client.post(executions)
    assert (refused.status_code, refused.json()["errorCode"]) == (400, 130040)
    assert ended(client, executions, first)["finalStatus"] == "SUCCEEDED"
    assert "'-of', 'the-job'" in log(client, executions, first, "out")


def test_a_stopped_program_takes_its_children_along(client, program):
    executions = program(SLEEP)
    number = client.post(executions).json()["id"]
    execution = client.get(f"{executions}/{number}").json()
    deadline = time.monotonic() + 60
    output = client.app.state.context.datasets.resolve(execution["stdoutPath"])
    while "child" not in output.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    child = int(output.read_text().split()[1])
    client.put(f"{executions}/{number}/status", content=b"state=stopped")
    assert ended(client, executions, number)["finalStatus"] == "KILLED"
    deadline = time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("path", ["Resources/gone.py", "Resources", "Resources/x.jar", "../x.py", ""])
def test_a_program_that_is_none_is_refused_at_once(client, program, path):
    executions = program("pass", appPath=path)
    assert 400 <= client.post(executions).status_code < 500
    assert client.get(executions).json() == {"count": 0}
