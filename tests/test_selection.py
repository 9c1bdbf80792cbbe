"""What pytest runs when it is told to leave the local stack alone."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import REPOSITORY


def test_what_needs_the_stack_is_left_out_and_nothing_else() -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    chosen = ["-m", "not integration", "tests/integration", "tests/test_selection.py"]
    run = subprocess.run([*command, *chosen], cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    listed = [line for line in run.stdout.splitlines() if "::" in line]
    assert [line.partition("::")[0] for line in listed] == ["tests/test_selection.py"], run.stdout
