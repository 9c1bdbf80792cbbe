"""Expressions at the edges of their types: Flink, in stream and batch, fails for none, and DuckDB agrees.

Runs in a Flink of its own, without a cluster.
"""

from __future__ import annotations

import datetime
import itertools
import math
import os
import pickle
import struct
import subprocess
from decimal import Decimal
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from hopsworks_flink.pipeline.expressions import Expression
from hopsworks_flink.pipeline.types import FeatureType
from hopsworks_flink.testing.evaluation import _arrow_type, connect
from tests.support import REPOSITORY
from tests.support.live.stack import JAVA_OPTIONS

pytestmark = pytest.mark.timeout(1200)

INF, NAN = math.inf, math.nan
EPOCH = datetime.datetime(1970, 1, 1)
DOUBLES = [NAN, INF, -INF, -0.0, 0.0, 5e-324, 1.7976931348623157e308, -1e307, 1e19, 2.0**63, 0.5, -2.5, 0.1 + 0.2, None]
FLOATS = [NAN, INF, -INF, -0.0, 2.0**-149, 3.4028234663852886e38, -1.5, 16777216.0, None]
BIGINTS = [-(2**63), -(2**63) + 1, -1, 0, 1, 3, 2**53 + 1, 2**63 - 1, None]
INTS = [-(2**31), -1, 0, 7, 2**31 - 1, None]
TINIES = [-128, 0, 127, None]
CENTS = [Decimal(text) for text in ("-99999999.99", "99999999.99", "0.00", "-0.01", "2.50", "0.05")] + [None]
WIDE = [Decimal(text) for text in ("9" * 28 + "." + "9" * 10, "-" + "9" * 28 + ".5", "0.0000000001", "0")] + [None]
WHOLE = [Decimal("9" * 38), Decimal("-" + "9" * 38), Decimal(0), Decimal(7), None]
HUGE_TEXT = "ä1" * 50_000
# fmt: off
TEXTS = [
    "", " ", "a", "ß", "straße", "ﬁx", "İ", "ΑΣ", "Ǆ", "日本", "👍🏽", "\x00", "a\nb", "%_", "\\", "O'Neil",
    "\u00a0x\u00a0",
    "12", "12\n", " 12 ", "+7", "-0", "1.5", ".5", "5.", "1e3", "1e-3", "1e99", "1e-99", "1e400", "1e-400",
    "1e999999999", "-1e39", "1e28", "NaN", "Infinity", "-inf", "0x1p3", "1d", "1_0", "١٢", "\uff11\uff12",
    "9223372036854775807", "9223372036854775808", "2.675", "-128", "128", "0" * 299 + "7", "true", " FALSE ", "yes",
    HUGE_TEXT, "7" * 100_000, None,
]
# fmt: on
DAYS = [datetime.date(1, 1, 1), datetime.date(1582, 10, 10), datetime.date(1969, 12, 31), datetime.date(2024, 2, 29)]
DAYS += [datetime.date(9999, 12, 31), None]
MOMENTS = [
    "0001-01-01",
    "0004-02-29T12:00",
    "1582-10-04T23:59:59.999999",
    "1582-10-10T01:00",
    "1582-10-15",
    "1582-11-01",
]
MOMENTS += ["1700-02-28T23:59:59", "1969-12-31T23:59:59.999999", "1970-01-01T00:00:00.000001", "2024-12-30T12:34:56.5"]
MOMENTS += ["9999-12-31T23:59:59.999999"]
TIMES = [*(datetime.datetime.fromisoformat(text) for text in MOMENTS), None]


class Table(NamedTuple):
    """Expressions over rows of edges.

    :param expressions: with the type that they are derived as where it is not their own.
    """

    columns: dict[str, str]
    rows: list[tuple[Any, ...]]
    expressions: list[tuple[str, str | None]]


def pairs(values: list[Any], others: list[Any] | None = None) -> list[tuple[Any, ...]]:
    return list(itertools.product(values, values if others is None else others))


def of(*texts: str, kind: str | None = None) -> list[tuple[str, str | None]]:
    return [(text, kind) for text in texts]


