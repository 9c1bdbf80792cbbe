"""`explain` before anybody is asked, and what people see (integration/values/test_explain.py asks)."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hopsworks_flink.cli import main
from hopsworks_flink.cli.explaining import WIDTH, parse_key, to_text
from hopsworks_flink.exceptions import ConfigurationError
from hopsworks_flink.health.explanation import (
    COUNTED,
    DUPLICATE,
    Event,
    Explanation,
    Facts,
    Row,
    Store,
    findings,
    key_text,
)
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.types import FeatureType
from tests.support import REPOSITORY

FILE = str(REPOSITORY / "dags" / "pipelines" / "card_transactions.yaml")
AT = 1_780_056_000_000
LATE = Event(1, 123_456_789, AT, AT - 5, COUNTED, behind=283_000)


def explanation(**more: Any) -> Explanation:
    types = {
        "cc_num": "bigint",
        "a_feature_with_a_name_that_is_as_long_as_hopsworks_lets_it_be": "double",
        "n": "bigint",
        "text": "string",
    }
    kinds = {name: FeatureType.parse(kind) for name, kind in types.items()}

    def row(n: int) -> Row:
        return Row(AT, {"cc_num": 4444, **dict.fromkeys(list(types)[1:2], n / 7), "n": n, "text": "word " * 30})

    online, offline = Store(row(3), [LATE]), Store(row(3), [LATE])
    facts = Facts(AT, kinds, row(4), **{"online": online, "offline": offline, "watermark": AT, "job": "j", **more})
    events = [
        Event(0, 12, AT - 40_000, AT - 40_123, COUNTED),
        Event(0, 13, AT - 39_000, AT - 40_123, DUPLICATE),
        LATE,
        Event(1, 123_456_790, AT, None, "datetime is further ahead of the Kafka timestamp than max_future"),
    ]
    read = ["topic credit_card_transactions_of_the_whole_world, Kafka time … to now: 12345 records, 4 of this key"]
    return Explanation("cards", "card_transactions_10m_agg_2", {"cc_num": 4444}, facts, events, findings(facts), read)


def test_lines_fit_a_terminal() -> None:
    text = to_text(explanation())
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.startswith("card_transactions_10m_agg_2: cc_num 4444, row of 2026-05-29T12:00:00Z")
    words = " ".join(text.split())
    assert "late_event (online, offline): 1 event(s) came after the window had closed" in words
    assert "Remedy: Raise source.max_disorder" in words
    assert "came 5 min behind the watermark" in words
    assert "refused: " in words
    assert "Nothing differs" not in text


def test_a_difference_is_marked_in_its_line() -> None:
    lines = to_text(explanation()).splitlines()
    marked = [line for line in lines if line.endswith("differs")]
    assert [line.split()[0][:9] for line in marked] == ["a_feature", "n"]


def test_stores_that_agree_and_many_events() -> None:
    found = explanation()
    equal = Store(found.facts.recomputed)
    same = explanation(online=equal, offline=None)
    text = to_text(same)
    assert text.endswith("Nothing differs: online as recomputed.")
    many = Explanation("p", "g_1", {"k": 1}, same.facts, [LATE] * 50, same.findings, (), ["Flink: it does not answer"])
    text = to_text(many)
    assert "(the last 30 of 50; --json has all)" in text
    assert "- Flink: it does not answer" in text


KEYS = {"s": "string", "i": "bigint", "d": "date", "m": "decimal(6,2)", "b": "boolean", "at": "bigint"}


def keyed(*names: str) -> tuple[Pipeline, Any]:
    pipeline = Pipeline.parse(
        {
            "name": "keyed",
            "source": {"topic": "t", "format": "json", "schema": KEYS, "event_time": {"column": "at"}},
            "feature_groups": [
                {"name": "g", "key": list(names), "window": {"size": "1m"}, "aggregates": {"n": "count"}}
            ],
        }
    )
    return pipeline, pipeline.feature_groups[0]


@pytest.mark.parametrize(
    ("names", "text", "values"),
    [
        (["i"], "4444", (4444,)),
        (["s"], "a,b", ("a,b",)),
        (["s", "i"], "a,-3", ("a", -3)),
        (["s", "i"], '"Smith, ""Al""",-3', ('Smith, "Al"', -3)),
        (["s"], '"a"', ('"a"',)),
        (["d", "m", "b"], "2025-03-01,1.50,True", (date(2025, 3, 1), Decimal("1.50"), True)),
    ],
)
def test_keys(names: list[str], text: str, values: tuple[Any, ...]) -> None:
    assert parse_key(*keyed(*names), text) == values
    assert parse_key(*keyed(*names), key_text(values)) == values


@pytest.mark.parametrize(
    ("names", "text", "problem"),
    [
        (["i"], "four", "i is bigint, and 'four' is none"),
        (["d"], "March", "d is date"),
        (["b"], "maybe", "b is boolean"),
        (["m"], "x", "m is decimal"),
        (["s", "i"], "a", "has 1 value.* the key of g_1 is s, i"),
        (["s", "i"], "", "has 0 value.* the key of g_1 is s, i"),
        (["s", "i"], "a, b,3", "has 3 value.* put one that has a comma into double quotes"),
    ],
)
def test_keys_that_are_none(names: list[str], text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        parse_key(*keyed(*names), text)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--key", "4444", "--at", "yesterday"], "--at must be a time in ISO 8601"),
        (["--key", "4444", "--at", "1740830400"], "--at: 1740830400 has ten digits, as epoch seconds have"),
        (["--key", "4444", "--at", "2025-03-01T12:00:00Z", "--margin", "long"], "--margin 'long'"),
        (["--key", "4444", "--at", "2025-03-01T12:00:00Z", "--group", "cards_9"], "--group 'cards_9' is not in"),
        (["--key", "x", "--at", "2025-03-01"], "--key: cc_num is bigint"),
    ],
)
def test_wrong_words_ask_nobody(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody listens there: whoever is asked would say so.
    monkeypatch.setenv("AIRFLOW_CONN_HOPSWORKS_DEFAULT", '{"conn_type": "hopsworks", "host": "127.0.0.1", "port": 1}')
    assert main(["explain", FILE, *arguments]) == 1
    assert problem in capsys.readouterr().err


def test_the_file_comes_first(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["explain", str(tmp_path / "none.yaml"), "--key", "1", "--at", "2025-03-01"]) == 1
    assert "cannot be read" in capsys.readouterr().err
