"""Runs one compiled feature pipeline as a Flink job.

Everything to run stands in two files beside this one, inside the bundle that was submitted: ``plan.json`` (SQL
statements with placeholders, and steps for the Java of this package) and ``bindings.json`` (their values, some of them
secret). No business logic lives here.
"""

from __future__ import annotations

import argparse
import json
import string
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PLAN_FORMAT = 1
CATALOG, DATABASE = "table.builtin-catalog-name", "table.builtin-database-name"


class JobError(Exception):
    """The job could not be built. The message holds no secret."""


def mask(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret value cut out. Flink repeats table options, keys included, in its errors."""
    for secret in secrets:
        text = text.replace(secret, "******")
        # The planner prints options as SQL, where quotes are doubled.
        text = text.replace(secret.replace("'", "''"), "******")
    return text


def bind(statement: str, values: Mapping[str, str]) -> str:
    """The statement with its placeholders filled in. Raises JobError for one that has no value."""
    try:
        return string.Template(statement).substitute(values)
    except KeyError as error:
        raise JobError(f"no value for the placeholder {error.args[0]!r} of the plan") from None


def read_json(path: Path) -> Any:
    """Data of a JSON file of the bundle."""
    return json.loads(path.read_text(encoding="utf-8"))


def build(plan: Mapping[str, Any], values: Mapping[str, str], jars: str | None) -> Any:
    """The plan's tables, and all its inserts as one pyflink StatementSet that does not run yet."""
    from pyflink.datastream import StreamExecutionEnvironment
    from pyflink.java_gateway import get_gateway
    from pyflink.table import EnvironmentSettings, StreamTableEnvironment, TableEnvironment

    if plan["format"] != PLAN_FORMAT:
        raise JobError(f"plan.json has format {plan['format']}, this program reads format {PLAN_FORMAT}")
    # The mode is fixed by the environment's creation: setting execution.runtime-mode afterwards has no effect.
    batch = plan["runtime_mode"] == "batch"
    settings = EnvironmentSettings.new_instance()
    settings = settings.in_batch_mode() if batch else settings.in_streaming_mode()
    # So are the names under which its tables stand.
    settings = settings.with_built_in_catalog_name(plan["table_config"].get(CATALOG, "default_catalog"))
    settings = settings.with_built_in_database_name(plan["table_config"].get(DATABASE, "default_database")).build()
    if all(isinstance(statement, str) for statement in plan["statements"]):
        table_env = TableEnvironment.create(settings)
    else:
        table_env = StreamTableEnvironment.create(StreamExecutionEnvironment.get_execution_environment(), settings)
    config = table_env.get_config()
    for key, value in plan["table_config"].items():
        config.set(key, value)
    if jars:
        # The planner looks for connectors here; `pipeline.jars` of the submission does not reach it.
        config.set("pipeline.jars", jars)
    java = get_gateway().jvm.hopsworksflink
    java.graph.GraphExecutor.of(table_env._j_tenv)
    for statement in plan["statements"]:
        if isinstance(statement, str):
            table_env.execute_sql(bind(statement, values))
        else:
            java.window.Engine.run(table_env._j_tenv, json.dumps(statement))
    statements = table_env.create_statement_set()
    for statement in plan["inserts"]:
        statements.add_insert_sql(bind(statement, values))
    return statements


def main() -> None:
    """Entry point inside Flink."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jars", help="file:// URLs of the connectors, separated by semicolons")
    arguments = parser.parse_args()
    here = Path(__file__).parent
    bindings = read_json(here / "bindings.json")
    try:
        build(read_json(here / "plan.json"), bindings["values"], arguments.jars).execute()
    except Exception as error:
        # `from None`: the original, which the interpreter would print as well, may quote a private key.
        raise JobError(mask(f"{type(error).__name__}: {error}", bindings["secrets"])) from None


if __name__ == "__main__":
    main()
