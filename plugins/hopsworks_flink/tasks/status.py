"""What supervision keeps for the status page, and the questions that only the page asks. Nothing here judges."""

from __future__ import annotations

import io
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import conf
from hopsworks_flink.clients.flink.jobs import MARK_HASH, MARK_PLAN
from hopsworks_flink.deployment.feature_job import FeatureJob
from hopsworks_flink.deployment.record import Record
from hopsworks_flink.exceptions import HopsworksConflictError, HopsworksFlinkError, HopsworksNotFoundError
from hopsworks_flink.health.status import UNKNOWN, Status, day_after

if TYPE_CHECKING:
    from hopsworks_flink.clients.hopsworks.session import HopsworksSession
    from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline

_DAY_OF_FRESHNESS = 86_400.0
_LONGEST_VALUE = 80
log = logging.getLogger(__name__)


class StatusRecord:
    """The Airflow Variables ``hopsworks_flink.status.<DAG>`` and ``hopsworks_flink.day.<DAG>``.

    :param dag_id: of the DAG that supervises: who may read it may read them.
    """

    def __init__(self, dag_id: str, pipeline: Pipeline, deploy_dag_id: str | None) -> None:
        self._pipeline = pipeline
        self._status, self._day = Record.across_runs("status", dag_id), Record.across_runs("day", dag_id)
        self._deploy_dag_id = deploy_dag_id

    def blank(self, verdict: str) -> Status:
        """What is known without a look."""
        pipeline = self._pipeline
        bounds = {"checkpoint": pipeline.supervision.max_checkpoint_age.total_seconds()}
        if pipeline.supervision.max_lag is not None:
            bounds["lag"] = pipeline.supervision.max_lag
        groups = [
            {"name": group.name, "version": group.version, "online": group.online, "offline": group.offline}
            for group in pipeline.feature_groups
        ]
        return Status(
            pipeline.name,
            pipeline.job_name,
            pipeline.source.topic,
            time.time(),
            verdict,
            pipeline.description,
            groups=groups,
            freshness=self._freshness(),
            limits=bounds,
            deploy_dag_id=self._deploy_dag_id,
        )

    def write(self, status: Status) -> None:
        """Keep a look, and add it to the day."""
        self._status.write(status.to_json())
        self._day.write(day_after(self._day.read(), status, self._pipeline.to_dict()))

    def write_failure(self, error: HopsworksFlinkError) -> None:
        """Nobody could look: the figures of the last look stay, with why they are old."""
        reason = {"topic": "no-verdict", "kind": UNKNOWN, "text": str(error).rstrip(".")}
        last = Status.from_json(self._status.read()) or self.blank(UNKNOWN)
        status = replace(last, at=time.time(), verdict=UNKNOWN, reasons=[reason], rates={})
        self._status.write(status.to_json())

    def _freshness(self) -> dict[str, Any]:
        from hopsworks_flink.pipeline.canary import Freshness

        if self._pipeline.freshness is None:
            return {}
        limit = self._pipeline.freshness.total_seconds()
        kept = (Record.across_runs("freshness", self._pipeline.job_name).read() or {}).get("samples") or []
        samples = [sample for sample in kept if time.time() - sample["at"] <= _DAY_OF_FRESHNESS]
        if not samples:
            return {"limit": limit}
        found = Freshness.of(samples)
        return {"limit": limit, "p50": found.p50, "p99": found.p99, "measured": found.measured, "missed": found.missed}


def look_around(
    status: Status,
    session: Callable[[], HopsworksSession],
    pipeline: Pipeline,
    marks: Mapping[str, str],
    hopsworks_conn_id: str,
) -> Status:
    """A status with what Hopsworks and Kafka tell: versions, feature groups, topics. What they do not tell is said.

    :param marks: of the job; without those of a feature pipeline nobody is asked.
    """
    if MARK_PLAN not in marks:
        return status
    unknown: list[str] = []

    def told(what: str, ask: Callable[[], Any], otherwise: Any) -> Any:
        try:
            return ask()
        except HopsworksFlinkError as error:
            log.warning("For the status page, %s could not be learned: %s", what, error)
            unknown.append(f"{what}: {str(error).rstrip('.')}")
            return otherwise

    version = told("the deployed version", partial(deployed_version, session, pipeline, marks, hopsworks_conn_id), {})
    rows = conf.getint("hopsworks_flink", "status_sample_rows", fallback=0)
    groups = [
        {**facts, **told(f"feature group {group.full_name}", partial(_group, session, group, rows), {})}
        for facts, group in zip(status.groups, pipeline.feature_groups, strict=True)
    ]
    topics = {}
    for role, topic in (("late", pipeline.late_topic), ("quarantine", pipeline.quarantine_topic)):
        if topic:
            ask = partial(_topic, session, pipeline, role, topic, rows)
            topics[role] = {"name": topic, "records": None, **told(f"topic {topic}", ask, {})}
    return replace(status, version=version, groups=groups, topics=topics, unknown=unknown)


