"""Writes seeded synthetic events to a Kafka topic, as a Flink job.

Event ``n`` of a seed is always the same event: every value is arithmetic on ``n`` and the seed, so a restart of the
job repeats what it repeats exactly, and two runs with the same parameters write the same events.

Event time starts at ``--start`` and runs ``--speed-up`` times as fast as the clock. The Kafka timestamp of a record
is the moment it would have arrived; its event time lies up to ``--disorder`` before that.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from feature_pipeline import JobError, bind, mask, read_json

# A Mersenne prime below 2^31: products of two residues fit in a BIGINT. The fifth power permutes its residues
# (5 does not divide PRIME - 1), which scatters the straight line `a * n + c`.
PRIME = 2147483647
# MOD has the type of its divisor: with an INT the products that follow would overflow.
_PRIME = f"CAST({PRIME} AS BIGINT)"
# Of columns whose name and type are the same in both formats.
_SQL_TYPES = {
    "boolean": "BOOLEAN",
    "int": "INT",
    "bigint": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "string": "STRING",
}
# JSON has more: decimals are numbers there, and timestamps texts.
_DECIMAL = re.compile(r"decimal\((\d+), ?(\d+)\)")
_JSON_TIMESTAMP = "yyyy-MM-dd''T''HH:mm:ss.SSS''Z''"
_PER_SECOND = {"seconds": 1, "milliseconds": 1_000, "microseconds": 1_000_000}
_FIRST_CARD = 4_444_000_000_000_000


@dataclass(frozen=True)
class Settings:
    """What to simulate.

    :param topic: Kafka topic to write to.
    :param schema: columns of the topic, name → type, in the order of the Avro record.
    :param event_time: name of the event time column.
    :param unit: unit of the event time column: seconds, milliseconds or microseconds.
    :param key: columns that identify a card; their values repeat. The others vary with each event.
    :param start: event time of the first event, milliseconds since the epoch.
    :param cards: number of different keys.
    :param events: number of events, 0 for an endless stream.
    :param rate: events a second on the clock.
    :param speed_up: seconds of event time in a second on the clock.
    :param disorder: largest distance of an event's time from its arrival, seconds of event time.
    :param skew: 1 spreads events evenly over the cards, larger values favour the first ones.
    :param seed: another seed gives other events.
    :param format: of the records: avro or json.
    """

    topic: str
    schema: Mapping[str, str]
    event_time: str
    unit: str
    key: tuple[str, ...]
    start: int
    cards: int = 100
    events: int = 0
    rate: int = 100
    speed_up: float = 1.0
    disorder: float = 0.0
    skew: float = 1.0
    seed: int = 1
    format: str = "avro"

    def problems(self) -> list[str]:
        """What is wrong with the settings, a sentence each."""
        found = [
            f"{name} must be positive" for name in ("cards", "rate", "speed_up", "skew") if getattr(self, name) <= 0
        ]
        found += [
            f"{name} must not be negative"
            for name in ("events", "disorder", "seed", "start")
            if getattr(self, name) < 0
        ]
        found += [f"{name} must be below {PRIME}" for name in ("cards", "seed") if getattr(self, name) >= PRIME]
        if self.format not in ("avro", "json"):
            found.append("format must be avro or json")
        found += [f"column {n} has unknown type {t}" for n, t in self.schema.items() if self.sql_type(n) is None]
        found += [f"column {n} is not in the schema" for n in (self.event_time, *self.key) if n not in self.schema]
        if self.unit not in _PER_SECOND:
            found.append(f"unit must be one of {', '.join(_PER_SECOND)}")
        return found

    def sql_type(self, column: str) -> str | None:
        """Flink's type of a column as the records have it; None: no value can be made for it."""
        kind = self.schema[column]
        if self.format == "json" and kind == "timestamp":
            return "STRING"
        if self.format == "json" and (match := _DECIMAL.fullmatch(kind)):
            return f"DECIMAL({match[1]}, {match[2]})"
        return _SQL_TYPES.get(kind)


def statements(settings: Settings) -> tuple[list[str], str]:
    """Tables, and the INSERT that fills the topic. ``${kafka}`` in them stands for the broker's options."""
    bound = f",\n  'number-of-rows' = '{settings.events}'" if settings.events else ""
    clock = (
        "CREATE TEMPORARY TABLE ticks (tick BOOLEAN, ticked AS PROCTIME()) WITH (\n"
        f"  'connector' = 'datagen',\n  'rows-per-second' = '{settings.rate}'{bound}\n)"
    )
    columns = [f"{_name(column)} {settings.sql_type(column)}" for column in settings.schema]
    columns += ["`__key` STRING", "`__timestamp` TIMESTAMP_LTZ(3) METADATA FROM 'timestamp'"]
    body = ",\n  ".join(columns)
    plain = "  'value.json.encode.decimal-as-plain-number' = 'true',\n" if settings.format == "json" else ""
    sink = (
        f"CREATE TEMPORARY TABLE events (\n  {body}\n) WITH (\n"
        f"  'connector' = 'kafka',\n  'topic' = {_text(settings.topic)},\n"
        "  'key.format' = 'raw',\n  'key.fields' = '__key',\n"
        f"  'value.format' = '{settings.format}',\n{plain}  'value.fields-include' = 'EXCEPT_KEY',\n"
        "  'properties.linger.ms' = '20',\n  ${kafka}\n)"
    )
    return [clock, sink], f"INSERT INTO events\n{_select(settings)}"


