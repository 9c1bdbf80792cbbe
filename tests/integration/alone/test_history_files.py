"""Files of past events as Flink reads them, through the table that a recompute makes. In Flink's own environment, once,
and without a cluster."""

from __future__ import annotations

import json
import subprocess
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from devstack.jars import CONNECTOR_JARS, CONNECTORS_POM, JAVA_JARS, JAVA_POM, PARQUET_JARS, PARQUET_POM, fetch
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.sql import features, files
from tests.support import REPOSITORY

SCHEMA = {"card": "bigint", "at": "bigint", "amount": "double", "shop": "string"}
AT = 1_740_787_200_000
END = AT + 86_400_000

# All cases in one small cluster inside of Python's JVM: each would start one of its own otherwise.
READ = """
import json, sys
from pyflink.java_gateway import get_gateway
from pyflink.table import EnvironmentSettings, TableEnvironment

jars, cases = json.load(sys.stdin)
# Java's own logs go to the standard output.
results = open(sys.argv[1], "w")
flink = get_gateway().jvm.org.apache.flink
minicluster = flink.runtime.minicluster
cluster = minicluster.MiniCluster(minicluster.MiniClusterConfiguration.Builder().withRandomPorts().build())
cluster.start()
address = cluster.getRestAddress().get()
for case in cases:
    table_env = TableEnvironment.create(EnvironmentSettings.in_batch_mode())
    for key, value in {
        "execution.target": "remote",
        "rest.address": address.getHost(),
        "rest.port": str(address.getPort()),
        "table.local-time-zone": "UTC",
        "parallelism.default": "1",
        "restart-strategy.type": "none",
        # Not `pipeline.jars`, which are sent to the cluster with each job.
        "pipeline.classpaths": jars,
    }.items():
        table_env.get_config().set(key, value)
    try:
        for statement in case["statements"]:
            table_env.execute_sql(statement)
        with table_env.execute_sql(case["query"]).collect() as rows:
            print(json.dumps({"rows": [[str(value) for value in row] for row in rows]}), file=results, flush=True)
    except Exception as error:
        print(json.dumps({"error": str(error)}), file=results, flush=True)
cluster.close()
"""


class Case:
    """One history, and the rows or the error that are expected of it."""

    def __init__(self, content: Any, rows: Any = None, error: str = "", schema: Any = None, **history: Any) -> None:
        self.content, self.rows, self.error, self.schema = content, rows, error, schema or SCHEMA
        self.history = {"format": "csv", **history}

    def write(self, folder: Path) -> None:
        folder.mkdir()
        for name, content in (self.content if isinstance(self.content, dict) else {"a": self.content}).items():
            path = folder / f"{name}.{self.history['format']}"
            if isinstance(content, pa.Table):
                pq.write_table(content, path)
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def job(self, folder: Path) -> dict[str, Any]:
        column = "at" if "at" in self.schema else next(iter(self.schema))
        pipeline = files.readable(
            Pipeline.parse(
                {
                    "name": "p",
                    "source": {"topic": "t", "schema": self.schema, "event_time": {"column": column}},
                    "feature_groups": [
                        {"name": "g", "key": [self.key], "window": {"size": "1m"}, "aggregates": {"n": "count"}}
                    ],
                    "history": {"path": f"{folder}/*.{self.history['format']}", **self.history},
                }
            )
        )
        statements = files.source_tables(pipeline, features.source_table(pipeline), AT, END)
        columns = ", ".join(f"CAST(`{name}` AS STRING)" for name in self.schema)
        return {
            "statements": [statement.replace("$$", "$") for statement in statements],
            "query": f"SELECT {columns} FROM `source`",
        }

    @property
    def key(self) -> str:
        return next(name for name, kind in self.schema.items() if kind in ("bigint", "int", "string", "smallint"))


def table(**columns: Any) -> pa.Table:
    names = {"card": [7], "at": [AT], "amount": [0.5], "shop": ["a"], **columns}
    return pa.table({name: value for name, value in names.items() if value is not None})


