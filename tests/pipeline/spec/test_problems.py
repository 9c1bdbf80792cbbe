"""Everything that is wrong with a file is told at once, in words about the file."""

import textwrap

import pytest

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.spec import Pipeline

BASE = """
name: cards
source:
  topic: cards
  schema: {tid: string, at: bigint, card: bigint, amount: double}
  event_time: {column: at}
feature_groups:
  - name: cards_10m
    key: [card]
    window: {size: 10m}
    aggregates: {n: count}
"""


def told(tmp_path, *changes):
    """Problems of the base file with these changes, as they stand in the message."""
    text = BASE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "cards.yaml").write_text(text)
    with pytest.raises(PipelineError) as refused:
        Pipeline.from_yaml(tmp_path / "cards.yaml")
    first, *lines = str(refused.value).splitlines()
    assert first.endswith(f"cards.yaml has {len(lines)} problem{'s' * (len(lines) > 1)}:")
    return [line.removeprefix("  - ") for line in lines]


def test_two_wrong_derived_columns_and_a_wrong_condition(tmp_path):
    derive = "derive: {a: {expression: amnt * 2, type: double}, b: {expression: UPPER(card), type: string}}"
    assert told(tmp_path, ("  event_time", f'  {derive}\n  where: "amount"\n  event_time')) == [
        "source: derive.a: column 'amnt' does not exist; there are tid, at, card, amount",
        "source: derive.b: UPPER needs a text, and has bigint; cast it to string",
        "source: where: must be a condition, such as amount > 0, and is double",
    ]


def test_every_setting_of_a_source(tmp_path):
    settings = ["max_future: 0s", "idle_timeout: 0s", "on_decode_error: quarantine", "refused: drop", "where: x > 1"]
    lines = "".join(f"  {setting}\n" for setting in settings)
    assert told(tmp_path, ("column: at", "column: when"), ("  event_time", f"{lines}  event_time")) == [
        "source: event_time.column 'when' is not in schema, which has tid, at, card, amount",
        "source: where: column 'x' does not exist; there are tid, at, card, amount",
        "source: refused: drop contradicts on_decode_error: quarantine, which writes both; remove it",
        "source: max_future must be positive, e.g. 1h",
        "source: idle_timeout must be positive, or null to wait for every partition",
    ]


def test_every_key_and_aggregate(tmp_path):
    aggregates = """
        a: {sum: tid}
        b: {avg: amnt, where: "card", default: x}
        c: {count: "*", where: "cards > 1", default: 0}
        d: {max: amount, default: x}
        e: {mean: amount}
    """
    group = (
        f"key: [card, crad, amount]\n    aggregates:{textwrap.dedent(aggregates).replace(chr(10), chr(10) + ' ' * 6)}"
    )
    lines = told(tmp_path, ("key: [card]", group), ("    aggregates: {n: count}\n", ""))
    assert lines == [
        lines[0],
        "feature_groups[0].key: column 'crad' is not in source.schema, which has tid, at, card, amount",
        "feature_groups[0].key: column 'amount' is double; a key needs values that compare exactly",
        "feature_groups[0].aggregates.a: sum needs a numeric column, and 'tid' is string",
        "feature_groups[0].aggregates.b: column 'amnt' is not in source.schema, which has tid, at, card, amount",
        "feature_groups[0].aggregates.b: where: must be a condition, such as amount > 0, and is bigint",
        "feature_groups[0].aggregates.c: where: column 'cards' does not exist; there are tid, at, card, amount",
        "feature_groups[0].aggregates.c: default: count is 0 where there is nothing, never null; remove default",
        "feature_groups[0].aggregates.d: default: 'x' is not a finite number, which double needs",
    ]
    assert lines[0].startswith("feature_groups[0].aggregates.e: unknown function 'mean'")


def test_rules_of_a_group_and_of_its_neighbours(tmp_path):
    second = """
  - name: cards_10m
    key: [card]
    window: {size: 10m, slide: 3m}
    aggregates: {card: count, window_end: count}
    online: false
    offline: false
    ttl: 1500ms
    upsert_if_newer: true
"""
    assert told(tmp_path, ("aggregates: {n: count}\n", f"aggregates: {{n: count}}{second}")) == [
        "feature_groups[1].window: size 10m must be a multiple of slide 3m",
        "feature_groups[1]: aggregates.card: a key column has that name already",
        "feature_groups[1]: aggregates.window_end: the name is taken by the window functions; for the window's end "
        "as a feature write event_time: window_end",
        "feature_groups[1]: online and offline are both false: the features would go nowhere; remove one",
        "feature_groups[1]: ttl counts from the event time: add event_time, or remove ttl",
        "feature_groups[1]: ttl is 1s500ms; it must be a whole number of seconds, 1s or more",
        "feature_groups[1]: upsert_if_newer compares event times: add event_time, or remove upsert_if_newer",
        "feature_groups[1]: upsert_if_newer is about the online store, and online is false; remove one",
        "feature_groups[1]: cards_10m version 1 is declared twice",
    ]


