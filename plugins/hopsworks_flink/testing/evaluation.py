"""The features of a pipeline for given events, computed by DuckDB: independent of Flink and of the SQL it gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hopsworks_flink.exceptions import ConfigurationError, PipelineError
from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline
from hopsworks_flink.pipeline.spec.source import Records
from hopsworks_flink.pipeline.types import FeatureType
from hopsworks_flink.testing import queries
from hopsworks_flink.testing.events import KAFKA_TIMESTAMP, typed_columns

if TYPE_CHECKING:
    import duckdb

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def evaluate(
    pipeline: Pipeline | Mapping[str, Any] | str | Path,
    events: Iterable[Mapping[str, Any]],
    joined: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Compute every feature group of a pipeline over events, as the streaming job and a recompute do.

    :param pipeline: the pipeline, its data, or the path of its file.
    :param events: column → value, in the order of their arrival; a column that is missing is null. Dates,
        timestamps, decimals and bytes are Python's, or texts: ISO (UTC without a zone), digits, base64.
        ``__kafka_timestamp`` is the record's timestamp, epoch milliseconds or a datetime; without it an event is
        never too far in the future or past.
    :param joined: versions by the name of their join, as events in the order of the topic, with `__kafka_timestamp`
        where that is the time since which they hold; one with ``__tombstone: true`` has nothing but key and timestamp.
        All of them are known before any event comes. Without any a join has no versions.
    :return: full name of the feature group (``cards_1``) → the rows that it emits, by window end and key; those of
        single events by arrival. Timestamps
        carry the zone UTC. A group without event time has one row for each window as well; the last one of a key
        is what the stores keep.

    No event is late here: all of them have arrived before any window ends. Of equal event times the order of arrival
    decides what is first and last.

    :raises PipelineError: the pipeline or an event is wrong; the text names the place and the value.
    :raises ConfigurationError: DuckDB is not installed.
    """
    parsed = Pipeline.parse(pipeline if not isinstance(pipeline, Mapping) else dict(pipeline))
    with connect() as connection:
        load(connection, parsed, list(events))
        load_versions(connection, parsed, joined or {})
        execute(connection, queries.clean_events(parsed), f"pipeline {parsed.name}: source")
        return {group.full_name: _rows(connection, parsed, group) for group in parsed.feature_groups}


def _refuse_names_that_collide(pipeline: Pipeline) -> None:
    tables = {"source.schema": pipeline.source.all_columns}
    tables |= {f"source.join.{name}.schema": join.columns for name, join in pipeline.source.join.items()}
    for place, columns in tables.items():
        seen: dict[str, str] = {}
        for name in columns:
            other = seen.setdefault(name.lower(), name)
            if other != name:
                raise PipelineError(
                    f"pipeline {pipeline.name}: {place} has the columns {other!r} and {name!r}, which DuckDB does "
                    "not tell apart; rename one of them to evaluate the pipeline"
                )


def connect() -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory, with the functions that expressions use."""
    try:
        import duckdb
        from duckdb.sqltypes import VARCHAR
    except ImportError:
        raise ConfigurationError(
            "Evaluating a pipeline needs DuckDB, which is not installed: pip install duckdb."
        ) from None
    connection = duckdb.connect(config={"enable_external_access": False, "threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    # Python maps letters as Java does: ß to SS.
    connection.create_function("java_upper", str.upper, [VARCHAR], VARCHAR)
    connection.create_function("java_lower", str.lower, [VARCHAR], VARCHAR)
    return connection


def load(connection: duckdb.DuckDBPyConnection, pipeline: Pipeline, events: Sequence[Mapping[str, Any]]) -> None:
    """Make table `queries.RAW` of events.

    :raises PipelineError: an event is wrong, or DuckDB does not tell columns of the events or of versions apart.
    """
    _refuse_names_that_collide(pipeline)
    connection.register(queries.RAW, _table(pipeline.source, events, "events"))


def load_versions(
    connection: duckdb.DuckDBPyConnection, pipeline: Pipeline, joined: Mapping[str, Iterable[Mapping[str, Any]]]
) -> None:
    """Make a table of the versions of each join, `queries.raw_versions`."""
    import pyarrow as pa

    if unknown := [name for name in joined if name not in pipeline.source.join]:
        raise PipelineError(
            f"pipeline {pipeline.name} has no join {unknown[0]!r}; it has {', '.join(pipeline.source.join) or 'none'}"
        )
    for name, join in pipeline.source.join.items():
        rows = list(joined.get(name, ()))
        gone = [isinstance(row, Mapping) and row.get(queries.TOMBSTONE) is True for row in rows]
        values = [
            {column: value for column, value in row.items() if column != queries.TOMBSTONE} if is_gone else row
            for row, is_gone in zip(rows, gone, strict=True)
        ]
        table = _table(join, values, f"joined.{name}")
        connection.register(
            queries.raw_versions(name), table.append_column(queries.TOMBSTONE, pa.array(gone, pa.bool_()))
        )


def _table(records: Records, events: Sequence[Mapping[str, Any]], what: str) -> Any:
    import pyarrow as pa

    columns = typed_columns(records, events, what)
    arrays = {name: pa.array(columns[name], _arrow_type(kind)) for name, kind in records.columns.items()}
    arrays[KAFKA_TIMESTAMP] = pa.array(columns[KAFKA_TIMESTAMP], pa.int64())
    arrays[queries.ARRIVAL] = pa.array(range(len(events)), pa.int64())
    return pa.table(arrays)


def _arrow_type(kind: FeatureType) -> Any:
    import pyarrow as pa

    if kind.is_decimal:
        return pa.decimal128(kind.precision, kind.scale)
    return {
        "boolean": pa.bool_(),
        "tinyint": pa.int8(),
        "smallint": pa.int16(),
        "int": pa.int32(),
        "bigint": pa.int64(),
        "float": pa.float32(),
        "double": pa.float64(),
        "string": pa.string(),
        "binary": pa.binary(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us"),
    }[kind.name]


def _rows(connection: duckdb.DuckDBPyConnection, pipeline: Pipeline, group: FeatureGroup) -> list[dict[str, Any]]:
    what = f"pipeline {pipeline.name}: feature group {group.full_name}"
    names = [*group.key, *group.aggregates, *group.features]
    rows = []
    for *values, earliest, end in execute(connection, queries.group_rows(pipeline, group), what):
        row = dict(zip(names, map(_with_zone, values), strict=True))
        for name, time in group.times.items():
            at = queries.window_start(group.window, earliest, end) if time is group.window_start else end
            row[name] = at if time.type == "bigint" else _EPOCH + timedelta(milliseconds=at)
        rows.append({name: row[name] for name in group.feature_names})
    return rows


def execute(connection: duckdb.DuckDBPyConnection, statement: str, what: str) -> list[tuple[Any, ...]]:
    """The rows of a statement; `what` begins the text of a PipelineError."""
    import duckdb

    try:
        return connection.execute(statement).fetchall()
    except duckdb.Error as error:
        # A sum that is too large for its type, for one.
        raise PipelineError(f"{what} cannot be evaluated: {str(error).partition(chr(10))[0]}") from None


def _with_zone(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_zone(one) for one in value]
    return value.replace(tzinfo=timezone.utc) if isinstance(value, datetime) else value