def _select(settings: Settings) -> str:
    """Rows of the topic: number the ticks, scatter the numbers, shape them into values."""
    step = 1000.0 * settings.speed_up / settings.rate
    values = [f"{_value(settings, column)} AS {_name(column)}" for column in settings.schema]
    key = ", ".join(f"CAST({_value(settings, column)} AS STRING)" for column in settings.key)
    values += [f"CONCAT({key}) AS `__key`", "TO_TIMESTAMP_LTZ(arrival, 3) AS `__timestamp`"]
    shaped = ",\n  ".join(values)
    return (
        f"SELECT\n  {shaped}\nFROM (\n"
        f"  SELECT n, {settings.start} + CAST((n - 1) * CAST({step!r} AS DOUBLE) AS BIGINT) AS arrival,\n"
        f"    {_scattered('card')},\n    {_scattered('amount')},\n    {_scattered('jitter')}\n"
        "  FROM (SELECT n, "
        f"{_line(settings.seed, 1)} AS card, {_line(settings.seed, 2)} AS amount, {_line(settings.seed, 3)} AS jitter\n"
        "    FROM (SELECT ROW_NUMBER() OVER (ORDER BY ticked) AS n FROM ticks))\n)"
    )


def _line(seed: int, stream: int) -> str:
    """A residue that depends on the event's number, the seed and which random value it is for."""
    offset = (seed * 7_919 + stream * 104_729 + 1) % PRIME
    return f"MOD(MOD(n, {_PRIME}) * {48_271 + 2 * stream} + {offset}, {_PRIME})"


def _scattered(x: str) -> str:
    """The residue's fifth power as a number in [0, 1)."""
    square = f"MOD({x} * {x}, {_PRIME})"
    return f"MOD(MOD({square} * {square}, {_PRIME}) * {x}, {_PRIME}) / CAST({PRIME} AS DOUBLE) AS {x}"


def _value(settings: Settings, column: str) -> str:
    kind = settings.schema[column]
    if column == settings.event_time:
        # Negative only before 1970, so the division truncates as a floor does.
        millis = f"(arrival - CAST(FLOOR(jitter * {int(settings.disorder * 1000) + 1}) AS BIGINT))"
        if kind == "timestamp":
            shaped = f"DATE_FORMAT(TO_TIMESTAMP_LTZ({millis}, 3), '{_JSON_TIMESTAMP}')"
        else:
            scale = _PER_SECOND[settings.unit]
            shaped = f"{millis} * {scale // 1000}" if scale >= 1000 else f"{millis} / {1000 // scale}"
    elif column in settings.key:
        card = f"CAST(FLOOR(POWER(card, CAST({settings.skew!r} AS DOUBLE)) * {settings.cards}) AS BIGINT)"
        shaped = {
            "bigint": f"{_FIRST_CARD} + {card}",
            "string": f"CONCAT('card-', CAST({card} AS STRING))",
            "boolean": f"MOD({card}, 2) = 0",
        }.get(kind, card)
    elif kind == "string":
        shaped = f"CONCAT('{settings.seed}-', CAST(n AS STRING))"
    elif kind == "boolean":
        shaped = "amount < 0.5"
    elif kind == "timestamp":
        shaped = f"DATE_FORMAT(TO_TIMESTAMP_LTZ(arrival, 3), '{_JSON_TIMESTAMP}')"
    elif kind in ("float", "double") or _has_room_for_money(kind):
        # Money: many small amounts, few large ones, cents.
        shaped = "ROUND(1 + 999 * POWER(amount, 3), 2)"
    elif kind.startswith("decimal"):
        shaped = "0.9 * amount"
    else:
        shaped = "FLOOR(amount * 1000)"
    return f"CAST({shaped} AS {settings.sql_type(column)})"


def _has_room_for_money(kind: str) -> bool:
    match = _DECIMAL.fullmatch(kind)
    return match is not None and int(match[1]) - int(match[2]) >= 4


def _name(column: str) -> str:
    return "`" + column.replace("`", "``").replace("$", "$$") + "`"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''").replace("$", "$$") + "'"


def parse_arguments(argv: list[str] | None = None) -> tuple[Settings, str | None]:
    """Settings out of the command line, and the connector jars. Exits with a sentence for each problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jars", help="file:// URLs of the connectors, separated by semicolons")
    parser.add_argument("--schema", type=json.loads, required=True, help='JSON such as {"cc_num": "bigint"}')
    parser.add_argument(
        "--key", required=True, type=lambda text: tuple(text.split(",")), help="columns, comma separated"
    )
    for field in fields(Settings):
        if field.name not in ("schema", "key"):
            kind = {"int": int, "float": float, "str": str}[str(field.type)]
            required = field.name in ("topic", "event_time", "unit", "start")
            flag = "--" + field.name.replace("_", "-")
            parser.add_argument(flag, type=kind, required=required, default=argparse.SUPPRESS)
    arguments = vars(parser.parse_args(argv))
    jars = arguments.pop("jars")
    settings = Settings(**arguments)
    if problems := settings.problems():
        parser.error("; ".join(problems))
    return settings, jars


def run(settings: Settings, kafka: str, jars: str | None) -> None:
    """Submit the job that writes the events."""
    from pyflink.table import EnvironmentSettings, TableEnvironment

    table_env = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    config = table_env.get_config()
    config.set("table.local-time-zone", "UTC")
    if jars:
        config.set("pipeline.jars", jars)
    tables, insert = statements(settings)
    for statement in tables:
        table_env.execute_sql(bind(statement, {"kafka": kafka}))
    table_env.execute_sql(bind(insert, {}))


def main() -> None:
    """Entry point inside Flink."""
    settings, jars = parse_arguments()
    bindings = read_json(Path(__file__).parent / "bindings.json")
    try:
        run(settings, bindings["values"]["kafka"], jars)
    except Exception as error:
        raise JobError(mask(f"{type(error).__name__}: {error}", bindings["secrets"])) from None


if __name__ == "__main__":
    main()