def each(text: str, *kinds: str) -> list[tuple[str, str | None]]:
    return [(text, kind) for kind in kinds]


NUMBERS = ("tinyint", "smallint", "int", "bigint", "float", "double")
COMPARISONS = of(
    *("x = y", "x <> y", "x < y", "x <= y", "x > y", "x >= y", "NOT (x < y)", "NOT x = y", "x IS DISTINCT FROM y"),
    *("x IS NOT DISTINCT FROM y", "x BETWEEN y AND 2", "x NOT BETWEEN y AND 2", "x IN (y, 1, 2)", "x NOT IN (y, 1)"),
    *("x IS NULL", "x IS NOT NULL", "COALESCE(x, y, 1)", "NULLIF(x, y)", "GREATEST(x, y)", "LEAST(x, y, 3)"),
    *("CASE WHEN x > y THEN x ELSE y END", "CASE x WHEN y THEN 1 WHEN 1 THEN 2 ELSE 3 END", "IF(x = y, x, NULL)"),
    *("x > y OR x <= y", "x > y AND x < y", "(x < y) IS TRUE", "(x < y) IS NOT FALSE", "NOT (x < y AND y > 0)"),
)
ARITHMETIC = of("x + y", "x - y", "x * y", "x / y", "-x", "-x - -y", "ABS(x)", "ABS(x - y)", "SIGN(x)", "x + y > x")
MATHS = of(
    *("CEIL(x)", "FLOOR(x)", "ROUND(x)", "SQRT(x)", "EXP(x)", "LN(x)", "POWER(x, 2)", "POWER(x, -1)", "POWER(x, 0)"),
    *("POWER(2, x)", "POWER(x, y)", "POWER(x, 0.5)", "SQRT(x * y)", "LN(x + 1) < 5", "ROUND(x * y) IS NULL"),
)
TABLES = [
    Table(
        {"x": "double", "y": "double"},
        pairs(DOUBLES),
        [
            *COMPARISONS,
            *ARITHMETIC,
            *MATHS,
            *each("ROUND(x * 100)", *NUMBERS),
            *each("x * y", *NUMBERS),
            *each("x", *NUMBERS),
            *of("1e308 * 10", "1e308 * 10 - 1e308 * 10", "0 * x", "x - x = 0", "x / x", "(x - y) * 0 = 0"),
            # What the planner makes of guards and of lists.
            *of("(x < y AND y > 0) IS NOT FALSE", "(x IN (1, 2)) IS NOT FALSE", "(x BETWEEN 0 AND 2) IS NOT FALSE"),
            *of("(NOT x BETWEEN 0 AND 2) IS NOT TRUE", "(CAST(x AS int) > 1 AND y > 0) IS NOT FALSE"),
            *of("IF(x NOT IN (0, 1), 1, 2)", "IF(x <> 0 AND x <> 1, 1, 2)", "CASE x WHEN 0 THEN 1 WHEN 2 THEN 1 END"),
        ],
    ),
    Table({"x": "float", "y": "double"}, pairs(FLOATS, DOUBLES), [*COMPARISONS, *ARITHMETIC, *MATHS]),
    Table({"x": "float", "y": "float"}, pairs(FLOATS), [*COMPARISONS, *each("x", *NUMBERS), *each("x * y", "float")]),
    Table(
        {"x": "bigint", "y": "bigint"},
        pairs(BIGINTS),
        [
            *COMPARISONS,
            *ARITHMETIC,
            *MATHS,
            *of("x % y", "x % 7", "7 % x", "(x + y) % 3", "(x * y) % y", "-(-x)", "ABS(-x)", "x + y + 1"),
            *each("x + y", *NUMBERS, "string", "decimal(20,0)"),
            *each("x * y", *NUMBERS, "string"),
            *each("-x", "bigint"),
            *each("ABS(x)", "bigint"),
            *each("x - 1", "bigint"),
            *each("x", *NUMBERS, "decimal(10,0)", "decimal(38,0)", "string"),
            *of("x + 0.5", "x * 1e300", "x = 9223372036854775807", "x > 9.3e18", "x < -9223372036854775807"),
        ],
    ),
    Table(
        {"x": "int", "y": "tinyint"},
        pairs(INTS, TINIES),
        [*COMPARISONS, *ARITHMETIC, *of("x % y", "x * y * x", "x * x * x * y"), *each("x * y", "int", "tinyint")],
    ),
    Table(
        {"x": "decimal(10,2)", "y": "decimal(10,2)"},
        pairs(CENTS),
        [
            *COMPARISONS,
            *ARITHMETIC,
            *MATHS,
            *of("ROUND(x, 1)", "ROUND(x, 5)", "x * y * x", "x + 0.125", "x = 2.5"),
            *each("x", *NUMBERS, "decimal(4,1)", "decimal(38,30)", "string"),
            *each("x * y", "decimal(10,2)", "int", "float"),
        ],
    ),
    Table(
        {"x": "decimal(38,10)", "y": "bigint"},
        pairs(WIDE, BIGINTS),
        [
            *COMPARISONS,
            *of("x / y", "-x", "ABS(x)", "SIGN(x)", "CEIL(x)", "FLOOR(x)", "ROUND(x)", "ROUND(x, 9)", "ROUND(x, 10)"),
            *of("SQRT(x)", "x = 0.0000000001"),
            *each("x", *NUMBERS, "decimal(10,2)", "decimal(38,0)", "decimal(38,20)", "string"),
        ],
    ),
    Table(
        {"x": "decimal(38,0)", "y": "decimal(18,10)", "z": "decimal(19,9)", "u": "decimal(37,8)"},
        [
            (w, y, z, u)
            for w in WHOLE
            for y in (Decimal("99999999.9999999999"), None)
            for z in (Decimal("-9999999999.999999999"), Decimal("0.000000001"))
            for u in (Decimal("9" * 29 + ".00000001"), Decimal("-0.00000001"))
        ],
        of(
            "-x",
            "ABS(x)",
            "FLOOR(x)",
            "ROUND(x)",
            "y * z",
            "y - z",
            "y / z",
            "u + u",
            "u - 0.00000001",
            "x % 7",
            "z * y < 0",
        ),
    ),
    Table(
        {"s": "string", "t": "string"},
        [*((text, text) for text in TEXTS), *pairs(["", "a", "aa", "日本", None])],
        [
            *of("UPPER(s)", "LOWER(s)", "TRIM(s)", "TRIM(LEADING FROM s)", "TRIM(TRAILING FROM s)", "LENGTH(s)"),
            *of("SUBSTRING(s, 2)", "SUBSTRING(s, 1, 0)", "SUBSTRING(s, 3, 2000000000)", "SUBSTRING(s, 2000000000)"),
            *of(
                "LEFT(s, 0)", "LEFT(s, 2)", "LEFT(s, 2000000000)", "RIGHT(s, 0)", "RIGHT(s, 2)", "RIGHT(s, 2000000000)"
            ),
            *of("s || t", "CONCAT(s, t, s)", "REPLACE(s, 'a', '')", "REPLACE(s, '1', 'ßß')", "POSITION(t IN s)"),
            *of(
                "POSITION('b' IN s)", "STARTS_WITH(s, t)", "STARTS_WITH(s, '')", "s LIKE '%'", "s LIKE '_'", "s LIKE ''"
            ),
            *of("s LIKE 'a_b'", "s LIKE '_%'", "s LIKE '%_'", "s LIKE '_._'", "s LIKE '👍_'"),
            *of("s LIKE 'a%b'", "s LIKE '%!%%'", "s = t", "s < 'b'", "s >= t", "s IN ('a', '', t)", "GREATEST(s, 'M')"),
            *of("'a' IN (s, t)", "IF(s IS NULL, 'a', 'b') IN (t, 'aa')", "'a' BETWEEN s AND t", "'a' NOT IN (t, '')"),
            *of("LEAST(s, t)", "NULLIF(s, 'a')", "COALESCE(s, 'none')", "s BETWEEN 'a' AND 'z'", "s IS NULL"),
            *each("s", *NUMBERS, "decimal(10,2)", "decimal(38,0)", "decimal(38,38)", "boolean"),
            *each("TRIM(s) || '0'", "int", "double"),
        ],
    ),
    Table(
        {"x": "date", "y": "date", "at": "timestamp"},
        [(day, other, at) for day, other in pairs(DAYS) for at in (TIMES if other == DAYS[0] else TIMES[:1])],
        [
            *of(*(f"EXTRACT({part} FROM x)" for part in ("YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "DOY", "ISODOW"))),
            *of(*(f"EXTRACT({part} FROM at)" for part in ("YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "DOY", "ISODOW"))),
            *of(*(f"EXTRACT({part} FROM at)" for part in ("HOUR", "MINUTE", "SECOND", "EPOCH"))),
            *of(*(f"DATE_TRUNC('{unit}', at)" for unit in ("year", "month", "day", "hour", "minute", "second"))),
            *of("CAST(at AS DATE)", "CAST(x AS TIMESTAMP)", "CAST(x AS STRING)", "x = y", "x < at", "GREATEST(x, y)"),
            *of(
                "LEAST(x, at)",
                "NULLIF(x, y)",
                "x BETWEEN y AND DATE '2000-01-01'",
                "at > TIMESTAMP '1500-01-01 00:00:00'",
            ),
            *of(
                "COALESCE(x, y)",
                "x IN (y, DATE '9999-12-31')",
                "CAST(DATE_TRUNC('day', at) AS DATE) = CAST(at AS DATE)",
            ),
        ],
    ),
    Table(
        {"x": "boolean", "y": "boolean"},
        pairs([True, False, None]),
        [
            *of("x AND y", "x OR y", "NOT x", "x = y", "x <> y", "x IS TRUE", "x IS NOT FALSE", "x IS DISTINCT FROM y"),
            *of("COALESCE(x, y)", "NULLIF(x, y)", "IF(x, y, NOT y)", "x IN (y, TRUE)", "CASE x WHEN y THEN 1 END"),
            *each("x", *NUMBERS, "decimal(1,0)", "string"),
        ],
    ),
]


class Checked(NamedTuple):
    """An expression with its values, computed by DuckDB."""

    text: str
    kind: FeatureType
    flink: str
    values: list[Any]


def checked(table: Table) -> list[Checked]:
    columns = {name: FeatureType.parse(kind) for name, kind in table.columns.items()}
    arrays = {
        name: pa.array([row[number] for row in table.rows], _arrow_type(kind))
        for number, (name, kind) in enumerate(columns.items())
    }
    found = []
    with connect() as connection:
        connection.register("rows", pa.table({"__row": pa.array(range(len(table.rows))), **arrays}))
        for text, kind in table.expressions:
            expression = Expression.parse(text, columns)
            target = FeatureType.parse(kind) if kind else expression.type
            assert target is not None, text
            expression = expression.cast(target)
            rows = connection.execute(f"SELECT {expression.sql('duckdb')} FROM rows ORDER BY __row").fetchall()
            found.append(Checked(f"{text} as {target}", target, expression.sql("flink"), [row[0] for row in rows]))
    return found


def flink_value(value: Any, kind: str) -> Any:
    """As Flink's tables hold it: a timestamp is a number of microseconds, a date one of days."""
    if kind == "timestamp" and isinstance(value, datetime.datetime):
        return (value - EPOCH) // datetime.timedelta(microseconds=1)
    return (value - EPOCH.date()).days if isinstance(value, datetime.date) else value


@pytest.fixture(scope="module")
def expressions() -> list[list[Checked]]:
    """Of each of `TABLES`."""
    return [checked(table) for table in TABLES]


@pytest.fixture(scope="module")
def flink_values(expressions: list[list[Checked]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """By mode and table, `TABLES` and then `BEYOND`: texts for each expression. One Flink computes them all."""
    program = (REPOSITORY / "tests" / "support" / "live" / "flink_expressions.py").read_text()
    columns = {name: FeatureType.parse(kind) for name, kind in BEYOND.columns.items()}
    texts = [[one.flink for one in listed] for listed in expressions]
    texts.append([Expression.parse(text, columns).sql("flink") for text, _ in BEYOND.expressions])
    job = [
        {
            "columns": {name: FeatureType.parse(kind).sql for name, kind in table.columns.items()},
            "rows": [
                tuple(flink_value(value, kind) for value, kind in zip(row, table.columns.values(), strict=True))
                for row in table.rows
            ],
            "expressions": listed,
        }
        for table, listed in zip([*TABLES, BEYOND], texts, strict=True)
    ]
    path = tmp_path_factory.mktemp("edges") / "found"
    done = subprocess.run(
        [REPOSITORY / "flink_jobs" / ".venv" / "bin" / "python", "-c", program, path],
        input=pickle.dumps({"modes": ["streaming", "batch"], "tables": job}, protocol=4),
        env={**os.environ, "JAVA_TOOL_OPTIONS": JAVA_OPTIONS},
        capture_output=True,
        timeout=1100,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    found: dict[str, list[Any]] = pickle.loads(path.read_bytes())
    return found


def parsed(text: str | None, kind: FeatureType) -> Any:
    """A value of Flink's text."""
    if text is None or kind.name in ("string", "binary"):
        return text
    if kind.is_floating:
        return float(text)
    if kind.is_integer:
        return int(text)
    if kind.is_decimal:
        return Decimal(text)
    if kind.name == "timestamp":
        return EPOCH + datetime.timedelta(microseconds=int(text))
    return datetime.date.fromisoformat(text) if kind.name == "date" else text == "TRUE"


def same(one: Any, other: Any, kind: FeatureType) -> bool:
    if one is None or other is None:
        return one is other
    if kind.name == "float":
        one, other = (struct.unpack("f", struct.pack("f", value))[0] for value in (one, other))
        return math.isclose(one, other, rel_tol=1e-6)
    if kind.name == "double":
        return math.isclose(one, other, rel_tol=1e-13)
    return bool(one == other)


BEYOND = Table(
    # Days and microseconds that are in no calendar, and the first and last ones beyond the years 1 and 9999.
    {"x": "date", "at": "timestamp"},
    pairs(
        [-(2**31), -719_163, 2_932_897, 2**31 - 1],
        [-(2**63), -62_135_596_800_000_001, 253_402_300_800_000_000, 2**63 - 1],
    ),
    [
        *of(*(f"EXTRACT({part} FROM x)" for part in ("YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "DOY", "ISODOW"))),
        *of(*(f"EXTRACT({part} FROM at)" for part in ("YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "DOY", "ISODOW"))),
        *of(*(f"EXTRACT({part} FROM at)" for part in ("HOUR", "MINUTE", "SECOND", "EPOCH"))),
        *of(*(f"DATE_TRUNC('{unit}', at)" for unit in ("year", "month", "day", "hour", "minute", "second"))),
        *of("CAST(at AS DATE)", "CAST(x AS TIMESTAMP)", "CAST(x AS STRING)"),
    ],
)


@pytest.mark.parametrize("mode", ["streaming", "batch"])
def test_what_is_in_no_calendar_is_null(mode: str, flink_values: dict[str, list[Any]]) -> None:
    found = flink_values[mode][-1]
    wrong = [
        f"{text}: {texts}"
        for (text, _), texts in zip(BEYOND.expressions, found, strict=True)
        if texts != [None] * len(BEYOND.rows)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("mode", ["streaming", "batch"])
def test_flink_fails_for_no_value_and_duckdb_agrees(
    mode: str, expressions: list[list[Checked]], flink_values: dict[str, list[Any]]
) -> None:
    problems = []
    for table, listed, found in zip(TABLES, expressions, flink_values[mode][:-1], strict=True):
        for one, texts in zip(listed, found, strict=True):
            if isinstance(texts, str):
                problems.append(f"{one.text} fails: {texts[:100]} … {texts[-300:]}")
                continue
            wrong = [
                f"{[str(part)[:40] for part in row]}: {str(text)[:60]}, DuckDB {str(value)[:60]}"
                for row, text, value in zip(table.rows, texts, one.values, strict=True)
                if not same(parsed(text, one.kind), value, one.kind) or (one.kind.is_floating and value != value)
            ]
            if wrong:
                problems.append(f"{one.text}, {len(wrong)} rows: " + "; ".join(wrong[:4]))
    assert not problems, "\n".join(problems)
