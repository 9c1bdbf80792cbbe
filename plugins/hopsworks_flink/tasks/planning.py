"""What a deployment of a pipeline would create and change, for ``hopsworks-flink plan`` and those who are asked to
approve it. Looks, and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tabulate import tabulate

from hopsworks_flink.clients.flink.bundle import Bundle
from hopsworks_flink.clients.flink.files import OWN_JARS, read_program
from hopsworks_flink.clients.flink.jobs import MARK_HASH, MARK_PLAN, FlinkJob, RestorePoint, StatePolicy
from hopsworks_flink.clients.hopsworks.session import HopsworksSession
from hopsworks_flink.clients.hopsworks.shapes import shape_of
from hopsworks_flink.clients.kafka.offsets import compaction, end_offsets
from hopsworks_flink.deployment.decision import (
    DRAINED,
    OTHERS,
    WITH_PANES,
    StartPolicy,
    marks_before,
    with_state,
    without_drained,
)
from hopsworks_flink.deployment.desired import STREAMING_DEFAULTS, DesiredJob
from hopsworks_flink.deployment.estimating import estimates
from hopsworks_flink.deployment.feature_job import (
    LOOK_SECONDS,
    MADE_ANEW,
    ONLY_FORWARD,
    PROGRAM,
    FeatureJob,
    check_replay,
    join_warnings,
    second_writers,
    topics_read,
)
from hopsworks_flink.deployment.restore import RestorePoints
from hopsworks_flink.exceptions import (
    ConfigurationError,
    FlinkAmbiguousJobError,
    FlinkStateError,
    HopsworksConflictError,
    HopsworksNotFoundError,
    KafkaError,
)
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.pipeline.recompute import compacted
from hopsworks_flink.pipeline.resources import (
    feature_group_arguments,
    online_warnings,
    source_avro_schema,
    source_topic_arguments,
)
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.state import Outcome, panes_go_on, state_outcome, state_signature
from hopsworks_flink.tasks.arguments import as_int, refuse_secrets

Action = Literal["create", "change", "none"]
#: What a deployment may need an approval for.
APPROVABLE = ("rewarm", "fresh", "feature_group")
_NO_WATERMARK = "no job runs that shows its watermark"
_NAMED = "savepoint_path names a state, and that of the last job is left behind"
_APPENDED = "a deployment appends it (on_drift='append'): older rows are materialized first, and the job is rewarmed"


@dataclass(frozen=True)
class Deployment:
    """How the file would be deployed; with the names of the arguments of `FlinkDeployFeaturePipelineOperator`."""

    state: StatePolicy = "auto"
    parallelism: int | None = None
    savepoint_path: str | None = None
    rewarm_from: int | None = None
    flink_configuration: Mapping[str, str] = field(default_factory=dict)
    hopsworks_conn_id: str = HopsworksHook.default_conn_name
    flink_conn_id: str = FlinkHook.default_conn_name


@dataclass(frozen=True)
class Resource:
    """One thing that a deployment looks after.

    :param details: what is otherwise, sentence parts.
    :param same_rows: of a feature group: whether it is registered with the features, and all else that rows depend on.
    :param grows: of a feature group: whether a deployment appends features.
    """

    kind: Literal["topic", "feature_group", "job"]
    name: str
    action: Action
    details: Sequence[str] = ()
    same_rows: bool = False
    grows: bool = False


@dataclass(frozen=True)
class Comparison:
    """What a deployment would do.

    :param state: what becomes of the job's state: ``keeps``, ``rewarms``, ``resets`` or ``refused``.
    :param state_reasons: why, sentence parts.
    :param warnings: what would be lost in silence otherwise, sentences.
    :param left_to_sql: with ``engine: native`` the feature groups that SQL computes nevertheless, and why.
    :param estimates: what the job takes of memory and CPU, sentence parts.
    :param job_is_known: whether Flink knows a job of the name, running or ended.
    """

    pipeline: str
    resources: Sequence[Resource]
    state: Outcome
    state_reasons: Sequence[str]
    warnings: Sequence[str] = ()
    left_to_sql: Mapping[str, str] = field(default_factory=dict)
    estimates: Sequence[str] = ()
    job_is_known: bool = False

    @property
    def changes(self) -> int:
        """How many resources would not stay as they are."""
        return sum(resource.action != "none" for resource in self.resources)

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return {
            "pipeline": self.pipeline,
            "changes": self.changes,
            "resources": [_without(asdict(resource), "same_rows", "grows") for resource in self.resources],
            "state": {"outcome": self.state, "reasons": list(self.state_reasons)},
            "warnings": list(self.warnings),
            "left_to_sql": dict(self.left_to_sql),
            "estimates": list(self.estimates),
        }

    def to_text(self) -> str:
        """For people."""
        lines = [(r.action, r.kind, r.name, "; ".join(r.details)) for r in self.resources]
        reasons = f": {'; '.join(self.state_reasons)}" if self.state_reasons else ""
        verdict = f"{self.changes} of {len(self.resources)} would change." if self.changes else "Nothing would change."
        table = tabulate(lines, tablefmt="plain", disable_numparse=True)
        warnings = [f"warning: {warning}" for warning in self.warnings]
        left = [f"engine native: {name} is left to SQL: {why}" for name, why in self.left_to_sql.items()]
        estimated = [f"estimate: {estimate}" for estimate in self.estimates]
        return "\n".join([table, *warnings, *left, *estimated, f"state {self.state}{reasons}", verdict])


def compare(pipeline: Pipeline | Mapping[str, Any] | str, deployment: Deployment) -> Comparison:
    """Compare a pipeline with what is registered in Hopsworks and runs in Flink.

    :param pipeline: itself, its data, or the path of its file.

    :raises HopsworksFlinkError: the file or a connection is wrong, or somebody does not answer.
    """
    pipeline = Pipeline.parse(pipeline)  # type: ignore[arg-type]
    with HopsworksHook(deployment.hopsworks_conn_id).session() as session:
        groups, warnings = _feature_groups(session, pipeline)
        resources = [_topic(session, pipeline), *groups]
        policy, used = _compaction(session, pipeline)
        # Without the groups' ids there is no plan yet: the job certainly changes.
        registered = all(group.same_rows for group in groups)
        job, marks, left = _job(session if registered else None, pipeline, deployment)
        warnings += _joined(session, pipeline)
        others = FlinkHook(deployment.flink_conn_id).others_running(pipeline.job_name)
        warnings += second_writers(pipeline, others)
        anew = _made_anew(session, pipeline, marks) if job.action == "create" and marks else []
        broker = session.kafka_config()
    outcome: Outcome = "keeps"
    reasons: list[str] = []
    if job.action != "none":
        outcome, reasons = _state(pipeline, deployment, marks, left)
    growing = [f"{group.name} gets features" for group in groups if group.grows]
    if outcome == "keeps" and growing and not panes_go_on(state_signature(pipeline).marks(), marks):
        outcome, reasons = "rewarms", growing
    why = None
    if policy:
        warnings.append(f"{compacted(pipeline.source.topic, policy)} {ONLY_FORWARD}")
        anew_from_start = outcome == "resets" and not deployment.savepoint_path and pipeline.source.start == "earliest"
        if outcome == "rewarms" or (anew_from_start and used):
            why = "its topic is compacted, and events of the past are missing there"
    elif outcome == "rewarms":
        why = _lost(pipeline, broker, deployment, left, ended=job.action == "create")
    if why:
        panes = deployment.state == "auto" and not left.drained
        if outcome == "rewarms" and panes and panes_go_on(state_signature(pipeline).marks(), marks):
            outcome, reasons = "keeps", [*reasons, why, WITH_PANES]
        elif why == _NO_WATERMARK:
            # A deployment that broke off has written it down.
            warnings.append(
                f"{why[0].upper()}{why[1:]}: unless it is known otherwise, the deployment needs rewarm_from."
            )
        else:
            outcome, reasons = "refused", [*reasons, why]
    if outcome == "keeps" and deployment.state == "auto" and anew:
        outcome, reasons = "refused", [*reasons, f"topic {' and '.join(anew)} {MADE_ANEW}"]
    sql, estimated = pipeline.left_to_sql, estimates(pipeline)
    known = marks is not None
    return Comparison(pipeline.name, [*resources, job], outcome, reasons, warnings, sql, estimated, known)


def approval_reasons(comparison: Comparison, approve: Sequence[str]) -> list[str]:
    """Why a deployment needs an approval, sentence parts; empty: it needs none.

    What a deployment refuses it refuses by itself, and a job of which nothing is known leaves nothing behind.

    :param approve: which of `APPROVABLE` need one.
    """
    found = []
    because = f" ({'; '.join(comparison.state_reasons)})" if comparison.state_reasons else ""
    if "rewarm" in approve and comparison.state == "rewarms":
        found.append(f"the job is rewarmed{because}")
    if "fresh" in approve and comparison.state == "resets" and comparison.job_is_known:
        found.append(f"the job starts fresh{because}")
    if "feature_group" in approve:
        changed = [one for one in comparison.resources if one.kind == "feature_group" and one.action == "change"]
        found += [f"feature group {one.name} changes" for one in changed]
    return found


def _without(data: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in names}


def _state(
    pipeline: Pipeline, deployment: Deployment, running: Mapping[str, str] | None, left: RestorePoint
) -> tuple[Outcome, list[str]]:
    """What the deployment will decide about the job's state, by the deployment's own judge."""
    wanted = state_signature(pipeline).marks()
    outcome, reasons = state_outcome(wanted, running, fresh=deployment.state == "fresh")
    if running is None or deployment.state == "fresh":
        return outcome, reasons
    asked = without_drained(StartPolicy(deployment.state, deployment.savepoint_path, marks=wanted))
    if asked.savepoint_path:
        return ("keeps", []) if asked.savepoint_path == left.path else ("resets", [_NAMED])
    policy = with_state(asked, running, left)
    if policy.why == DRAINED:
        reasons = [DRAINED]
    if policy.state == "rewarm":
        return "rewarms", reasons or ["state='rewarm' was asked for"]
    return ("refused", [policy.why, "state='restore' was asked for"]) if policy.why else ("keeps", reasons)


def _compaction(session: HopsworksSession, pipeline: Pipeline) -> tuple[str | None, bool]:
    """The topic's ``cleanup.policy`` if it compacts, and whether it has had records; neither without a broker."""
    topic, broker = pipeline.source.topic, session.kafka_config()
    try:
        policy = compaction(broker, topic, LOOK_SECONDS)
        return policy, bool(policy) and any(end_offsets(broker, topic).values())
    except KafkaError:
        return None, False