BODY = f'7,{AT},0.5,a\n,{AT + 1},,"b, c"\n-9,{AT + 2},1e-7,\n'
PLAIN = [["7", str(AT), "0.5", "a"], ["None", str(AT + 1), "None", "b, c"], ["-9", str(AT + 2), "1.0E-7", "None"]]
MOMENT = datetime(2025, 3, 1, 12, 0, 0, 123456, tzinfo=timezone.utc)
TYPES = {
    "k": "string",
    "at": "timestamp",
    "ok": "boolean",
    "t": "tinyint",
    "s": "smallint",
    "i": "int",
    "f": "float",
    "m": "decimal(10,2)",
    "d": "date",
}
TYPED = ["x", "2025-03-01 12:00:00.123456Z", "TRUE", "-128", "32767", "1", "0.5", "12345678.90", "2025-03-01"]
FULL = {
    "k": ["x"],
    "at": [MOMENT],
    "ok": [True],
    "t": pa.array([-128], pa.int8()),
    "s": pa.array([32767], pa.int16()),
    "i": pa.array([1], pa.int32()),
    "f": pa.array([0.5], pa.float32()),
    "m": pa.array([Decimal("12345678.90")], pa.decimal128(10, 2)),
    "d": [date(2025, 3, 1)],
}


def typed(**changes: Any) -> pa.Table:
    return pa.table({**FULL, **changes})


def line(**changes: str) -> str:
    return ",".join({**dict(zip(TYPES, TYPED, strict=True)), **changes}.values()) + "\n"


