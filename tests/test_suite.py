"""What the tests promise of themselves."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator

from tests.support import REPOSITORY
from tests.support.groups import group_of


def collect(*arguments: str) -> str:
    """What pytest shows of a collection, and the names of all modules that this has imported."""
    program = "import sys, pytest; pytest.main(sys.argv[1:]); print(*sys.modules)"
    command = [sys.executable, "-c", program, "--collect-only", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=400, check=True).stdout


def test_what_needs_the_stack_is_left_out_and_nothing_else() -> None:
    shown = collect("-m", "not integration", "tests/integration", "tests/test_suite.py")
    listed = {line.partition("::")[0] for line in shown.splitlines() if "::" in line}
    assert listed == {"tests/test_suite.py"}, shown


def test_the_compiler_is_tested_without_airflow_and_the_sdk() -> None:
    shown = collect("tests/pipeline/test_state.py")
    assert "tests/pipeline/test_state.py::" in shown
    assert not {"airflow", "hopsworks", "fastapi", "requests"} & set(shown.splitlines()[-1].split())


def imported(source: str) -> Iterator[str]:
    """The full names that a module imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            prefix = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            yield from (prefix + alias.name for alias in node.names)


def test_modules_that_share_a_stack_lie_together() -> None:
    """In tests/integration/airflow those that need its processes, in alone those that share none."""
    for path in (REPOSITORY / "tests" / "integration").rglob("test_*.py"):
        text, folder = path.read_text(), path.parent.name
        assert ("with_airflow" in text) is (folder == "airflow"), path
        shares = bool(re.search(r"def \w+\([^)]*\bstack\b", text)) and "\ndef stack(" not in text
        assert shares is (folder != "alone"), path
        assert folder in {"jobs", "values", "platform", "airflow", "alone"}, path
    assert group_of("tests/integration/jobs/test_a.py::test_b[x::y]") == "tests/integration/jobs"
    assert group_of("tests/integration/airflow/test_a.py::test_b") == "tests/integration/airflow"
    assert group_of("tests/integration/alone/test_a.py::test_b") == "tests/integration/alone/test_a.py"


def test_nothing_is_imported_from_a_module_of_tests() -> None:
    """What two of them use is in tests/support."""
    found = [
        f"{path.relative_to(REPOSITORY)}: {name}"
        for path in sorted((REPOSITORY / "tests").rglob("*.py"))
        for name in imported(path.read_text())
        if re.match(r"tests\..*\b(test_|conftest)", name)
    ]
    assert found == []


def test_there_is_one_conftest() -> None:
    assert [path.parent.name for path in (REPOSITORY / "tests").rglob("conftest.py")] == ["tests"]
