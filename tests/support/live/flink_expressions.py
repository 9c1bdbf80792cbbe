"""Evaluates SQL expressions over rows in a Flink of its own. Runs in Flink's environment, fed with a pickle.

In: ``{"modes": ["streaming" | "batch"], "tables": [{"columns": {name: SQL type}, "rows": [tuple], "expressions":
[SQL]}]}``, a date as the number of its day. Out: for each mode and table a list with one entry for each expression: its
values as texts in the order of the rows, or the text of the error that it fails the job with.
"""

from __future__ import annotations

import json
import pickle
import sys
import tempfile
from pathlib import Path
from typing import Any


class Day(int):
    """A day since the epoch, also one that Python's calendar does not know."""

    def toordinal(self) -> int:
        return int(self) + 719_163


def create_view(table_env: Any, table: dict[str, Any], view: str) -> None:
    from pyflink.table import DataTypes

    def of(kind: str) -> Any:
        name, _, digits = kind.partition("(")
        return getattr(DataTypes, name)(*(int(part) for part in digits.rstrip(")").split(",") if part))

    kinds = list(table["columns"].values())
    fields = [DataTypes.FIELD("__row", DataTypes.INT())]
    fields += [DataTypes.FIELD(name, of(kind)) for name, kind in table["columns"].items()]
    rows = [
        (
            position,
            *(Day(v) if kind == "DATE" and v is not None else v for v, kind in zip(row, kinds, strict=True)),
        )
        for position, row in enumerate(table["rows"])
    ]
    table_env.create_temporary_view(view, table_env.from_elements(rows, DataTypes.ROW(fields), verify_schema=False))


def values(table_env: Any, wanted: list[tuple[str, list[str]]], files: str) -> list[list[Any]]:
    """Values of expressions over views. Through files of JSON: from Java to Python a row takes its time."""
    statements, folders = table_env.create_statement_set(), []
    for view, expressions in wanted:
        folder = tempfile.mkdtemp(dir=files)
        sink, names = f"sink{folder.replace('/', '_')}", [f"`e{n}`" for n in range(len(expressions))]
        table_env.execute_sql(
            f"CREATE TEMPORARY TABLE `{sink}` (`__row` INT, {', '.join(f'{name} STRING' for name in names)}) "
            f"WITH ('connector' = 'filesystem', 'path' = 'file://{folder}', 'format' = 'json')"
        )
        selected = ", ".join(f"CAST({text} AS STRING) AS {name}" for text, name in zip(expressions, names, strict=True))
        statements.add_insert_sql(f"INSERT INTO `{sink}` SELECT `__row`, {selected} FROM `{view}`")
        folders.append(Path(folder))
    try:
        statements.execute().wait()
    except Exception as error:
        if len(wanted) == 1 and len(wanted[0][1]) == 1:
            return [[str(error)]]
        # One of them fails: halves show which.
        if len(wanted) == 1:
            view, expressions = wanted[0]
            half = len(expressions) // 2
            return [
                values(table_env, [(view, expressions[:half])], files)[0]
                + values(table_env, [(view, expressions[half:])], files)[0]
            ]
        half = len(wanted) // 2
        return values(table_env, wanted[:half], files) + values(table_env, wanted[half:], files)
    return [read(folder, len(expressions)) for folder, (_, expressions) in zip(folders, wanted, strict=True)]


def read(folder: Path, count: int) -> list[Any]:
    lines = [line for file in folder.rglob("*") if file.is_file() for line in file.read_text().splitlines()]
    rows = sorted((json.loads(line) for line in lines), key=lambda row: row["__row"])
    return [[row[f"e{number}"] for row in rows] for number in range(count)]


def evaluated(mode: str, tables: list[dict[str, Any]]) -> list[list[Any]]:
    from pyflink.table import EnvironmentSettings, TableEnvironment

    batch = mode == "batch"
    settings = EnvironmentSettings.in_batch_mode() if batch else EnvironmentSettings.in_streaming_mode()
    table_env = TableEnvironment.create(settings)
    config = {"table.local-time-zone": "UTC", "parallelism.default": "1", "pipeline.object-reuse": "true"}
    for key, value in config.items():
        table_env.get_config().set(key, value)
    wanted = []
    for number, table in enumerate(tables):
        create_view(table_env, table, f"rows_{number}")
        wanted.append((f"rows_{number}", table["expressions"]))
    with tempfile.TemporaryDirectory() as files:
        return values(table_env, wanted, files)


def main() -> None:
    job = pickle.load(sys.stdin.buffer)
    found = {mode: evaluated(mode, job["tables"]) for mode in job["modes"]}
    Path(sys.argv[1]).write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main()
