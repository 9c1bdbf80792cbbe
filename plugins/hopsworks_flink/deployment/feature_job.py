"""The job of a feature pipeline: its plan, made from the file and what Hopsworks has registered, and its bindings."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hopsworks_flink.clients.flink.bundle import Bundle
from hopsworks_flink.clients.flink.jobs import (
    MARK_PLAN,
    FlinkJob,
    ingestion_marks,
    is_of_another_cluster,
    topic_marks,
    topics_made_anew,
)
from hopsworks_flink.exceptions import ConfigurationError, FlinkStateError, KafkaError
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.hooks.registry_connection import registries, registries_shown

if TYPE_CHECKING:
    from hopsworks_flink.clients.hopsworks.session import HopsworksSession
    from hopsworks_flink.deployment.decision import Start
    from hopsworks_flink.deployment.desired import DesiredJob
    from hopsworks_flink.pipeline.plan import FeatureGroupRef, JobPlan
    from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline

#: The program that executes a plan; it lies beside the plan and the bindings.
PROGRAM = "feature_pipeline"
PLAN_FILE, BINDINGS_FILE = "plan.json", "bindings.json"
_NO_REPLAY = (
    "The job cannot be rewarmed, and nothing was touched: topic {} no longer holds all events since {} (epoch "
    "milliseconds), which the windows that are open need"
)
_WAYS_OUT = (
    "Deploy with state='fresh': windows that are open now will lack events. Or give the changed feature groups a new "
    "version beside the old ones, and leave the old ones as they are."
)
#: What is said of a topic whose offsets in a state are those of another one.
MADE_ANEW = (
    "was deleted and made again since the job ran whose state there is: the next one would go on at the offsets of the "
    "old topic, and skip as many records of the new one"
)
_AFTER_ANEW = (
    "Deploy with state='rewarm': the job reads the new topic from its start, and windows that were open lack what only "
    "the old one held. Or with state='restore', which keeps that, if each partition has fewer records than the old one "
    "had: the job then begins at the start too."
)
#: What is said of a topic in another cluster than that of a state's offsets.
ELSEWHERE = (
    "is read in another Kafka cluster than by the job whose state there is: the next one would go on at the offsets of "
    "the old cluster"
)
_AFTER_MOVING = (
    "Correct the connection. Or end the job (<pipeline>__undeploy) and deploy with state='rewarm': it reads the events "
    "of open windows again, in the new cluster by their time."
)
_FROM_THE_END = (
    "From a compacted topic a job without state can only begin at the end: start='latest', or source.start: latest. "
    "For more, keep the events in a topic with cleanup.policy=delete."
)
#: What a compacted topic is good for.
ONLY_FORWARD = (
    "A job that keeps up computes right values; it cannot be rewarmed or begin at the topic's beginning, and nothing "
    "can be recomputed."
)
#: For a look at the broker that a deployment can do without: it may be out of the worker's reach.
LOOK_SECONDS = 5.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureJob:
    """One pipeline's streaming job.

    :param brokers: librdkafka settings: of the source topic, if that is not on the feature store's broker, and of the
        feature store.
    :param hopsworks_conn_id: Airflow connection of the feature store.
    :param start: for a job that begins without state: ``earliest`` or ``latest``; None: what the pipeline says.
    :param lacking: full name of a feature group -> names of the features that it lacks.
    :param warnings: about strings that the registered online columns may not hold.
    """

    pipeline: Pipeline
    plan: JobPlan
    brokers: Sequence[Mapping[str, Any]]
    hopsworks_conn_id: str
    start: str | None = None
    lacking: Mapping[str, list[str]] = field(default_factory=dict)
    warnings: Sequence[str] = ()

    @classmethod
    def compile(
        cls,
        session: HopsworksSession,
        pipeline: Pipeline,
        source_kafka: Mapping[str, Any] | None = None,
        *,
        hopsworks_conn_id: str,
        start: str | None = None,
        append: bool = False,
    ) -> FeatureJob:
        """Compile a pipeline against its registered feature groups.

        :param source_kafka: librdkafka settings of the source topic's broker; None: it is the feature store's.
        :param append: whether registered groups may lack features, which are then in the plan all the same.
        :raises HopsworksNotFoundError: a group is not registered, of those whose rows are joined too.
        :raises HopsworksConflictError: one differs from the pipeline.
        """
        from hopsworks_flink.pipeline.plan import compile_plan
        from hopsworks_flink.pipeline.resources import online_warnings

        if append:
            registered, lacking = growing_groups(session, pipeline)
        else:
            registered, lacking = registered_groups(session, pipeline, pipeline.feature_groups), {}
        brokers = (*((source_kafka,) if source_kafka else ()), session.kafka_config())
        plan = compile_plan(pipeline, [*registered, *joined_groups(session, pipeline)])
        warnings = [
            warning
            for group, ref in zip(pipeline.feature_groups, registered, strict=True)
            for warning in online_warnings(pipeline, group, ref.online_types)
        ]
        return cls(pipeline, plan, brokers, hopsworks_conn_id, start, lacking, warnings)

    def with_plan(self, bundle: Bundle) -> Bundle:
        """The program's bundle, with the plan beside it."""
        return Bundle(bundle.module, {**bundle.files, PLAN_FILE: self.plan.to_json().encode()})

    def desired(self, job: DesiredJob) -> DesiredJob:
        """The job that should run, with bindings for what it begins with and marks by which it is known again.

        :param job: the same without them.
        """
        from hopsworks_flink.clients.kafka.java_properties import credentials_fingerprint
        from hopsworks_flink.pipeline.state import state_signature

        # Not the feature store's, which it tells anew each time.
        own = sorted(str(self.brokers[0].get("bootstrap.servers")).split(",")) if len(self.brokers) > 1 else []
        return replace(
            job,
            start_files=self.start_files,
            recipe={"pipeline": self.pipeline.to_dict()},
            credentials=credentials_fingerprint(*self.brokers, others=[*registries_shown(self.pipeline), *own]),
            marks={**state_signature(self.pipeline).marks(), MARK_PLAN: self.plan.hash},
            from_beginning=self.from_beginning,
            check_start=self.check_start,
        )

    def check_start(self, start: Start | None, ended: Mapping[str, str]) -> dict[str, str]:
        """Refuse a start for which the source topic no longer holds the events; warn of a topic that loses them.

        :param start: None: with the state that the job before leaves.
        :param ended: marks of a job that has ended, if the new one is to go on with what that left.
        :return: marks that say which topics they are.
        :raises FlinkStateError: records were deleted, or compacted away, that windows need; or the state is of another
            topic of the same name.
        :raises ConfigurationError: a joined topic does not exist.
        """
        from hopsworks_flink.clients.kafka.client import KafkaClient

        told, cluster = True, None
        try:
            cluster = KafkaClient(self.brokers[0]).cluster_id(LOOK_SECONDS)
            ids, anew = topics_read(self.pipeline, self.brokers, ended)
        except KafkaError as error:
            log.warning(
                "Whether the job's topics are the same, and none compacted, Kafka does not tell this worker: %s", error
            )
            ids, anew, told = {}, [], False
        if is_of_another_cluster(ended, cluster):
            raise FlinkStateError(
                f"Kafka topic {self.pipeline.source.topic} {ELSEWHERE}. Nothing was touched. {_AFTER_MOVING}"
            )
        if anew:
            raise FlinkStateError(f"Kafka topic {' and '.join(anew)} {MADE_ANEW}. Nothing was touched. {_AFTER_ANEW}")
        self._check_records(start, told)
        return topic_marks(ids, cluster)

    def _check_records(self, start: Start | None, told: bool) -> None:
        """The part of `check_start` about records.

        :param told: whether the brokers answer; to ask one that does not takes seconds.
        """
        from hopsworks_flink.clients.kafka.offsets import compaction, end_offsets
        from hopsworks_flink.pipeline.recompute import compacted

        for warning in join_warnings(self.pipeline, self.brokers):
            log.warning("%s", warning)
        topic, broker = self.pipeline.source.topic, self.brokers[0]
        if start is not None and start.replay:
            check_replay(self.pipeline, broker, start.watermark)
            return
        if not told:
            return
        try:
            policy = compaction(broker, topic, LOOK_SECONDS)
            from_beginning = start is not None and not start.path and self.from_beginning
            if policy and from_beginning and any(end_offsets(broker, topic).values()):
                raise FlinkStateError(
                    f"{compacted(topic, policy)} The job would begin there, and nothing was touched. {_FROM_THE_END}"
                )
        except KafkaError as error:
            log.warning("Whether topic %s is compacted, Kafka does not tell this worker: %s", topic, error)
        else:
            if policy:
                log.warning("%s %s", compacted(topic, policy), ONLY_FORWARD)

    @property
    def from_beginning(self) -> bool:
        """Whether the job reads its topic from the beginning when it starts without state."""
        return (self.start or self.pipeline.source.start) == "earliest"

    def start_files(self, start: Start, recipe: Mapping[str, Any]) -> tuple[Mapping[str, bytes], Mapping[str, str]]:
        """How to reach the brokers, new online ingestion ids, and where to begin; and marks with the ids.

        :param recipe: holds the pipeline, which is the previous one's when that is brought back.
        """
        from hopsworks_flink.clients.kafka.java_properties import java_client_properties
        from hopsworks_flink.pipeline.plan import Begin, bindings
        from hopsworks_flink.pipeline.spec import Pipeline

        pipeline = Pipeline.parse(recipe["pipeline"])
        with HopsworksHook(self.hopsworks_conn_id).session() as session:
            ids = {
                group.full_name: session.create_online_ingestion(session.get_feature_group(group.name, group.version))
                for group in pipeline.feature_groups
                if group.online
            }
        log.info("Online ingestions: %s.", ids)
        values = bindings(
            pipeline,
            source_kafka=java_client_properties(self.brokers[0]),
            sink_kafka=java_client_properties(self.brokers[-1]),
            ingestion_ids=ids,
            begin=Begin(self.start or None, start.watermark, start.replay),  # type: ignore[arg-type]
            registries=registries(pipeline),
        )
        return {BINDINGS_FILE: json.dumps(values).encode()}, ingestion_marks(ids)


