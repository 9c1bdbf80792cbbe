"""The examples of the documentation are tests, and they pass."""

import json
import re
from datetime import datetime

import pytest
import yaml

from hopsworks_flink.cli import main
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.spec.source.writing import Pattern
from tests.support import REPOSITORY
from tests.support.documents import BASE, PIECES, with_piece

NOON = 1_735_732_800_000
VALUES = {
    "boolean": True,
    "string": "a",
    "date": "2025-01-01",
    "timestamp": "2025-01-01T12:00:00Z",
    "binary": "YWI=",
}


def written(column):
    """A value of a column as its records have it."""
    if column.pattern:
        return Pattern.written(column.pattern, datetime(2025, 1, 1, 12))
    if column.unit:
        return NOON // 1000 if column.unit == "seconds" else NOON
    return VALUES.get(column.type.name, 7)


def test_the_documented_example(monkeypatch):
    text = (REPOSITORY / "docs" / "testing-features.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    names = {}
    exec(compile(code, "docs/testing-features.md", "exec"), names)
    monkeypatch.chdir(REPOSITORY)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert len(tests) == 1
    for test in tests:
        test()


@pytest.mark.parametrize("piece", [{}, *PIECES], ids=lambda piece: json.dumps(piece)[:60])
def test_every_piece_of_a_file_is_evaluated(piece, tmp_path, capsys):
    pipeline = Pipeline.parse(with_piece(piece) if piece else BASE)
    source = pipeline.source
    event = {name: written(column) for name, column in source.declared.items()}
    if source.event_time.column and source.columns[source.event_time.column].is_integer:
        event[source.event_time.column] = NOON if source.event_time.unit == "milliseconds" else NOON // 1000
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(pipeline.to_dict(), sort_keys=False))
    (tmp_path / "events.jsonl").write_text(json.dumps({**event, "__kafka_timestamp": NOON}) + "\n")
    words = ["evaluate", str(tmp_path / "pipeline.yaml"), "--events", str(tmp_path / "events.jsonl"), "--json"]
    for name, join in source.join.items():
        version = {column: written(of) for column, of in join.declared.items()}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({**version, "__kafka_timestamp": NOON}) + "\n")
        words += ["--join", f"{name}={tmp_path / name}.jsonl"]
    code = main(words)
    assert code == 0
    for name, rows in json.loads(capsys.readouterr().out).items():
        assert rows, name
        assert all(value is not None for value in rows[0].values()), rows[0]