def test_a_wrong_setting_hides_nothing_beside_it_and_what_follows_from_it_is_not_told(tmp_path):
    """A column of no type is there all the same: what uses it is not wrong for that."""
    lines = told(
        tmp_path,
        ("amount: double", "amount: money"),
        ("{column: at}", "{columns: at}"),
        (
            "  event_time",
            "  partitions: 0\n  max_past: 1d\n  where: amount > 0\n  derive: {d: {expression: tid}}\n  event_time",
        ),
        ("aggregates: {n: count}", "aggregates: {m: {avg: amount}, o: {sum: d}, p: {sum: tid}}\nowner: me"),
    )
    assert [line.partition(":")[0] for line in lines] == [
        "source.schema.amount",
        "source.event_time.column",
        "source.event_time.columns",
        "source.partitions",
        "source.derive.d.type",
        "owner",
        "feature_groups[0].aggregates.p",
    ]


def test_names_and_rules_at_once(tmp_path):
    assert told(tmp_path, ("amount: double", "amount: double, on: int, tid: int"), ("key: [card]", "key: [crad]")) == [
        'line 5, column 67: YAML reads `on` as true: write "on" in quotes',
        "line 5, column 76: the key 'tid' stands twice",
        "feature_groups[0].key: column 'crad' is not in source.schema, which has tid, at, card, amount, on",
    ]


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("on", "true"),
        ("On", "true"),
        ("yes", "true"),
        ("true", "true"),
        ("off", "false"),
        ("no", "false"),
        ("NO", "false"),
        ("False", "false"),
        ("null", "nothing"),
        ("~", "nothing"),
        ("7", "a number"),
        ("1_000", "a number"),
        ("1.5", "a number"),
        ("0x10", "a number"),
        ("10:30", "a number"),
        ("2025-03-01", "a date"),
    ],
)
def test_names_that_yaml_reads_as_something_else(tmp_path, word, meaning):
    wanted = f'YAML reads `{word}` as {meaning}: write "{word}" in quotes'
    assert wanted in "\n".join(told(tmp_path, ("amount: double", f"{word}: double")))
    assert wanted in "\n".join(told(tmp_path, ("{n: count}", f"{{{word}: count}}")))


@pytest.mark.parametrize("word", ["on", "no", "yes", "off", "null", "y", "n", "true"])
def test_quoted_such_names_are_columns(tmp_path, word):
    changes = {
        "card: bigint": f'"{word}": bigint',
        "key: [card]": f'key: ["{word}"]',
        "n: count": f'most: {{max: "{word}"}}',
    }
    text = BASE
    for old, new in changes.items():
        text = text.replace(old, new)
    (tmp_path / "cards.yaml").write_text(text)
    pipeline = Pipeline.from_yaml(tmp_path / "cards.yaml")
    assert list(pipeline.source.columns)[2] == word
    assert Pipeline.parse(pipeline.to_dict()) == pipeline


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("key: [card]", "key: [null]"), "feature_groups[0].key[0]: must be a text, and is empty; where the word null"),
        (("key: [card]", "key: [true]"), 'key[0]: must be a text, and YAML reads `true` as a boolean: write "true" in'),
        (("key: [card]", "key: [12]"), 'key[0]: must be a text, and YAML reads `12` as a number: write "12" in quotes'),
        (("column: at", "column: 1.5"), 'column: must be a text, and YAML reads `1.5` as a number: write "1.5" in'),
        (("n: count", "n: {sum: true}"), "n: sum wants the name of a column: must be a text, and YAML reads `true` as"),
        (("name: cards\n", "name: 7\n"), 'name: must be a text, and YAML reads `7` as a number: write "7" in quotes'),
    ],
)
def test_texts_that_yaml_reads_as_something_else(tmp_path, change, line):
    assert line in "\n".join(told(tmp_path, change))


def test_words_for_booleans_mean_what_they_say_where_one_is_wanted(tmp_path):
    for word, value in (("yes", True), ("on", True), ("true", True), ("no", False), ("off", False), ("False", False)):
        (tmp_path / "cards.yaml").write_text(BASE.replace("key:", f"online: {word}\n    key:"))
        assert Pipeline.from_yaml(tmp_path / "cards.yaml").feature_groups[0].online is value
