"""What is said on a machine that lacks something: one sentence with the remedy."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.config import REPOSITORY
from devstack.machine import doctor


@pytest.fixture
def bin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the PATH; empty."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return folder


def command(folder: Path, name: str, says: str, code: int = 0) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit {code}\n")
    file.chmod(0o755)


def test_no_java_and_no_maven(bin: Path) -> None:
    assert "Java is missing: install a JDK 17" in (doctor.java() or "")
    assert "Maven (mvn) is missing: install it" in (doctor.maven() or "")


@pytest.mark.parametrize(
    ("says", "fits"),
    [
        ('openjdk version "17.0.15" 2025-04-15', True),
        ('openjdk version "21" 2023-09-19', True),
        ('java version "1.8.0_401"', False),
        ('openjdk version "11.0.2" 2019-01-15', False),
        ('openjdk version "25.0.1" 2025-10-21', False),
        ("No Java runtime present, requesting install.", False),
    ],
)
def test_versions_of_java(bin: Path, says: str, fits: bool) -> None:
    command(bin, "java", says)
    remedy = doctor.java()
    assert (remedy is None) is fits
    assert fits or "JAVA_HOME" in str(remedy)


def test_java_home_goes_before_the_path(bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command(bin, "java", 'openjdk version "11.0.2"')
    (tmp_path / "jdk" / "bin").mkdir(parents=True)
    command(tmp_path / "jdk" / "bin", "java", 'openjdk version "17.0.1"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    assert doctor.java() is None


def test_no_fitting_python(bin: Path) -> None:
    command(bin, "uv", "error: No interpreter found", code=2)
    assert "does not work here" in (doctor.python("uv") or "")
    (bin / "uv").write_text('#!/bin/sh\n[ "$1" = --version ] || exit 2\n')
    assert "No Python >=3.10,<3.14 for the Airflow environment: install" in (doctor.python("uv") or "")


def test_all_sentences_at_once_and_the_exit_code(bin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["java", "maven"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2
    command(bin, "java", 'openjdk version "17.0.1"')
    command(bin, "mvn", "")
    assert doctor.main(["java", "maven"]) == 0
    assert capsys.readouterr().err == ""


def test_it_runs_without_any_environment() -> None:
    """Isolated, without site-packages: nothing but the standard library may be needed."""
    script = str(REPOSITORY / "devstack" / "machine" / "doctor.py")
    done = subprocess.run([sys.executable, "-I", "-S", script, "maven"], capture_output=True, timeout=30, check=False)
    assert done.returncode == (0 if shutil.which("mvn") else 1)


def test_the_versions_are_those_of_the_projects() -> None:
    for purpose, project in (("Airflow", "pyproject.toml"), ("Flink", "flink_jobs/pyproject.toml")):
        assert f'requires-python = "{doctor.PYTHONS[purpose]}"' in (REPOSITORY / project).read_text()


def test_what_takes_a_while_says_so() -> None:
    program = [sys.executable, str(REPOSITORY / "devstack" / "machine" / "progress.py"), "fetching"]
    failing = [*program, "sh", "-c", "sleep 1.5; exit 3"]
    done = subprocess.run(failing, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "fetching\n")
    leader, terminal = pty.openpty()
    assert subprocess.run(failing, stdout=terminal, check=False).returncode == 3
    os.close(terminal)
    shown = os.read(leader, 4096).decode()
    os.close(leader)
    assert shown.startswith("\rfetching: 0 s\rfetching: 1 s")
    assert shown.endswith(" s\r\n")
