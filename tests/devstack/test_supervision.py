"""supervisord.conf as supervisor itself reads it, where its socket goes, and which home a stack takes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from devstack.__main__ import main
from devstack.config import DevstackConfig, DevstackError
from devstack.parts import NAMES, Program, declare, select
from devstack.processes import MARKER, write_private
from devstack.supervision import Supervisor, render, socket_path


def read_back(conf: Path) -> dict[str, object]:
    options = ServerOptions()
    options.realize(["-c", str(conf)])
    return {process.name: process for group in options.process_group_configs for process in group.process_configs}


def test_awkward_characters_reach_the_program_as_they_are(tmp_path: Path) -> None:
    home = tmp_path / "half of 'a' home"
    config = DevstackConfig(home=home)
    config.logs.mkdir(parents=True)
    environment = {"QUOTED": "it's, \\o/ 100%#fine;or=not", "EMPTY": ""}
    program = Program("echo", ["/bin/echo", "two words", "100%"], environment, home, path_prefix=tmp_path / "bin")
    write_private(home / "supervisord.conf", render(config, [program]))

    process = read_back(home / "supervisord.conf")["echo"]
    assert process.command == "/bin/echo 'two words' 100%"
    assert process.directory == str(home)
    assert process.environment["QUOTED"] == environment["QUOTED"]
    assert process.environment["EMPTY"] == ""
    assert process.environment["PATH"] == f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    assert process.environment["DEVSTACK_HOME"] == str(home)
    assert process.environment[MARKER] == str(home)
    assert process.stdout_logfile == str(home / "logs" / "echo.log")
    assert (process.autostart, process.stopasgroup, process.killasgroup) == (False, True, True)


def test_a_percent_sign_in_the_home_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DevstackError, match="choose a DEVSTACK_HOME without '%'"):
        render(DevstackConfig(home=tmp_path / "50%"), [])


@pytest.mark.parametrize("value", ['say "hi"', "'quoted'", "two\nlines", "a #comment", "a ;comment"])
def test_what_supervisor_cannot_carry_is_refused(tmp_path: Path, value: str) -> None:
    config = DevstackConfig(home=tmp_path)
    with pytest.raises(DevstackError, match="cannot be given to a part: choose a value without"):
        render(config, [Program("echo", ["/bin/echo"], {"NAME": value})])


def test_every_program_of_the_stack_can_be_read(tmp_path: Path) -> None:
    config = DevstackConfig(home=tmp_path)
    config.logs.mkdir()
    parts = declare(config)
    assert tuple(parts) == NAMES
    programs = [program for part in parts.values() for program in part.programs]
    write_private(tmp_path / "supervisord.conf", render(config, programs))
    assert set(read_back(tmp_path / "supervisord.conf")) == {program.name for program in programs}


def test_every_port_is_some_part_s(tmp_path: Path) -> None:
    config = DevstackConfig(home=tmp_path, flink_high_availability=True)
    taken = [setting for part in declare(config).values() for setting in part.port_settings]
    assert sorted(taken) == sorted(config.ports)


def test_more_taskmanagers_and_a_zookeeper_are_programs_of_their_parts(tmp_path: Path) -> None:
    one = declare(DevstackConfig(home=tmp_path))
    assert [len(one[name].programs) for name in ("flink-jobmanager", "flink-taskmanager")] == [1, 1]
    assert "zookeeper_port" not in one["flink-jobmanager"].port_settings
    more = declare(DevstackConfig(home=tmp_path, taskmanagers=3, flink_high_availability=True))
    assert [program.name for program in more["flink-jobmanager"].programs] == ["flink-zookeeper", "flink-jobmanager"]
    names = [program.name for program in more["flink-taskmanager"].programs]
    assert names == ["flink-taskmanager", "flink-taskmanager-2", "flink-taskmanager-3"]


def test_the_socket_moves_out_of_a_home_that_is_too_deep(tmp_path: Path) -> None:
    near = DevstackConfig(home=Path("/tmp/x"))
    assert socket_path(near) == Path("/tmp/x/supervisor.sock")
    deep = DevstackConfig(home=tmp_path / ("d" * 60) / ("e" * 60))
    path = socket_path(deep)
    assert len(os.fsencode(path)) < 90
    assert path != socket_path(DevstackConfig(home=tmp_path / ("d" * 60) / ("f" * 60)))
    with socket.socket(socket.AF_UNIX) as probe:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            probe.bind(f"{path}.{os.getpid()}")
        finally:
            path.with_name(f"{path.name}.{os.getpid()}").unlink(missing_ok=True)
            path.parent.rmdir()


def test_nothing_runs_means_no_pid_and_no_states(tmp_path: Path) -> None:
    supervisor = Supervisor(DevstackConfig(home=tmp_path / "none"))
    assert supervisor.pid() is None
    assert supervisor.states() == {}


def test_parts_bring_what_they_need() -> None:
    assert select(None) == list(NAMES)
    assert select(["hopsworks-onlinefs"]) == ["kafka", "hopsworks-onlinefs"]
    assert select(["flink-taskmanager"]) == ["flink-jobmanager", "flink-taskmanager"]
    with pytest.raises(DevstackError, match="There is no part 'spark'; the parts are kafka, flink-jobmanager"):
        select(["spark"])


@pytest.mark.parametrize("command", [["up", "kafka"], ["down"], ["down", "--wipe"]])
def test_a_folder_of_others_is_neither_taken_nor_removed(
    tmp_path: Path, monkeypatch, capsys, command: list[str]
) -> None:
    mine = tmp_path / "thesis.txt"
    mine.write_text("four years")
    mode = tmp_path.stat().st_mode
    monkeypatch.setenv("DEVSTACK_HOME", str(tmp_path))
    assert main(command) == 1
    assert "it holds thesis.txt. Set DEVSTACK_HOME to a new or empty folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [mine]
    assert tmp_path.stat().st_mode == mode


def test_a_stack_that_never_ran_is_wiped(tmp_path: Path, monkeypatch) -> None:
    home = tmp_path / "home"
    for folder in ("hopsworks", "dags"):
        (home / folder).mkdir(parents=True)
    monkeypatch.setenv("DEVSTACK_HOME", str(home))
    monkeypatch.setenv("DEVSTACK_DAGS_FOLDER", str(home / "dags"))
    assert main(["down", "--wipe"]) == 0
    assert not home.exists()


def test_a_home_that_is_a_link_to_another_disk_is_emptied(tmp_path: Path, monkeypatch) -> None:
    disk, home = tmp_path / "disk", tmp_path / "home"
    (disk / "hopsworks").mkdir(parents=True)
    home.symlink_to(disk)
    monkeypatch.setenv("DEVSTACK_HOME", str(home))
    assert main(["down", "--wipe"]) == 0
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(("name", "value"), [("PORT_BASE", "abc"), ("TASK_SLOTS", "0"), ("KAFKA_SECURITY", "ssl")])
def test_a_wrong_setting_is_named(monkeypatch, capsys, name: str, value: str) -> None:
    monkeypatch.setenv(f"DEVSTACK_{name}", value)
    assert main(["status"]) == 1
    assert f"DEVSTACK_{name}={value}: Input should be" in capsys.readouterr().err
