"""Reads of Airflow's own database, in a fixed number of queries whatever the number of pipelines."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.models.asset import AssetEvent, AssetModel
from airflow.models.dag import DagModel, DagTag
from airflow.models.dagrun import DagRun
from airflow.models.variable import Variable
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import func, select

from hopsworks_flink.assets import flink_job_asset, offline_table_asset
from hopsworks_flink.health.status import OUTCOME, Status
from hopsworks_flink.pages.known import Dag, Deployment, History, Known, Materialization

_STATUS, _DAY, _FRESHNESS = "hopsworks_flink.status.", "hopsworks_flink.day.", "hopsworks_flink.freshness."
_AUDIT = "hopsworks_flink.audit."
_SUPERVISE = "__supervise"
_TAG = "hopsworks"
_DEPLOYMENTS = 15
# An older one is not looked for: the table of events has no end.
_OLDEST_EVENT = timedelta(days=7)


def known_pipelines(readable: Collection[str], dag_id: str | None = None) -> list[Known]:
    """The supervised pipelines.

    :param readable: ids of the DAGs that the user may read.
    :param dag_id: only the one that this DAG supervises.
    """
    with create_session() as session:
        tagged = select(DagTag.dag_id).where(DagTag.name == _TAG)
        columns = (DagModel.dag_id, DagModel.is_paused, DagModel.next_dagrun_create_after)
        found = session.execute(select(*columns).where(DagModel.is_stale.is_(False), DagModel.dag_id.in_(tagged)))
        dags = {
            name: Dag(name, bool(paused), None if paused else _epoch(after))
            for name, paused, after in found
            if name in readable
        }
        supervising = [name for name in dags if name.endswith(_SUPERVISE) and dag_id in (None, name)]
        values = _variables(session, [f"{_STATUS}{name}" for name in supervising])
        statuses = {name: Status.from_json(values.get(f"{_STATUS}{name}")) for name in supervising}
        own = {name: _own_dags(name, dags, statuses[name]) for name in supervising}
        deploying = _deploying(session, [of["deploy"].dag_id for of in own.values() if "deploy" in of])
        materialized = _materialized(session, [status for status in statuses.values() if status])
    return [
        Known(
            name,
            own[name],
            statuses[name],
            "deploy" in own[name] and own[name]["deploy"].dag_id in deploying,
            _of_groups(statuses[name], materialized),
        )
        for name in supervising
    ]


def history(known: Known) -> History:
    """The past of one pipeline."""
    with create_session() as session:
        job_name = known.status.job_name if known.status else f"{known.name}__features"
        kept = (("d", _DAY, known.dag_id), ("f", _FRESHNESS, job_name), ("a", _AUDIT, job_name))
        keys = {name: f"{prefix}{of}" for name, prefix, of in kept}
        values = _variables(session, keys.values())
        deploy = known.dags.get("deploy")
        deployments = _deployments(session, deploy.dag_id, job_name) if deploy else []
    day, freshness, audit = (values.get(keys[name]) for name in "dfa")
    samples = freshness.get("samples") if isinstance(freshness, dict) else None
    return History(_mapping(day), samples or (), deployments, _mapping(audit))


def _own_dags(supervise: str, dags: Mapping[str, Dag], status: Status | None) -> dict[str, Dag]:
    """The DAGs of one pipeline by their verbs."""
    prefix = f"{supervise.removesuffix(_SUPERVISE)}__"
    verbs = ("deploy", "supervise", "offline_backfill", "audit", "recompute", "simulate", "undeploy")
    own = {verb: dags[f"{prefix}{verb}"] for verb in verbs if f"{prefix}{verb}" in dags}
    if status and status.deploy_dag_id and status.deploy_dag_id in dags:
        own["deploy"] = dags[status.deploy_dag_id]
    return own


def _variables(session: Any, keys: Iterable[str]) -> dict[str, Any]:
    """Key -> value; what is not JSON is left out, and shows as not looked at."""
    found = {}
    for variable in session.scalars(select(Variable).where(Variable.key.in_(list(keys)))):
        try:
            found[variable.key] = json.loads(variable.val)
        except (TypeError, ValueError):
            continue
    return found


def _deploying(session: Any, dag_ids: list[str]) -> set[str]:
    at_work = select(DagRun.dag_id).where(DagRun.dag_id.in_(dag_ids), DagRun.state.in_(("running", "queued")))
    return set(session.scalars(at_work.distinct()))


def _materialized(session: Any, statuses: list[Status]) -> dict[str, Materialization]:
    """URI of a feature group's asset -> its last materialization."""
    uris = {_uri(group) for status in statuses for group in status.groups}
    since = datetime.now(timezone.utc) - _OLDEST_EVENT
    newest = (
        select(AssetModel.uri, func.max(AssetEvent.id).label("id"))
        .join(AssetEvent, AssetEvent.asset_id == AssetModel.id)
        .where(AssetModel.uri.in_(uris), AssetEvent.timestamp >= since)
        .group_by(AssetModel.uri)
        .subquery()
    )
    rows = session.execute(
        select(newest.c.uri, AssetEvent.timestamp, AssetEvent.extra).join(AssetEvent, AssetEvent.id == newest.c.id)
    )
    return {uri: _materialization(at, extra or {}) for uri, at, extra in rows}


def _materialization(at: Any, extra: Mapping[str, Any]) -> Materialization:
    ends = extra.get("end_offsets") or {}
    return Materialization(
        _epoch(at) or 0.0,
        int(extra.get("rows_inserted") or 0) + int(extra.get("rows_updated") or 0),
        bool(extra.get("offsets_verified")),
        sum(ends.values()) if ends else None,
    )


def _uri(group: Mapping[str, Any]) -> str:
    return offline_table_asset(group["name"], group["version"]).uri


def _of_groups(status: Status | None, materialized: Mapping[str, Materialization]) -> dict[str, Materialization]:
    groups = status.groups if status else ()
    uris = {f"{group['name']}_{group['version']}": _uri(group) for group in groups}
    return {name: materialized[uri] for name, uri in uris.items() if uri in materialized}


def _deployments(session: Any, dag_id: str, job_name: str) -> list[Deployment]:
    columns = (DagRun.run_id, DagRun.state, DagRun.start_date, DagRun.end_date, DagRun.queued_at)
    runs = session.execute(
        select(*columns).where(DagRun.dag_id == dag_id).order_by(DagRun.id.desc()).limit(_DEPLOYMENTS)
    ).all()
    ids = [run.run_id for run in runs]
    facts: dict[str, dict[str, Any]] = defaultdict(dict)
    events = (
        select(AssetEvent.source_run_id, AssetEvent.extra)
        .join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        .where(AssetModel.uri == flink_job_asset(job_name).uri, AssetEvent.source_run_id.in_(ids))
    )
    for run_id, extra in session.execute(events):
        facts[run_id].update(extra or {})
    failed = select(XComModel.run_id, XComModel.value).where(
        XComModel.dag_id == dag_id, XComModel.run_id.in_(ids), XComModel.key == OUTCOME
    )
    for run_id, value in session.execute(failed):
        # A custom XCom backend keeps something else here.
        facts[run_id].update(_mapping(value))
    return [
        Deployment(
            run.run_id,
            _epoch(run.start_date or run.queued_at) or 0.0,
            str(run.state),
            (run.end_date - run.start_date).total_seconds() if run.end_date and run.start_date else None,
            facts[run.run_id],
        )
        for run in runs
    ]


def _mapping(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def _epoch(moment: Any) -> float | None:
    return moment.timestamp() if moment is not None else None
