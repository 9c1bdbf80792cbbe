"""Supervision of the stack's processes by supervisord: its configuration and its XML-RPC interface.

supervisord listens on a unix socket that only its owner can open; nothing is reachable over the network.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import Faults, SupervisorTransport

from devstack.config import PYTHON, REPOSITORY, DevstackConfig, DevstackError
from devstack.parts import Program
from devstack.processes import MARKER, clean_environment, write_private

# Unix allows 107 bytes for the path of a socket, macOS 103; supervisor appends its process id while it binds.
_SOCKET_PATH_LIMIT = 90
_SHUTDOWN_TIMEOUT_SECONDS = 90.0
_START_TIMEOUT_SECONDS = 15
# A program that exits sooner counts as not started; after the retries it is FATAL.
_START_SECONDS = 10
_START_RETRIES = 2
_RUNNING_STATES = frozenset({"STARTING", "RUNNING", "BACKOFF"})


def log_file(config: DevstackConfig, program: str) -> Path:
    return config.logs / f"{program}.log"


def socket_path(config: DevstackConfig) -> Path:
    """In the stack's home, or in a private temporary folder where that path would be too long."""
    path = config.home / "supervisor.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT:
        return path
    digest = hashlib.sha256(os.fsencode(config.home)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"devstack-{os.getuid()}-{digest}" / "supervisor.sock"


def render(config: DevstackConfig, programs: Iterable[Program], *, foreground: bool = False) -> str:
    """``supervisord.conf`` for these programs, none of which starts by itself.

    :param foreground: they do start by themselves, and all logs go to the standard output: a container.
    :raises DevstackError: for a value that supervisor's file format cannot express.
    """
    if "%" in str(config.logs):
        raise DevstackError(f"supervisor cannot write logs into {config.logs}: choose a DEVSTACK_HOME without '%'.")
    sections: dict[str, dict[str, Any]] = {
        "unix_http_server": {"file": socket_path(config), "chmod": "0700"},
        "supervisord": {
            "logfile": config.logs / "supervisord.log",
            "logfile_maxbytes": "5MB",
            "logfile_backups": 1,
            "pidfile": config.home / "supervisord.pid",
            "childlogdir": config.logs,
            "directory": config.home,
            "user": getpass.getuser(),
            "identifier": "devstack",
        },
        "rpcinterface:supervisor": {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface",
        },
    }
    if foreground:
        sections["supervisord"] |= {"nodaemon": "true", "logfile": "/dev/null", "logfile_maxbytes": 0}
    texts = [_section(name, {key: _escape(value) for key, value in one.items()}) for name, one in sections.items()]
    for program in programs:
        options = _program(config, program)
        if foreground:
            options |= {"autostart": "true", "stdout_logfile": "/dev/fd/1", "stdout_logfile_maxbytes": 0}
        texts.append(_section(f"program:{program.name}", options))
    return "\n".join(texts)


def _program(config: DevstackConfig, program: Program) -> dict[str, Any]:
    variables = {**config.environment(), **program.environment, MARKER: str(config.home)}
    environment = [f"{name}={_quote(value)}" for name, value in sorted(variables.items())]
    if program.path_prefix is not None:
        environment.append(f'PATH="{_escape(program.path_prefix)}:%(ENV_PATH)s"')
    return {
        "command": _escape(shlex.join(program.command)),
        "directory": _escape(program.directory),
        "environment": ",".join(environment),
        "autostart": "false",
        "autorestart": "unexpected",
        "startsecs": _START_SECONDS,
        "startretries": _START_RETRIES,
        # Flink unpacks bundles with credentials, also outside the stack's private folder.
        "umask": "077",
        "stopasgroup": "true",
        "killasgroup": "true",
        "stopwaitsecs": program.stop_seconds,
        "redirect_stderr": "true",
        "stdout_logfile": _escape(log_file(config, program.name)),
        "stdout_logfile_maxbytes": "10MB",
        "stdout_logfile_backups": 2,
    }


def _section(name: str, options: dict[str, Any]) -> str:
    return f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in options.items())


def _escape(value: object) -> str:
    """supervisor expands %(name)s in every value, and reads what follows a blank and a # or ; as a comment."""
    text = str(value)
    if re.search(r"\s[#;]|[\r\n]", text):
        raise DevstackError(f"{text!r} cannot be given to a part: choose a value without ' #', ' ;' and line breaks.")
    return text.replace("%", "%%")


