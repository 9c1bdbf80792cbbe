"""The local stack as a whole: bring it up, look at it, take it down."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devstack import airflow, flink, jars, kafka, processes
from devstack.config import HOST, DevstackConfig, DevstackError, forget, remember
from devstack.hopsworks.home.loginlinks import make_link
from devstack.parts import NAMES, Part, declare, select
from devstack.supervision import Supervisor, log_file, socket_path

# Called with the name of a part and what happens to it.
Progress = Callable[[str, str], None]

_POLL_SECONDS = 0.4
_TAIL_LINES = 25
_FLAG = ".devstack"


@dataclass(frozen=True)
class PartStatus:
    """One part at one moment. ``state``: healthy, starting, unhealthy, restarting, failed or stopped."""

    name: str
    state: str
    detail: str
    pids: tuple[int, ...]
    uptime_seconds: float
    memory_bytes: int
    url: str
    logs: tuple[Path, ...]

    @property
    def healthy(self) -> bool:
        return self.state == "healthy"


class Stack:
    """The stack that a configuration describes. Its state is on disk, so any process may create an instance."""

    def __init__(self, config: DevstackConfig | None = None) -> None:
        self.config = config or DevstackConfig()
        self._supervisor = Supervisor(self.config)

    # -- facts for clients ------------------------------------------------------------------------------------------

    @property
    def api_key(self) -> str:
        """The API key of the local Hopsworks server.

        :raises DevstackError: before it was made.
        """
        file = self.config.hopsworks_api_key_file
        if not file.is_file():
            raise DevstackError(f"The Hopsworks server has no API key yet ({file} is missing): run `make up` first.")
        return file.read_text().strip()

    @property
    def airflow_credentials(self) -> tuple[str, str]:
        """User and password of Airflow's UI and API."""
        return airflow.credentials(self.config)

    def airflow_connections(self) -> dict[str, dict[str, Any]]:
        """The three connections to this stack, by id, with the keys of Airflow's connection JSON."""
        from devstack.kafka.access import client_settings

        config = self.config
        return {
            "hopsworks_default": {
                "conn_type": "hopsworks",
                "host": config.host("hopsworks"),
                "port": config.hopsworks_port,
                "password": self.api_key,
                "extra": {
                    "project": config.project,
                    "hostname_verification": True,
                    "trust_store_path": str(config.hopsworks_ca),
                },
            },
            "flink_default": {
                "conn_type": "flink",
                "host": config.flink_url,
                "extra": {
                    "python_executable": str(flink.PYTHON),
                    "jars_dir": str(jars.CONNECTOR_JARS),
                    # For browsers, which do not know the hosts of containers.
                    **({"web_ui_url": f"http://{HOST}:{config.flink_port}"} if config.hosts == "parts" else {}),
                },
            },
            "kafka_default": {
                "conn_type": "kafka",
                "extra": client_settings(config),
            },
        }

    def addresses(self) -> list[tuple[str, str]]:
        """Where people go, and what they log in with: pairs of a name and a value. The link is a new one each time."""
        config, login, link = self.config, [], []
        with contextlib.suppress(DevstackError):  # Airflow was never started
            user, password = self.airflow_credentials
            login = [("Airflow", config.airflow_url), ("  user", user), ("  password", password)]
        with contextlib.suppress(DevstackError):  # Hopsworks was never started
            link = [("  log in once", make_link(config))]
        return [
            *login,
            ("Status page", f"{config.airflow_url}/streaming-features/"),
            ("Flink", config.flink_url),
            ("Hopsworks", config.hopsworks_url),
            *link,
            ("  API key in", str(config.hopsworks_api_key_file)),
            ("Kafka", config.kafka_address),
            ("Offline store", str(config.hopsworks_home / "warehouse")),
            ("State and logs", str(config.home)),
        ]

    # -- life -------------------------------------------------------------------------------------------------------

    def up(self, parts: Sequence[str] | None = None, progress: Progress | None = None) -> None:
        """Bring the parts up (all by default, plus what they need) and wait until each one works. Idempotent.

        :param progress: called, from several threads, with a part's name and what happens to it.
        :raises DevstackError: a port is busy, or a part exited or is not healthy in time (with the end of its log).
        """
        tell = progress or _silent
        with self._lock(tell):
            declared = declare(self.config)
            chosen = [declared[name] for name in select(parts)]
            if self._supervisor.pid() is None:
                self._sweep(tell)
            states = self._supervisor.states()
            down = [part for part in chosen if any(not _runs(states.get(p.name)) for p in part.programs)]
            check_ports(self.config, [part for part in down if not _anything_runs(part, states)])
            if self._supervisor.pid() is None:
                remember(self.config.home)
            self._prepare_common({part.name for part in down})
            self._supervisor.start(program for part in declared.values() for program in part.programs)
            self._bring_up(chosen, {part.name for part in down}, tell)
            # Of parts that came later as well, but not what another environment got wrong about those that ran.
            remember(self.config.home)

    def down(self, wipe: bool = False) -> None:
        """End every process of this stack and nothing else; its state stays unless ``wipe``. Idempotent.

        :raises DevstackError: when a process cannot be ended, or the home is none of a stack.
        """
        home = self.config.home
        if not home.exists():
            return
        with self._lock(_silent):
            pid = self._supervisor.pid()
            # Collected before the shutdown: a task that loses its parent is no descendant afterwards.
            descendants = processes.tree(pid) if pid else []
            if pid is not None:
                self._supervisor.shutdown()
            processes.wait_until_gone(home, seconds=3)
            left = {*processes.belonging_to(home), *(process for process in descendants if process.is_running())}
            processes.end(left, grace_seconds=3)
            if stubborn := processes.belonging_to(home):
                raise DevstackError(f"These processes could not be ended: {', '.join(str(p.pid) for p in stubborn)}.")
            socket_path(self.config).unlink(missing_ok=True)
            forget(home)
            if wipe:
                folder = home.resolve()
                shutil.rmtree(folder)
                if home.is_symlink():
                    # To another disk, and the next stack goes there as well.
                    folder.mkdir()

    def status(self) -> list[PartStatus]:
        """Every part as it is now; each running one is asked for its health."""
        states = self._supervisor.states()
        with ThreadPoolExecutor(len(NAMES)) as pool:
            return list(pool.map(lambda part: self._status_of(part, states), declare(self.config).values()))

    def log_files(self, part: str) -> list[Path]:
        """The log files of a part, or of one program of it.

        :raises DevstackError: for a name that is neither.
        """
        declared = declare(self.config)
        programs = {program.name for one in declared.values() for program in one.programs}
        if part in declared:
            return [log_file(self.config, program.name) for program in declared[part].programs]
        if part in programs:
            return [log_file(self.config, part)]
        raise DevstackError(f"There is no part {part!r}; the parts are {', '.join(NAMES)}.")

    # -- steps ------------------------------------------------------------------------------------------------------

    def _bring_up(self, chosen: list[Part], down: set[str], tell: Progress) -> None:
        healthy = {part.name: threading.Event() for part in chosen}
        give_up = threading.Event()

        def one(part: Part) -> None:
            for name in part.after:
                while not healthy[name].wait(_POLL_SECONDS):
                    if give_up.is_set():
                        return
            if part.name in down:
                tell(part.name, "preparing")
                self._prepare(part.name)
                for program in part.programs:
                    self._supervisor.start_program(program.name)
            self._wait_healthy(part, give_up, tell)
            healthy[part.name].set()

        with ThreadPoolExecutor(len(chosen)) as pool:
            futures = [pool.submit(one, part) for part in chosen]
            wait(futures, return_when=FIRST_EXCEPTION)
            give_up.set()
        for future in futures:
            future.result()

    def prepare(self, name: str) -> None:
        """Make what one part needs before it starts, where it runs on a host of its own."""
        self._prepare_common({name})
        self._prepare(name)

    def _prepare_common(self, names: set[str]) -> None:
        """What several parts need: once for all of them."""
        if {"kafka", "hopsworks", "hopsworks-onlinefs", "airflow"} & names:
            _initialise_hopsworks(self.config)
        if any(name.startswith("flink") for name in names):
            flink.prepare(self.config)

    def _prepare(self, name: str) -> None:
        if name == "kafka":
            kafka.prepare(self.config)
        elif name == "airflow":
            jars.fetch(jars.CONNECTORS_POM, jars.CONNECTOR_JARS)
            jars.fetch(jars.JAVA_POM, jars.JAVA_JARS)
            airflow.prepare(self.config, self.airflow_connections())

    def _wait_healthy(self, part: Part, give_up: threading.Event, tell: Progress) -> None:
        deadline = time.monotonic() + part.start_seconds
        last = ""
        while not give_up.is_set():
            states = self._supervisor.states()
            mine = [states.get(program.name, {}) for program in part.programs]
            for facts in mine:
                if facts.get("statename") not in ("STARTING", "RUNNING", "BACKOFF"):
                    raise self._died(part, facts)
            missing = part.check(self.config, _since(mine))
            if missing is None and all(facts["statename"] != "BACKOFF" for facts in mine):
                tell(part.name, "healthy")
                return
            if time.monotonic() > deadline:
                raise self._late(part, missing or "it keeps exiting")
            if missing and missing != last:
                tell(part.name, missing)
                last = missing
            time.sleep(_POLL_SECONDS)

    def _status_of(self, part: Part, states: dict[str, dict[str, Any]]) -> PartStatus:
        mine = [states[program.name] for program in part.programs if program.name in states]
        names = {facts["statename"] for facts in mine}
        pids = tuple(facts["pid"] for facts in mine if facts["pid"])
        running = [facts for facts in mine if facts["statename"] in ("STARTING", "RUNNING")]
        state, detail = "stopped", ""
        if ended := [facts for facts in mine if facts["statename"] in ("FATAL", "EXITED", "UNKNOWN")]:
            state, detail = "failed", "; ".join(f"{facts['name']}: {facts['description']}" for facts in ended)
        elif "BACKOFF" in names:
            state, detail = "restarting", "it exited and is restarted"
        elif running and len(running) == len(mine):
            missing = part.check(self.config, _since(mine))
            young = time.time() - _since(mine) < part.start_seconds
            state, detail = ("healthy", "") if missing is None else ("starting" if young else "unhealthy", missing)
        elif running:
            state, detail = "unhealthy", "not all of its processes run"
        return PartStatus(
            name=part.name,
            state=state,
            detail=detail,
            pids=pids,
            uptime_seconds=max(0.0, time.time() - _since(mine)) if running else 0.0,
            memory_bytes=processes.memory_bytes(process for pid in pids for process in processes.tree(pid)),
            url=self._url(part.name),
            logs=tuple(log_file(self.config, program.name) for program in part.programs),
        )

    def _url(self, name: str) -> str:
        return {
            "kafka": self.config.kafka_address,
            "flink-jobmanager": self.config.flink_url,
            "hopsworks": self.config.hopsworks_url,
            "airflow": self.config.airflow_url,
        }.get(name, "")

    def _died(self, part: Part, facts: dict[str, Any]) -> DevstackError:
        program = facts.get("name", part.name)
        why = facts.get("spawnerr") or facts.get("description") or "not known to supervisord"
        return DevstackError(f"{program} ended ({why}).\n{self._tail(part, program)}")

    def _late(self, part: Part, missing: str) -> DevstackError:
        tails = "\n".join(self._tail(part, program.name) for program in part.programs)
        within = f"within {part.start_seconds:.0f} s"
        return DevstackError(f"{part.name} did not become healthy {within}: {missing}.\n{tails}")

    def _tail(self, part: Part, program: str) -> str:
        file = log_file(self.config, program)
        lines = file.read_text(errors="replace").splitlines()[-_TAIL_LINES:] if file.is_file() else []
        return "\n".join([f"End of its log, {file}:", *(f"  {line}" for line in lines or ["(empty)"])])

    def _sweep(self, tell: Progress) -> None:
        """End processes of a stack whose supervisord was killed: they hold its ports, unsupervised."""
        if left := processes.belonging_to(self.config.home):
            tell("stack", f"ending {len(left)} processes that an earlier run left behind")
            processes.end(left, grace_seconds=5)

    @contextmanager
    def _lock(self, tell: Progress) -> Iterator[None]:
        """One `up` or `down` at a time; a second one says so and waits for the first.

        :raises DevstackError: the home holds files of others, which `--wipe` would remove.
        """
        self.config.home.mkdir(parents=True, exist_ok=True)
        # `python -m devstack.hopsworks init` and whoever brings DAGs may have been there before.
        own = {self.config.hopsworks_home, self.config.dags_folder}
        others = sorted(path.name for path in self.config.home.iterdir() if path not in own)
        if others and _FLAG not in others:
            raise DevstackError(
                f"{self.config.home} is no stack's home: it holds {', '.join(others[:3])}{', …' * (len(others) > 3)}. "
                "Set DEVSTACK_HOME to a new or empty folder."
            )
        # Also for a folder that exists: keys and passwords are in it.
        self.config.home.chmod(0o700)
        flag = self.config.home / _FLAG
        with flag.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                tell("stack", "waiting for another up or down of this stack to end")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def check_ports(config: DevstackConfig, parts: Iterable[Part]) -> None:
    """Refuse to start parts whose ports are taken.

    :raises DevstackError: naming each busy port, its setting, and the process that holds it if that can be seen.
    """
    busy = [
        _port_taken(setting, config.ports[setting])
        for part in parts
        for setting in part.port_settings
        if not processes.is_port_free(config.bind_host, config.ports[setting])
    ]
    if busy:
        raise DevstackError("\n".join(busy))


def _port_taken(setting: str, port: int) -> str:
    holder = processes.port_holder(port)
    return (
        f"Port {port} ({setting}) is taken by {holder or 'another process'}: end it, or choose another port with "
        f"DEVSTACK_{setting.upper()} (DEVSTACK_PORT_BASE moves the whole stack)."
    )


def _initialise_hopsworks(config: DevstackConfig) -> None:
    from devstack.hopsworks.home.setup import initialise

    initialise(config)


def _silent(part: str, message: str) -> None:
    """Progress that is not shown."""


def _runs(facts: dict[str, Any] | None) -> bool:
    return bool(facts) and facts["statename"] in ("STARTING", "RUNNING", "BACKOFF")  # type: ignore[index]


def _anything_runs(part: Part, states: dict[str, dict[str, Any]]) -> bool:
    return any(_runs(states.get(program.name)) for program in part.programs)


def _since(facts: list[dict[str, Any]]) -> float:
    return max((float(one.get("start", 0)) for one in facts), default=0.0)
