"""A past in files, recomputed on the real cluster: several files of each format, as other tools write them."""

from __future__ import annotations

import csv
import gzip
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests

from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.operators.flink import FlinkRecomputeFeaturesOperator
from hopsworks_flink.operators.hopsworks import HopsworksMaterializeFeatureGroupOperator
from hopsworks_flink.pipeline.resources import feature_group_arguments
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support.fixtures import set_connection, task_context
from tests.support.live.platform import offline_rows, sdk_project

pytestmark = pytest.mark.timeout(600)

NAME = f"files_{time.time_ns() // 1_000_000 % 100_000_000}"
DAY = datetime(2025, 3, 1, tzinfo=timezone.utc)
#: A day for each format, so that rows tell which files they come from.
FORMATS = {"parquet": 0, "csv": 1, "json": 2}
COLUMNS = {
    "card": "bigint",
    "at": "timestamp",
    "amount": "double",
    "price": "decimal(10,2)",
    "good": "boolean",
    "day": "date",
}
SPEC: dict[str, Any] = {
    "name": NAME,
    "source": {
        "topic": f"{NAME}_events",
        "format": "json",
        "schema": COLUMNS,
        "event_time": {"column": "at"},
        # No event is there twice.
        "deduplicate": {"by": ["card", "at"], "within": "1s"},
    },
    "feature_groups": [
        {
            "name": NAME,
            "version": 1,
            "key": ["card"],
            "event_time": "window_end",
            "window": {"size": "10m"},
            "aggregates": {
                "events": "count",
                "total": {"sum": "price"},
                "most": {"max": "amount"},
                "least": {"min": "amount"},
                "goods": {"count": "good"},
                "last_day": {"max": "day"},
            },
        }
    ],
}


def events(kind: str) -> list[dict[str, Any]]:
    """200 events of one day; amounts are exact in 32 bits, and prices in tenths, as some of the files have them."""
    begin = DAY + timedelta(days=FORMATS[kind], hours=9)
    return [
        {
            "card": number % 7 - 3 if number % 7 else 2**31 - 1,
            "at": begin + timedelta(seconds=37 * number, milliseconds=number),
            "amount": None if number % 11 == 0 else number / 8 - 3,
            "price": None if number % 13 == 0 else Decimal(number * number - 500) / 10,
            "good": (True, False, None)[number % 3],
            "day": date(2025, 1, 1) + timedelta(days=number),
        }
        for number in range(200)
    ]


