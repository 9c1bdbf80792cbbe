"""The Flink programs' own logic, without Flink. What they do inside a cluster is in the integration tests."""

import dataclasses
import shlex

import pytest

from feature_pipeline import JobError, bind, mask
from transaction_simulator import Settings, parse_arguments, statements

SETTINGS = Settings(
    topic="transactions",
    schema={"tid": "string", "datetime": "bigint", "cc_num": "bigint", "amount": "double"},
    event_time="datetime",
    unit="milliseconds",
    key=("cc_num",),
    start=1_700_000_000_000,
    events=1000,
    rate=100,
    speed_up=60.0,
    disorder=3.0,
)


def test_placeholders_are_filled_and_dollars_kept():
    assert bind("'a' = '$$x', ${kafka}", {"kafka": "'b' = '$y'"}) == "'a' = '$x', 'b' = '$y'"


def test_a_placeholder_without_value_is_named():
    with pytest.raises(JobError, match="no value for the placeholder 'kafka'"):
        bind("${kafka}", {})


def test_errors_lose_their_secrets_also_when_quotes_were_doubled():
    text = "options 'key'='it''s secret' and it's secret"
    assert mask(text, ["it's secret"]) == "options 'key'='******' and ******"


def test_simulator_sql(snapshot):
    tables, insert = statements(SETTINGS)
    assert "\n\n".join([*tables, insert]) == snapshot


def test_another_seed_gives_other_events():
    assert statements(SETTINGS) != statements(dataclasses.replace(SETTINGS, seed=2))


def test_an_endless_simulation_has_no_bound():
    assert "number-of-rows" not in statements(dataclasses.replace(SETTINGS, events=0))[0][0]


def test_arguments():
    argv = shlex.split(
        """--topic t --schema '{"k": "string", "at": "int"}' --event-time at --unit seconds --key k --start 5
        --cards 7 --speed-up 2.5 --jars file:///a.jar"""
    )
    settings, jars = parse_arguments(argv)
    assert jars == "file:///a.jar"
    assert settings == Settings(
        topic="t", schema={"k": "string", "at": "int"}, event_time="at", unit="seconds", key=("k",), start=5, cards=7,
        speed_up=2.5,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": 0}, "rate must be positive"),
        ({"disorder": -1.0}, "disorder must not be negative"),
        ({"cards": 2**31}, "cards must be below"),
        ({"key": ("nope",)}, "column nope is not in the schema"),
        ({"schema": {"datetime": "bigint", "cc_num": "uuid"}}, "column cc_num has unknown type uuid"),
        ({"unit": "days"}, "unit must be one of"),
    ],
)
def test_impossible_settings_are_refused(change, message):
    assert any(message in problem for problem in dataclasses.replace(SETTINGS, **change).problems())