def check_replay(pipeline: Pipeline, broker: Mapping[str, Any], watermark: int | None) -> None:
    """Refuse to rewarm a job whose source topic no longer holds the events of the windows that are open.

    :param broker: librdkafka settings of the source topic's.
    :param watermark: epoch milliseconds; windows ending by then are out.
    :raises FlinkStateError: records were deleted, or compacted away, that they need.
    :raises ConfigurationError: there is no such topic.
    :raises KafkaError: the broker does not answer, or refuses the connection.
    """
    from hopsworks_flink.clients.kafka.offsets import compaction, kept_since, partition_histories
    from hopsworks_flink.pipeline.plan import replay_since
    from hopsworks_flink.pipeline.recompute import compacted, first_complete

    topic = pipeline.source.topic
    if policy := compaction(broker, topic):
        raise FlinkStateError(
            f"{compacted(topic, policy)} The job cannot be rewarmed from it, and nothing was touched. {_WAYS_OUT} "
            f"{_FROM_THE_END}"
        )
    since = replay_since(pipeline, watermark or 0)
    histories = partition_histories(broker, topic, since)
    untold = any(one.low and one.oldest is None for one in histories)
    try:
        earliest = first_complete(histories, since, kept_since(broker, topic) if untold else None)
    except LookupError as error:
        raise FlinkStateError(f"{_NO_REPLAY.format(topic, since)}: it has lost {error}. {_WAYS_OUT}") from None
    if earliest:
        raise FlinkStateError(f"{_NO_REPLAY.format(topic, since)}: its records begin at {earliest}. {_WAYS_OUT}")


