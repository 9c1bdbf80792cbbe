"""What a change of the file does to the state of the job that runs: one line for each kind of change."""

import copy
import re
from unittest import mock

import pytest

from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.sql.events import views
from hopsworks_flink.pipeline.sql.native import native_windows
from hopsworks_flink.pipeline.state import panes_go_on, state_outcome, state_signature

SPEC = {
    "name": "cards",
    "source": {
        "topic": "transactions",
        "schema": {"tid": "string", "at": "bigint", "cc_num": "bigint", "shop": "string", "amount": "double"},
        "event_time": {"column": "at"},
    },
    "feature_groups": [
        {
            "name": "cards",
            "key": ["cc_num"],
            "window": {"size": "10m", "slide": "1m"},
            "aggregates": {
                "n": "count",
                "mean": {"avg": "amount"},
                "spread": {"stddev_samp": "amount"},
                "together": {"corr": ["amount", "cc_num"]},
                "high": {"percentile": "amount", "p": 0.9},
            },
        },
        {"name": "shops", "key": ["shop"], "window": {"size": "1h"}, "aggregates": {"n": {"count": "tid"}}},
        {"name": "rows", "key": ["tid"], "features": {"shop": "UPPER(shop)", "amount": "amount"}},
    ],
}


def changed(path, value, spec=SPEC):
    spec = copy.deepcopy(spec)
    *way, last = path
    place = spec
    for step in way:
        place = place[step]
    if value is None:
        del place[last]
    elif isinstance(last, int) and last == len(place):
        place.append(value)
    else:
        place[last] = value
    return spec


def outcome(spec, **kwargs):
    marks = state_signature(Pipeline.parse(SPEC)).marks()
    return state_outcome(state_signature(Pipeline.parse(spec)).marks(), marks, **kwargs)


CARDS, SHOPS, ROWS = ("feature_groups", 0), ("feature_groups", 1), ("feature_groups", 2)
KEEPS = [
    (("description",), "words"),
    (("source", "max_disorder"), "9s"),
    (("source", "idle_timeout"), "1m"),
    (("source", "partitions"), 4),
    (("source", "start"), "latest"),
    (("source", "schema", "tid"), "string"),
    (("source", "schema", "extra"), "int"),
    (("source", "appended"), ["amount"]),
    ((*CARDS, "description"), "words"),
    ((*CARDS, "event_time"), "window_end"),
    ((*CARDS, "aggregates", "spread"), {"stddev_pop": "amount"}),
    ((*CARDS, "aggregates", "spread"), {"var_samp": "amount", "default": 0, "description": "words"}),
    ((*CARDS, "online"), False),
    ((*CARDS, "aggregates", "together"), {"covar_pop": ["amount", "cc_num"]}),
    ((*CARDS, "aggregates", "mean"), {"avg": "amount", "window": "10m"}),
    ((*SHOPS, "online_types"), {"shop": "varchar(500)"}),
    ((*ROWS, "features", "shop"), "LOWER(shop)"),
    ((*ROWS, "event_time"), "event"),
    ((*CARDS, "event_time"), {"feature": "timestamp", "is": "window_end", "type": "bigint"}),
    ((*CARDS, "window_start"), True),
    ((*CARDS, "order"), ["n", "cc_num", "spread", "mean", "together", "high"]),
    ((*CARDS, "aggregates", "mean"), {"avg": "amount", "type": "float"}),
]
REWARMS = [
    (("source", "topic"), "others", "the source decides otherwise"),
    (("source", "max_future"), "2h", "the source decides otherwise"),
    (("source", "event_time", "unit"), "microseconds", "the source decides otherwise"),
    (("source", "where"), "amount > 0", "the source decides otherwise"),
    (("source", "late"), "topic", "the source decides otherwise"),
    ((*CARDS, "aggregates", "n"), {"count": "*", "where": "amount > 0"}, "other accumulators or"),
    ((*SHOPS, "emit"), "on_event", "shops_1 has another key, other windows"),
    (("source", "schema", "amount"), "float", "cards_1 has another key"),
    ((*CARDS, "key"), ["cc_num", "shop"], "cards_1 has another key"),
    ((*CARDS, "window", "size"), "20m", "cards_1 has another key, other windows"),
    ((*CARDS, "window", "slide"), "2m", "cards_1 has another key, other windows"),
    ((*CARDS, "window", "slide"), None, "cards_1 has another key, other windows"),
    ((*CARDS, "aggregates", "mean"), {"max": "amount"}, "other accumulators or"),
    ((*CARDS, "aggregates", "mean"), {"avg": "at"}, "other accumulators or"),
    ((*CARDS, "aggregates", "most"), {"max": "amount"}, "other accumulators or"),
    ((*CARDS, "aggregates", "n"), None, "other accumulators or"),
    ((*CARDS, "aggregates", "mean"), {"avg": "amount", "window": "5m"}, "other accumulators or"),
    ((*CARDS, "window"), {"gap": "10m"}, "cards_1 has another key, other windows"),
    ((*CARDS, "on_empty"), "zero", "cards_1 has another key, other windows"),
    ((*CARDS, "aggregates", "together"), {"corr": ["cc_num", "amount"]}, "other accumulators or"),
    ((*CARDS, "aggregates", "high", "p"), 0.5, "other accumulators or"),
    ((*SHOPS, "version"), 2, "shops_2 is new"),
    (SHOPS, None, "shops_1 is gone"),
    (ROWS, None, "rows_1 is gone"),
    ((*ROWS, "key"), ["cc_num", "tid"], "rows_1 has another key"),
    (ROWS, {**SPEC["feature_groups"][1], "name": "rows"}, "rows_1 has another key, other windows"),
    (("feature_groups",), SPEC["feature_groups"][::-1], "another order"),
    (("engine",), "sql", "shops_1 has another key, other windows, other accumulators or another engine"),
]


