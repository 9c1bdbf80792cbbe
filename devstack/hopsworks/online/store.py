"""The online store: one SQLite table per feature group, and the consumer's offsets beside the rows."""

from __future__ import annotations

import datetime
import re
import sqlite3
from collections.abc import Callable, Iterable
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from devstack.hopsworks.home.layout import Layout
from devstack.hopsworks.metadata.db import Database, connect
from devstack.hopsworks.metadata.featuretypes import is_complex, normalise
from devstack.hopsworks.metadata.models import Feature, FeatureGroup

CONSUMER_GROUP = "RONDB"
SCHEMA = """
CREATE TABLE IF NOT EXISTS kafka_offsets (
  consumer_group TEXT NOT NULL, topic TEXT NOT NULL, "partition" INTEGER NOT NULL, "offset" INTEGER NOT NULL,
  PRIMARY KEY (consumer_group, topic, "partition"));
CREATE TABLE IF NOT EXISTS online_ingestion_result (
  online_ingestion_id INTEGER NOT NULL, status TEXT NOT NULL, rows INTEGER NOT NULL,
  PRIMARY KEY (online_ingestion_id, status));
"""
_INTEGER_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32}
_NUMBERS = ("float", "double")
_INTEGERS = (*_INTEGER_BITS, "bigint", "boolean", *_NUMBERS)
# Of each feature type the online types that hold its values; of all others texts and bytes.
_ONLINE_TYPES = {
    **dict.fromkeys(("boolean", "tinyint", "smallint", "int", "bigint"), _INTEGERS),
    **dict.fromkeys(_NUMBERS, _NUMBERS),
    "decimal": ("decimal",),
    "timestamp": ("timestamp", "datetime"),
    "date": ("date",),
}
_TEXTS = ("char", "binary", "text", "blob")
# More digits than two decimals of 38 have before and behind the point.
_EXACT = Context(prec=80)
# Of UTF-8, which MySQL's larger texts hold.
_TEXT_BYTES = {"tinytext": 2**8 - 1, "text": 2**16 - 1, "mediumtext": 2**24 - 1, "longtext": 2**32 - 1}
_EPOCH = datetime.datetime(1970, 1, 1)
_EPOCH_DAY = _EPOCH.date().toordinal()


class UserDataError(ValueError):
    """A value that the online table cannot hold: the row is counted FAILED and dropped."""


def quote(name: str) -> str:
    """An SQL identifier, also for names that are key words."""
    return '"' + name.replace('"', '""') + '"'


def open_online_store(layout: Layout) -> Database:
    return Database(layout.online_db, SCHEMA)


def connect_online_store(layout: Layout) -> sqlite3.Connection:
    """A connection of its own, for the consumer."""
    connection = connect(layout.online_db)
    connection.executescript(SCHEMA)
    return connection


def create_table_statements(group: FeatureGroup) -> list[str]:
    """SQL that makes the (empty) table of a new group; what a failed creation left behind is replaced."""
    columns = [f"{quote(f.name)} {sqlite_type(f)}" for f in group.online_features]
    key = ", ".join(quote(name) for name in group.primary_key)
    table = quote(group.full_name)
    body = ", ".join([*columns, f"PRIMARY KEY ({key})"])
    return [f"DROP TABLE IF EXISTS {table}", f"CREATE TABLE {table} ({body}) WITHOUT ROWID"]


def sqlite_type(feature: Feature) -> str:
    """The declared column type: MySQL's name, save where SQLite would turn the value into another one."""
    declared = normalise(feature.online_type or "")
    # A column declared `decimal` has numeric affinity: SQLite would keep 1.10 as the double 1.1.
    # Of moments the SDK's reader knows one name.
    return "text" if declared.startswith("decimal") else declared.replace("datetime", "timestamp")


def columns_of(connection: sqlite3.Connection, table: str) -> list[str]:
    """Column names of a table; empty when there is no such table."""
    return [row["name"] for row in connection.execute(f"PRAGMA table_info({quote(table)})")]


def upsert_sql(table: str, columns: list[str], key: list[str], newer_by: str | None = None) -> str:
    """An upsert by primary key. With ``newer_by`` a stored row with a later value there is left alone."""
    names = ", ".join(map(quote, columns))
    marks = ", ".join("?" * len(columns))
    rest = [column for column in columns if column not in key]
    target = ", ".join(map(quote, key))
    sql = f"INSERT INTO {quote(table)} ({names}) VALUES ({marks}) ON CONFLICT ({target}) DO "
    if not rest:
        return sql + "NOTHING"
    sql += "UPDATE SET " + ", ".join(f"{quote(c)} = excluded.{quote(c)}" for c in rest)
    if newer_by:
        current = f"{quote(table)}.{quote(newer_by)}"
        sql += f" WHERE {current} IS NULL OR excluded.{quote(newer_by)} >= {current}"
    return sql


def delete_sql(table: str, key: list[str]) -> str:
    return f"DELETE FROM {quote(table)} WHERE " + " AND ".join(f"{quote(name)} = ?" for name in key)


# --- values: from the plain numbers of the Avro record to what MySQL would show -----------------------------------


