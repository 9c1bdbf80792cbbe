"""The Makefile's promises that can be seen without running its targets."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from devstack.config import REPOSITORY


def make(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    # The tests themselves run under make, whose settings a child would take over and talk about.
    settings = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "ARGS", "VERSION", "AGAIN")
    own = {name: value for name, value in os.environ.items() if name not in settings}
    environment = {**own, **({"PATH": path} if path else {})}
    command = [shutil.which("make") or "make", *arguments]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_without_a_target_it_explains_itself() -> None:
    shown = make().stdout
    for target in ("demo", "up", "down", "status", "check", "test", "lint"):
        assert f"make {target} " in shown


def test_the_environments_are_locked_and_no_interpreter_is_fetched() -> None:
    plan = make("-B", "-n", "env").stdout
    assert plan.count("sync --frozen") == 2
    text = (REPOSITORY / "Makefile").read_text()
    assert "UV_PYTHON_DOWNLOADS := never" in text
    assert "UV_PYTHON_PREFERENCE := only-system" in text


def test_a_machine_without_uv_gets_its_own(tmp_path: Path) -> None:
    for tool in ("bash", "sh", "awk", "python3"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or tool)
    plan = make("-B", "-n", "env", path=str(tmp_path)).stdout
    assert "python3 -m venv .uv" in plan
    assert ".uv/bin/uv sync --frozen" in plan


@pytest.mark.parametrize("target", ["demo", "up", "test"])
def test_what_needs_the_stack_makes_the_environments_first(target: str) -> None:
    plan = make("-B", "-n", target).stdout
    assert plan.index("devstack/machine/doctor.py") < plan.index("sync --frozen") < plan.index("-m devstack.jars")


@pytest.mark.parametrize("failing", ["-airflow-3.0.6", "", None])
def test_a_failure_on_any_airflow_fails_the_whole_and_the_others_still_run(failing: str | None, tmp_path: Path) -> None:
    """The recipe itself, with a recorder in place of each environment's Python."""
    pythons = [tmp_path / f".venv{name}/bin/python" for name in ("-airflow-3.0.6", "-airflow-3.1.8", "")]
    for python in pythons:
        python.parent.mkdir(parents=True)
        verdict = 1 if python.parent.parent.name == f".venv{failing}" else 0
        python.write_text(f'#!/bin/sh\necho "$0" >> {tmp_path}/calls\nexit {verdict}\n')
        python.chmod(0o755)
    recipe = make("-n", "test").stdout
    run = subprocess.run(["bash", "-eu", "-c", recipe[recipe.index("code=0") :]], cwd=tmp_path, timeout=20, check=False)
    assert (run.returncode != 0) is (failing is not None)
    assert [tmp_path / call for call in (tmp_path / "calls").read_text().split()] == pythons


def test_everything_is_one_run_in_parallel_that_names_the_slowest_tests() -> None:
    plan = make("-n", "test").stdout
    (everything,) = [line for line in plan.splitlines() if "--dist loadscope" in line]
    assert "--durations 10" in everything
    assert " -m " not in everything.partition("-m pytest")[2]
    older = [line for line in plan.splitlines() if "-m airflow" in line]
    assert all("tests/triggers/test_flink_triggers.py" in line for line in older)


def test_chosen_tests_run_on_the_newest_airflow_only() -> None:
    assert ".venv-airflow-" not in make("-n", "test", "ARGS=-k kafka").stdout


@pytest.mark.parametrize("target", ["check", "test-python"])
def test_what_says_that_it_needs_no_stack_selects_without_it(target: str) -> None:
    plan = make("-n", target, "VERSION=3.12").stdout
    processes = 1 + min(os.cpu_count() or 1, 7)
    assert plan.count("-m pytest") == plan.count(f'-n {processes} --dist worksteal -m "not integration"') == 1


def test_check_is_lint_types_and_tests() -> None:
    plan = make("-n", "check").stdout
    assert plan.index("ruff check") < plan.index("mypy") < plan.index("-m pytest")


@pytest.mark.parametrize("code", [0, 1])
def test_the_run_of_ci_ends_with_the_summary_of_all_tests_and_their_verdict(code: int, tmp_path: Path) -> None:
    """The script itself, with a recorder in place of make."""
    script, summary = tmp_path / ".ci/run", "===== 2 failed, 7 passed, 1 skipped in 61.50s (0:01:01) ====="
    script.parent.mkdir()
    shutil.copy(REPOSITORY / ".ci/run", script)
    logs = tmp_path / ".devstack-test-gw0/logs"
    logs.mkdir(parents=True)
    (logs / "kafka.log").write_text("the broker's last words\n")
    recorder = tmp_path / "bin/make"
    recorder.parent.mkdir()
    recorder.write_text(f'#!/bin/sh\necho "$@"\necho "3 passed in 1.00s"\necho "{summary}"\necho more\nexit {code}\n')
    recorder.chmod(0o755)
    environment = {**os.environ, "PATH": f"{recorder.parent}:{os.environ['PATH']}"}
    run = subprocess.run([script], env=environment, capture_output=True, text=True, timeout=30, check=False)
    lines = run.stdout.splitlines()
    assert (lines[0], lines[-1], run.returncode) == ("test AGAIN=1", summary, code)
    assert ("the broker's last words" in lines) is bool(code)


@pytest.mark.parametrize(("before", "again"), [("", True), ("failed with Airflow 3.0.6", False)])
def test_modules_that_failed_are_run_again_alone(before: str, again: bool, tmp_path: Path) -> None:
    """Those of the main run; what fails on an older Airflow, even when it is run again, is final."""
    script, recorder, first = tmp_path / ".ci/run", tmp_path / "bin/make", tmp_path / "first"
    for file in (script, recorder):
        file.parent.mkdir()
    shutil.copy(REPOSITORY / ".ci/run", script)
    # A failed test's captured output may hold the very line that make prints.
    failed = "failed with Airflow 3.0.6\\nFAILED tests/a.py::test_one - no\\nERROR tests/b.py::test_two - no"
    recorder.write_text(
        "#!/bin/sh\n"
        f'echo "$@"; [ -e {first} ] && {{ echo "== 2 passed in 1.00s =="; exit 0; }}; touch {first}\n'
        f"printf 'FAILED tests/older.py::test - once\\n{before}\\ntesting everything\\n{failed}\\n'\n"
        'echo "== 2 failed in 2.00s =="; exit 1\n'
    )
    recorder.chmod(0o755)
    environment = {**os.environ, "PATH": f"{recorder.parent}:{os.environ['PATH']}"}
    run = subprocess.run([script], env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert ("test AGAIN=1 ARGS=tests/a.py tests/b.py" in run.stdout.splitlines()) is again
    assert (run.returncode == 0) is again


def test_wipe_is_asked_for() -> None:
    assert "--wipe" not in make("-n", "down").stdout
    assert make("-n", "down", "WIPE=1").stdout.rstrip().endswith("devstack down --wipe")
