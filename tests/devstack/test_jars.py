"""Fetching jars: once per pom, whole or not at all. Maven is a script here that leaves a trace of each call."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from devstack import jars
from devstack.config import DevstackError

MAVEN = """\
#!/bin/sh
echo call >> "{calls}"
for word in "$@"; do case "$word" in -DoutputDirectory=*) folder="${{word#*=}}" ;; esac; done
sleep 0.2
cp "$4" "$folder/one.jar"
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with one line per call of Maven."""
    file = tmp_path / "calls"
    script = tmp_path / "bin" / "mvn"
    script.parent.mkdir()
    script.write_text(MAVEN.format(calls=file))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    monkeypatch.setattr(jars, "CACHE", tmp_path / "cache")
    return file


@pytest.fixture
def pom(tmp_path: Path) -> Path:
    file = tmp_path / "broker" / "pom.xml"
    file.parent.mkdir()
    file.write_text("<project/>")
    return file


def test_once_for_a_pom_and_again_for_another(calls: Path, pom: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "jars"
    target.parent.mkdir()
    for _ in range(3):
        assert jars.fetch(pom, target) == target
    assert len(calls.read_text().splitlines()) == 1
    (target / "stale.jar").write_text("of yesterday's version")
    pom.write_text("<project>newer</project>")
    jars.fetch(pom, target)
    assert [jar.name for jar in target.glob("*.jar")] == ["one.jar"]
    assert (target / "one.jar").read_text() == "<project>newer</project>"


def test_two_at_once_fetch_once(calls: Path, pom: Path, tmp_path: Path) -> None:
    threads = [threading.Thread(target=jars.fetch, args=(pom, tmp_path / "jars")) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(calls.read_text().splitlines()) == 1


def test_a_failure_leaves_the_old_jars_and_says_what_maven_said(calls: Path, pom: Path, tmp_path: Path) -> None:
    target = jars.fetch(pom, tmp_path / "jars")
    pom.write_text("<project>broken</project>")
    script = tmp_path / "bin" / "mvn"
    script.write_text("#!/bin/sh\necho 'Could not find artifact x:y:jar:1'\nexit 1\n")
    with pytest.raises(DevstackError, match="Could not find artifact x:y:jar:1"):
        jars.fetch(pom, target)
    assert (target / "one.jar").read_text() == "<project/>"


def test_without_maven(calls: Path, pom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DevstackError, match="Maven \\(mvn\\) is not on the PATH: install it"):
        jars.fetch(pom, tmp_path / "jars")


def test_a_pom_with_sources_is_built_again_when_they_change(calls: Path, pom: Path, tmp_path: Path) -> None:
    script = tmp_path / "bin" / "mvn"
    script.write_text(script.read_text().replace("echo call", 'echo "$5"'))
    source = pom.parent / "src" / "Format.java"
    source.parent.mkdir()
    for text in ("class A {}", "class A {}", "class B {}"):
        source.write_text(text)
        jars.fetch(pom, tmp_path / "jars")
    assert calls.read_text().splitlines() == ["package", "package"]
