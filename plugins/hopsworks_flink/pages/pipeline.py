"""The page of one pipeline, in words and drawings. Pure."""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from markupsafe import Markup

from hopsworks_flink.cli.compiling import compiled_text
from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.health.status import Status
from hopsworks_flink.health.words import duration, number
from hopsworks_flink.pages.charts import Chart
from hopsworks_flink.pages.flow import Flow, Group
from hopsworks_flink.pages.known import Deployment, History, Known, Materialization
from hopsworks_flink.pages.overview import Row, ago, amount, clock, row_of, web_url
from hopsworks_flink.pipeline.spec import Pipeline

_CONSEQUENCES = {
    "keeps": "A deployment would go on from the state of the running job.",
    "rewarms": "A deployment would rewarm: it reads again what the open windows need, and every value is exact.",
    "resets": "A deployment would begin without state.",
    "refused": "A deployment would be refused.",
}
_ACTIONS = (
    ("deploy", "Deploy"),
    ("supervise", "Look again"),
    ("offline_backfill", "Materialize"),
    ("audit", "Audit"),
    ("recompute", "Recompute"),
    ("simulate", "Simulate events"),
    ("undeploy", "Undeploy"),
)


@dataclass(frozen=True)
class FeatureGroupView:
    """A feature group.

    :param rows: what is known of its rows, sentence parts.
    :param columns: of the sample; ``sample``: its rows; both empty if none was collected.
    """

    name: str
    url: str | None
    rows: Sequence[str]
    columns: Sequence[str]
    sample: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Event:
    """One entry of the timeline.

    :param run_id: of the deployment; None: supervision saw another job.
    """

    at: str
    age: str
    kind: str
    text: str
    run_id: str | None = None


@dataclass(frozen=True)
class TopicView:
    """A topic beside the features.

    :param role: ``late`` or ``quarantine``.
    :param newest: time, age, partition and offset in the source topic, reason, detail and value of some records.
    """

    role: str
    name: str
    records: str
    reasons: str
    newest: Sequence[tuple[str, str, str, str, str, str]]


@dataclass(frozen=True)
class PipelinePage:
    """The page; what is not for this user's eyes is empty.

    :param audit: what the last audit found, and how long ago; empty: there was none.
    :param difference: lines of the difference between the deployed file and the newest, each with its sign.
    """

    row: Row
    at: str
    reasons: Sequence[Mapping[str, str]]
    unknown: Sequence[str]
    actions: Sequence[tuple[str, str]]
    deploy_dag_id: str | None
    flow: Flow | None
    charts: Sequence[tuple[Chart, Markup]]
    consequence: str
    audit: tuple[str, str] | tuple[()]
    difference: Sequence[str]
    groups: Sequence[FeatureGroupView]
    events: Sequence[Event]
    topics: Sequence[TopicView]
    file: str
    sql: str
    may_see_code: bool
    may_see_rows: bool


def pipeline_page(known: Known, history: History, now: float, *, with_code: bool, with_rows: bool) -> PipelinePage:
    """The page at a moment, epoch seconds.

    :param with_code: whether the user may read the DAG's code; ``with_rows``: what its tasks collected.
    """
    status = known.status
    day = history.day
    data = day.get("pipeline") if with_code else None
    deploy = known.dags.get("deploy")
    return PipelinePage(
        row=row_of(known, now),
        at=clock(status.at) if status else "",
        reasons=status.reasons if status else (),
        unknown=status.unknown if status else (),
        actions=[(known.dags[verb].dag_id, text) for verb, text in _ACTIONS if verb in known.dags],
        deploy_dag_id=deploy.dag_id if deploy else None,
        flow=_flow(known, status, now) if status else None,
        charts=[(chart, chart.svg(now)) for chart in _charts(status, history)] if status else (),
        consequence=_CONSEQUENCES.get(str(status.version.get("state")), "") if status else "",
        audit=_audit(history.audit, now),
        difference=_difference(day) if with_code and status and status.version.get("same") is False else (),
        groups=[_group(group, status, known.materialized, now, with_rows) for group in status.groups] if status else (),
        events=_events(history, now),
        topics=[_topic(role, topic, now, with_rows) for role, topic in status.topics.items()] if status else (),
        file=_yaml(data) if data else "",
        sql=_sql(json.dumps(data, sort_keys=True)) if data else "",
        may_see_code=with_code,
        may_see_rows=with_rows,
    )


def _audit(audit: Mapping[str, Any], now: float) -> tuple[str, str] | tuple[()]:
    if "values" not in audit or "at" not in audit:
        return ()
    causes = ", ".join(f"{cause} {count}" for cause, count in (audit.get("causes") or {}).items())
    differ = f"{audit.get('differ')} of {audit['values']} values differ: {causes}"
    return (differ if causes else f"{audit['values']} values agree"), ago(audit["at"], now)


def _charts(status: Status, history: History) -> list[Chart]:
    looks: Mapping[str, list[Any]] = history.day.get("looks") or {}
    times = looks.get("at") or []

    def column(name: str) -> list[tuple[float, float | None]]:
        return list(zip(times, looks.get(name) or [None] * len(times), strict=False))

    def per_second(value: float) -> str:
        return f"{number(value)}/s"

    def events(value: float) -> str:
        return f"{number(value)} events"

    charts = [
        Chart("Lag", column("lag"), events, status.limits.get("lag")),
        Chart("Events read", column("read"), per_second),
        Chart("Rows written", column("written"), per_second),
        Chart("Watermark delay", column("behind"), duration),
        Chart("Checkpoint time", column("checkpoint"), duration),
    ]
    if status.freshness:
        samples = [(float(one["at"]), float(one["seconds"])) for one in history.freshness]
        charts.insert(3, Chart("Freshness", samples, duration, status.freshness.get("limit")))
    return charts


