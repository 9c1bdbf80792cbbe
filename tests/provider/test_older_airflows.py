"""The packages that the older Airflows are tested with: exactly pinned, and what the distribution asks for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = (REPOSITORY / "pyproject.toml").read_text()
PINS = sorted((REPOSITORY / "tests/airflow").glob("requirements-*.txt"))


def dependencies() -> list[Requirement]:
    """The project's own list; no TOML reader is in Python 3.10."""
    block = re.search(r"^dependencies = \[\n(.*?)^\]", PROJECT, re.DOTALL | re.MULTILINE)
    assert block is not None
    return [Requirement(text) for text in re.findall(r'^\s*"([^"]+)"', block[1], re.MULTILINE)]


@pytest.mark.parametrize("pins", PINS, ids=lambda path: path.stem.partition("-")[2])
def test_pins_are_exact_and_satisfy_the_project(pins: Path) -> None:
    """A dependency that was added or raised: ``make lock-airflow VERSION=…``."""
    found: dict[str, list[Requirement]] = {}
    for line in pins.read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), line
            found.setdefault(requirement.name, []).append(requirement)
    assert str(found["apache-airflow"][0].specifier) == f"=={pins.stem.partition('-')[2]}"
    for dependency in dependencies():
        assert dependency.name in found, f"{dependency.name} is not in {pins.name}: make lock-airflow"
        for pin in found[dependency.name]:
            version = Version(str(pin.specifier).removeprefix("=="))
            assert version in dependency.specifier, f"{pin} in {pins.name}: make lock-airflow"


def test_the_airflow_inside_hopsworks_is_among_them() -> None:
    assert [path.stem for path in PINS] == ["requirements-3.0.6", "requirements-3.1.8"]


@pytest.mark.parametrize("folder", ["dags", "provider", "sensors", "triggers"])
def test_what_differs_between_airflows_is_tested_with_the_older_ones(folder: str) -> None:
    """Parsing, metadata, deferral and serialisation; of operators and hooks, what uses them."""
    modules = [path for path in (REPOSITORY / "tests" / folder).glob("test_*.py")]
    unmarked = {path.stem for path in modules if "pytest.mark.airflow" not in path.read_text()}
    assert len(modules) > len(unmarked)
    assert unmarked <= {"test_documentation", "test_older_airflows"}
