"""The local Hopsworks on a socket with something to see, part of it hostile, and a browser's client for its pages."""

from __future__ import annotations

import datetime
import io
import json
import shutil
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import httpx
import pyarrow as pa

from devstack.config import DevstackConfig
from devstack.hopsworks.home.setup import read_api_key
from devstack.hopsworks.metadata.featuretypes import avro_field
from devstack.hopsworks.offline.checkpoint import Checkpoint, save_checkpoint
from devstack.hopsworks.offline.columns import arrow_type
from devstack.hopsworks.offline.table import merge
from devstack.hopsworks.online.store import save_offsets, upsert_sql
from tests.support.hopsworks_fixtures import FS, GROUPS, cards_body
from tests.support.hopsworks_server import LocalHopsworks, free_port

SCRIPT = "<script>alert('x')</script>"
ROWS = 120
COMMITTED = 1_700_000_000_000
JOB = "cards_1_offline_fg_materialization"
PROJECT = "/p/119"
GROUP = f"{PROJECT}/fs/67/fg/1"
EXECUTIONS = f"{PROJECT}/jobs/named/{JOB}/executions"
#: A value of each type that a feature can have.
KINDS: dict[str, Any] = {
    **{"tinyint": 1, "smallint": 2, "int": 3, "bigint": 4, "float": 0.5, "double": 1.5, "boolean": True},
    **{"string": "x", "binary": b"\xff", "date": datetime.date(2026, 1, 2), "decimal(38,2)": Decimal("1.10")},
    **{"timestamp": datetime.datetime(2026, 1, 2), "array<int>": [1], "map<string,int>": [("a", 1)]},
    **{"struct<a:int,b:string>": {"a": 1, "b": "x"}},
}
#: One address of each kind of page.
PAGES = (
    *(PROJECT, f"{PROJECT}/view", f"{PROJECT}/fs/67/fg"),
    *(GROUP, f"{GROUP}/online", f"{GROUP}/offline", f"{GROUP}/statistics", f"{GROUP}/statistics?now=true"),
    *(f"{PROJECT}/kafka", f"{PROJECT}/kafka/topics/demo_onlinefs", f"{PROJECT}/kafka/subjects/cards_1"),
    *(f"{PROJECT}/jobs", f"{PROJECT}/jobs/named/{JOB}", EXECUTIONS, f"{EXECUTIONS}/1"),
)


@contextmanager
def stocked_server(home: Path, folder: Path) -> Iterator[LocalHopsworks]:
    """A server with two versions of a group, rows in both stores, a job that has run, tags and statistics.

    :param home: an initialised home; it is copied into ``folder``.
    """
    shutil.copytree(home, folder / "home")
    server = LocalHopsworks(DevstackConfig(home=folder / "home", hopsworks_port=free_port()))
    with server.serve(), client(server) as api:
        api.headers["Authorization"] = f"ApiKey {read_api_key(server.config)}"
        _stock(server, api)
        yield server


def client(server: LocalHopsworks) -> httpx.Client:
    """A client without any login that follows no redirects."""
    context = ssl.create_default_context(cafile=str(server.config.hopsworks_ca))
    return httpx.Client(base_url=server.config.hopsworks_url, verify=context, trust_env=False, timeout=30)


def _stock(server: LocalHopsworks, api: httpx.Client) -> None:
    def send(method: str, path: str, body: Any) -> Any:
        answer = api.request(method, f"/hopsworks-api/api/{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()

    cards = {**cards_body(), "description": SCRIPT}
    cards["features"][2]["description"] = f'"{SCRIPT}'
    for version in (1, 2):
        send("POST", GROUPS, {**cards, "version": version})
    kinds = [{"name": "id", "type": "bigint", "primary": True}]
    kinds += [{"name": f"f{number}", "type": kind} for number, kind in enumerate(KINDS)]
    send("POST", GROUPS, {**cards, "name": "kinds", "onlineEnabled": False, "eventTime": None, "features": kinds})
    send("PUT", f"{GROUPS}/1/tags/owner", {"team": SCRIPT})
    send(
        "POST", f"{GROUPS}/1/commits", {"commitTime": COMMITTED, "rowsInserted": 3, "rowsUpdated": 0, "rowsDeleted": 0}
    )
    send("POST", f"{GROUPS}/1/online_ingestion", {"numEntries": 7})
    histogram = {"histogram": [{"value": "1-5", "count": 3}, {"value": SCRIPT, "count": 9}]}
    feature = {
        **{"featureName": "cc_num", "count": 120, "min": 1.0, "mean": 60.5, "approxNumDistinctValues": 119},
        **{"percentiles": list(range(1, 101)), "extendedStatistics": json.dumps(histogram)},
    }
    for time in (COMMITTED, COMMITTED + 1000):
        body = {"computationTime": time, "featureDescriptiveStatistics": [feature, {"featureName": "city"}]}
        send("POST", f"{GROUPS}/1/statistics", body)
    record = '{"type":"record","name":"r","fields":[{"name":"a","type":"int"}]}'
    for subject, text in (("events", record), ("plain", '"string"')):
        send("POST", f"{FS}/kafka/subjects/{subject}/versions", {"schema": text})
    _fill_stores(server)
    job = server.jobs.job(JOB)
    assert job is not None
    variables = {"MODEL_TOKEN": "variables-value"}
    arguments = f"-op x --db-password hunter2 {SCRIPT}"
    execution = server.jobs.new_execution(job, arguments, variables, f"{server.layout.project_path}/Logs/Spark")
    assert execution is not None
    log = "\n".join([*(f"line {n} of the log" for n in range(20_000)), SCRIPT, read_api_key(server.config), "the end"])
    server.end(execution.id, log=log)
    server.start_execution()


def _fill_stores(server: LocalHopsworks) -> None:
    group = server.context.groups.get(1)
    encoded = io.BytesIO()
    amounts = fastavro.parse_schema(avro_field("amounts", "array<double>")["type"])
    fastavro.schemaless_writer(encoded, amounts, [1.5, None])
    sql = upsert_sql(group.full_name, [feature.name for feature in group.features], group.primary_key)
    with server.context.online.transaction() as tx:
        rows = [(n, "2026-01-01 00:00:00", SCRIPT, encoded.getvalue()) for n in range(1, ROWS)]
        tx.executemany(sql, [*rows, (ROWS, None, None, b"\xff")])
        save_offsets(tx, [("demo_onlinefs", 0, 1234)])
    location = server.layout.warehouse / group.full_name
    times = [datetime.datetime(2026, 1, day, tzinfo=datetime.timezone.utc) for day in (1, 3, 2)]
    table = pa.table(
        {
            "cc_num": pa.array([1, 2, 3], pa.int64()),
            "ts": pa.array(times, pa.timestamp("us", "UTC")),
            "city": pa.array([SCRIPT, "b", None], pa.string()),
            "amounts": pa.array([[1.5], None, []], pa.list_(pa.float64())),
        }
    )
    merge(location, table, group.offline_key)
    kinds = server.context.groups.get(3)
    columns: dict[str, pa.Array] = {"id": pa.array([1, 2, 3], pa.int64())}
    for number, (kind, value) in enumerate(KINDS.items()):
        columns[f"f{number}"] = pa.array([value, value, None], arrow_type(kind))
    merge(server.layout.warehouse / kinds.full_name, pa.table(columns), kinds.offline_key)
    save_checkpoint(location, Checkpoint("demo_onlinefs", {0: 1200}))