def _flow(known: Known, status: Status, now: float) -> Flow:
    facts, online = status.facts, status.facts.get("online") or {}
    groups = []
    for group in status.groups:
        name = f"{group['name']}_{group['version']}"
        rows, brought = online.get(name), known.materialized.get(name)
        taken = "not told"
        if rows:
            taken = f"{number(rows['taken'])} rows" + (f", {number(rows['failed'])} dropped" if rows["failed"] else "")
        moved = f"+{number(brought.rows)} rows, {ago(brought.at, now)}" if brought else "nothing within 7 days"
        groups.append(
            Group(
                group["name"],
                group["version"],
                taken if group.get("online") else None,
                moved if group.get("offline") else None,
                bool(rows and rows["new_failed"]),
            )
        )
    read, written = status.rates.get("read"), status.rates.get("written")
    lag = facts.get("lag")
    running = bool(facts.get("job_ids"))
    return Flow(
        topic=status.topic,
        job=status.job_name,
        kind=row_of(known, now).look.kind,
        read=" · ".join(
            [
                *([f"{number(read)}/s"] if read is not None else []),
                *([f"{number(lag)} wait"] if lag is not None else []),
            ]
        )
        or "not told",
        written=f"{number(written)} rows/s" if written is not None else "",
        state=f"{str(facts.get('state')).lower()}, up {duration(facts.get('age') or 0.0)}" if running else "no job",
        groups=groups,
        beside=[
            (topic["name"], f"{role}: {amount(topic.get('records'))} records") for role, topic in status.topics.items()
        ],
    )


def _group(
    group: Mapping[str, Any],
    status: Status,
    materialized: Mapping[str, Materialization],
    now: float,
    with_rows: bool,
) -> FeatureGroupView:
    name = f"{group['name']}_{group['version']}"
    online, brought = (status.facts.get("online") or {}).get(name), materialized.get(name)
    rows = []
    if online:
        rows.append(f"online: {number(online['taken'])} rows taken since the job's start")
        if online["failed"]:
            rows.append(
                f"{number(online['failed'])} dropped for good, {number(online['new_failed'])} since the last look"
            )
    elif group.get("online"):
        rows.append("online: the store's counts are not known")
    if brought:
        proof = "proved by offsets" if brought.verified else "not proved by offsets"
        rows.append(f"offline: {number(brought.rows)} rows brought over {ago(brought.at, now)}, {proof}")
    elif group.get("offline"):
        rows.append("offline: no materialization within 7 days")
    sample = list(group.get("sample") or ()) if with_rows else []
    columns = list(sample[0]) if sample else []
    values = [[str(row.get(column, "")) for column in columns] for row in sample]
    return FeatureGroupView(f"{group['name']} v{group['version']}", web_url(group.get("url")), rows, columns, values)


def _topic(role: str, topic: Mapping[str, Any], now: float, with_rows: bool) -> TopicView:
    records = "not known" if topic.get("records") is None else number(topic["records"])
    reasons = [f"{reason} ({number(count)})" for reason, count in (topic.get("reasons") or {}).items()]
    newest = [
        (
            clock(one["at"]),
            ago(one["at"], now),
            f"{one['partition']}:{one['offset']}",
            one["reason"],
            one["detail"],
            one["value"],
        )
        for one in (topic.get("newest") or () if with_rows else ())
    ]
    return TopicView(role, topic["name"], records, ", ".join(reasons) if role == "quarantine" else "", newest)


def _events(history: History, now: float) -> list[Event]:
    """Deployments, and jobs that supervision saw for the first time; the newest first."""
    found = [(one.at, _deployment(one, now)) for one in history.deployments]
    known = {one.facts.get("job_id") for one in history.deployments}
    for job in history.day.get("jobs") or ():
        if job["job_id"] not in known:
            text = f"supervision saw job {job['job_id'][:8]} for the first time"
            found.append((job["at"], Event(clock(job["at"]), ago(job["at"], now), "job", text)))
    return [event for _, event in sorted(found, key=lambda pair: pair[0], reverse=True)]


def _deployment(one: Deployment, now: float) -> Event:
    facts, words = one.facts, {"none": "nothing had to change", "recovered": "the job was started again"}
    action = facts.get("action")
    kind = "rolled_back" if action == "rolled_back" else one.state
    text = str(facts.get("text") or words.get(str(action), action or one.state))
    if action and not facts.get("text"):
        text += f", job {str(facts.get('job_id'))[:8]}"
        text += " from a savepoint" if facts.get("savepoint_path") else ""
    if one.took is not None:
        text += f" (after {duration(one.took)})"
    return Event(clock(one.at), ago(one.at, now), kind, text, one.run_id)


def _difference(day: Mapping[str, Any]) -> list[str]:
    deployed, newest = day.get("deployed"), day.get("pipeline")
    if not deployed or not newest:
        return []
    before, after = _yaml(deployed).splitlines(), _yaml(newest).splitlines()
    return list(difflib.unified_diff(before, after, "deployed", "file", lineterm="", n=2))


def _yaml(data: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True, width=100)


@functools.lru_cache(maxsize=256)
def _sql(data: str) -> str:
    """The SQL of a file; kept, because many look at the same one."""
    try:
        return compiled_text(Pipeline.parse(json.loads(data)))
    except PipelineError as error:
        return f"-- This version of the package cannot compile the file: {error}"
