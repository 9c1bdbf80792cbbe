"""OnlineFS' rules for a batch of records. Writes to a connection; independent of the Kafka client."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from devstack.hopsworks.home.layout import PROJECT_ID
from devstack.hopsworks.home.log import get_logger
from devstack.hopsworks.metadata.models import FeatureGroup
from devstack.hopsworks.metadata.store import MetadataStore
from devstack.hopsworks.metadata.wire import DecodeError, HeaderCache, HeaderError, Headers, Route, value_decoder
from devstack.hopsworks.online.store import UserDataError, columns_of, converter, delete_sql, upsert_sql

UPSERTED, DELETED, IGNORED, FAILED = "UPSERTED", "DELETED", "IGNORED", "FAILED"
LOGGED_FAILURES_PER_BATCH = 5
log = get_logger("onlinefs")


class Record(NamedTuple):
    """One record of a topic."""

    topic: str
    partition: int
    offset: int
    headers: Headers
    value: bytes | None


class Dropped(Exception):
    """A record that can never be written; ``kind`` is one of OnlineFS' failure types."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass
class _Run:
    """Neighbouring records of one group that one prepared statement can write."""

    route: Route
    target: Target
    rows: list[tuple[Any, ...]] = field(default_factory=list)


@dataclass(frozen=True)
class Target:
    """How records of one group and schema are written."""

    group: FeatureGroup
    to_row: Callable[[bytes | None], tuple[Any, ...]]
    columns: list[str]

    def sql(self, route: Route) -> str:
        key = self.group.primary_key
        if route.delete:
            return delete_sql(self.group.full_name, key)
        event_time = self.group.event_time
        newer_by = event_time if route.upsert_if_newer and event_time in self.columns else None
        return upsert_sql(self.group.full_name, self.columns, key, newer_by)

    def parameters(self, row: tuple[Any, ...], delete: bool) -> tuple[Any, ...]:
        if not delete:
            return row
        return tuple(row[self.columns.index(name)] for name in self.group.primary_key)


def build_target(group: FeatureGroup, schema_text: str, table_columns: Sequence[str]) -> Target:
    """Prepare decoding and conversion for one group, schema and table."""
    fields = [f["name"] for f in json.loads(schema_text)["fields"]]
    features = {feature.name: feature for feature in group.online_features}
    # Where a server ended while it appended a feature, schema and table have it already, and the group has not.
    columns = [name for name in fields if name in table_columns and name in features]
    decode = value_decoder(schema_text)
    converters = [(name, converter(features[name])) for name in columns]
    key = frozenset(group.primary_key)

    def to_row(value: bytes | None) -> tuple[Any, ...]:
        record = decode(value)
        row = []
        for name, convert in converters:
            item = record[name]
            if item is None:
                if name in key:
                    raise UserDataError(f"primary key {name} is null")
            elif convert is not None:
                item = convert(item)
            row.append(item)
        return tuple(row)

    return Target(group, to_row, columns)


class Targets:
    """Targets by (feature group, schema), forgotten whenever the metadata changes."""

    def __init__(self, store: MetadataStore, online: sqlite3.Connection) -> None:
        self.store = store
        self.online = online
        self._counter: int | None = None
        self._known: dict[tuple[int, int], Target | Dropped] = {}

    def refresh(self) -> None:
        """Once per batch: check whether anything was created, changed or deleted."""
        counter = self.store.change_counter()
        if counter != self._counter:
            self._known.clear()
            self._counter = counter

    def find(self, route: Route) -> Target:
        if route.project_id != PROJECT_ID:
            raise Dropped("METADATA", f"projectId {route.project_id} is unknown")
        key = (route.feature_group_id, route.subject_id)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._build(route)
        if isinstance(known, Dropped):
            raise known
        return known

    def _build(self, route: Route) -> Target | Dropped:
        group = self.store.feature_group(route.feature_group_id)
        if group is None:
            return Dropped("FEATURE_GROUP_DELETED", f"featureGroupId {route.feature_group_id} does not exist")
        text = self.store.schema_text(route.subject_id)
        if text is None:
            return Dropped("METADATA", f"subjectId {route.subject_id} is unknown")
        columns = columns_of(self.online, group.full_name)
        if not group.online_enabled or not columns:
            return Dropped("METADATA", f"feature group {group.full_name} is not online enabled")
        target = build_target(group, text, columns)
        if not set(group.primary_key) <= set(target.columns):
            return Dropped("METADATA", f"subjectId {route.subject_id} is no schema of {group.full_name}")
        return target


