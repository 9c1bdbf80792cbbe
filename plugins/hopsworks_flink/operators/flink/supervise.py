"""Operator that looks after a pipeline's streaming job."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from hopsworks_flink._compat import AirflowFailException, AirflowSkipException, BaseOperator, get_stats
from hopsworks_flink.clients.flink.jobs import ingestion_ids
from hopsworks_flink.deployment.record import UNDEPLOYED, Record
from hopsworks_flink.exceptions import FlinkError, HopsworksFlinkError
from hopsworks_flink.health.bounds import Bounds
from hopsworks_flink.health.facts import JobFacts
from hopsworks_flink.health.rows import OnlineRows
from hopsworks_flink.health.status import UNDEPLOYED as OUT_OF_SERVICE
from hopsworks_flink.health.status import rates, reasons_of
from hopsworks_flink.health.verdict import (
    DEGRADED,
    HEALTHY,
    KINDS,
    SICK,
    Reason,
    Verdict,
    judge,
    next_action,
    recent,
)
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.hooks.kafka_connection import kafka_connection
from hopsworks_flink.links import FlinkExceptionsLink, FlinkJobLink
from hopsworks_flink.tasks.context import skip_while_deploying, task_errors
from hopsworks_flink.tasks.failures import Broker, cause_of
from hopsworks_flink.tasks.links import FLINK_COLOUR, push_links
from hopsworks_flink.tasks.status import StatusRecord, look_around

if TYPE_CHECKING:
    from hopsworks_flink._compat import Context
    from hopsworks_flink.clients.hopsworks.session import HopsworksSession
    from hopsworks_flink.pipeline.spec import Pipeline
    from hopsworks_flink.pipeline.spec.supervision import Supervision

# Flink's figures are seconds old: what was read since the last look may have arrived a little before it.
_BEHIND_SECONDS = 30.0
_GAUGES = ("lag", "checkpoint_age", "restarts", "late", "watermark")


class FlinkSuperviseJobOperator(BaseOperator):
    """Looks at a pipeline's streaming job once and says how it is: healthy, degraded, sick, missing or duplicated.

    The verdict holds the job's state, restarts, checkpoints, lag, late events and silence against the bounds in the
    pipeline's ``supervision``, and against the last look: a watermark that stands while the lag grows shows in two
    looks only. If events were read since the last look, the newest of them are read from the topic as well, because
    Flink does not count those that count nowhere (no key, no usable event time, undecodable): some of them make the job
    degraded, more than half make it sick. Hopsworks tells what the online store did with the job's rows: those that it
    has dropped for good since the last look make the job degraded, or sick where they are half of the rows or twice as
    many as before.

    A healthy job succeeds, and so does a degraded one, with a warning. Anything worse fails the task, for good: the
    next run looks again. With ``policy: redeploy`` it succeeds with the decision to deploy again, where that can help
    and was not done too often, for a
    :class:`~hopsworks_flink.operators.trigger_deployment.TriggerDeploymentOperator` behind it. The first look at a job
    that runs after an undeployment never decides so: that job may be the one that is being ended.

    The look is kept in the Airflow Variable ``hopsworks_flink.supervision.<job>``, with the times of deployments that
    were decided on: deleting it allows all of them again. For the status page ``hopsworks_flink.status.<DAG>`` has the
    figures of the last look and ``hopsworks_flink.day.<DAG>`` those of a day.

    While a deployment runs, or waits to run, nothing is judged: the task is skipped. Airflow's metrics get
    ``hopsworks_flink.<job>.verdict`` (0 healthy … 4 duplicated), ``.lag``, ``.checkpoint_age``, ``.restarts``,
    ``.late``, ``.watermark`` and ``.failed_rows`` (of all feature groups, since the job's start).

    :param pipeline: the pipeline as a mapping, or the path of its file (templated).
    :param deploy_dag_id: DAG that deploys the pipeline; None: there is none to wait for (templated).
    :param source_kafka_conn_id: Airflow connection of type ``kafka`` for the source topic; None: the feature store's
        own broker. Asked for the newest events, and about a record that the job cannot decode (templated).
    :param hopsworks_conn_id: Airflow connection of type ``hopsworks``; default: ``hopsworks_default`` (templated).
    :param flink_conn_id: Airflow connection of type ``flink``; default: ``flink_default`` (templated).
    :return: (XCom) ``verdict``, ``action`` (``none``, ``warn``, ``redeploy``), ``reasons`` (each with ``topic``,
        ``kind`` and ``text``), ``facts``, ``attempts`` (deployments within the window), ``deploy_conf``.
    :raises AirflowSkipException: a deployment runs or is queued, or the pipeline was undeployed, be it during the look.
    :raises AirflowFailException: the verdict asks for a person; the text says why.
    :raises FlinkConnectionError: Flink does not answer.
    """

    template_fields: Sequence[str] = (
        "pipeline",
        "deploy_dag_id",
        "source_kafka_conn_id",
        "hopsworks_conn_id",
        "flink_conn_id",
    )
    operator_extra_links = (FlinkJobLink(), FlinkExceptionsLink())
    ui_color = FLINK_COLOUR

    def __init__(
        self,
        *,
        pipeline: Mapping[str, Any] | str,
        deploy_dag_id: str | None = None,
        source_kafka_conn_id: str | None = None,
        hopsworks_conn_id: str = HopsworksHook.default_conn_name,
        flink_conn_id: str = FlinkHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pipeline = pipeline
        self.deploy_dag_id = deploy_dag_id
        self.source_kafka_conn_id = source_kafka_conn_id
        self.hopsworks_conn_id = hopsworks_conn_id
        self.flink_conn_id = flink_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Look, judge, remember, and say what follows."""
        from hopsworks_flink.pipeline.spec import Pipeline

        with task_errors(), ExitStack() as opened:

            @functools.cache
            def session() -> HopsworksSession:
                # Once for all questions, and only if there is one.
                return opened.enter_context(HopsworksHook(self.hopsworks_conn_id).session())

            def source_broker() -> Mapping[str, Any]:
                given = self.source_kafka_conn_id
                return kafka_connection(given) if given else session().kafka_config()

            pipeline = Pipeline.parse(self.pipeline)  # type: ignore[arg-type]
            if self.deploy_dag_id:
                skip_while_deploying(context, self.deploy_dag_id)
            page = StatusRecord(context["ti"].dag_id, pipeline, self.deploy_dag_id)
            try:
                return self._look(context, pipeline, page, session, source_broker)
            except FlinkError as error:
                page.write_failure(error)
                raise

    def _look(
        self,
        context: Context,
        pipeline: Pipeline,
        page: StatusRecord,
        session: Callable[[], HopsworksSession],
        source_broker: Callable[[], Mapping[str, Any]],
    ) -> dict[str, Any]:
        hook = FlinkHook(self.flink_conn_id)
        record = Record.across_runs("supervision", pipeline.job_name)
        saved = record.read() or {}
        before = JobFacts.from_json(saved.get("facts"))
        bounds = bounds_of(pipeline.supervision)
        found = hook.facts(pipeline.job_name, restart_window=bounds.restart_window, counts=True)
        if not found.job_ids and (since := saved.get(UNDEPLOYED)):
            _skip_undeployed(pipeline, page, since)
        marks = hook.job_marks(found.job_id) if found.job_id and found.job_id in found.job_ids else {}
        online, unknown = _online_rows(session, pipeline, marks)
        facts = replace(found, online=online).after(before)
        if facts.job_id:
            push_links(context, self, hook, facts.job_id)
        verdict = judge(pipeline.job_name, facts, before, bounds).because(*unknown)
        verdict = _explained(hook, pipeline, facts, verdict, source_broker, lambda: session().kafka_config())
        # Fewer than before: it has restarted, and counts from zero again.
        if before is not None and facts.job_id == before.job_id and facts.read not in (None, before.read or 0):
            verdict = verdict.because(*self._refused(pipeline, before.at - _BEHIND_SECONDS, source_broker))
        status = replace(
            page.blank(verdict.kind),
            at=facts.at,
            reasons=reasons_of(verdict),
            facts=facts.to_json(),
            rates=rates(facts, before),
            flink_url=hook.job_url(facts.job_id) if facts.job_id else None,
        )
        page.write(look_around(status, session, pipeline, marks, self.hopsworks_conn_id))
        return self._follow_up(pipeline, facts, verdict, page, record, saved)

    def _follow_up(
        self,
        pipeline: Pipeline,
        facts: JobFacts,
        verdict: Verdict,
        page: StatusRecord,
        record: Record,
        saved: Mapping[str, Any],
    ) -> dict[str, Any]:
        settings, job_name = pipeline.supervision, pipeline.job_name
        window = settings.attempt_window.total_seconds()
        attempts = recent(saved.get("attempts") or [], facts.at, window)
        # A job that runs although the pipeline was undeployed may be about to end: it is not for us to bring it back.
        policy = "alert" if saved.get(UNDEPLOYED) else settings.policy
        action = next_action(verdict, policy, attempts, facts.at, settings.max_attempts, window)
        parallelism = facts.parallelism or saved.get("parallelism")
        exhausted = action == "alert" and policy == "redeploy" and verdict.curable
        if action == "redeploy":
            attempts = [*attempts, facts.at]
        since = (record.read() or {}).get(UNDEPLOYED)
        if since and since != saved.get(UNDEPLOYED):
            # It was undeployed during this look: what was seen is over, and the mark has to stay.
            _skip_undeployed(pipeline, page, since)
        record.write({"facts": facts.to_json(), "attempts": attempts, "parallelism": parallelism})
        self._tell_metrics(job_name, facts, verdict)
        text = f"Job {job_name!r} is {verdict.kind}: {verdict}."
        if action == "alert":
            if exhausted:
                text += f" It was deployed again {len(attempts)} times within {window:g} s, which did not help."
            raise AirflowFailException(text)
        (self.log.info if action == "none" else self.log.warning)("%s", text)
        return {
            "verdict": verdict.kind,
            "action": action,
            "reasons": reasons_of(verdict),
            "facts": facts.to_json(),
            "attempts": len(attempts),
            # As it ran; what a person chose at the last deployment must not change by healing.
            "deploy_conf": {"state": "auto", **({"parallelism": parallelism} if parallelism else {})},
        }

    def _refused(self, pipeline: Pipeline, since: float, broker: Callable[[], Mapping[str, Any]]) -> list[Reason]:
        """What the topic's records since the last look say: Flink does not count events that count nowhere."""
        from hopsworks_flink.clients.kafka.newest import newest_records
        from hopsworks_flink.health.refusal import refused_of
        from hopsworks_flink.hooks.registry_connection import schemas_of

        try:
            records = newest_records(broker(), pipeline.source.topic, int(since * 1000))
            refused = refused_of(pipeline, records, schemas_of(pipeline.source))
        except HopsworksFlinkError as error:
            self.log.warning("The newest events could not be looked at: %s", error)
            return []
        return [Reason(SICK if refused.most else DEGRADED, "refused", str(refused))] if refused.count else []

    @staticmethod
    def _tell_metrics(job_name: str, facts: JobFacts, verdict: Verdict) -> None:
        stats, told = get_stats(), facts.to_json()
        stats.gauge(f"hopsworks_flink.{job_name}.verdict", KINDS.index(verdict.kind))
        for name in _GAUGES:
            if told[name] is not None:
                stats.gauge(f"hopsworks_flink.{job_name}.{name}", told[name])
        if facts.online:
            failed = sum(rows.failed for rows in facts.online.values())
            stats.gauge(f"hopsworks_flink.{job_name}.failed_rows", failed)


def _skip_undeployed(pipeline: Pipeline, page: StatusRecord, since: str) -> NoReturn:
    page.write(page.blank(OUT_OF_SERVICE))
    raise AirflowSkipException(f"{pipeline.name} was undeployed at {since}: deploy it to bring it back.")


def _online_rows(
    session: Callable[[], HopsworksSession], pipeline: Pipeline, marks: Mapping[str, str]
) -> tuple[dict[str, OnlineRows], list[Reason]]:
    """What the online store did with the job's rows, by feature group; and why that is not known of some."""
    from hopsworks_flink.clients.hopsworks.shapes import shape_of
    from hopsworks_flink.pipeline.resources import short_columns

    found: dict[str, OnlineRows] = {}
    reasons = []
    unknown = "what the online store did with the job's rows is not known"
    ids = ingestion_ids(marks)
    if not ids:
        return {}, []
    try:
        for group in (group for group in pipeline.feature_groups if group.full_name in ids):
            registered, number = session().get_feature_group(group.name, group.version), ids[group.full_name]
            results = session().online_results(registered, number)
            if results is None:
                text = f"{unknown}: Hopsworks has forgotten online ingestion {number} of {group.full_name}"
                reasons.append(Reason(DEGRADED, "online", f"{text}; a newly deployed job gets a new one"))
                continue
            short = short_columns(pipeline, group, shape_of(registered).online_types)
            found[group.full_name] = OnlineRows.counted(number, results, tuple(short))
    except HopsworksFlinkError as error:
        return {}, [Reason(DEGRADED, "online", f"{unknown}: {str(error).rstrip('.')}")]
    return found, reasons


def _explained(
    hook: FlinkHook, pipeline: Pipeline, facts: JobFacts, verdict: Verdict, source: Broker, store: Broker
) -> Verdict:
    """The verdict with what others than Flink know of the cause."""
    if verdict.kind == HEALTHY or not facts.job_id or not facts.cause:
        return verdict
    cause = cause_of(hook, facts.job_id, pipeline, source, store)
    return verdict.rooted_in(Reason(SICK, cause.kind, cause.text.rstrip("."), cause.redeploy)) if cause else verdict


def bounds_of(settings: Supervision) -> Bounds:
    """A pipeline's bounds, durations in seconds."""
    return Bounds(
        max_checkpoint_age=settings.max_checkpoint_age.total_seconds(),
        max_restarts=settings.max_restarts,
        restart_window=settings.restart_window.total_seconds(),
        max_lag=settings.max_lag,
        max_silence=settings.max_silence.total_seconds() if settings.max_silence else None,
    )