def _lost(
    pipeline: Pipeline, broker: Mapping[str, Any], deployment: Deployment, left: RestorePoint, *, ended: bool
) -> str | None:
    """Why the topic does not hold what a rewarm needs, part of a sentence; None: it does, or nobody tells.

    :param ended: whether the last job has; `_NO_WATERMARK` where it left no word of how far it had come.
    """
    watermark, named = deployment.rewarm_from, RestorePoint(deployment.savepoint_path, "named")
    if watermark is None:
        watermark = next((one.complete for one in (named, left) if one.drained), None)
    if watermark is None and not ended:
        hook = FlinkHook(deployment.flink_conn_id)
        running = [job for job in hook.jobs_named(pipeline.job_name) if not job.is_terminal]
        watermark = hook.emitted_until(running[0].job_id) if running else None
    if watermark is None:
        return _NO_WATERMARK if ended else None
    try:
        check_replay(pipeline, broker, watermark)
    except FlinkStateError as error:
        return str(error).rstrip(".")
    except (ConfigurationError, KafkaError):
        # The broker is out of reach, or the source has another one, which plan is not told of.
        return None
    return None


def _made_anew(session: HopsworksSession, pipeline: Pipeline, marks: Mapping[str, str]) -> list[str]:
    """Topics that are others than those that the ended job read; none without a broker."""
    try:
        return topics_read(pipeline, [session.kafka_config()], marks)[1]
    except KafkaError:
        return []


