"""Rows of a feature group as its two stores hold them: a page of the online ones, the newest of the offline ones."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import fastavro
import pyarrow as pa
import pyarrow.compute as pc
import sqlglot.expressions as exp
from deltalake import DeltaTable

from devstack.hopsworks.api.queryservice import read
from devstack.hopsworks.api.routes.context import Context
from devstack.hopsworks.featurestore.querysql import Rendered, build, parse
from devstack.hopsworks.metadata.featuretypes import avro_field, is_complex
from devstack.hopsworks.metadata.models import FeatureGroup
from devstack.hopsworks.offline.checkpoint import Checkpoint, load_checkpoint
from devstack.hopsworks.online.store import quote
from devstack.hopsworks.site.rendering import PER_PAGE, Page

# Beyond it, counting would take longer than a page may.
MOST_COUNTED = 100_000
# Of the first table of a statement.
ALIAS = "fg0"


def online_page(context: Context, group: FeatureGroup, key: Mapping[str, str], number: int) -> Page[list[Any]]:
    """Rows by primary key, all or those with the given values of key features.

    :raises HopsworksError: a value is none of its feature's type.
    """
    rendered = statement(context, group, key, online=True)
    order = [exp.column(name, table=ALIAS, quoted=True) for name in group.primary_key]
    select = rendered.select.order_by(*order).limit(PER_PAGE + 1).offset((number - 1) * PER_PAGE)
    found = context.online.connection.execute(Rendered(select, rendered.groups).text()).fetchall()
    decoders = [_decoder(feature.name, feature.type or "") for feature in group.online_features]
    rows = [[decode(value) for decode, value in zip(decoders, row, strict=True)] for row in found]
    return Page(rows[:PER_PAGE], number, len(rows) > PER_PAGE)


def count_online(context: Context, group: FeatureGroup) -> int | None:
    """Rows in the online store, at most ``MOST_COUNTED + 1``; None if the group has no online table."""
    if not group.online_enabled:
        return None
    sql = f"SELECT count(*) FROM (SELECT 1 FROM {quote(group.full_name)} LIMIT {MOST_COUNTED + 1})"
    try:
        return int(context.online.connection.execute(sql).fetchone()[0])
    except sqlite3.OperationalError:
        # Just deleted.
        return None


@dataclass(frozen=True)
class OfflineTable:
    """What the log of a Delta table tells."""

    rows: int
    version: int
    files: int
    bytes: int
    # Next offsets of the topic to materialize.
    checkpoint: Checkpoint | None


def offline_location(group: FeatureGroup) -> Path:
    return Path(unquote(urlparse(group.location).path))


def offline_table(group: FeatureGroup) -> OfflineTable | None:
    """None before the first materialization."""
    location = offline_location(group)
    if not DeltaTable.is_deltatable(str(location)):
        return None
    table = DeltaTable(str(location))
    files = pa.table(table.get_add_actions(flatten=True))
    total, size = (int(pc.sum(files[name]).as_py() or 0) for name in ("num_records", "size_bytes"))
    return OfflineTable(total, table.version(), files.num_rows, size, load_checkpoint(location))


def newest_offline(context: Context, group: FeatureGroup) -> list[list[Any]]:
    """The rows with the latest event time; any rows of a group without one."""
    rendered = statement(context, group, {}, online=False)
    select = rendered.select.limit(PER_PAGE)
    if group.event_time:
        newest = exp.Ordered(this=exp.column(group.event_time, table=ALIAS, quoted=True), desc=True, nulls_first=False)
        select = select.order_by(newest, *(exp.column(name, table=ALIAS, quoted=True) for name in group.primary_key))
    table = read(Rendered(select, rendered.groups))
    return [list(row.values()) for row in table.to_pylist()]


def statement(context: Context, group: FeatureGroup, key: Mapping[str, str], online: bool) -> Rendered:
    """All features of the rows with the given values of key features."""
    features = group.online_features if online else group.features
    equal = [{"condition": "EQUALS", "feature": {"name": name}, "value": value} for name, value in key.items()]
    condition: dict[str, Any] | None = None
    for one in equal:
        condition = {"type": "AND", "leftLogic": condition, "rightFilter": one} if condition else one
    body = {
        "leftFeatureGroup": {"id": group.id},
        "leftFeatures": [{"name": feature.name} for feature in features],
        "filter": condition,
    }
    return build(parse(body), context.groups.get, online)


def _decoder(name: str, feature_type: str) -> Callable[[Any], Any]:
    """Online, complex features are the bytes of their own Avro encoding."""
    if not is_complex(feature_type):
        return lambda value: value
    schema = fastavro.parse_schema(avro_field(name, feature_type)["type"])

    def decode(value: Any) -> Any:
        if not isinstance(value, bytes):
            return value
        try:
            return fastavro.schemaless_reader(io.BytesIO(value), schema, None)
        except (EOFError, ValueError, IndexError, TypeError):
            # Bytes that a client wrote by another schema: shown as they are.
            return value

    return decode