def test_an_unchanged_file_keeps_the_state():
    assert outcome(SPEC) == ("keeps", [])


@pytest.mark.parametrize(("path", "value"), KEEPS)
def test_what_keeps_the_state(path, value):
    assert outcome(changed(path, value)) == ("keeps", [])


@pytest.mark.parametrize(("path", "value", "reason"), REWARMS)
def test_what_has_to_be_rewarmed(path, value, reason):
    found, reasons = outcome(changed(path, value))
    assert found == "rewarms"
    assert reason in "; ".join(reasons)
    assert len(reasons) <= 2


@pytest.mark.parametrize(
    ("change", "go_on"),
    [
        ([((*SHOPS, "aggregates", "more"), {"max": "amount"})], True),
        ([((*SHOPS, "aggregates", "n"), {"avg": "amount"})], True),
        ([((*SHOPS, "aggregates", "n"), {"count": "tid", "where": "amount > 0"})], True),
        ([((*SHOPS, "aggregates", "n"), {"count": "tid", "description": "words"})], False),
        ([((*SHOPS, "aggregates", "more"), {"max": "amount"}), (("source", "where"), "amount > 0")], False),
        ([((*SHOPS, "aggregates", "more"), {"max": "amount"}), ((*SHOPS, "window", "size"), "2h")], False),
        ([((*SHOPS, "aggregates", "more"), {"max": "amount"}), ((*ROWS, "version"), 2)], False),
        ([((*SHOPS, "aggregates", "more"), {"max": "amount"}), ((*SHOPS, "key"), ["shop", "tid"])], False),
        ([((*SHOPS, "aggregates", "more"), {"median": "amount"})], False),
        ([((*CARDS, "aggregates", "more"), {"max": "amount"})], False),
        ([((*SHOPS, "on_empty"), "zero")], False),
        ([(("engine",), "sql")], False),
        ([], False),
    ],
)
def test_panes_go_on_where_only_aggregates_of_native_windows_are_others(change, go_on):
    spec = SPEC
    for path, value in change:
        spec = changed(path, value, spec)
    wanted, running = (state_signature(Pipeline.parse(one)).marks() for one in (spec, SPEC))
    assert panes_go_on(wanted, running) is go_on
    if go_on:
        assert state_outcome(wanted, running) == ("rewarms", ["shops_1 has other aggregates"])
    assert not panes_go_on(wanted, None)
    assert not panes_go_on(wanted, {})
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", text) for mark in wanted.items() for text in mark)