CASES = {
    # CSV
    "no header": Case(BODY, PLAIN),
    "header": Case(f"card,at,amount,shop\n{BODY}", PLAIN, header=True),
    "header of each file": Case(
        {"a": f"card,at,amount,shop\n{BODY}", "b": "card,at,amount,shop\n"}, PLAIN, header=True
    ),
    "header in another order and with more": Case(
        f"shop,note, amount ,at,card\na,x,0.5,{AT},7\n", [["7", str(AT), "0.5", "a"]], header=True
    ),
    "header in quotes behind a byte order mark": Case(
        f'"card","at","amount","shop"\r\n7,{AT},0.5,a\r\n'.encode("utf-8-sig"),
        [["7", str(AT), "0.5", "a"]],
        header=True,
    ),
    "a row that equals the header is a row": Case(
        f"shop,at\nshop,{AT}\n", [["shop", str(AT)]], schema={"shop": "string", "at": "bigint"}, header=True
    ),
    "an empty file": Case({"a": f"card,at,amount,shop\n{BODY}", "b": ""}, PLAIN, header=True),
    "a header that is not announced": Case(
        f"card,at,amount,shop\n{BODY}", error="its first line names the columns: set history.header to true"
    ),
    "a header that is announced and missing": Case(
        BODY, error="its first line does not name the column card, but 7,", header=True
    ),
    "a header with a word misspelt": Case(
        f"crad,at,amount,shop\n{BODY}", error="does not name the column card, but crad, at, amount, shop", header=True
    ),
    "a name twice": Case(f"card,at,amount,shop,at\n7,{AT},1,a,1\n", error="names the column at twice", header=True),
    "a field too few": Case(f"card,at,amount,shop\n7,{AT},1\n", error="row 2 has 3 fields, not 4", header=True),
    "a text for a number": Case(f"7,{AT},0.5,a\nx,{AT},1,a\n", error="row 2, column card: 'x' is not exactly a value"),
    "every type": Case(line(), [[*TYPED[:1], "2025-03-01 12:00:00.123456", *TYPED[2:]]], schema=TYPES),
    "a timestamp without zone is UTC": Case(
        line(at="2025-03-01T12:00:00"), [["x", "2025-03-01 12:00:00.000000", *TYPED[2:]]], schema=TYPES
    ),
    **{
        f"{column}: {text}": Case(
            line(**{column: text}), error=f"column {column}: '{text}' is not exactly", schema=TYPES
        )
        for column, text in [
            ("ok", "yes"),
            ("t", "128"),
            ("s", "32768"),
            ("i", "1.0"),
            ("f", "1d"),
            ("m", "0.001"),
            ("m", "123456789.00"),
            ("d", "2025-02-30"),
            ("at", "yesterday"),
        ]
    },
    # Parquet
    "parquet": Case(table(), [["7", str(AT), "0.5", "a"]], format="parquet"),
    "INT32 for bigint, FLOAT for double": Case(
        table(
            card=pa.array([7, None, -(2**31)], pa.int32()),
            at=[AT] * 3,
            amount=pa.array([0.5, 0.1, None], pa.float32()),
            shop=["a", "b", "c"],
        ),
        [
            ["7", str(AT), "0.5", "a"],
            ["None", str(AT), "0.10000000149011612", "b"],
            [str(-(2**31)), str(AT), "None", "c"],
        ],
        format="parquet",
    ),
    "files of both widths": Case(
        {
            "a": table(card=pa.array([1], pa.int32())),
            "b": table(card=pa.array([2], pa.int64())),
            "c": table(card=pa.array([3], pa.int8())),
        },
        [[str(n), str(AT), "0.5", "a"] for n in (1, 2, 3)],
        format="parquet",
    ),
    "columns in another order and more": Case(
        pa.table({"note": ["x"], "shop": ["a"], "amount": [0.5], "at": [AT], "card": [7]}),
        [["7", str(AT), "0.5", "a"]],
        format="parquet",
    ),
    "a column that is missing": Case(table(card=None), error="there is no column card", format="parquet"),
    "every type in parquet": Case(
        typed(), [[*TYPED[:1], "2025-03-01 12:00:00.123456", *TYPED[2:]]], schema=TYPES, format="parquet"
    ),
    "timestamps in milliseconds": Case(
        typed(at=pa.array([MOMENT.replace(microsecond=123000)], pa.timestamp("ms", "UTC"))),
        [["x", "2025-03-01 12:00:00.123000", *TYPED[2:]]],
        schema=TYPES,
        format="parquet",
    ),
    "timestamps in nanoseconds": Case(
        typed(at=pa.array([MOMENT], pa.timestamp("ns", "UTC"))),
        [["x", "2025-03-01 12:00:00.123456", *TYPED[2:]]],
        schema=TYPES,
        format="parquet",
    ),
    "a decimal with fewer digits": Case(
        typed(m=pa.array([Decimal("1.25")], pa.decimal128(5, 2))),
        [["x", "2025-03-01 12:00:00.123456", *TYPED[2:7], "1.25", TYPED[8]]],
        schema=TYPES,
        format="parquet",
    ),
    **{
        f"parquet {name}": Case(content, error=error, schema=schema, format="parquet")
        for name, content, schema, error in [
            (
                "text for bigint",
                table(card=["7"]),
                SCHEMA,
                "column card is BINARY (STRING), and the pipeline reads BIGINT",
            ),
            (
                "time for bigint",
                table(at=pa.array([MOMENT])),
                SCHEMA,
                "column at is INT64 (TIMESTAMP(MICROS,true)), and the pipeline reads BIGINT",
            ),
            (
                "unsigned",
                table(card=pa.array([2**63], pa.uint64())),
                SCHEMA,
                "column card is INT64 (INTEGER(64,false)), and the pipeline reads BIGINT",
            ),
            ("integer for double", table(amount=[1]), SCHEMA, "column amount is INT64, and the pipeline reads DOUBLE"),
            (
                "bigint for int",
                typed(i=pa.array([1], pa.int64())),
                TYPES,
                "column i is INT64, and the pipeline reads INT",
            ),
            (
                "int for tinyint",
                typed(t=pa.array([300], pa.int32())),
                TYPES,
                "column t is INT32, and the pipeline reads TINYINT",
            ),
            (
                "another scale",
                typed(m=pa.array([Decimal("1.250")], pa.decimal128(10, 3))),
                TYPES,
                "column m is FIXED_LEN_BYTE_ARRAY (DECIMAL(10,3)), and the pipeline reads DECIMAL(10, 2)",
            ),
            ("a list", table(shop=[["a"]]), SCHEMA, "column shop is a group of columns, and the pipeline reads STRING"),
            (
                "two at once",
                table(card=["7"], shop=[1]),
                SCHEMA,
                "pipeline reads BIGINT; column shop is INT64, and the pipeline reads STRING",
            ),
        ]
    },
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("history")
    # The others' folder first: fetching them replaces it.
    fetch(CONNECTORS_POM, CONNECTOR_JARS)
    folders = [fetch(PARQUET_POM, PARQUET_JARS), fetch(JAVA_POM, JAVA_JARS)]
    jars = ";".join(jar.as_uri() for one in folders for jar in sorted(one.glob("*.jar")))
    for number, case in enumerate(CASES.values()):
        case.write(folder / str(number))
    done = subprocess.run(
        [REPOSITORY / "flink_jobs" / ".venv" / "bin" / "python", "-c", READ, folder / "results"],
        input=json.dumps([jars, [case.job(folder / str(number)) for number, case in enumerate(CASES.values())]]),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(CASES, map(json.loads, (folder / "results").read_text().splitlines()), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_files_are_read_as_they_were_written_or_refused(results: dict[str, Any], name: str) -> None:
    case, found = CASES[name], results[name]
    if case.error:
        assert case.error in found.get("error", found)
        assert f".{case.history['format']}: " in found["error"]
        assert "history file file:/" in found["error"]
    else:
        assert sorted(found.get("rows", [found])) == sorted(case.rows)
