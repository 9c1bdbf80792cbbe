"""Expressions of a pipeline file: what is allowed, and what they mean (as DuckDB computes them)."""

import datetime
from decimal import Decimal

import pytest

from hopsworks_flink.pipeline.expressions import Expression
from hopsworks_flink.pipeline.types import FeatureType
from hopsworks_flink.testing.evaluation import connect
from tests.support.pipelines import COLUMNS

ROW = {
    "n": 7,
    "big": 5_000_000_000,
    "tiny": -3,
    "x": 2.5,
    "f": 0.5,
    "amount": Decimal("12.35"),
    "wide": Decimal("1.5"),
    "name": "O'Neil",
    "ok": True,
    "day": datetime.date(2025, 3, 1),
    "ts": datetime.datetime(2025, 3, 1, 12, 34, 56, 789000),
    "raw": b"ab",
    "datetime": None,
}


def value_of(text, as_type=None, **row):
    from hopsworks_flink.pipeline.expressions.terms import duckdb_type

    expression = Expression.parse(text, COLUMNS)
    if as_type:
        expression = expression.cast(FeatureType.parse(as_type))
    values = {**ROW, **row}
    selected = ", ".join(f'CAST(? AS {duckdb_type(COLUMNS[name])}) AS "{name}"' for name in values)
    sql = f"SELECT {expression.sql('duckdb')} FROM (SELECT {selected})"
    with connect() as connection:
        return connection.execute(sql, list(values.values())).fetchone()[0]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("n * 2 + 1", "bigint", 15),
        ("n * n * 100000 * 100000", "decimal(31,0)", Decimal(490_000_000_000)),
        ("n * n * 100000", "decimal(25,0)", Decimal(4_900_000)),
        ("n * n", "bigint", 49),
        ("n / 2", "double", 3.5),
        ("n / 0", "double", None),
        ("n % 4", "bigint", 3),
        ("tiny % 2", "bigint", -1),
        ("n % 0", "bigint", None),
        ("x * 0.9", "double", 2.25),
        ("-n", "bigint", -7),
        ("- 5 + n", "bigint", 2),
        ("n - -(-5)", "bigint", 2),
        ("amount * 2", "decimal(11,2)", Decimal("24.70")),
        ("amount * 0.5", "decimal(11,3)", Decimal("6.175")),
        ("amount + n", "decimal(13,2)", Decimal("19.35")),
        ("amount * x", "double", 30.875),
        ("amount / 2", "double", 6.175),
        ("amount > 12.349", "boolean", True),
        ("amount = 12.35", "boolean", True),
        ("wide > 1234567890123456789012345678.0123456789", "boolean", False),
        ("n = 7 AND NOT (x < 0 OR ok)", "boolean", False),
        ("n BETWEEN 1 AND 7.5", "boolean", True),
        ("n NOT BETWEEN 1 AND 7", "boolean", False),
        ("name IN ('a', 'O''Neil')", "boolean", True),
        ("n NOT IN (1, 2)", "boolean", True),
        ("datetime IS NULL", "boolean", True),
        ("ok IS NOT TRUE", "boolean", False),
        ("datetime IS DISTINCT FROM big", "boolean", True),
        ("datetime > 5", "boolean", None),
        ("name LIKE 'O''%'", "boolean", True),
        ("name NOT LIKE 'O''%'", "boolean", False),
        ("name LIKE 'O_N_il'", "boolean", True),
        ("CONCAT(name, '.') LIKE '%l_'", "boolean", True),
        ("CASE WHEN n > 5 THEN 'many' ELSE 'few' END", "string", "many"),
        ("CASE n WHEN 1 THEN 1 WHEN 7 THEN 2.5 END", "double", 2.5),
        ("IF(n > 9, 1, 2)", "bigint", 2),
        ("COALESCE(datetime, n)", "bigint", 7),
        ("NULLIF(n, 7)", "bigint", None),
        ("GREATEST(n, 9, big)", "bigint", 5_000_000_000),
        ("LEAST(n, datetime)", "bigint", None),
        ("UPPER(name) || '-' || LOWER(name)", "string", "O'NEIL-o'neil"),
        ("CONCAT(name, NULL)", "string", None),
        ("SUBSTRING(name, 3, 2)", "string", "Ne"),
        ("LEFT(name, 2) || RIGHT(name, 1)", "string", "O'l"),
        ("LENGTH(name)", "bigint", 6),
        ("TRIM('  a ')", "string", "a"),
        ("REPLACE(name, '''', '')", "string", "ONeil"),
        ("POSITION('e' IN name)", "bigint", 4),
        ("STARTS_WITH(name, 'O')", "boolean", True),
        ("EXTRACT(hour FROM ts)", "int", 12),
        ("EXTRACT(isodow FROM day)", "int", 6),
        ("EXTRACT(epoch FROM ts)", "bigint", 1740832496),
        ("DATE_TRUNC('hour', ts)", "timestamp", datetime.datetime(2025, 3, 1, 12)),
        ("ts >= TIMESTAMP '2025-03-01 12:00:00'", "boolean", True),
        ("day = DATE '2025-03-01'", "boolean", True),
        ("day < ts", "boolean", True),
        ("ABS(tiny)", "bigint", 3),
        ("FLOOR(x) + CEIL(x)", "double", 5.0),
        ("FLOOR(amount)", "decimal(11,0)", Decimal(12)),
        ("ROUND(-x)", "double", -3.0),
        ("ROUND(amount, 1)", "decimal(10,1)", Decimal("12.4")),
        ("SQRT(tiny)", "double", None),
        ("LN(0)", "double", None),
        ("POWER(tiny, 2)", "double", 9.0),
        ("SIGN(tiny)", "bigint", -1),
        ("CAST(x AS int)", "int", 2),
        ("CAST(-x AS bigint)", "bigint", -2),
        ("CAST(big AS int)", "int", None),
        ("CAST(amount AS bigint)", "bigint", 12),
        ("CAST(amount AS decimal(10,1))", "decimal(10,1)", Decimal("12.4")),
        ("CAST(big AS decimal(5,2))", "decimal(5,2)", None),
        ("CAST('12' AS int)", "int", 12),
        ("CAST('12.5' AS int)", "int", None),
        ("CAST('1.5e2' AS double)", "double", 150.0),
        ("CAST(name AS double)", "double", None),
        ("CAST('true' AS boolean)", "boolean", True),
        ("CAST(ok AS int)", "int", 1),
        ("CAST(amount AS string)", "string", "12.35"),
        ("CAST(ts AS date)", "date", datetime.date(2025, 3, 1)),
        ("f = 0.5", "boolean", True),
        ('"name" = name', "boolean", True),
        ("name /* a -- comment */", "string", "O'Neil"),
        ("REPLACE(name, '''', '--')", "string", "O--Neil"),
        ("tiny - -1", "bigint", -2),
        ("(ok = TRUE) IS NULL", "boolean", False),
        ("ok = (n IS NULL)", "boolean", False),
        ("n = 7 AND x IS NOT NULL", "boolean", True),
        ("CASE ok WHEN n IS NOT NULL THEN 1 END", "bigint", 1),
    ],
)
def test_type_and_value(text, kind, value):
    assert str(Expression.parse(text, COLUMNS).type) == kind
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


