"""Aggregates of all values of a window: their meaning at the edges, against what the standard library says."""

import math
import random
import statistics

import pytest

from hopsworks_flink.testing import evaluate

NAN, INF = math.nan, math.inf
NOON = 1_740_830_400_000
SCHEMA = {"k": "int", "at": "bigint", "x": "double", "y": "double", "ok": "boolean", "who": "string", "id": "bigint"}


def row(events, **aggregates):
    """The row of one window of ten minutes over events a second apart, the last ones at once."""
    spec = {
        "name": "edges",
        "source": {"topic": "t", "schema": SCHEMA, "event_time": {"column": "at"}},
        "feature_groups": [{"name": "g", "key": ["k"], "window": {"size": "10m"}, "aggregates": aggregates}],
    }
    given = [{"k": 1, "at": NOON + 1000 * min(number, 599), **event} for number, event in enumerate(events)]
    (found,) = evaluate(spec, given)["g_1"]
    return tuple(found[name] for name in aggregates)


def of(name, values, *functions):
    """Results over one column; a function may have a p."""
    aggregates = {f"f{n}": f if isinstance(f, dict) else {f: name} for n, f in enumerate(functions)}
    return row([{name: value} for value in values], **aggregates)


def test_share():
    assert of("ok", [True, False, None, True], "share", {"share": "ok", "where": "NOT ok"}) == (2 / 3, 0.0)
    assert of("ok", [None], "share", {"share": "ok", "default": 0.5}) == (None, 0.5)


def test_time_since_last():
    functions = [{"time_since_last": "*"}, {"time_since_last": "x"}, {"time_since_last": "x", "where": "x < 2"}]
    assert of("x", [1, 2, NAN, None], *functions) == (597.0, 599.0, 600.0)
    assert of("x", [None], *functions) == (600.0, None, None)


def test_the_most_frequent_value():
    assert of("who", ["b", "a", None, "b", "a", "c"], "mode") == ("a",)
    assert of("who", [None], "mode", {"mode": "who", "default": "nobody"}) == (None, "nobody")
    assert of("x", [NAN, NAN, -0.0, 0.0, 7, 7, 7], "mode") == (7.0,)
    assert of("x", [NAN, NAN, -0.0, 0.0, 7], "mode") == (0.0,)
    assert of("ok", [True, False], "mode") == (False,)


@pytest.mark.parametrize(
    "values", [[4.0], [3.0, 1.0], [5.5, 1.0, 1.0, 9.0], [0.1] * 7, [float(n * n) for n in range(50)]]
)
def test_percentiles_lie_between_the_values_around_them(values):
    functions = ["median", *({"percentile": "x", "p": p} for p in (0, 0.25, 1))]
    median, least, quarter, most = of("x", [*values, None, NAN], *functions)
    assert (median, least, most) == (pytest.approx(statistics.median(values)), min(values), max(values))
    if len(values) > 1:
        assert quarter == pytest.approx(statistics.quantiles(values, n=4, method="inclusive")[0])


@pytest.mark.parametrize(
    ("values", "median"), [([-INF, INF], None), ([-INF, 5], -INF), ([1e308, 1.5e308], 1.25e308), ([INF, INF], INF)]
)
def test_percentiles_of_the_largest_numbers(values, median):
    assert of("x", values, "median") == (median,)


@pytest.mark.parametrize(("different", "known"), [(10_000, True), (10_001, False)])
def test_of_too_many_different_values_there_is_no_result(different, known):
    events = [{"x": n, "who": str(n)} for n in range(different)] * 2
    found = row(events[: different + 1], m={"median": "x"}, mode={"mode": "who"}, few={"median": "x", "where": "x < 9"})
    # Of the events twice: the first one.
    of_all = (statistics.median([*range(different), 0]), "0") if known else (None, None)
    assert found == (*of_all, 3.5)


@pytest.mark.parametrize("different", [0, 3, 1023, 1024, 20_000])
def test_an_approximate_count(different):
    values = [{"id": n * 7919, "who": f"Zürich {n}"} for n in range(different)] + [{"id": None}]
    random.Random(1).shuffle(values)
    names = {"of_id": {"approx_count_distinct": "id"}, "of_who": {"approx_count_distinct": "who"}}
    found = row(values[:500] + values, **names)
    if different < 1024:
        assert found == (different, different)
    else:
        assert found == (pytest.approx(different, rel=0.12), pytest.approx(different, rel=0.12))
        assert found == row(sorted(values, key=str), **names)


PAIRS = {name: {name: ["x", "y"]} for name in ("covar_samp", "covar_pop", "corr")}


def pairs(*values):
    return row([{"x": x, "y": y} for x, y in values], **PAIRS)


def test_covariance_and_correlation():
    xs, ys = [1.5, 2.0, 8.0, -3.0], [2.0, 0.0, 9.0, 1.0]
    samp = statistics.covariance(xs, ys)
    wanted = (samp, samp * 3 / 4, statistics.correlation(xs, ys))
    left_out = [(1.0, None), (None, 1.0), (NAN, 1.0), (5.0, NAN), (1e200, None)]
    assert pairs(*zip(xs, ys, strict=True), *left_out) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([(None, 1.0)], (None, None, None)),
        ([(2.0, 3.0)], (None, 0.0, None)),
        ([(0.1, 3.0), (0.1, 4.0), (0.1, 9.0)], (0.0, 0.0, None)),
        ([(1.0, 2.0), (3.0, 6.0)], (4.0, 2.0, 1.0)),
        ([(1.0, 2.0), (INF, 1.0)], (None, None, None)),
        ([(1.0, 2.0), (3.0, 1e150)], (None, None, None)),
    ],
)
def test_pairs_at_the_edges(values, wanted):
    assert pairs(*values) == wanted


def test_arrays():
    values = ["b", "a", None, "c", "b", "a", "a"]
    lists = [{name: "who", "n": 2} for name in ("first_n", "last_n", "collect_distinct", "top_k")]
    assert of("who", values, *lists) == (["b", "a"], ["a", "a"], ["a", "b"], ["a", "b"])
    assert of("who", ["x"], *lists) == (["x"],) * 4
    assert of("who", [None], *lists) == (None,) * 4


def test_arrays_of_numbers():
    lists = [{name: "x", "n": 3} for name in ("first_n", "last_n", "collect_distinct", "top_k")]
    found = of("x", [10.0, NAN, 9.0, -INF, 10.0, INF, -0.0, 0.0], *lists)
    assert found == ([10.0, 9.0, -INF], [INF, 0.0, 0.0], [-INF, 0.0, 9.0], [0.0, 10.0, -INF])


def test_a_column_may_have_any_name():
    spec = {
        "name": "edges",
        "source": {"topic": "t", "schema": {"k": "int", "at": "bigint", "e": "string"}, "event_time": {"column": "at"}},
        "feature_groups": [
            {
                "name": "g",
                "key": ["k"],
                "window": {"size": "10m"},
                "aggregates": {"often": {"mode": "e"}, "top": {"top_k": "e", "n": 2}},
            }
        ],
    }
    (found,) = evaluate(spec, [{"k": 1, "at": NOON, "e": text} for text in "abb"])["g_1"]
    assert (found["often"], found["top"]) == ("b", ["b", "a"])