def _joined(session: HopsworksSession, pipeline: Pipeline) -> list[str]:
    """What joined topics lack, as far as they are on the feature store's broker."""
    try:
        return join_warnings(pipeline, [session.kafka_config()])
    except ConfigurationError as error:
        # Where the source has a broker of its own, which plan is not told of, it may be there.
        return [f"On the feature store's broker: {error}"]


def _topic(session: HopsworksSession, pipeline: Pipeline) -> Resource:
    source = pipeline.source
    append = source_topic_arguments(pipeline)["on_drift"] == "append"
    schema = source_avro_schema(pipeline)
    found = session.topics.differences(source.topic, schema, partitions=source.partitions, append=append)
    if found is None:
        return Resource("topic", source.topic, "create")
    changes, refused = found
    if refused:
        refused.append("a deployment refuses this: choose another topic, or make the file match")
    return Resource("topic", source.topic, "change" if changes or refused else "none", [*changes, *refused])


def _feature_groups(session: HopsworksSession, pipeline: Pipeline) -> tuple[list[Resource], list[str]]:
    resources, warnings = [], []
    for group in pipeline.feature_groups:
        try:
            registered = session.get_feature_group(group.name, group.version)
        except HopsworksNotFoundError:
            resources.append(Resource("feature_group", group.full_name, "create"))
            warnings += online_warnings(pipeline, group, {})
            continue
        warnings += online_warnings(pipeline, group, shape_of(registered).online_types)
        arguments = feature_group_arguments(pipeline, group)
        found = session.differences(registered, arguments)
        grows = bool(found) and _grows(session, registered, arguments)
        if found:
            found.append(_APPENDED if grows else "a deployment refuses this: raise the version")
        words = session.missing_words(registered, arguments).told()
        if words:
            words.append("a deployment writes this, and the job goes on")
        action: Action = "change" if found or words else "none"
        resources.append(Resource("feature_group", group.full_name, action, [*found, *words], not found, grows))
    return resources, warnings