def expected(kind: str) -> dict[Any, dict[str, Any]]:
    windows = defaultdict(list)
    for event in events(kind):
        end = event["at"].replace(minute=event["at"].minute // 10 * 10, second=0, microsecond=0) + timedelta(minutes=10)
        windows[event["card"], end].append(event)

    def of(rows: list[dict[str, Any]], column: str) -> list[Any]:
        return [row[column] for row in rows if row[column] is not None]

    return {
        key: {
            "events": len(rows),
            "total": sum(of(rows, "price")) if of(rows, "price") else None,
            "most": max(of(rows, "amount"), default=None),
            "least": min(of(rows, "amount"), default=None),
            "goods": len(of(rows, "good")),
            "last_day": max(of(rows, "day")),
        }
        for key, rows in windows.items()
    }


def write_parquet(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Three writers: narrow types, the pipeline's own, and a data frame's."""
    types: list[dict[str, pa.DataType]] = [
        {
            "price": pa.decimal128(8, 1),
            "card": pa.int32(),
            "amount": pa.float32(),
            "good": pa.bool_(),
            "at": pa.timestamp("ms", "UTC"),
            "day": pa.date32(),
        },
        {
            "card": pa.int64(),
            "at": pa.timestamp("us", "UTC"),
            "amount": pa.float64(),
            "price": pa.decimal128(10, 2),
            "good": pa.bool_(),
            "day": pa.date32(),
        },
        {
            "note": pa.string(),
            "day": pa.date32(),
            "good": pa.bool_(),
            "price": pa.decimal128(20, 4),
            "amount": pa.float64(),
            "at": pa.timestamp("ns", "UTC"),
            "card": pa.int64(),
        },
    ]
    for number, columns in enumerate(types):
        table = pa.Table.from_pylist(
            [{"note": "x", **row} for row in rows[number::3]], pa.schema(list(columns.items()))
        )
        pq.write_table(table, folder / f"part-{number}.parquet", row_group_size=20)


def write_csv(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Each file with a header line of its own order; one is compressed."""
    for number, columns in enumerate((list(COLUMNS), ["note", *reversed(COLUMNS)])):
        part = folder / f"part-{number}.csv"
        with part.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows({"note": 'a, "b"', **row} for row in rows[number::2])
    (folder / "part-0.csv.gz").write_bytes(gzip.compress((folder / "part-0.csv").read_bytes()))
    (folder / "part-0.csv").unlink()


def write_json(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Times with an offset, prices as numbers and as texts."""
    east = timezone(timedelta(hours=2))
    for number in range(2):
        lines = [
            json.dumps(
                {
                    **row,
                    "at": row["at"].astimezone(east).isoformat(),
                    "price": row["price"] and (float(row["price"]) if number else str(row["price"])),
                    "day": row["day"].isoformat(),
                }
            )
            for row in rows[number::2]
        ]
        (folder / f"part-{number}.json").write_text("\n".join(lines) + "\n")


WRITERS = {"parquet": write_parquet, "csv": write_csv, "json": write_json}


class Past:
    """The registered pipeline, and recomputations of a day from files."""

    def __init__(self, stack: Any, certificates: Path) -> None:
        self.stack, self.certificates = stack, certificates

    def recompute(self, kind: str, folder: Path) -> dict[str, Any]:
        history = {"path": f"{folder}/part-*", "format": kind, **({"header": True} if kind == "csv" else {})}
        begin = DAY + timedelta(days=FORMATS[kind])
        return FlinkRecomputeFeaturesOperator(
            task_id="t", pipeline={**SPEC, "history": history}, start=begin, end=begin + timedelta(days=1)
        ).execute(task_context())

    def jobs(self) -> set[tuple[str, str]]:
        """Ids and states of the jobs so far."""
        overview = requests.get(f"{self.stack.config.flink_url}/jobs/overview", timeout=30).json()["jobs"]
        return {(job["jid"], job["state"]) for job in overview if job["name"].startswith(NAME)}

    def rows(self, kind: str) -> dict[Any, dict[str, Any]]:
        """The offline rows of a format's day."""
        HopsworksMaterializeFeatureGroupOperator(task_id="t", name=NAME, version=1, poll_interval=0.5).execute(
            task_context()
        )
        with sdk_project(self.stack, self.certificates) as project:
            found = offline_rows(project.get_feature_store().get_feature_group(NAME, version=1))
        begin = DAY + timedelta(days=FORMATS[kind])
        return {
            (row.pop("card"), end): row
            for row in found
            if begin < (end := row.pop("window_end").replace(tzinfo=timezone.utc)) <= begin + timedelta(days=1)
        }


@pytest.fixture(scope="module")
def past(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    pipeline = Pipeline.parse(SPEC)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("hopsworks_default", "flink_default"):
            set_connection(patch, name, **stack.airflow_connections()[name])
        with HopsworksHook().session() as session:
            for group in pipeline.feature_groups:
                session.create_feature_group(**feature_group_arguments(pipeline, group))
        yield Past(stack, tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("kind", FORMATS)
def test_files_as_other_tools_write_them_give_exact_rows(past: Past, tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path, events(kind))
    result = past.recompute(kind, tmp_path)
    wanted = expected(kind)
    assert (result["files"], result["rows"]) == (f"{tmp_path}/part-*", {f"{NAME}_1": len(wanted)})
    assert past.rows(kind) == wanted


def with_one(kind: str, **changes: Any) -> list[dict[str, Any]]:
    return [{**row, **(changes if number == 150 else {})} for number, row in enumerate(events(kind))]


def write_long_cards(folder: Path) -> None:
    rows = [{**row, "card": str(row["card"])} for row in events("parquet")]
    write_parquet(folder, events("parquet"))
    pq.write_table(pa.Table.from_pylist(rows), folder / "part-9.parquet")


def write_yes(folder: Path) -> None:
    write_csv(folder, with_one("csv", good="yes"))


def write_without_price(folder: Path) -> None:
    write_csv(folder, events("csv"))
    (folder / "part-9.csv").write_text("card,at,amount,good,day\n")


def write_fraction(folder: Path) -> None:
    write_json(folder, with_one("json", card=3.9))


@pytest.mark.parametrize(
    ("kind", "write", "reason"),
    [
        ("parquet", write_long_cards, "part-9.parquet: column card is bigint, and BINARY STRING in the file"),
        ("csv", write_yes, 'part-0.csv.gz: row 77: column good is boolean and holds "yes"'),
        (
            "csv",
            write_without_price,
            "part-9.csv: its first line names no column price, but card, at, amount, good, day",
        ),
        ("json", write_fraction, "part-0.json: line 76: column card is bigint and holds 3.9"),
    ],
)
def test_what_a_file_holds_beside_the_schema_fails_the_job_once(
    past: Past, tmp_path: Path, kind: str, write: Any, reason: str
) -> None:
    write(tmp_path)
    before = past.jobs()
    with pytest.raises(Exception, match="history file") as caught:
        past.recompute(kind, tmp_path)
    assert f"history file file:{tmp_path}/{reason}" in str(caught.value)
    ((job, state),) = past.jobs() - before
    assert state == "FAILED"
    answer = requests.get(f"{past.stack.config.flink_url}/jobs/{job}/exceptions", timeout=30).json()
    assert len(answer["exceptionHistory"]["entries"]) == 1