class OnlineWriter:
    """Applies batches. The caller owns the transaction, so that offsets are committed with the rows."""

    def __init__(self, targets: Targets, connection: sqlite3.Connection) -> None:
        self.targets = targets
        self.connection = connection
        self._headers = HeaderCache()

    def apply(self, records: Iterable[Record]) -> Counter[tuple[int | None, str]]:
        """Write a batch; returns rows per (ingestion id, status).

        A record that cannot be written is counted FAILED and dropped. Only failures of the store itself raise
        (sqlite3.OperationalError): then nothing is to be committed and the batch can be applied again.
        """
        self.targets.refresh()
        counts: Counter[tuple[int | None, str]] = Counter()
        failures: list[tuple[Record, str, str]] = []
        runs: dict[int, list[_Run]] = {}
        for record in records:
            route: Route | None = None
            try:
                route = self._headers.route(record.headers)
                if not route.online:
                    # Clients count these rows as entries of the ingestion, so its sum has to contain them.
                    counts[(route.ingestion_id, IGNORED)] += 1
                    continue
                target = self.targets.find(route)
                row = target.parameters(target.to_row(record.value), route.delete)
            except HeaderError as error:
                failures.append((record, "METADATA", str(error)))
            except DecodeError as error:
                failures.append((record, "DESERIALIZATION", str(error)))
            except Dropped as error:
                failures.append((record, error.kind, str(error)))
            except (UserDataError, ValueError, OverflowError) as error:
                failures.append((record, "USER_DATA", str(error)))
            else:
                group_runs = runs.setdefault(route.feature_group_id, [])
                if not group_runs or group_runs[-1].route is not route:
                    group_runs.append(_Run(route, target))
                group_runs[-1].rows.append(row)
                continue
            counts[(route.ingestion_id if route else None, FAILED)] += 1
        for group_runs in runs.values():
            for run in group_runs:
                self._write(run, counts)
        _log_failures(failures)
        return counts

    def _write(self, run: _Run, counts: Counter[tuple[int | None, str]]) -> None:
        sql, ingestion = run.target.sql(run.route), run.route.ingestion_id
        total = len(run.rows)
        changed, failed = self._execute(sql, run.rows)
        if failed:
            counts[(ingestion, FAILED)] += failed
        if run.route.delete:
            counts[(ingestion, DELETED)] += total - failed
        elif run.route.upsert_if_newer:
            counts[(ingestion, UPSERTED)] += changed
            counts[(ingestion, IGNORED)] += total - failed - changed
        else:
            counts[(ingestion, UPSERTED)] += total - failed

    def _execute(self, sql: str, rows: list[tuple[Any, ...]]) -> tuple[int, int]:
        """Rows changed and rows refused by the table."""
        self.connection.execute("SAVEPOINT run")
        try:
            changed = self.connection.executemany(sql, rows).rowcount
        except (sqlite3.IntegrityError, sqlite3.DataError, OverflowError):
            # One bad row must not fail the others: again, row by row.
            self.connection.execute("ROLLBACK TO run")
            changed, failed = self._execute_singly(sql, rows)
        else:
            failed = 0
        self.connection.execute("RELEASE run")
        return changed, failed

    def _execute_singly(self, sql: str, rows: list[tuple[Any, ...]]) -> tuple[int, int]:
        changed = failed = 0
        for row in rows:
            try:
                changed += self.connection.execute(sql, row).rowcount
            except (sqlite3.IntegrityError, sqlite3.DataError, OverflowError) as error:
                failed += 1
                log.warning("row dropped (USER_DATA): %s", error)
        return changed, failed


def _log_failures(failures: list[tuple[Record, str, str]]) -> None:
    for record, kind, reason in failures[:LOGGED_FAILURES_PER_BATCH]:
        log.warning("%s[%d]@%d dropped (%s): %s", record.topic, record.partition, record.offset, kind, reason)
    if len(failures) > LOGGED_FAILURES_PER_BATCH:
        log.warning("%d more records dropped in this batch", len(failures) - LOGGED_FAILURES_PER_BATCH)
