"""Processes and ports, on real ones."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from devstack import processes
from devstack.config import HOST, DevstackConfig, DevstackError
from devstack.parts import declare
from devstack.stack import check_ports


@pytest.fixture
def orphan(tmp_path: Path) -> Iterator[psutil.Process]:
    """A process of the stack under ``tmp_path`` whose parent has ended and whose session is its own."""
    child = (
        "import subprocess, sys\n"
        f"sleeper = [sys.executable, '-c', {SLEEP!r}]\n"
        "print(subprocess.Popen(sleeper, stdout=subprocess.DEVNULL, start_new_session=True).pid)"
    )
    environment = {**os.environ, processes.MARKER: str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", child], env=environment, stdout=subprocess.PIPE, text=True, timeout=30, check=True
    )
    process = psutil.Process(int(done.stdout))
    try:
        yield process
    finally:
        processes.end([process], grace_seconds=1)


SLEEP = "import time; time.sleep(60)"


def test_an_orphan_is_found_and_ended(tmp_path: Path, orphan: psutil.Process) -> None:
    assert processes.belonging_to(tmp_path) == [orphan]
    assert processes.belonging_to(tmp_path / "other") == []
    assert processes.end([orphan], grace_seconds=5) == []
    assert processes.wait_until_gone(tmp_path, seconds=5) == []


def test_one_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    program = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as deaf:
        assert deaf.stdout is not None
        assert deaf.stdout.readline() == "deaf\n"
        assert [process.pid for process in processes.end([psutil.Process(deaf.pid)], grace_seconds=0.3)] == [deaf.pid]


def test_a_descendant_without_the_marker_belongs_as_well(tmp_path: Path) -> None:
    inner = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'], env={})"
    environment = {**os.environ, processes.MARKER: str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", inner], env=environment) as outer:
        deadline = time.monotonic() + 20
        while len(found := processes.belonging_to(tmp_path)) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert {process.pid for process in found} == {process.pid for process in processes.tree(outer.pid)}
        assert len(found) == 2
        processes.end(found, grace_seconds=1)


def test_the_one_who_asks_and_its_ancestors_never_belong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = "from pathlib import Path; from devstack import processes; print(processes.belonging_to(Path({!r})))"
    environment = {**os.environ, processes.MARKER: str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program.format(str(tmp_path))],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_a_foreign_process_with_the_id_of_an_old_supervisord_is_not_ours(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True) as foreign:
        (tmp_path / "supervisord.pid").write_text(f"{foreign.pid}\n")
        assert processes.belonging_to(tmp_path) == []
        foreign.kill()


def test_a_supervisord_that_is_writing_its_file_or_removes_it(tmp_path: Path) -> None:
    (tmp_path / "supervisord.pid").touch()
    assert processes.belonging_to(tmp_path) == []


def test_memory_of_a_tree_and_of_one_that_is_gone() -> None:
    assert processes.memory_bytes(processes.tree(os.getpid())) > 2**20
    assert processes.tree(2**22 + 1) == []


def test_private_files_are_private_even_if_they_were_not(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("old and longer")
    file.chmod(0o644)
    processes.write_private(file, "new")
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_environment_of_the_parts_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", "/elsewhere")
    monkeypatch.setenv("FLINK_CONF_DIR", "/elsewhere")
    monkeypatch.setenv("NO_PROXY", "example.org,localhost")
    environment = processes.clean_environment()
    assert not [name for name in environment if name.startswith(("AIRFLOW", "FLINK"))]
    assert environment["NO_PROXY"] == "example.org,localhost,127.0.0.1"
    assert environment["PATH"] == os.environ["PATH"]


def test_a_busy_port_is_told_with_setting_and_holder(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        config = DevstackConfig(home=tmp_path, hopsworks_port=port)
        parts = declare(config)
        assert not processes.is_port_free(HOST, port)
        with pytest.raises(DevstackError) as caught:
            check_ports(config, [parts["hopsworks"]])
    assert str(caught.value).startswith(f"Port {port} (hopsworks_port) is taken by ")
    assert f"(pid {os.getpid()})" in str(caught.value)
    assert "DEVSTACK_HOPSWORKS_PORT" in str(caught.value)
    assert processes.is_port_free(HOST, port)
    check_ports(config, [parts["hopsworks"]])
