"""``python3 devstack/machine/audit.py --uv PATH``: known vulnerabilities of the locked packages, by ``uv audit``.

Without access to the database of advisories nothing can be said: it says so and succeeds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PROJECTS = {"Airflow": REPOSITORY, "Flink": REPOSITORY / "flink_jobs"}
VULNERABLE = 1


def audit(uv: str, name: str, project: Path, more: list[str]) -> int:
    """Audit one lock file; returns an exit code."""
    command = [uv, "audit", "--frozen", "--preview-features", "audit-command", "--directory", str(project), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    output = (done.stdout + done.stderr).strip()
    if done.returncode in (0, VULNERABLE):
        sys.stdout.write(f"{name}: {output}\n")
        return done.returncode
    if "unrecognized subcommand" in output:
        sys.stderr.write(f"{uv} has no `audit`: install uv 0.10 or later, or remove it, and make fetches one.\n")
        return done.returncode
    if "error sending request" in output or "Request failed" in output:
        sys.stderr.write(f"{name}: not audited, the database of advisories cannot be reached.\n")
        return 0
    sys.stderr.write(f"{name}: {output}\n")
    return done.returncode


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Do the locked packages have known vulnerabilities?")
    parser.add_argument("--uv", default="uv", help="the uv command")
    options, more = parser.parse_known_args(arguments)
    return max(audit(options.uv, name, project, more) for name, project in PROJECTS.items())


if __name__ == "__main__":
    sys.exit(main())
