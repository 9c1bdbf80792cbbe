"""`doctor`: one line for each thing, against a stub of Flink and the local Hopsworks server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hopsworks_flink.cli import main
from hopsworks_flink.clients.flink.files import OWN_JARS
from tests.support import REPOSITORY
from tests.support.fixtures import set_connection
from tests.support.flink_stub import FlinkStub
from tests.support.hopsworks_server import LocalHopsworks

JARS = REPOSITORY / "flink_jobs" / "connectors" / "jars"


def doctor(capsys: pytest.CaptureFixture, *arguments: str, code: int = 2) -> dict[str, tuple[str, str]]:
    assert main(["doctor", "--json", *arguments]) == code
    return {one["subject"]: (one["result"], one["text"]) for one in json.loads(capsys.readouterr().out)}


def test_each_thing_has_its_line(
    flink: FlinkStub,
    hopsworks: LocalHopsworks,
    jars_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "sqlite:////tmp/airflow.db?timeout=20")
    (own,) = (JARS / OWN_JARS).glob("*.jar")
    shutil.copy(own, jars_dir / OWN_JARS)
    found = doctor(capsys)
    # This server has no broker, which is the one thing that is wrong.
    assert {subject: result for subject, (result, _) in found.items() if result != "ok"} == {"kafka": "wrong"}
    assert list(found) == [
        "packages",
        "database",
        "triggerer",
        "hopsworks",
        "feature store",
        "jobs",
        "kafka",
        "flink",
        "jars",
        "restore points",
    ]
    assert "project demo" in found["hopsworks"][1]
    assert "3 of 4 slots free" in found["flink"][1]
    assert str(jars_dir) in found["jars"][1]
    assert "none is needed" in found["triggerer"][1]
    assert main(["doctor"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(found)
    assert lines[0].split()[:2] == ["ok", "packages"]


def test_what_is_wrong_has_a_remedy(
    flink: FlinkStub,
    hopsworks: LocalHopsworks,
    jars_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    next(jars_dir.glob("flink-python-*")).unlink()
    flink.configuration = {"state.checkpoints.dir": "s3://c"}
    flink.slots_available = 0
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    set_connection(monkeypatch, "hopsworks_default", **{**hopsworks.connection(), "password": "a.b"})
    found = doctor(capsys, "--kafka-conn-id", "nowhere")
    assert found["triggerer"][0] == "warning"
    assert "unset [operators] default_deferrable" in found["triggerer"][1]
    assert found["hopsworks"] == ("wrong", found["hopsworks"][1])
    assert "refused the API key" in found["hopsworks"][1]
    assert "There is no Airflow connection 'nowhere'" in found["source kafka"][1]
    assert found["flink"][0] == "warning"
    assert "add a TaskManager" in found["flink"][1]
    assert "hopsworks-flink jars" in found["jars"][1]
    assert found["restore points"][0] == "wrong"
    assert "no execution.checkpointing.savepoint-dir" in found["restore points"][1]
    assert "checkpointing.dir:" not in found["restore points"][1]


def test_nothing_is_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    for conn_id in ("HOPSWORKS_DEFAULT", "FLINK_DEFAULT"):
        monkeypatch.delenv(f"AIRFLOW_CONN_{conn_id}", raising=False)
    found = doctor(capsys)
    assert "There is no Airflow connection 'hopsworks_default'" in found["hopsworks"][1]
    assert "flink_default" in found["flink"][1]
    assert not {"jars", "kafka", "jobs"} & set(found)


def test_an_older_jar_of_this_package_is_named(flink: FlinkStub, jars_dir: Path, capsys: pytest.CaptureFixture) -> None:
    result, text = doctor(capsys)["jars"]
    assert result == "wrong"
    assert "hopsworks-flink-java-1.jar is not the jar of version" in text
    assert f"hopsworks-flink jars {jars_dir}" in text


@pytest.mark.parametrize(
    ("url", "result"),
    [
        ("sqlite:////opt/airflow.db", "warning"),
        ("sqlite:////opt/airflow.db?timeout=20", "ok"),
        ("postgresql+psycopg2://airflow:secret@db/airflow", "ok"),
    ],
)
def test_the_database_of_airflow(
    url: str, result: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", url)
    assert main(["doctor"]) == 2
    (line,) = [line for line in capsys.readouterr().out.splitlines() if " database " in line]
    assert line.startswith(result)
    assert "secret" not in line
    assert (result == "ok") == ("?timeout=20" not in line)


def test_no_secret_is_shown(flink: FlinkStub, hopsworks: LocalHopsworks, capsys: pytest.CaptureFixture) -> None:
    found: Any = doctor(capsys)
    assert hopsworks.connection()["password"] not in json.dumps(found)
