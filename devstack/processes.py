"""Processes, ports and private files of this machine."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

# In the environment of every process of a stack, so that `down` finds those that left their parent as well.
MARKER = "DEVSTACK_PART_OF"


def clean_environment() -> dict[str, str]:
    """This process's environment without variables that would affect the stack.

    Settings of another Airflow or Flink would override the stack's files; its parts talk without a proxy.
    """
    foreign = ("AIRFLOW_", "_AIRFLOW_", "FLINK_", "SUPERVISOR_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    for name in ("NO_PROXY", "no_proxy"):
        kept[name] = ",".join(dict.fromkeys([*filter(None, kept.get(name, "").split(",")), "127.0.0.1", "localhost"]))
    return kept


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, from its first byte on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)


def belonging_to(home: Path) -> list[psutil.Process]:
    """Every living process of the stack whose state is under ``home``, whoever its parent is now.

    Found by the marker in its environment; by the session of supervisord (Airflow writes its process titles over its
    environment); or as a descendant of such a process. This process and its ancestors are never among them.
    """
    session = _session(home)
    living = [process for process in psutil.process_iter() if _is_alive(process)]
    found = {process.pid for process in living if _marker(process) == str(home) or _is_in(session, process)}
    parents = {process.pid: _parent(process) for process in living}
    while more := {pid for pid, parent in parents.items() if parent in found and pid not in found}:
        found |= more
    found -= {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [process for process in living if process.pid in found]


def _session(home: Path) -> int | None:
    """The session of this stack's last supervisord: its process id, unless another process has that id now."""
    try:
        pid = int((home / "supervisord.pid").read_text())
    except (FileNotFoundError, ValueError):  # a supervisord that ends removes its file meanwhile
        return None
    try:
        return pid if _marker(psutil.Process(pid)) == str(home) else None
    except psutil.NoSuchProcess:
        return pid


def _is_in(session: int | None, process: psutil.Process) -> bool:
    try:
        return session is not None and os.getsid(process.pid) == session
    except OSError:
        return False


def _marker(process: psutil.Process) -> str | None:
    """The stack that its environment names; None for a process that is gone or another user's."""
    try:
        return process.environ().get(MARKER)
    except (psutil.Error, OSError):
        return None


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _parent(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.Error:
        return None


def end(processes: Iterable[psutil.Process], grace_seconds: float) -> list[psutil.Process]:
    """Ask the processes to end, then kill those that did not. Returns the killed ones."""
    remaining = list(processes)
    for process in remaining:
        _signal(process, kill=False)
    _, alive = psutil.wait_procs(remaining, timeout=grace_seconds)
    for process in alive:
        _signal(process, kill=True)
    psutil.wait_procs(alive, timeout=5)
    return alive


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        if kill:
            process.kill()
        else:
            process.terminate()
    except psutil.NoSuchProcess:
        return


def tree(pid: int) -> list[psutil.Process]:
    """The process and all its descendants; empty when it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory_bytes(processes: Iterable[psutil.Process]) -> int:
    """Memory in bytes, pages shared by forks counted once where the system tells (PSS), otherwise resident size."""
    total = 0
    for process in processes:
        try:
            facts = process.memory_full_info()
            total += getattr(facts, "pss", 0) or facts.rss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def is_port_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of an earlier server in TIME_WAIT do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def port_holder(port: int) -> str | None:
    """``name (pid N)`` of the process that listens on a port, if the system shows it."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.AccessDenied, OSError):
        return None
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.Error:
                return f"pid {connection.pid}"
    return None


def wait_until_gone(home: Path, seconds: float) -> list[psutil.Process]:
    """Wait for the stack's processes to end; returns those that have not after ``seconds``."""
    deadline = time.monotonic() + seconds
    remaining = belonging_to(home)
    while remaining and time.monotonic() < deadline:
        time.sleep(0.2)
        remaining = belonging_to(home)
    return remaining