def _grows(session: HopsworksSession, registered: Any, arguments: Mapping[str, Any]) -> bool:
    try:
        session.lacking_features(registered, arguments)
    except HopsworksConflictError:
        return False
    return True


def _job(
    session: HopsworksSession | None, pipeline: Pipeline, deployment: Deployment
) -> tuple[Resource, Mapping[str, str] | None, RestorePoint]:
    """The job; the marks of the one whose state there is, None if there is none; and what ended ones have left.

    :param session: None while the feature groups are not registered as the file says.
    """
    hook, name = FlinkHook(deployment.flink_conn_id), pipeline.job_name
    jobs = hook.jobs_named(name)
    running = [job for job in jobs if not job.is_terminal]
    if len(running) > 1:
        listed = ", ".join(f"{job.job_id} ({job.state})" for job in running)
        raise FlinkAmbiguousJobError(f"{len(running)} jobs named {name!r} run at once: {listed}. Stop all but one.")
    marks: Mapping[str, str] | None = hook.job_marks(jobs[0].job_id) if jobs else None
    left = RestorePoint(None, "a job runs") if running else RestorePoints(hook).by(jobs)
    if not running:
        marks = marks_before(jobs[0].with_marks(marks), left, None) if marks is not None else None
        last = f"; the last one, {jobs[0].job_id}, is {jobs[0].state}" if jobs else ""
        return Resource("job", name, "create", [f"no job of this name runs{last}"]), marks, left
    if session is None:
        details = [_runs(running[0]), "its SQL changes with the feature groups"]
        return Resource("job", name, "change", details), marks, left
    desired = _desired(session, pipeline, deployment, hook)
    assert marks is not None
    differences = [_runs(running[0])]
    if marks.get(MARK_HASH) != desired.hash and marks.get(MARK_PLAN) != desired.marks[MARK_PLAN]:
        differences.append("the SQL differs")
    elif marks.get(MARK_HASH) != desired.hash:
        differences.append("the SQL is the same; program, jars, configuration or parallelism are not")
    elif desired.credentials not in (None, running[0].credentials):
        differences.append(f"it was given {OTHERS}")
    return Resource("job", name, "change" if len(differences) > 1 else "none", differences), marks, left


def _desired(session: HopsworksSession, pipeline: Pipeline, deployment: Deployment, hook: FlinkHook) -> DesiredJob:
    """The job as the operator would deploy it."""
    refuse_secrets(deployment.flink_configuration, "flink_configuration")
    job = FeatureJob.compile(session, pipeline, hopsworks_conn_id=deployment.hopsworks_conn_id)
    module, program = read_program(PROGRAM)
    wanted = deployment.parallelism
    return job.desired(
        DesiredJob(
            job_name=job.plan.job_name,
            bundle=job.with_plan(Bundle(module, {f"{module}.py": program})),
            jars=hook.find_jars(formats=(OWN_JARS,)),
            parallelism=pipeline.job_parallelism if wanted is None else as_int(wanted, "parallelism"),
            flink_configuration={**STREAMING_DEFAULTS, **deployment.flink_configuration},
        )
    )


def _runs(job: FlinkJob) -> str:
    return f"job {job.job_id} is {job.state}"