def test_a_line_break_is_a_character_to_like_in_flink_too():
    # Flink's own `_` stands for any other character.
    assert Expression.parse("name LIKE 'a_b.{%'", COLUMNS).sql("flink") == r"REGEXP(`name`, '(?s)^a.b\.\{.*\z')"
    assert Expression.parse("name LIKE 'a%'", COLUMNS).sql("flink") == "(`name` LIKE 'a%')"


def test_texts_of_a_list_are_not_cut_to_the_length_of_a_literal_before_it():
    assert Expression.parse("'a' IN (name, 'bc')", COLUMNS).sql("flink") == "(CAST('a' AS STRING) IN (`name`, 'bc'))"
    assert Expression.parse("name IN ('a', 'bc')", COLUMNS).sql("flink") == "(`name` IN ('a', 'bc'))"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must be one SQL expression"),
        ("tiny > 0 -- positive\n", "'--' begins a comment"),
        ("tiny > 0 -- positive AND name IS NOT NULL", "'--' begins a comment"),
        ("tiny--1", "'--' begins a comment"),
        ("n; DROP TABLE x", "must be one SQL expression|is not allowed"),
        ("n AS m", "is not allowed"),
        ("n, x", "is not an SQL expression"),
        ("price", "column 'price' does not exist; there are n, big"),
        ("source.n", "is not the name of a column"),
        ("N", "column 'N' does not exist"),
        ("SUM(n)", "aggregates several events"),
        ("SUM(n) OVER (ORDER BY ts)", "aggregates several events"),
        ("(SELECT 1)", "subqueries are not allowed"),
        ("n IN (SELECT 1)", "subqueries are not allowed"),
        ("SELECT 1", "subqueries are not allowed"),
        ("CURRENT_TIMESTAMP", "would give another value"),
        ("now()", "functions that mean the same everywhere are ABS"),
        ("REGEXP_LIKE(name, 'a')", "functions that mean the same everywhere"),
        ("n[1]", "is not allowed"),
        ("*", "is not allowed"),
        (":x = n", "is not allowed"),
        ("INTERVAL '1' DAY", "is not allowed"),
        ("ts + 1", "calculates with timestamp; it needs numbers"),
        ("name * 2", "calculates with string"),
        ("name > 5", "mixes string and bigint; cast one"),
        ("raw = raw", "have no order"),
        ("ok < ok", "have no order"),
        ("ok = n IS NULL", r"IS beside a comparison: write \(a = b\) IS NULL"),
        ("n > 5 IS TRUE", "IS beside a comparison"),
        ("ok <> ok IS NOT FALSE", "IS beside a comparison"),
        ("n IS DISTINCT FROM 2 = ok", "IS beside a comparison"),
        ("ok = n IS DISTINCT FROM 2", "IS beside a comparison"),
        ("x % 2", "it needs whole numbers"),
        ("n AND ok", "is int; a condition is needed"),
        ("wide * wide", "38 digits are the most; cast to double"),
        ("CAST(x AS decimal(10,2))", "what it is rounded to would be a matter of luck"),
        ("CAST(name AS date)", "declare the column as date"),
        ("CAST(n AS boolean)", "compare it with a number"),
        ("CAST(n AS money)", "must be one of boolean"),
        ("CAST(n AS array<int>)", "scalar types only"),
        ("ROUND(x, 2)", "matter of luck"),
        ("SUBSTRING(name, 0)", "positions and lengths as whole numbers from 1"),
        ("name LIKE name", "must be a text in single quotes"),
        ("name LIKE 'a!%' ESCAPE '!'", "is not allowed"),
        ("name ILIKE 'a'", "is not allowed"),
        ("COALESCE(NULL, NULL)", "only NULL"),
        ("DATE '2025-02-30' = day", "is not a date"),
        ("TIMESTAMP '2025-01-01T00:00:00+01:00' = ts", "names a zone"),
        ("EXTRACT(hour FROM day)", "is not allowed for date"),
        ("DATE_TRUNC('week', ts)", "cuts a timestamp to year, month"),
        ("99999999999999999999", "too large for bigint"),
        ("1e999 > x", "too large for double"),
        ("'a\tb'", "cannot be printed"),
        ("(" * 3000 + "n" + ")" * 3000, "nested too deeply"),
    ],
)
def test_what_is_not_allowed_is_refused_with_a_reason(text, reason):
    with pytest.raises(ValueError, match=reason):
        Expression.parse(text, COLUMNS)


def test_columns_that_are_read():
    assert Expression.parse("n + ABS(tiny) > 1 OR ok", COLUMNS).columns == {"n", "tiny", "ok"}


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("x * 2", "int", 5),
        ("1", "double", 1.0),
        ("1.5", "decimal(3,2)", Decimal("1.50")),
        ("n", "string", "7"),
        ("NULL", "date", None),
        ("n > 1", "int", 1),
        ("x", "float", 2.5),
        ("x * 1e300 * 1e300", "float", None),
        ("n", "tinyint", 7),
        ("n * 100", "tinyint", None),
    ],
)
def test_derived_columns_have_the_type_they_declare(text, kind, value):
    assert value_of(text, kind) == value
