"""The audit of the locked packages. uv is a script here that answers as uv does."""

from __future__ import annotations

from pathlib import Path

import pytest

from devstack.machine import audit

UNREACHABLE = "error: Request failed after 3 retries\n  cause: error sending request for url (https://database/v1)"


@pytest.mark.parametrize(
    ("answer", "uv_code", "code", "said"),
    [
        ("Found no known vulnerabilities in 9 packages", 0, 0, "Airflow: Found no known vulnerabilities"),
        ("requests 1 has 1 known vulnerability", 1, 1, "Flink: requests 1 has 1 known vulnerability"),
        (UNREACHABLE, 2, 0, "Flink: not audited, the database of advisories cannot be reached."),
        ("error: unrecognized subcommand 'audit'", 2, 2, "has no `audit`: install uv 0.10 or later"),
        ("error: Unable to find lockfile", 2, 2, "Airflow: error: Unable to find lockfile"),
    ],
)
def test_findings_fail_and_an_unreachable_database_does_not(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], answer: str, uv_code: int, code: int, said: str
) -> None:
    uv = tmp_path / "uv"
    uv.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/calls"\ncat <<END\n{answer}\nEND\nexit {uv_code}\n')
    uv.chmod(0o755)
    assert audit.main(["--uv", str(uv)]) == code
    assert said in "".join(capfd.readouterr())
    root, flink = (tmp_path / "calls").read_text().splitlines()
    assert root.startswith("audit --frozen ")
    assert flink.endswith("/flink_jobs")