def _quote(value: str) -> str:
    """supervisor has no escapes inside quotes, and strips every quote from both ends of a value."""
    if '"' in value or value.strip("'") != value:
        raise DevstackError(f"{value!r} cannot be given to a part: choose a value without quotes.")
    return f'"{_escape(value)}"'


def run_in_foreground(config: DevstackConfig, programs: Iterable[Program]) -> NoReturn:
    """Become a supervisord that keeps these programs running and ends with them."""
    config.logs.mkdir(parents=True, exist_ok=True)
    conf = config.home / "supervisord.conf"
    write_private(conf, render(config, programs, foreground=True))
    os.execv(PYTHON, [PYTHON, "-m", "supervisor.supervisord", "-c", str(conf)])  # noqa: S606 (its own interpreter)


class Supervisor:
    """The supervisord of one stack. Every call opens a connection of its own, so threads may share an instance."""

    def __init__(self, config: DevstackConfig) -> None:
        self._config = config
        self._conf = config.home / "supervisord.conf"

    def pid(self) -> int | None:
        """Process id of the running supervisord; ``None`` when there is none.

        :raises DevstackError: it is shutting down and does not exit.
        """
        deadline = time.monotonic() + _SHUTDOWN_TIMEOUT_SECONDS
        while True:
            try:
                return int(self._call("getPID"))
            except OSError:
                return None
            except Fault as fault:
                # Another process is shutting it down: wait for that.
                if fault.faultCode != Faults.SHUTDOWN_STATE or time.monotonic() > deadline:
                    raise DevstackError(f"supervisord of {self._config.home} does not answer: {fault}") from None
            time.sleep(0.2)

    def start(self, programs: Iterable[Program]) -> None:
        """Run supervisord with these programs, unless it already runs with exactly these.

        :raises DevstackError: when one runs with another configuration, or when it does not come up.
        """
        text = render(self._config, programs)
        if self.pid() is not None:
            if self._conf.read_text() != text:
                raise DevstackError(
                    f"The stack in {self._config.home} is up with another configuration: "
                    "take it down first (`make down`)."
                )
            return
        self._config.logs.mkdir(parents=True, exist_ok=True)
        _private_folder(socket_path(self._config).parent, self._config.home)
        write_private(self._conf, text)
        done = subprocess.run(
            [PYTHON, "-m", "supervisor.supervisord", "-c", str(self._conf)],
            env={**clean_environment(), MARKER: str(self._config.home)},
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_START_TIMEOUT_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise DevstackError(f"supervisord did not start: {(done.stdout + done.stderr).strip()[-1500:]}")
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while self.pid() is None:
            if time.monotonic() > deadline:
                raise DevstackError(f"supervisord does not answer; see {self._config.logs / 'supervisord.log'}")
            time.sleep(0.1)

    def states(self) -> dict[str, dict[str, Any]]:
        """Facts of every program by name (``statename``, ``pid``, ``start``, ``now``, ``spawnerr`` …)."""
        try:
            return {facts["name"]: facts for facts in self._call("getAllProcessInfo")}
        except OSError:
            return {}

    def start_program(self, name: str) -> bool:
        """Start a program unless it runs; whether it had to be started."""
        if self.states()[name]["statename"] in _RUNNING_STATES:
            return False
        try:
            self._call("startProcess", name, False)
        except Fault as fault:
            raise DevstackError(f"{name} could not be started: {fault.faultString}") from None
        return True

    def stop_program(self, name: str) -> bool:
        """Stop a program and wait for its end; whether it ran."""
        if self.states()[name]["statename"] not in _RUNNING_STATES:
            return False
        self._call("stopProcess", name, True)
        return True

    def shutdown(self) -> None:
        """Stop every program and supervisord itself; returns when the programs have ended."""
        self._call("stopAllProcesses", True)
        self._call("shutdown")

    def _call(self, method: str, *arguments: Any) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{socket_path(self._config)}")
        try:
            proxy = ServerProxy("http://127.0.0.1", transport=transport)
            return getattr(proxy.supervisor, method)(*arguments)
        finally:
            transport.close()


def _private_folder(folder: Path, home: Path) -> None:
    """Create the folder of the socket; in the shared temporary folder it must be private to this user."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder == home:
        return
    facts = folder.lstat()
    if facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise DevstackError(f"{folder} is not private to this user: remove it, or choose a shorter DEVSTACK_HOME.")