@pytest.mark.parametrize(
    ("before", "window", "go_on"),
    [
        (["2h", "30m"], "30m", True),
        (["2h", "30m"], "2h", True),
        (["2h", "30m"], "1h", False),
        # Rows are of two hours, at which no feature looks back yet.
        (["30m"], "30m", True),
        (["30m"], "2h", False),
    ],
)
def test_panes_go_on_with_the_lengths_that_there_are(before, window, go_on):
    """Each length has a total, which the state of other ones lacks."""
    aggregates = {f"n_{length}": {"count": "*", "window": length} for length in before}
    shops = {**SPEC["feature_groups"][1], "window": {"size": "2h", "slide": "30m"}}
    wanted, running = (
        Pipeline.parse({**SPEC, "feature_groups": [{**shops, "aggregates": {**aggregates, **more}}]})
        for more in ({"most": {"max": "amount", "window": window}}, {})
    )
    assert panes_go_on(state_signature(wanted).marks(), state_signature(running).marks()) is go_on
    # Java tells windows apart by these.
    lengths = [
        {panes for _, _, panes in native_windows(one, one.feature_groups[0]).calls.values()}
        for one in (wanted, running)
    ]
    assert (lengths[0] == lengths[1]) is go_on


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"engine": "sql"}, "rewarms"),
        ({"window": {"gap": "10m"}}, "rewarms"),
        # Whose state tells what it is.
        ({}, "keeps"),
    ],
)
def test_features_that_change_their_names(settings, found):
    """SQL's accumulators lie in the order of the registered features: one would go on as the other."""

    def marks(first, second):
        aggregates = {first: {"sum": "amount"}, second: {"sum": "fee"}}
        group = {**SPEC["feature_groups"][1], "aggregates": aggregates}
        group["window"] = settings.get("window", group["window"])
        spec = changed(("source", "schema", "fee"), "double") | {"feature_groups": [group]}
        return state_signature(Pipeline.parse({**spec, "engine": settings.get("engine", "native")})).marks()

    assert state_outcome(marks("paid", "kept"), marks("kept", "paid"))[0] == found


@pytest.mark.parametrize("engine", ["native", "sql"])
def test_a_condition_over_a_column_of_another_type(engine):
    """Native windows know an aggregate by its SQL, and its types are in that."""

    def marks(kind):
        group = {**SPEC["feature_groups"][1], "aggregates": {"n": {"count": "*", "where": "items > 1"}}}
        spec = changed(("source", "schema", "items"), {"type": kind, "header": "items"}) | {"feature_groups": [group]}
        return state_signature(Pipeline.parse({**spec, "engine": engine})).marks()

    assert state_outcome(marks("bigint"), marks("int"))[0] == "rewarms"
    assert panes_go_on(marks("bigint"), marks("int")) is (engine == "native")


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"window": {"gap": "10m"}}, "rewarms"),
        ({"window": {"size": "1h"}}, "keeps"),
        ({"window": {"size": "1h"}, "emit": "on_event"}, "keeps"),
        ({"window": {"size": "1h"}, "emit": "on_event", "engine": "sql"}, "rewarms"),
    ],
)
def test_columns_in_another_order(settings, found):
    """The events of sessions, and those before an event, wait as rows, whose columns have no names there."""
    engine = {"engine": settings.get("engine", "native")}
    settings = {name: value for name, value in settings.items() if name != "engine"}

    def keyed(*names):
        # JSON, whose columns stand where they like.
        schema = {**dict.fromkeys(names, "string"), "at": "bigint"}
        source = {**SPEC["source"], "format": "json", "schema": schema}
        group = {"name": "g", "key": ["city", "shop"], "aggregates": {"n": "count"}, **settings}
        return state_signature(Pipeline.parse({**SPEC, **engine, "source": source, "feature_groups": [group]})).marks()

    assert state_outcome(keyed("city", "shop"), keyed("shop", "city"))[0] == found

    def marks(*names):
        made = {name: {"expression": f"amount * {len(name)}", "type": "double"} for name in names}
        aggregates = {"least": {"min": "low"}, "most": {"max": "high"}}
        group = {**SPEC["feature_groups"][1], "aggregates": aggregates, **settings}
        source = {**SPEC["source"], "derive": made}
        return state_signature(Pipeline.parse({**SPEC, **engine, "source": source, "feature_groups": [group]})).marks()

    assert state_outcome(marks("low", "high"), marks("high", "low"))[0] == found
    assert state_outcome(marks("low", "more", "high"), marks("more", "low", "high"))[0] == "keeps"