def converter(feature: Feature) -> Callable[[Any], Any] | None:
    """The function from a decoded (physical) Avro value to the stored one; None when it is stored as it comes.

    Null never reaches the function. It raises :class:`UserDataError` for a value the column cannot hold.
    """
    declared, kind = normalise(feature.online_type or ""), normalise(feature.type or "")
    base, _, argument = declared.partition("(")
    size = [int(n) for n in re.findall(r"\d+", argument)]
    family = re.split("[(<]", kind)[0]
    if base not in _ONLINE_TYPES[family] if family in _ONLINE_TYPES else not base.endswith(_TEXTS):
        return _misfit(feature.name, kind, declared)
    if family == "timestamp":
        return timestamp_text(size[0] if size else 0)
    if family == "date":
        return lambda days: datetime.date.fromordinal(_EPOCH_DAY + days).isoformat()
    if family == "decimal":
        precision, scale = size[0] if size else 10, size[1] if len(size) > 1 else 0
        own = int(re.findall(r"\d+", kind)[1])
        return lambda raw: decimal_text(feature.name, int.from_bytes(raw, "big", signed=True), own, precision, scale)
    if base in _INTEGER_BITS and kind != "boolean" and (base != "int" or kind == "bigint"):
        return _ranged(feature.name, base, 2 ** (_INTEGER_BITS[base] - 1))
    if base in ("varchar", "char", "varbinary", "binary") and size:
        return _bounded(feature.name, declared, size[0], is_complex(kind))
    if base in _TEXT_BYTES:
        return _bounded_text(feature.name, declared, _TEXT_BYTES[base])
    return None


def _misfit(name: str, kind: str, declared: str) -> Callable[[Any], Any]:
    def refuse(_: Any) -> Any:
        raise UserDataError(f"{name} is {kind}, which a column of type {declared} does not hold")

    return refuse


def decimal_text(name: str, unscaled: int, own_scale: int, precision: int, scale: int) -> str:
    """The value as MySQL writes it: all decimal places of the column, no exponent."""
    value = Decimal(unscaled).scaleb(-own_scale, _EXACT).quantize(Decimal((0, (1,), -scale)), ROUND_HALF_UP, _EXACT)
    if value.adjusted() >= precision - scale and value:
        raise UserDataError(f"value of {name} has more than {precision} digits")
    return f"{value or abs(value):f}"


def timestamp_text(digits: int) -> Callable[[int], str]:
    """Microseconds since the epoch to MySQL's text in UTC with ``digits`` of a second, the rest cut off."""
    cut = None if digits >= 6 else digits - 6

    def text(micros: int) -> str:
        try:
            moment = _EPOCH + datetime.timedelta(microseconds=micros)
        except OverflowError as error:
            raise UserDataError(f"timestamp of {micros} microseconds is out of range") from error
        if digits == 0:
            return moment.replace(microsecond=0).isoformat(" ")
        return moment.strftime("%Y-%m-%d %H:%M:%S.%f")[:cut]

    return text


def _ranged(name: str, declared: str, limit: int) -> Callable[[int], int]:
    def check(value: int) -> int:
        if not -limit <= value < limit:
            raise UserDataError(f"value of {name} is {value}, the column is {declared}")
        return value

    return check


def _bounded(name: str, declared: str, size: int, nested: bool) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if len(value) > size:
            raise UserDataError(f"value of {name} is {len(value)} long, the column is {declared}")
        # A complex feature may be null in its own inner encoding instead of the outer one.
        return None if nested and value == b"\x00" else value

    return check


def _bounded_text(name: str, declared: str, size: int) -> Callable[[str], str]:
    def check(value: str) -> str:
        if len(value) > size or len(value.encode()) > size:
            raise UserDataError(f"value of {name} is longer than {size} bytes, the column is {declared}")
        return value

    return check


def add_results(connection: sqlite3.Connection, counts: Iterable[tuple[int, str, int]]) -> None:
    """Add (ingestion id, status, rows) to the results, inside the caller's transaction."""
    connection.executemany(
        """INSERT INTO online_ingestion_result VALUES (?, ?, ?)
           ON CONFLICT (online_ingestion_id, status) DO UPDATE SET rows = rows + excluded.rows""",
        counts,
    )


def save_offsets(connection: sqlite3.Connection, next_offsets: Iterable[tuple[str, int, int]]) -> None:
    """Store (topic, partition, next offset), inside the caller's transaction."""
    connection.executemany(
        f"""INSERT INTO kafka_offsets VALUES ('{CONSUMER_GROUP}', ?, ?, ?)
            ON CONFLICT DO UPDATE SET "offset" = excluded."offset" """,
        next_offsets,
    )


def load_offsets(connection: sqlite3.Connection) -> dict[tuple[str, int], int]:
    """Next offset per (topic, partition)."""
    sql = 'SELECT topic, "partition", "offset" FROM kafka_offsets WHERE consumer_group = ?'
    return {(row[0], row[1]): row[2] for row in connection.execute(sql, (CONSUMER_GROUP,))}


def ingestion_results(connection: sqlite3.Connection, ingestion_id: int) -> list[dict[str, Any]]:
    sql = "SELECT * FROM online_ingestion_result WHERE online_ingestion_id = ? ORDER BY status"
    return [
        {"onlineIngestionId": row["online_ingestion_id"], "status": row["status"], "rows": row["rows"]}
        for row in connection.execute(sql, (ingestion_id,))
    ]
