"""The offline store: one row per key, merged into a Delta table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, QueryBuilder, write_deltalake

from devstack.hopsworks.offline.columns import OFFSET, PARTITION

_RANK = "__rank"
_JOIN_ROWS = 2_000_000
# Decimal digits that every double keeps.
_JSON_DIGITS = 15


def drop_null_keys(table: pa.Table, keys: list[str]) -> pa.Table:
    """Rows whose key is complete; the others would never match, and each run would add them again."""
    for key in keys:
        table = table.filter(pc.is_valid(table[key]))
    return table


def latest_per_key(table: pa.Table, keys: list[str]) -> pa.Table:
    """One row per key: the one with the highest offset (then partition). Returns the table without its places."""
    rows = table.drop_columns([PARTITION, OFFSET])
    partitions = (pc.max(table[PARTITION]).as_py() or 0) + 1
    rank = pc.add(pc.multiply(table[OFFSET], partitions), table[PARTITION].cast(pa.int64()))
    # Without threads, which slow each other down here and take the cores from other work.
    groups = rows.select(keys).append_column(_RANK, rank).group_by(keys, use_threads=False)
    latest = groups.aggregate([(_RANK, "max")])[f"{_RANK}_max"]
    return rows if len(latest) == len(rows) else rows.filter(pc.is_in(rank, latest))


@dataclass(frozen=True)
class Written:
    """What one merge did."""

    inserted: int = 0
    updated: int = 0
    table_rows: int = 0


def merge(location: Path, rows: pa.Table, keys: list[str]) -> Written:
    """Upsert ``rows`` by ``keys`` into the Delta table at ``location``; makes the table, adds new columns.

    Rows whose key is in the table are merged, the others appended. After a crash between the two, or before the offsets
    are saved, the next run does both again.
    """
    location.mkdir(parents=True, exist_ok=True)
    if not DeltaTable.is_deltatable(str(location)):
        DeltaTable.create(str(location), schema=rows.schema, mode="ignore", configuration=statistics_of(rows.schema))
    table = DeltaTable(str(location))
    known_schema = pa.schema(table.schema().to_arrow())
    source = _like(rows, known_schema)
    statistics = statistics_of(pa.unify_schemas([known_schema, source.schema]))
    if not statistics.items() <= table.metadata().configuration.items():
        # New columns, or a table that the SDK has made.
        table.alter.set_table_properties(statistics)
    known = _known_keys(table, source, keys) if count_rows(location) else None
    inserted = updated = 0
    if known is not None and len(known):
        inserted, updated = _merge_known(table, source.filter(known), keys)
        source = source.filter(pc.invert(known))
    if source.num_rows:
        write_deltalake(str(location), source, mode="append", schema_mode="merge")
    return Written(inserted + source.num_rows, updated, count_rows(location))


def statistics_of(schema: pa.Schema) -> dict[str, str]:
    """The properties of a table by which files have statistics of those columns only whose values JSON bounds exactly.

    Delta writes smallest and largest values as JSON numbers. A decimal of more than 15 digits is rounded there: readers
    skip files that have the value, or refuse the table, if it is rounded beyond its type.
    """
    columns = [field.name for field in schema if _is_exact_in_json(field.type)]
    if not columns:
        return {"delta.dataSkippingNumIndexedCols": "0"}
    return {"delta.dataSkippingStatsColumns": ",".join(columns)}


def _is_exact_in_json(kind: pa.DataType) -> bool:
    if pa.types.is_decimal(kind):
        return kind.precision <= _JSON_DIGITS
    # The statistics of a nested column are those of all that is in it.
    return not pa.types.is_nested(kind)


def _merge_known(table: DeltaTable, source: pa.Table, keys: list[str]) -> tuple[int, int]:
    """Merge rows whose keys exist; returns the numbers of inserted and updated rows."""
    new_columns = set(source.column_names) - {field.name for field in table.schema().fields}
    # The ranges follow from the equalities, but let Delta skip files without any of the keys.
    condition = " AND ".join([f'target."{key}" = source."{key}"' for key in keys] + _ranges(source, keys, "target."))
    metrics = (
        table.merge(source, condition, source_alias="source", target_alias="target", merge_schema=bool(new_columns))
        .when_matched_update_all()
        .when_not_matched_insert_all()
        .execute()
    )
    return metrics["num_target_rows_inserted"], metrics["num_target_rows_updated"]


def _known_keys(table: DeltaTable, source: pa.Table, keys: list[str]) -> pa.ChunkedArray | None:
    """Which rows of ``source`` have a key that the table has; None if none has."""
    columns = ", ".join(f'"{key}"' for key in keys)
    condition = " AND ".join(_ranges(source, keys, "")) or "TRUE"
    found = QueryBuilder().register("target", table).execute(f"SELECT {columns} FROM target WHERE {condition}")
    wanted = source.select(keys).append_column(_RANK, pa.array(np.arange(source.num_rows)))
    mask = np.zeros(source.num_rows, bool)
    for piece in _pieces(found, source.schema, keys):
        matches = wanted.join(piece, keys, join_type="left semi", use_threads=False)
        mask[matches[_RANK].to_numpy()] = True
    return pa.chunked_array([mask]) if mask.any() else None


def _pieces(batches: Iterable[Any], schema: pa.Schema, keys: list[str]) -> Iterator[pa.Table]:
    """Tables of some million keys: a join per batch would take too long, one join of all too much memory."""
    target = pa.schema([schema.field(key) for key in keys])
    pending: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        pending.append(pa.record_batch(batch))
        rows += pending[-1].num_rows
        if rows >= _JOIN_ROWS:
            yield pa.Table.from_batches(pending).cast(target)
            pending, rows = [], 0
    if rows:
        yield pa.Table.from_batches(pending).cast(target)


def _ranges(source: pa.Table, keys: list[str], prefix: str) -> list[str]:
    """Conditions in SQL that hold for every key of ``source``, for the key columns whose values have literals."""
    conditions = []
    for key in keys:
        kind = source.schema.field(key).type
        low, high = pc.min_max(source[key].cast(pa.int64()) if pa.types.is_timestamp(kind) else source[key]).values()
        if pa.types.is_integer(kind):
            conditions.append(f'{prefix}"{key}" BETWEEN {low} AND {high}')
        elif pa.types.is_timestamp(kind):
            # Some writers cut the statistics of a file to milliseconds.
            bounds = f"to_timestamp_micros({low.as_py() - 1000}) AND to_timestamp_micros({high})"
            conditions.append(f'{prefix}"{key}" BETWEEN {bounds}')
    return conditions


def _like(rows: pa.Table, target: pa.Schema) -> pa.Table:
    """``rows`` with the column types that the table has already (the SDK may have made it)."""
    fields = []
    for field in rows.schema:
        index = target.get_field_index(field.name)
        fields.append(field if index < 0 else pa.field(field.name, target.field(index).type))
    return rows.cast(pa.schema(fields))


def count_rows(location: Path) -> int:
    """Rows of the Delta table, by its log."""
    if not DeltaTable.is_deltatable(str(location)):
        return 0
    actions = pa.table(DeltaTable(str(location)).get_add_actions(flatten=True))
    return int(pc.sum(actions["num_records"]).as_py() or 0)