def test_a_derived_text_is_no_char_any_more():
    """As a key it was one of literals in state, which is none of a STRING."""
    from hopsworks_flink.pipeline import state

    made = {"tier": {"expression": "CASE WHEN amount > 5 THEN 'gold' ELSE 'base' END", "type": "string"}}
    group = {**SPEC["feature_groups"][1], "key": ["tier"]}
    spec = {**SPEC, "source": {**SPEC["source"], "derive": made}, "feature_groups": [group]}
    pipeline = Pipeline.parse(spec)
    (view,) = [text for text in views(pipeline, pipeline.feature_groups) if "'gold'" in str(text)]
    assert "CAST(CASE WHEN" in view
    assert "'base' END AS STRING) AS `tier`" in view
    marks = state_signature(pipeline).marks()
    with mock.patch.object(state, "_TEXTS", 1):
        assert state_outcome(marks, state_signature(pipeline).marks())[0] == "rewarms"


@pytest.mark.parametrize(
    ("engine", "before", "after", "found"),
    [
        ("native", {"on_empty": "zero"}, {"on_empty": "null"}, "keeps"),
        ("sql", {"on_empty": "zero"}, {"on_empty": "null"}, "rewarms"),
        ("sql", {"on_empty": "zero"}, {"on_empty": "zero", "default": 0}, "rewarms"),
        ("sql", {"on_empty": "null"}, {"on_empty": "null", "default": 0}, "keeps"),
        # Windows of the whole length are then made for that word alone.
        ("native", {"on_empty": "zero", "window": "5m"}, {"on_empty": "null", "window": "5m"}, "rewarms"),
        ("sql", {"on_empty": "zero", "window": "5m"}, {"on_empty": "null", "window": "5m"}, "rewarms"),
        (
            "sql",
            {"on_empty": "zero", "window": "5m", "default": 0},
            {"on_empty": "null", "window": "5m", "default": 0},
            "rewarms",
        ),
    ],
)
def test_rows_of_empty_windows(engine, before, after, found):
    """SQL's rows wait to be joined, with the word that they are empty where a feature asks for it."""

    def marks(on_empty, window="10m", **default):
        aggregates = {"n": {"count": "*", "window": window}, "paid": {"sum": "amount", "window": window, **default}}
        size = {"size": "10m", "slide": "1m"}
        group = {**SPEC["feature_groups"][1], "window": size, "on_empty": on_empty, "aggregates": aggregates}
        return state_signature(Pipeline.parse({**SPEC, "engine": engine, "feature_groups": [group]})).marks()

    assert state_outcome(marks(**after), marks(**before))[0] == found


def test_what_begins_anew():
    assert outcome(SPEC, fresh=True)[0] == "resets"
    assert state_outcome(state_signature(Pipeline.parse(SPEC)).marks(), None)[0] == "resets"


def test_a_job_of_unknown_origin_is_rewarmed():
    found, (reason,) = state_outcome(state_signature(Pipeline.parse(SPEC)).marks(), {"deployment_hash": "0" * 64})
    assert (found, "does not say" in reason) == ("rewarms", True)


def test_marks_are_plain_words():
    marks = state_signature(Pipeline.parse(SPEC)).marks()
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", text) for pair in marks.items() for text in pair)
