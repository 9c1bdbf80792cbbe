"""What the machine must have: a JDK, Maven, and interpreters for the two environments.

Runs before any environment exists, on any ``python3``, so it imports the standard library only:
``python3 devstack/machine/doctor.py java maven``, ``python3 devstack/machine/doctor.py --uv PATH python``.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys

# Kafka 4 needs 17; Flink 2.3 is made for 11, 17 and 21.
JAVA_VERSIONS = (17, 21)
# As in pyproject.toml of each environment.
PYTHONS = {"Airflow": ">=3.10,<3.14", "Flink": ">=3.10,<3.13"}


def java() -> str | None:
    """The remedy if there is no suitable JDK, otherwise None."""
    home = os.environ.get("JAVA_HOME")
    command = (shutil.which("java", path=os.path.join(home, "bin")) if home else None) or shutil.which("java")
    wanted = "install a JDK 17, e.g. `apt-get install openjdk-17-jdk-headless` or `brew install openjdk@17`"
    if command is None:
        return f"Java is missing: {wanted}."
    output = _output([command, "-version"])
    found = re.search(r'version "(\d+)', output)
    if found is None:
        return f"{command} does not tell its version: {wanted}, and set JAVA_HOME to it."
    if int(found.group(1)) not in range(JAVA_VERSIONS[0], JAVA_VERSIONS[1] + 1):
        return (
            f"Java {found.group(1)} ({command}) does not fit, it must be {JAVA_VERSIONS[0]} to {JAVA_VERSIONS[1]}: "
            f"{wanted}, and set JAVA_HOME to it."
        )
    return None


def maven() -> str | None:
    """The remedy if Maven is missing, otherwise None."""
    if shutil.which("mvn") is None:
        return "Maven (mvn) is missing: install it, e.g. `apt-get install maven` or `brew install maven`."
    return None


def python(uv: str) -> str | None:
    """The remedy if this machine has no suitable interpreter for an environment, otherwise None."""
    if shutil.which(uv) is None or _fails([uv, "--version"]):
        return f"{uv} does not work here: use make, which fetches uv itself, or name a working one with --uv."
    for purpose, versions in PYTHONS.items():
        command = [uv, "python", "find", "--system", "--no-project", "--no-python-downloads", versions]
        command[3:3] = ["--python-preference", "only-system"]
        if _fails(command):
            return (
                f"No Python {versions} for the {purpose} environment: install e.g. Python 3.12 "
                "(`apt-get install python3.12 python3.12-venv`, `brew install python@3.12`, `pyenv install 3.12`)."
            )
    return None


def main(arguments: list[str] | None = None) -> int:
    """Print one sentence for each thing that is missing; the exit code tells whether any is."""
    parser = argparse.ArgumentParser(description="Is this machine ready for the local stack?")
    parser.add_argument("checks", nargs="+", choices=["java", "maven", "python"])
    parser.add_argument("--uv", default="uv", help="the uv command, for the check of Python")
    options = parser.parse_args(arguments)
    checks = {"java": java, "maven": maven, "python": lambda: python(options.uv)}
    missing = [remedy for remedy in (checks[name]() for name in options.checks) if remedy]
    for remedy in missing:
        sys.stderr.write(remedy + "\n")
    return 1 if missing else 0


def _fails(command: list[str]) -> bool:
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return done.returncode != 0


def _output(command: list[str]) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.stdout.decode(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
