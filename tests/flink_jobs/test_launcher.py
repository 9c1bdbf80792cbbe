"""The launcher that starts Python programs inside Flink, without Flink."""

from __future__ import annotations

import subprocess
from pathlib import Path

from devstack.jars import JAVA_JARS


def test_one_program_at_a_time_and_one_that_waits() -> None:
    """Across class loaders: the others are sent away, a wait ends, and a turn is always given back."""
    (jar,) = JAVA_JARS.glob("*.jar")
    check = Path(__file__).with_name("TurnCheck.java")
    done = subprocess.run(["java", str(check), str(jar)], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr
