"""`status`: one line a pipeline, against a stub of Flink."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from hopsworks_flink.cli import main
from tests.support.flink_stub import FlinkStub
from tests.support.supervising import PIPELINE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("cards", "shops"):
        spec = json.loads(json.dumps(PIPELINE).replace("cards", name).replace('"g"', f'"{name}_agg"'))
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(spec))
    return tmp_path


def streaming(flink: FlinkStub, name: str, **kwargs: Any) -> Any:
    started = int((time.time() - 7200) * 1000)
    return flink.add(name, **{"checkpoint": "file:/c/1", "checkpoint_age": 3.0, "start_time": started, **kwargs})


def status(folder: Path, capsys: pytest.CaptureFixture, code: int) -> list[dict[str, Any]]:
    assert main(["status", str(folder), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_all_is_well(flink: FlinkStub, folder: Path, capsys: pytest.CaptureFixture) -> None:
    lag = {"Source__cards[1].KafkaSourceReader.pendingRecords": 12.0}
    job = streaming(flink, "cards__features", metrics=lag, watermark=int((time.time() - 70) * 1000))
    streaming(flink, "shops__features")
    cards, shops = status(folder, capsys, 0)
    assert (cards["pipeline"], cards["verdict"], cards["job"], cards["lag"]) == ("cards", "healthy", job.job_id, 12)
    assert cards["up"] == "2 h"
    assert cards["behind"] in ("70 s", "71 s")
    assert cards["checkpoint"].endswith(" s")
    assert shops["lag"] is None
    assert main(["status", str(folder)]) == 0
    table = capsys.readouterr().out
    assert table.splitlines()[0].split()[:3] == ["pipeline", "verdict", "job"]


def test_what_somebody_should_look_at(flink: FlinkStub, folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / "broken.yaml").write_text("name: Broken\n")
    streaming(flink, "cards__features", failures=[1.0, 2.0, 3.0, 4.0])
    streaming(flink, "shops__features", state="FAILED", exception="x.Y: outer\nCaused by: a.B: cards, offset 5")
    ours = {"deployed_by": "airflow-provider-hopsworks-flink"}
    streaming(flink, "old__features", user_config=ours)
    streaming(flink, "somebody_elses")
    streaming(flink, "cards__recompute__20250301T000000Z__20250302T000000Z", user_config=ours)
    streaming(flink, "shops__simulate", user_config=ours)
    lines = {line["pipeline"]: line for line in status(folder, capsys, 2)}
    assert {name: line["verdict"] for name, line in lines.items()} == {
        "cards": "sick",
        "shops": "missing",
        "broken.yaml": "bad file",
        "old__features": "no file",
    }
    assert lines["cards"]["reason"].startswith("it restarted 4 times within 600 s")
    assert (lines["shops"]["job"], lines["shops"]["reason"]) == (None, "a.B: cards, offset 5")


def test_a_folder_that_is_not_there(capsys: pytest.CaptureFixture) -> None:
    assert main(["status", "nowhere"]) == 1
    assert "nowhere cannot be read" in capsys.readouterr().err
