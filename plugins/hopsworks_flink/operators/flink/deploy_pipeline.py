"""Operator that keeps the streaming job of a feature pipeline running."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hopsworks_flink.clients.flink.bundle import Bundle
from hopsworks_flink.clients.flink.files import OWN_JARS
from hopsworks_flink.clients.kafka.client import KafkaClient
from hopsworks_flink.deployment.desired import DesiredJob
from hopsworks_flink.deployment.feature_job import PROGRAM, FeatureJob, second_writers
from hopsworks_flink.deployment.growth_steps import FeatureGrowth
from hopsworks_flink.deployment.record import in_service
from hopsworks_flink.exceptions import ConfigurationError, KafkaError, KafkaSecurityError
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.hooks.kafka_connection import kafka_connection
from hopsworks_flink.hooks.registry_connection import registries
from hopsworks_flink.operators.flink.deploy import FlinkDeployJobOperator
from hopsworks_flink.pipeline.times import as_epoch_milliseconds
from hopsworks_flink.tasks import lineage
from hopsworks_flink.tasks.arguments import one_of
from hopsworks_flink.tasks.failures import cause_of

if TYPE_CHECKING:
    from hopsworks_flink._compat import Context
    from hopsworks_flink.clients.hopsworks.session import HopsworksSession
    from hopsworks_flink.deployment.desired import DeploymentPolicy
    from hopsworks_flink.deployment.growth import Growth
    from hopsworks_flink.deployment.record import DeploymentRecord

_TRUST_SECONDS = 5.0


class FlinkDeployFeaturePipelineOperator(FlinkDeployJobOperator):
    """Deploys the streaming job of a feature pipeline, as :class:`FlinkDeployJobOperator` does.

    The job is made at run time from the pipeline and the ids that Hopsworks gave to its feature groups. They must be
    registered with the pipeline's features, key and event time; otherwise the task fails for good before Flink is
    touched. A new online ingestion is announced only when a job is really submitted.

    Certificates and passwords travel in the job's bundle. If they were renewed since the job was started, it is
    replaced from its savepoint, whatever ``state`` says. If this worker cannot reach the broker with the new ones, the
    task fails for good before the running job is touched.

    With ``state="rewarm"`` any change of the pipeline is possible without loss: the running job's lowest watermark is
    read, the job is stopped, and the new one begins without state, reads again what the windows that were still open
    need, and emits these and all later ones. The values equal those of a job that was never stopped, as long as the
    topic still holds the events: the longest window and ``max_future`` back from the watermark.

    **Feature groups that grew.** If the pipeline has features which its registered groups lack, and ``on_drift`` is
    ``append``, the groups grow without losing a row. Hopsworks materializes only records in a group's newest schema.
    So the task materializes the older records while the job runs, stops the job with a savepoint, materializes what it
    has written since, appends the features, and deploys the job as with ``state="rewarm"``: Flink finds no new
    accumulator in old state. If a step fails before the new job is submitted, the old job is brought back. A task
    that was interrupted is completed by the pipeline's next deployment: Airflow 3.3 keeps the progress in the job's
    asset store, without an asset it is kept in the task's. All of that happens on the worker, each materialization
    within ``timeout``.

    :param pipeline: the pipeline as a mapping, or the path of its file (templated).
    :param on_drift: what to do about registered groups that lack features of the pipeline. ``fail``: the task fails for
        good; ``append``: as said above. Any other difference fails the task for good; default: ``fail`` (templated).
    :param source_kafka_conn_id: Airflow connection of type ``kafka`` for the source topic; None: the feature store's
        own broker (templated).
    :param hopsworks_conn_id: Airflow connection of type ``hopsworks``; default: ``hopsworks_default`` (templated).
    :param rewarm_from: for ``state="rewarm"`` after a job whose watermark cannot be read any more: the end of the last
        window that is certainly out, as ISO time with zone or epoch milliseconds, and no time in the future; None: as
        the job shows (templated).
    :param start: for ``state="fresh"`` and first deployments: ``earliest`` or ``latest`` offset of the source topic;
        None: what the pipeline says (templated).
    :param parallelism: of the job; None or empty: what the pipeline says (templated).
    :param kwargs: all other arguments of :class:`FlinkDeployJobOperator` except the job's name, program, files and
        arguments, which follow from the pipeline.
    :return: (XCom) as :class:`FlinkDeployJobOperator`; if feature groups grew also ``grown``: full name → ``features``
        (names of those that were appended) and how the rows in the older schema were materialized: ``end_offsets``,
        ``offsets_verified``, ``rows_inserted``, ``rows_updated``.
    """

    template_fields: Sequence[str] = (
        "pipeline",
        "source_kafka_conn_id",
        "hopsworks_conn_id",
        "rewarm_from",
        "start",
        "on_drift",
        *(
            name
            for name in FlinkDeployJobOperator.template_fields
            if name not in ("job_name", "program", "files", "data_files", "arguments")
        ),
    )

    can_rewarm = True
    file_formats = (OWN_JARS,)

    def __init__(
        self,
        *,
        pipeline: Mapping[str, Any] | str,
        source_kafka_conn_id: str | None = None,
        hopsworks_conn_id: str = HopsworksHook.default_conn_name,
        rewarm_from: str | int | None = None,
        start: str | None = None,
        on_drift: str = "fail",
        parallelism: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        for name in ("job_name", "program", "files", "data_files", "arguments"):
            if name in kwargs:
                raise TypeError(f"{type(self).__name__} takes no argument {name!r}: it follows from the pipeline")
        super().__init__(job_name="", program=PROGRAM, parallelism=parallelism, **kwargs)
        self.pipeline = pipeline
        self.source_kafka_conn_id = source_kafka_conn_id
        self.hopsworks_conn_id = hopsworks_conn_id
        self.rewarm_from = rewarm_from
        self.start = start
        self.on_drift = on_drift
        self._job: FeatureJob | None = None

    def prepare(self) -> None:
        """Compile the pipeline against what is registered."""
        from hopsworks_flink.clients.kafka.java_properties import java_client_properties
        from hopsworks_flink.pipeline.spec import Pipeline

        if self.start:
            one_of(self.start, "start", ("earliest", "latest"))
        one_of(self.on_drift, "on_drift", ("fail", "append"))
        rewarm_from = self._rewarm_from()
        pipeline = Pipeline.parse(self.pipeline)  # type: ignore[arg-type]
        if rewarm_from is not None and rewarm_from > (time.time() + pipeline.source.max_future.total_seconds()) * 1000:
            raise ConfigurationError(
                f"rewarm_from {self.rewarm_from!r} lies in the future, further than source.max_future: windows that "
                "end until then would never be emitted. Give the end of the last one that is out, or an earlier time."
            )
        source = kafka_connection(self.source_kafka_conn_id) if self.source_kafka_conn_id else None
        if source:
            java_client_properties(source)
        registries(pipeline)
        with HopsworksHook(self.hopsworks_conn_id).session() as session:
            self._job = FeatureJob.compile(
                session,
                pipeline,
                source,
                hopsworks_conn_id=self.hopsworks_conn_id,
                start=self.start,
                append=self.on_drift == "append",
            )
        plan = self._job.plan
        self.job_name = plan.job_name
        self.log.info("Plan of %s: %d insert(s), hash %s.", plan.job_name, len(plan.inserts), plan.hash[:12])
        for warning in self._job.warnings:
            self.log.warning("%s", warning)

    @property
    def job(self) -> FeatureJob:
        """The job, once it has been prepared."""
        assert self._job is not None
        return self._job

    def deploy(self, context: Context) -> dict[str, Any]:
        """Converge, once it is known that the brokers and this worker trust each other: Flink will show the same."""
        for broker in self.job.brokers:
            self._check_trust(broker)
        others = FlinkHook(self.flink_conn_id).others_running(self.job_name)
        for warning in second_writers(self.job.pipeline, others):
            self.log.warning("%s", warning)
        record = self._record(context, self.job_name)
        growth = record.growth()
        with ExitStack() as login:
            if self.job.lacking or (growth is not None and growth.stage == "appending"):
                # One login for all that follows, up to the submission.
                session = login.enter_context(HopsworksHook(self.hopsworks_conn_id).session())
                undoing = self._grow(context, growth, session)
                if undoing is not None:
                    return undoing
                self.prepare()
            elif growth is not None and growth.stage == "stopping":
                # Nothing was appended, and the pipeline does not ask for it any more.
                record.grown()
            return self._done(super().deploy(context), record)

    def execute_complete(
        self, context: Context, event: dict[str, Any] | None = None, rollout: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """As :meth:`FlinkDeployJobOperator.execute_complete`."""
        result = super().execute_complete(context, event, rollout)
        return self._done(result, self._record(context, self.job_name))

    def _grow(self, context: Context, growth: Growth | None, session: HopsworksSession) -> dict[str, Any] | None:
        """Let the feature groups grow; a result only if that was undone, which fails the task in the end."""
        steps, deployer = self._begin(context)
        growing = FeatureGrowth(
            self.job.pipeline,
            deployer,
            steps,
            session,
        )
        if not self.job.lacking and growth is not None:
            growing.finish(growth)
            return None
        undoing = growing.run(self.job.lacking)
        return self._see_through(steps, deployer, undoing) if undoing else None

    def _done(self, result: dict[str, Any], record: DeploymentRecord) -> dict[str, Any]:
        """The result, with what has grown."""
        in_service(self.job_name)
        growth = record.completed
        if growth is None:
            return result
        told = {
            name: {"features": features, **growth.materialized.get(name, {})}
            for name, features in growth.groups.items()
        }
        return {**result, "grown": told}

    def _policy(self, record: DeploymentRecord) -> DeploymentPolicy:
        policy, growth = super()._policy(record), record.growth()
        if growth is None or growth.stage == "stopping":
            # Before: what a growing group's job has to show is its watermark.
            return policy
        start = growth.policy(policy.start)
        if start != policy.start:
            self.log.info("Feature groups grew: state=%r, whatever was asked for (%r).", start.state, policy.state)
        return replace(policy, state=start.state, rewarm_from=start.watermark)

    def _check_trust(self, broker: Mapping[str, Any]) -> None:
        if str(broker.get("security.protocol", "PLAINTEXT")).upper() == "PLAINTEXT":
            return
        try:
            KafkaClient(broker).topics(_TRUST_SECONDS)
        except KafkaSecurityError:
            raise
        except KafkaError as error:
            self.log.warning("Whether the job's broker can be trusted, Flink has to find out: %s", error)

    def get_openlineage_facets_on_start(self) -> Any:
        """Topic and feature groups, with their columns."""
        return lineage.of_pipeline(self.pipeline)

    def explain_failure(self, hook: FlinkHook, job_id: str) -> str | None:
        """Which records the job cannot decode, or which topic was deleted, if that is the cause."""
        source, store = self.job.brokers[0], self.job.brokers[-1]
        cause = cause_of(hook, job_id, self.job.pipeline, lambda: source, lambda: store)
        return cause.text if cause else None

    def build_bundle(self) -> Bundle:
        """The runner with the plan beside it."""
        return self.job.with_plan(super().build_bundle())

    def desired_deployment(self, hook: FlinkHook) -> DesiredJob:
        """The job, its bindings made for what it begins with; its marks let `hopsworks-flink plan` know it again."""
        return self.job.desired(super().desired_deployment(hook))

    def wanted_parallelism(self) -> int:
        """The rendered argument, or what the pipeline says."""
        if self.parallelism in (None, ""):
            return self.job.pipeline.job_parallelism
        return super().wanted_parallelism()

    def _rewarm_from(self) -> int | None:
        return as_epoch_milliseconds(self.rewarm_from, "rewarm_from")
