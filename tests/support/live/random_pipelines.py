"""Random pipelines, of which everything a file can say is a part, with events for them: the same for the same seed."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any

from tests.support.live.random_events import COLUMNS, MINUTE, SECOND, Times, random_events
from tests.support.live.random_writing import random_writing

KEYS = [
    ["card"],
    ["card"],
    ["shop"],
    ["flag"],
    ["tiny"],
    ["short"],
    ["whole"],
    ["big"],
    ["day"],
    ["price"],
    ["huge"],
    ["card", "shop"],
    ["shop", "flag", "tiny"],
    ["day", "price", "short"],
]
DERIVED = {
    "gross": ("amount * 2 + 1", "double"),
    "net": ("price * 3", "decimal(12,2)"),
    "half": ("whole / 2", "double"),
    "share": ("price / tiny", "double"),
    "rest": ("whole % 7 - tiny % 2", "bigint"),
    "product": ("whole * short", "bigint"),
    "exact": ("price * price - price + 0.125", "decimal(25,5)"),
    "opposite": ("-whole - -tiny", "bigint"),
    "up": ("CEIL(level) + CEIL(price)", "double"),
    "down": ("FLOOR(price)", "decimal(11,0)"),
    "near": ("ROUND(price, 1)", "decimal(12,1)"),
    "even": ("ROUND(level)", "double"),
    "size": ("ABS(whole) + ABS(tiny) + ABS(amount)", "double"),
    "way": ("SIGN(amount)", "int"),
    "root": ("SQRT(amount)", "double"),
    "logged": ("LN(amount)", "double"),
    "square": ("POWER(ratio, 2)", "double"),
    "grown": ("EXP(ratio)", "double"),
    "most": ("GREATEST(tiny, short, whole)", "bigint"),
    "least": ("LEAST(amount, level)", "double"),
    "bucket": ("CASE WHEN amount > 10 THEN 1 WHEN amount > 0 THEN 2 END", "int"),
    "either": ("COALESCE(tiny, short, 7)", "bigint"),
    "known": ("shop IS NOT NULL AND NOT flag", "boolean"),
    "nonzero": ("NULLIF(whole, 0)", "int"),
    "chosen": ("IF(flag, price, 0.5)", "decimal(10,2)"),
    "narrow": ("whole", "tinyint"),
    "cut": ("amount", "int"),
    "truncated": ("price", "int"),
    "toward": ("ratio", "bigint"),
    "single": ("amount", "float"),
    "long": ("price * 100", "bigint"),
    "fewer": ("huge", "decimal(24,2)"),
    "as_text": (
        "CAST(price AS string) || CAST(whole AS string) || CAST(flag AS string) || CAST(day AS string)",
        "string",
    ),
    "as_number": ("flag", "int"),
    "read_int": ("digits", "int"),
    "read_double": ("digits", "double"),
    "read_decimal": ("digits", "decimal(10,2)"),
    "read_flag": ("digits", "boolean"),
    "place": ("UPPER(shop)", "string"),
    "lower": ("LOWER(shop)", "string"),
    "trimmed": ("TRIM(shop) || TRIM(LEADING FROM digits)", "string"),
    "length": ("LENGTH(shop)", "int"),
    "middle": ("SUBSTRING(shop, 2, 3)", "string"),
    "ends": ("LEFT(shop, 1) || '-' || RIGHT(shop, 2)", "string"),
    "replaced": ("REPLACE(shop, 'i', '$1')", "string"),
    "position": ("POSITION('i' IN shop)", "bigint"),
    "starts": ("STARTS_WITH(shop, 'Z') OR shop LIKE '_t%s'", "boolean"),
    "hour": ("EXTRACT(HOUR FROM seen) * 100 + EXTRACT(SECOND FROM seen)", "int"),
    "week": ("EXTRACT(WEEK FROM day) * 1000 + EXTRACT(DOY FROM day)", "int"),
    "weekday": ("EXTRACT(ISODOW FROM seen) * 10 + EXTRACT(QUARTER FROM seen)", "smallint"),
    "epoch": ("EXTRACT(EPOCH FROM seen)", "bigint"),
    "month": ("DATE_TRUNC('month', seen)", "timestamp"),
    "second": ("DATE_TRUNC('second', seen)", "timestamp"),
    "seen_day": ("CAST(seen AS DATE)", "date"),
    "midnight": ("CAST(day AS TIMESTAMP)", "timestamp"),
    "recent": ("seen > TIMESTAMP '1990-01-01 00:00:00' AND day >= DATE '2025-03-01'", "boolean"),
    "cents": ("ROUND(amount * 100)", "bigint"),
    "sums": ("big + big + whole", "bigint"),
    "products": ("big * 3 - big", "decimal(38,0)"),
    "distance": ("ABS(big)", "bigint"),
    "odd": ("amount / ratio - ratio * amount", "double"),
    "greater": ("GREATEST(amount, ratio)", "double"),
    "order": ("amount < ratio OR NOT (amount < ratio)", "boolean"),
    "no_number": ("COALESCE(NULLIF(amount, ratio), 0)", "double"),
    "same": ("tiny IS NOT DISTINCT FROM short", "boolean"),
}
CONDITIONS = [
    "amount > 0",
    "flag",
    "NOT flag OR price < 5",
    "shop IN ('a', 'Zürich')",
    "whole BETWEEN -1000 AND 1000000",
    "card <> 1 AND shop IS NOT NULL",
    "price <> 12.34 AND price > -2.750",
    "flag IS NOT TRUE",
    "LENGTH(shop) + tiny > 0",
    "COALESCE(ratio, amount) < 1",
]
FILTERS = ["amount IS NULL OR amount > -5", "card IS NULL OR card <> 2", "NOT (flag AND shop = '')"]
MOMENTS = ["sum", "avg", "stddev_samp", "stddev_pop", "var_samp", "var_pop"]
FUNCTIONS = ["count", "count_distinct", "min", "max", "first_value", "last_value", *MOMENTS]
PAIRS = ["covar_samp", "covar_pop", "corr"]
LISTS = ["first_n", "last_n", "collect_distinct", "top_k"]
# In Java beside SQL, and not in native windows.
KEPT = ["approx_count_distinct", "mode", "median", "percentile", *PAIRS, *LISTS]
FUNCTIONS += ["share", "time_since_last"]
# Not over events: the compiler says so. Flink cannot do count_distinct over events in batch mode.
OF_WINDOWS = {
    "time_since_last",
    "approx_count_distinct",
    "mode",
    "median",
    "percentile",
    *PAIRS,
    "count_distinct",
    *LISTS,
}
# Beside settings of a group: `lengths` are windows of single aggregates, `kept` is about functions in Java.
SHAPES: list[dict[str, Any]] = [
    {"window": {"size": "10m", "slide": "1m"}},
    {"window": {"size": "1m"}},
    {"window": {"size": "10m", "step": "2m"}},
    {"window": {"size": "3m"}, "emit": "on_event"},
    {"window": {"size": "3s", "slide": "1s"}},
    {"window": {"size": "7s", "slide": "7s"}, "kept": True},
    {"window": {"size": "1h", "step": "5m"}},
    {"window": {"size": "5s"}, "emit": "on_event"},
    {"window": {"size": "6m", "slide": "90s"}},
    {"window": {"size": "1d"}},
    {"window": {"size": "1d", "step": "1h"}, "kept": True},
    {"window": {"size": "1h"}, "emit": "on_event"},
    # Rows without windows.
    {"features": 8},
    {"window": {"size": "10m", "slide": "1m"}, "lengths": ["1m", "3m", "10m"], "kept": True},
    {"window": {"gap": "40s", "size": "10m"}, "kept": True},
    {"window": {"size": "6m", "slide": "90s"}, "lengths": ["90s", "3m"], "on_empty": "zero"},
    {"window": {"size": "1m"}, "on_empty": "null"},
    {"window": {"size": "3m", "slide": "1m"}, "on_empty": "zero", "kept": True},
]
DEFAULTS: dict[str, list[Any]] = {
    "boolean": [True],
    "string": ["", "it's $1"],
    "date": ["2025-01-01"],
    "timestamp": ["2025-03-01T12:00:00.123456", "1969-12-31 23:59:59"],
}
_MILLISECONDS = {"0s": 0, "1500ms": 1500, "3s": 3 * SECOND, "5s": 5 * SECOND, "1m": MINUTE, "10m": 10 * MINUTE}


@dataclass(frozen=True)
class Case:
    """One random pipeline and its events.

    :param events: in the order of arrival, as `hopsworks_flink.testing.evaluate` takes them.
    :param partitions: of each event.
    :param versions: of each join, in the order of its topic.
    :param schemas: what a registry has, by id.
    """

    seed: int
    spec: dict[str, Any]
    events: list[dict[str, Any]]
    partitions: list[int]
    versions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    schemas: dict[int, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"random_case({self.seed})"


def random_case(seed: int, groups: int = len(SHAPES), events: int = 300) -> Case:
    """The case of a seed: feature groups of every shape."""
    chance = random.Random(seed)
    partitions = chance.choice([1, 2])
    time = chance.choice(["milliseconds", "milliseconds", "seconds", "microseconds", "timestamp", "kafka"])
    disorder, future = chance.choice(["0s", "1500ms", "3s", "5s", "5s", "1m"]), chance.choice(["1m", "10m"])
    derived = dict(chance.sample(sorted(DERIVED.items()), 12))
    spec: dict[str, Any] = {
        "name": f"sameness_{seed}",
        "source": {
            "topic": f"sameness_{seed}",
            "partitions": partitions,
            **random_writing(chance, chance.choice(["avro", "protobuf", "json"]), {"at": _kind_of(time), **COLUMNS}),
            "event_time": _event_time(time),
            "derive": {name: {"expression": text, "type": kind} for name, (text, kind) in derived.items()},
            "max_disorder": disorder,
            "max_future": future,
            "idle_timeout": None,
            "late": chance.choice(["drop", "topic"]),
        },
    }
    if partitions == 1 and chance.random() < 0.5:
        # Which of two partitions has the first of two at once is for them to say.
        spec["source"]["deduplicate"] = {"by": ["card", "shop", "flag"], "within": chance.choice(["1s", "3s"])}
    if chance.random() < 0.5:
        spec["source"]["where"] = chance.choice(FILTERS)
    decks = [names * (groups * 5 // len(names) + 1) for names in (FUNCTIONS, KEPT)]
    for deck in decks:
        chance.shuffle(deck)
    kinds = {**COLUMNS, **{name: kind for name, (_, kind) in derived.items()}}
    spec["feature_groups"] = [
        _group(chance, number, [decks[_shape(number).get("kept", False)].pop() for _ in range(5)], kinds, partitions)
        for number in range(groups)
    ]
    times = Times(time, _MILLISECONDS[disorder], _MILLISECONDS[future])
    found, where = random_events(chance, events, times, partitions)
    if spec["source"]["format"] == "json":
        # JSON has neither NaN nor Infinity.
        found = [{name: None if _not_finite(value) else value for name, value in event.items()} for event in found]
    return Case(seed, spec, found, where)


def _not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _kind_of(time: str) -> str:
    return "timestamp" if time == "timestamp" else "bigint"


def _event_time(time: str) -> Any:
    if time == "kafka":
        return "kafka_timestamp"
    return {"column": "at"} if time == "timestamp" else {"column": "at", "unit": time}


def _shape(number: int) -> dict[str, Any]:
    return SHAPES[number % len(SHAPES)]


def _group(
    chance: random.Random, number: int, functions: list[str], kinds: dict[str, str], partitions: int
) -> dict[str, Any]:
    if "features" in _shape(number):
        return _projected(chance, number, _shape(number)["features"], kinds)
    lengths = _shape(number).get("lengths", [])
    shape = {name: value for name, value in _shape(number).items() if name not in ("lengths", "kept")}
    on_event = shape.get("emit") == "on_event"
    aggregates = {f"f{n}_{name}": _aggregate(chance, name, kinds, partitions) for n, name in enumerate(functions)}
    for aggregate in aggregates.values() if lengths else ():
        aggregate |= chance.choice([{}, *({"window": length} for length in lengths)])
    if on_event:
        aggregates = {name: value for name, value in aggregates.items() if not OF_WINDOWS & set(value)}
    time: Any = "event" if on_event else "window_end"
    if chance.random() < 0.3:
        time = {"feature": "timestamp", "is": time, "type": chance.choice(["bigint", "timestamp"])}
    start = chance.choice([True, {"feature": "began", "type": "bigint"}])
    return {
        "name": f"group_{number}",
        "key": chance.choice(KEYS),
        **shape,
        "event_time": time,
        **({"window_start": start} if not on_event and chance.random() < 0.3 else {}),
        "aggregates": {"n": "count", **aggregates},
    }


def _projected(chance: random.Random, number: int, count: int, kinds: dict[str, str]) -> dict[str, Any]:
    """A group of single events: columns, derived ones, expressions with the type that they have, and with another."""
    key = chance.choice(KEYS)
    names = chance.sample([name for name in kinds if name not in key], count)
    texts: list[Any] = [text for text, _ in chance.sample(sorted(DERIVED.values()), count)]
    texts += [{"expression": text, "type": kind} for text, kind in chance.sample(sorted(DERIVED.values()), count)]
    return {
        "name": f"group_{number}",
        "key": key,
        "event_time": "event",
        "features": {**{name: name for name in names}, **{f"x{n}": text for n, text in enumerate(texts)}},
    }


def _aggregate(chance: random.Random, function: str, kinds: dict[str, str], partitions: int) -> dict[str, Any]:
    columns = {
        "count": ["*", *kinds],
        "count_distinct": [name for name, kind in kinds.items() if kind != "binary"],
        "min": [name for name, kind in kinds.items() if kind not in ("boolean", "binary")],
        # Which of two events at once is the first one is unspecified across partitions.
        "first_value": [name for name, kind in kinds.items() if kind != "binary"] if partitions == 1 else ["tag"],
    }
    columns |= {"max": columns["min"], "last_value": columns["first_value"]}
    columns |= {"mode": columns["count_distinct"], "time_since_last": ["*", *kinds]}
    columns["approx_count_distinct"] = [n for n in columns["count_distinct"] if kinds[n] not in ("float", "double")]
    columns |= {"collect_distinct": columns["mode"], "top_k": columns["mode"]}
    columns |= dict.fromkeys(["first_n", "last_n"], columns["first_value"])
    columns["share"] = [name for name, kind in kinds.items() if kind == "boolean"]
    numeric = [name for name, kind in kinds.items() if kind not in ("boolean", "binary", "string", *DEFAULTS)]
    aggregate: dict[str, Any] = {function: chance.choice(columns.get(function, numeric))}
    if function in PAIRS:
        aggregate[function] = [aggregate[function], chance.choice(numeric)]
    if function in LISTS:
        aggregate["n"] = chance.choice([1, 3, 7])
    if function == "percentile":
        aggregate["p"] = chance.choice([0, 0.1, 0.95, 1])
    if chance.random() < 0.4:
        aggregate["where"] = chance.choice(CONDITIONS)
    if chance.random() < 0.2:
        # Of each result the types that hold it, or some of its values.
        kinds_of_count = ["int", "smallint", "tinyint", "string", "decimal(3,0)", "double"]
        if "count" in function:
            aggregate["type"] = chance.choice(kinds_of_count)
        elif function in MOMENTS:
            aggregate["type"] = "float"
    if "count" not in function and function not in LISTS and chance.random() < 0.3:
        of_column = function in ("min", "max", "mode", "first_value", "last_value")
        kind = kinds[aggregate[function]] if of_column else "double"
        aggregate["default"] = chance.choice(DEFAULTS.get(kind, [0, -1]))
    return aggregate
