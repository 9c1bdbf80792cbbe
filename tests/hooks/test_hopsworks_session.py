"""The SDK's login: what of it is on disk while it lasts and after a kill, and sessions within sessions."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hopsworks_flink.exceptions import HopsworksError
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from tests.support import REPOSITORY
from tests.support.fixtures import set_connection
from tests.support.hopsworks_server import LocalHopsworks

_PROGRAM = """
import glob, os, time
from hopsworks_flink.hooks.hopsworks import HopsworksHook
with HopsworksHook().session() as session:
    assert "PRIVATE KEY" in session.kafka_config()["ssl.key.pem"]
    (folder,) = glob.glob(os.environ["TMPDIR"] + "/hopsworks-session-*")
    assert "PRIVATE KEY" in open(f"{folder}/client_key.pem").read()
    print("\\nready", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def secured(hopsworks: LocalHopsworks) -> LocalHopsworks:
    """A platform whose broker wants a client's certificate."""
    hopsworks.context.config = hopsworks.config.model_copy(update={"kafka_security": "SSL"})
    return hopsworks


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="only Linux has anonymous files")
def test_a_killed_process_leaves_no_secret(secured: LocalHopsworks, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(REPOSITORY / "plugins")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        if not any(line.strip() == "ready" for line in process.stdout):
            pytest.fail(process.communicate()[1])
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    left = [path for path in temporary.rglob("*") if path.is_symlink() or not path.is_dir()]
    assert "client_key.pem" in {path.name for path in left}, "the SDK wrote where it was told to"
    # Links to what the process had open: to anybody else they lead nowhere, or to something of its own.
    assert {path.readlink().parent for path in left} == {Path("/proc/self/fd")}
    assert list(Path("/tmp").glob("*in-memory*")) == []


def files_in_memory() -> set[str]:
    """Open ones of this process, which hold keys; the server beside it opens and closes sockets meanwhile."""
    found = set()
    for number in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        with contextlib.suppress(FileNotFoundError):
            path = os.readlink(f"/proc/self/fd/{number}")
            found |= {f"{number} {path}"} if "memfd:" in path else set()
    return found


def test_nothing_is_left_at_the_end(secured: LocalHopsworks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    before = files_in_memory()
    with pytest.raises(ZeroDivisionError), HopsworksHook().session():
        raise ZeroDivisionError
    assert list((tmp_path / "tmp").iterdir()) == []
    assert files_in_memory() <= before


def test_a_session_within_a_session_is_the_same(hopsworks: LocalHopsworks) -> None:
    with HopsworksHook().session() as outer:
        asked = len(hopsworks.faults.requests)
        with HopsworksHook().session() as inner:
            assert inner is outer
        assert len(hopsworks.faults.requests) == asked
        assert outer.platform_version(), "still logged in"
    with HopsworksHook().session() as later:
        assert later is not outer


def test_another_project_within_a_session_is_refused(
    hopsworks: LocalHopsworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_connection(monkeypatch, "other", **hopsworks.connection(project="elsewhere"))
    with HopsworksHook().session() as outer:
        with pytest.raises(HopsworksError, match=r"'other': this process is logged in to project 'demo'"):
            HopsworksHook("other").session().__enter__()
        assert outer.platform_version()


def test_numbers_beside_nulls_stay_whole(hopsworks: LocalHopsworks) -> None:
    features = [
        {"name": "card", "type": "string"},
        {"name": "n", "type": "bigint"},
        {"name": "at", "type": "timestamp"},
    ]
    with HopsworksHook().session() as session:
        settings = {"primary_key": ["card", "at"], "time_travel_format": "NONE"}
        group, _ = session.create_feature_group(name="spent", version=1, features=features, **settings)
        with hopsworks.context.online.transaction() as tx:
            for at, n in (("2025-03-01 12:00:00", 3), ("2025-03-01 12:01:00", None)):
                tx.execute("INSERT INTO spent_1 (card, n, at) VALUES ('a', ?, ?)", (n, at))
        assert [repr(row["n"]) for row in session.online_sample(group, 2)] == ["3", "None"]
        assert [repr(row["n"]) for row in session.rows_of(group, {"card": "a"}, online=True)] == ["3", "None"]