def deployed_version(
    session: Callable[[], HopsworksSession], pipeline: Pipeline, marks: Mapping[str, str], hopsworks_conn_id: str
) -> dict[str, Any]:
    """The SQL that runs against that of the file: ``hash``, ``same``, and where it is not, ``differences``, ``state``.

    :param marks: of the job, with `MARK_PLAN`.
    """
    from hopsworks_flink.pipeline.state import state_outcome, state_signature

    found: dict[str, Any] = {"hash": marks.get(MARK_HASH)}
    try:
        job = FeatureJob.compile(session(), pipeline, hopsworks_conn_id=hopsworks_conn_id, append=True)
    except (HopsworksConflictError, HopsworksNotFoundError) as error:
        return {**found, "same": False, "differences": [str(error).rstrip(".")], "state": "refused"}
    if job.plan.hash == marks[MARK_PLAN]:
        return {**found, "same": True}
    outcome, reasons = state_outcome(state_signature(pipeline).marks(), dict(marks))
    grown = [f"feature group {name} gets {', '.join(features)}" for name, features in job.lacking.items()]
    if job.lacking:
        outcome = "rewarms"
    return {**found, "same": False, "differences": [*(grown or ["the SQL differs"]), *reasons], "state": outcome}


def _topic(
    session: Callable[[], HopsworksSession], pipeline: Pipeline, role: str, topic: str, rows: int
) -> dict[str, Any]:
    """How many records were ever written to a topic, why the newest were, and some of these."""
    from hopsworks_flink.clients.kafka.newest import MOST, take_newest

    found: list[dict[str, Any]] = []
    ends = session().topic_end_offsets(topic)
    records = sum(ends.values())
    # Late events all have one reason: no more are read than are shown, wherever these lie.
    most = rows * len(ends) if role == "late" else MOST
    if records and most > 0:
        read = _reader(pipeline, role)
        take_newest(session().kafka_config(), topic, lambda record: found.extend(read(record.value())), most=most)
    newest = sorted(found, key=lambda one: one["at"], reverse=True)
    reasons = Counter(one["reason"] for one in newest)
    return {"records": records, "reasons": dict(reasons.most_common()), "newest": newest[: max(0, rows)]}


def _reader(pipeline: Pipeline, role: str) -> Callable[[bytes | None], list[dict[str, Any]]]:
    """From a record's value to what the page shows of it; to nothing if it is not of this pipeline."""
    import fastavro

    from hopsworks_flink.pipeline.sql.late import late_avro_schema
    from hopsworks_flink.pipeline.sql.quarantine import quarantine_avro_schema

    schema: Any = fastavro.parse_schema(
        late_avro_schema(pipeline) if role == "late" else quarantine_avro_schema(pipeline)
    )

    def read(value: bytes | None) -> list[dict[str, Any]]:
        buffer = io.BytesIO(value or b"")
        try:
            row: Any = fastavro.schemaless_reader(buffer, schema, None)
        except (EOFError, IndexError, OverflowError, ValueError):
            return []
        # A late event of a file with other columns. All pipelines over a source topic share its quarantine topic.
        if buffer.read(1) or row.get("pipeline", pipeline.name) != pipeline.name:
            return []
        return [_late(row) if role == "late" else _refused(row)]

    return read


def _late(row: Mapping[str, Any]) -> dict[str, Any]:
    from hopsworks_flink.pipeline.spec import LATE_COLUMNS

    event = {name: value for name, value in row.items() if name not in LATE_COLUMNS}
    detail = f"{row['lateness_ms'] / 1000:g} s behind the watermark"
    return {**_place(row), "reason": "late", "detail": detail, "value": _short(json.dumps(event, default=str))}


def _refused(row: Mapping[str, Any]) -> dict[str, Any]:
    text = row["event"] if row["event"] is not None else repr(row["value"] or b"")[2:-1]
    return {**_place(row), "reason": row["reason"], "detail": row["detail"] or "", "value": _short(text)}


def _place(row: Mapping[str, Any]) -> dict[str, Any]:
    """Where the record lies in the source topic, and when it came there."""
    return {
        "at": row["kafka_timestamp"].timestamp(),
        "partition": row["kafka_partition"],
        "offset": row["kafka_offset"],
    }


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _group(session: Callable[[], HopsworksSession], group: FeatureGroup, rows: int) -> dict[str, Any]:
    registered = session().get_feature_group(group.name, group.version)
    found: dict[str, Any] = {"url": session().feature_group_url(registered)}
    if rows > 0 and group.online:
        found["sample"] = [
            {name: "null" if value is None else str(value)[:_LONGEST_VALUE] for name, value in row.items()}
            for row in session().online_sample(registered, rows)
        ]
    return found
