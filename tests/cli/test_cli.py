"""The console script, as a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import REPOSITORY

FILE = "dags/pipelines/card_transactions.yaml"
SCRIPT = Path(sys.executable).parent / "hopsworks-flink"
MIDNIGHT = 1_700_006_400_000


def run(*arguments, code=0, stdin=""):
    done = subprocess.run(
        [SCRIPT, *map(str, arguments)], cwd=REPOSITORY, input=stdin, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


def events(*lines):
    return "\n".join(json.dumps(line) for line in lines)


def test_compile_shows_a_sql_script():
    text = run("compile", FILE)
    assert "CREATE TEMPORARY TABLE `credit_card_transactions`" in text
    assert "INSERT INTO `card_transactions_10m_agg v2`" in text
    bare = [line for line in text.splitlines() if not line.startswith("--")]
    assert "\n".join(bare).count(";") == text.count(";"), "comments end no statement"
    assert '--   primary_key: ["cc_num"]' in text


def test_compile_as_json_is_stable_and_complete():
    first, second = (json.loads(run("compile", FILE, "--json")) for _ in range(2))
    assert first == second
    assert len(first["plan_hash"]) == 64
    assert [group["version"] for group in first["feature_groups"]] == [1, 2]
    assert [field["name"] for field in first["source"]["avro_schema"]["fields"]] == [
        "tid",
        "datetime",
        "cc_num",
        "amount",
    ]


def test_evaluate_reads_a_file_or_stdin(tmp_path):
    lines = events(
        {"tid": "a", "datetime": MIDNIGHT, "cc_num": 1, "amount": 2.5},
        {"tid": "b", "datetime": MIDNIGHT + 1, "cc_num": 1, "amount": 3.5},
    )
    file = tmp_path / "events.jsonl"
    file.write_text(lines + "\n\n")
    found = json.loads(run("evaluate", FILE, "--events", file, "--json"))
    assert found == json.loads(run("evaluate", FILE, "--events", "-", "--json", stdin=lines))
    first = found["card_transactions_10m_agg_2"][0]
    assert (first["num_trans_per_10m"], first["avg_amt_per_10m"]) == (2, 3.0)
    assert first["window_end"] == "2023-11-15T00:01:00+00:00"


def test_evaluate_prints_a_table():
    text = run("evaluate", FILE, "--events", "-", "--group", "card_transactions_10m_agg_1", stdin=events({}))
    assert text == "card_transactions_10m_agg_1: 0 row(s)\n(none)\n"
    text = run("evaluate", FILE, "--events", "-", stdin=events({"datetime": MIDNIGHT, "cc_num": 8}))
    title, header, line, first, *_ = text.splitlines()
    assert title == "card_transactions_10m_agg_1: 10 row(s)"
    assert header.split() == ["cc_num", "num_trans_per_10m", "avg_amt_per_10m", "stdev_amt_per_10m"]
    assert set(line) == {"-", " "}
    assert first.split() == ["8", "1"]


def file_of(folder, aggregates, column, **source):
    """A pipeline of windows over one column, beside a card and a time."""
    pipeline = {
        "name": "small",
        "source": {
            "topic": "small",
            "format": "json",
            "schema": {"card": "bigint", "at": "bigint", **column},
            "event_time": {"column": "at"},
            **source,
        },
        "feature_groups": [{"name": "small", "key": ["card"], "window": {"size": "1m"}, "aggregates": aggregates}],
    }
    file = folder / "small.yaml"
    file.write_text(json.dumps(pipeline))
    return file


def test_evaluate_prints_arrays(tmp_path):
    file = file_of(tmp_path, {"days": {"last_n": "day", "n": 2}}, {"day": "date"})
    lines = events({"card": 1, "at": MIDNIGHT, "day": "2025-03-01"}, {"card": 2, "at": MIDNIGHT})
    *_, first, second = run("evaluate", file, "--events", "-", stdin=lines).splitlines()
    assert (first.split(), second.split()) == (["1", '["2025-03-01"]'], ["2"])


def test_numbers_that_json_does_not_have_are_texts(tmp_path):
    huge = {"huge": {"expression": "amount * 1e308", "type": "double"}}
    aggregates = {"most": {"max": "huge"}, "two": {"first_n": "huge", "n": 2}}
    file = file_of(tmp_path, aggregates, {"amount": "double"}, derive=huge)
    lines = events(*({"card": 1, "at": MIDNIGHT + n, "amount": amount} for n, amount in enumerate((10, -10))))
    told = run("evaluate", file, "--events", "-", "--json", stdin=lines)
    ((row,),) = json.loads(told, parse_constant=lambda name: pytest.fail(f"{name} is not JSON")).values()
    assert (row["most"], row["two"]) == ("Infinity", ["Infinity", "-Infinity"])


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (["compile", "absent.yaml"], "", "error: pipeline file absent.yaml cannot be read"),
        (["evaluate", FILE, "--events", "absent.jsonl"], "", "error: --events absent.jsonl cannot be read"),
        (["evaluate", FILE, "--events", "-"], "{}\n{", "error: --events standard input line 2 is not JSON"),
        (["evaluate", FILE, "--events", "-"], "[]", "line 1 must be an object, column to value (found: [])"),
        (["evaluate", FILE, "--events", "-"], '{"cc_num": "x"}', "error: events[0].cc_num: must be a whole number"),
        (["evaluate", FILE, "--events", "-", "--group", "x_1"], "", "error: --group 'x_1' is not in"),
        (["plan", FILE], "", "error: There is no Airflow connection 'hopsworks_default'"),
        (["plan", FILE, "--flink-configuration", "x"], "", "error: --flink-configuration 'x' must be KEY=VALUE"),
        (["plan", FILE, "--state", "lost"], "", "--state: invalid choice: 'lost'"),
        (["evaluate", FILE], "", "the following arguments are required: --events"),
        ([], "", "the following arguments are required: COMMAND"),
    ],
)
def test_errors_are_one_sentence_and_exit_code_1(arguments, stdin, message):
    assert message in run(*arguments, stdin=stdin, code=1)


def test_a_broken_file_names_every_problem(tmp_path):
    file = tmp_path / "broken.yaml"
    file.write_text("name: Cards\nsource: {topic: t}\nfeature_groups: []\n")
    text = run("compile", file, code=1)
    assert "name: must be lower case letters" in text
    assert "source.schema: is required" in text


def test_a_reader_that_has_enough_is_no_error():
    done = subprocess.run(
        f"'{SCRIPT}' compile {FILE} --json | head -c 10",
        cwd=REPOSITORY,
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stderr, len(done.stdout)) == ("", 10)


WITH_A_CONNECTION = """
from airflow import models, settings
from airflow.models import Connection

models.import_all_models()
Connection.__table__.create(settings.engine)
session = settings.Session()
session.add(Connection(conn_id="flink_made_in_the_ui", conn_type="flink", host="ftp://127.0.0.1"))
session.commit()

from hopsworks_flink.cli import main

main(["status", "dags/pipelines", "--flink-conn-id", "flink_made_in_the_ui"])
"""


@pytest.mark.airflow
def test_connections_made_in_airflow_are_found(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "_AIRFLOW_PROCESS_CONTEXT"}
    environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{tmp_path}/airflow.db"
    done = subprocess.run(
        [sys.executable, "-c", WITH_A_CONNECTION], cwd=REPOSITORY, env=environment, capture_output=True, text=True
    )
    assert "ftp://127.0.0.1" in done.stderr, done
