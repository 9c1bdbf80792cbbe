"""Programs and jars on the worker: found, or missed with a sentence that helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from hopsworks_flink.clients.flink.files import OWN_JARS, find_jars, read_program
from hopsworks_flink.exceptions import ConfigurationError


def test_programs_of_the_package_are_found_by_name() -> None:
    module, text = read_program("feature_pipeline")
    assert module == "feature_pipeline"
    assert b"plan.json" in text


def test_a_program_of_ones_own_is_found_by_path(tmp_path: Path) -> None:
    (tmp_path / "sessions.py").write_text("print()")
    assert read_program(str(tmp_path / "sessions.py")) == ("sessions", b"print()")


def test_a_program_must_not_hide_a_module_of_python(tmp_path: Path) -> None:
    (tmp_path / "numbers.py").write_text("print()")
    with pytest.raises(ConfigurationError, match=r"'numbers' is a module of Python's own library.*rename the file"):
        read_program(str(tmp_path / "numbers.py"))


@pytest.mark.parametrize("program", ["nope", "../feature_pipeline", "/nope.py"])
def test_a_missing_program_is_named(program: str) -> None:
    with pytest.raises(ConfigurationError, match="program"):
        read_program(program)


def test_jars_of_another_version_are_told(tmp_path: Path) -> None:
    (tmp_path / "flink-python-2.2.0.jar").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"runs Flink 2\.3\.0.*only flink-python-2\.2\.0\.jar is there"):
        find_jars(tmp_path, "2.3.0", None)


def test_jars_are_known_by_their_content(tmp_path: Path) -> None:
    (tmp_path / "java").mkdir()
    for name in ("flink-python-2.3.0.jar", "b.jar", "a.jar", "java/launcher.jar"):
        (tmp_path / name).write_bytes(name.encode())
    jars = find_jars(tmp_path, "2.3.0", None)
    assert [jar.path.name for jar in jars.connectors] == ["a.jar", "b.jar"]
    before = jars.digests
    (tmp_path / "a.jar").write_bytes(b"another version")
    assert find_jars(tmp_path, "2.3.0", None).digests != before
    assert find_jars(tmp_path, "2.3.0", []).connectors == ()


def test_the_jar_that_starts_programs_is_needed_always(tmp_path: Path) -> None:
    for name in ("flink-python-2.3.0.jar", "kafka.jar"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ConfigurationError, match=rf"`hopsworks-flink jars {tmp_path}` on every worker"):
        find_jars(tmp_path, "2.3.0", [])


@pytest.mark.parametrize("connectors", [None, [], ["a.jar"]])
def test_this_packages_own_jar_comes_along_wherever_the_connectors_are(
    tmp_path: Path, connectors: list[str] | None
) -> None:
    for name in ("flink-python-2.3.0.jar", "a.jar"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"needs the jars of java.*`hopsworks-flink jars "):
        find_jars(tmp_path, "2.3.0", connectors, (OWN_JARS,))
    (tmp_path / OWN_JARS).mkdir()
    (tmp_path / OWN_JARS / "own.jar").write_bytes(b"")
    assert find_jars(tmp_path, "2.3.0", connectors, (OWN_JARS,)).connectors[-1].path.name == "own.jar"