def topics_read(
    pipeline: Pipeline, brokers: Sequence[Mapping[str, Any]], ended: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """The topics that a job reads: name -> Kafka's id; and those that hold records and had another id before.

    :param brokers: as of `FeatureJob`.
    :param ended: marks of the job that ran before.
    :raises KafkaError: a broker does not tell.
    """
    from hopsworks_flink.clients.kafka.offsets import end_offsets, topic_ids

    ids: dict[str, str] = {}
    anew: list[str] = []
    for name, broker in (("source", brokers[0]), ("feature_store", brokers[-1])):
        topics = pipeline.source.topics_on(name)
        found = topic_ids(broker, topics, LOOK_SECONDS) if topics else {}
        anew += [one for one in topics_made_anew(ended, found) if any(end_offsets(broker, one).values())]
        ids |= found
    return ids, anew


def join_warnings(pipeline: Pipeline, brokers: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a job would lack in the topics that are joined, sentences.

    :param brokers: as of `FeatureJob`.
    :raises ConfigurationError: there is no such topic.
    """
    from hopsworks_flink.clients.kafka.client import KafkaClient
    from hopsworks_flink.clients.kafka.offsets import deletes, partition_histories
    from hopsworks_flink.pipeline.recompute import lost_versions

    warnings = []
    for name, join in pipeline.source.join.items():
        broker, topic = brokers[-1 if join.broker == "feature_store" else 0], join.topic
        try:
            if topic not in KafkaClient(broker).topics(LOOK_SECONDS):
                raise ConfigurationError(
                    f"There is no Kafka topic {topic!r}, which source.join.{name} reads: a deployment is refused. "
                    "Create it (with cleanup.policy=compact, if its records have keys), or correct the file."
                )
            # What compaction alone takes has a successor.
            there = partition_histories(broker, topic, 0) if deletes(broker, topic, LOOK_SECONDS) else []
            lost = lost_versions(topic, there)
        except KafkaError as error:
            warnings.append(f"Whether topic {topic} holds all versions, Kafka does not tell from here: {error}")
        else:
            warnings += [lost] if lost else []
    return warnings


def second_writers(pipeline: Pipeline, others: Iterable[FlinkJob]) -> list[str]:
    """What is to be said of other jobs that write a pipeline's feature groups as well, sentences.

    :param others: jobs that run, with their marks.
    """
    from hopsworks_flink.pipeline.state import groups_written

    ours = {group.full_name for group in pipeline.feature_groups}
    found = [(job, [name for name in groups_written(job.marks) if name in ours]) for job in others]
    return [
        f"Job {job.name} ({job.job_id}) runs and writes {', '.join(names)} as well. Unless that is of another project, "
        "the stores hold rows of both jobs, whichever came last. If it is this pipeline under the name that it had "
        "before, undeploy that one."
        for job, names in found
        if names
    ]


def registered_groups(
    session: HopsworksSession, pipeline: Pipeline, groups: Iterable[FeatureGroup]
) -> list[FeatureGroupRef]:
    """The platform's view of a pipeline's feature groups.

    :raises HopsworksNotFoundError: one of them is not registered.
    :raises HopsworksConflictError: one is registered with other features, key or event time.
    """
    from hopsworks_flink.pipeline.resources import feature_group_arguments

    found = []
    for wanted in groups:
        group = session.get_feature_group(wanted.name, wanted.version)
        session.check_feature_group(group, feature_group_arguments(pipeline, wanted))
        found.append(session.describe(group))
    return found


def joined_groups(session: HopsworksSession, pipeline: Pipeline) -> list[FeatureGroupRef]:
    """The platform's view of the feature groups whose rows a pipeline joins.

    :raises HopsworksNotFoundError: one of them is not registered.
    """
    named = (name.rpartition("_") for name in pipeline.source.joined_groups)
    return [session.describe(session.get_feature_group(name, int(version))) for name, _, version in named]


def growing_groups(session: HopsworksSession, pipeline: Pipeline) -> tuple[list[FeatureGroupRef], dict[str, list[str]]]:
    """The platform's view of a pipeline's feature groups, as it will be when they have the features that they lack.

    :return: the view, and full name -> names of the lacking features. While there are any, the id of that group's
        schema is still the older one's.
    :raises HopsworksNotFoundError: a group is not registered.
    :raises HopsworksConflictError: one differs in something that appending features would not mend.
    """
    from hopsworks_flink.pipeline.resources import feature_group_arguments

    found, growing = [], {}
    for wanted in pipeline.feature_groups:
        arguments = feature_group_arguments(pipeline, wanted)
        group = session.get_feature_group(wanted.name, wanted.version)
        names, ref = session.lacking_features(group, arguments), session.describe(group)
        if names:
            growing[ref.full_name] = names
            ref = _with_features(ref, {f["name"]: f["type"] for f in arguments["features"] if f["name"] in names})
        found.append(ref)
    return found, growing


def _with_features(ref: FeatureGroupRef, types: dict[str, str]) -> FeatureGroupRef:
    from hopsworks_flink.pipeline.types import avro_type

    schema = json.loads(ref.avro_schema)
    schema["fields"] += [{"name": name, "type": avro_type(kind)} for name, kind in types.items()]
    return replace(ref, avro_schema=json.dumps(schema))
