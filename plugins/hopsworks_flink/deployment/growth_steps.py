"""Adds the features that a pipeline's registered feature groups lack, without losing a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from hopsworks_flink.clients.flink.jobs import TERMINAL_STATES, FlinkJob
from hopsworks_flink.clients.hopsworks.materialization import materialize
from hopsworks_flink.deployment.decision import WITH_PANES, Start
from hopsworks_flink.deployment.growth import Growth, grow
from hopsworks_flink.exceptions import FlinkAmbiguousJobError, FlinkError, FlinkStateError, HopsworksFlinkError
from hopsworks_flink.pipeline.resources import feature_group_arguments
from hopsworks_flink.pipeline.state import panes_go_on

if TYPE_CHECKING:
    from hopsworks_flink.clients.hopsworks.session import HopsworksSession
    from hopsworks_flink.deployment.decision import DeploymentFacts
    from hopsworks_flink.deployment.deployer import Deployer
    from hopsworks_flink.deployment.rollout import Rollout, RolloutSteps
    from hopsworks_flink.pipeline.spec import Pipeline


class FeatureGrowth:
    """Materialize while the job runs, stop it, materialize the rest, append. Each step may be done again.

    :param deployer: of the pipeline as it will be, which is not submitted; its policy is what the task asks for.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        deployer: Deployer,
        steps: RolloutSteps,
        session: HopsworksSession,
    ) -> None:
        self._groups = {group.full_name: group for group in pipeline.feature_groups}
        self._pipeline = pipeline
        self._deployer = deployer
        self._steps = steps
        self._session = session
        self._log = deployer.log
        self._record = deployer.record
        self._policy = deployer.policy

    def run(self, lacking: Mapping[str, list[str]]) -> Rollout | None:
        """Bring the feature groups to what the pipeline says; no job of the pipeline runs then.

        :param lacking: full name -> names of the features that the group lacks.
        :return: None; or the watch over the job before, which was brought back because something failed.
        :raises FlinkStateError: it is not known from when on windows have to be computed again.
        :raises HopsworksFlinkError: something failed; the text says in which state things are.
        """
        deployer = self._deployer
        facts = deployer.look(watermark=True)
        remembered, known = self._record.growth(), self._record.known()
        running = self._running(facts)
        nothing_emitted = running is not None and self._deployer.has_emitted_nothing(running)
        growth = grow(dict(lacking), self._policy.start, facts, known, remembered, may_begin_anew=nothing_emitted)
        if growth.state == "rewarm":
            growth = self._possible(growth, running)
        self._refuse_recomputation()
        for name, features in growth.groups.items():
            self._log.info("Feature group %s gets %s.", name, ", ".join(features))
        if running:
            self._materialize(growth, "while the job runs, so that it is stopped for a shorter time")
        self._record.grow(growth)
        if running:
            self._log.info("Stopping the job; windows up to %s (epoch ms) have been emitted.", growth.watermark)
            deployer.halt(running, growth.watermark)
        try:
            growth = self._materialize(growth, "all that the job has written")
            self._append(growth)
        except HopsworksFlinkError as error:
            return self._undo(error)
        return None

    def _possible(self, growth: Growth, running: FlinkJob | None) -> Growth:
        """A rewarm; with ``restore``, or where the topic lacks the events, panes of native windows go on instead."""
        desired, asked = self._deployer.desired, self._policy.state
        panes = running is not None and asked in ("auto", "restore") and panes_go_on(desired.marks, running.marks)
        if panes and asked == "restore":
            return replace(growth, state="restore")
        try:
            desired.check_start(Start(None, "", replay=True, watermark=growth.watermark), {})
        except FlinkStateError as error:
            if not panes:
                raise
            self._log.warning("%s But %s.", error, WITH_PANES)
            return replace(growth, state="restore")
        return growth

    def finish(self, growth: Growth) -> None:
        """Do the rest where all features are there already, but their offline tables may not have followed."""
        self._append(growth)

    def _running(self, facts: DeploymentFacts) -> FlinkJob | None:
        """The pipeline's job, if it can be stopped with a savepoint."""
        active = _active(facts)
        if len(active) > 1:
            listed = ", ".join(f"{job.job_id} ({job.state})" for job in active)
            raise FlinkAmbiguousJobError(
                f"{len(active)} jobs named {self._deployer.desired.job_name!r} run at once: {listed}. Stop all but "
                "the right one (FlinkStopJobOperator with job_id), then deploy again."
            )
        if not active:
            return None
        (job,) = active
        if job.state != "RUNNING":
            raise FlinkError(
                f"Job {job.job_id} is {job.state}: it has to run before its feature groups can grow, or to be ended "
                "(FlinkStopJobOperator). Nothing was touched."
            )
        return job

    def _refuse_recomputation(self) -> None:
        """A recomputation writes rows of the older schema as well, for as long as it runs."""
        prefix = f"{self._pipeline.name}__recompute__"
        for job in self._deployer.hook.client.jobs():
            if str(job["name"]).startswith(prefix) and job["state"] not in TERMINAL_STATES:
                raise FlinkError(
                    f"Job {job['name']!r} is recomputing features in their older schema: wait for its end, then "
                    "deploy again. Nothing was touched."
                )

    def _materialize(self, growth: Growth, why: str) -> Growth:
        done = dict(growth.materialized)
        for name in growth.groups:
            group = self._groups.get(name)
            if group is None or not group.offline:
                continue
            self._log.info("Materializing %s: %s.", name, why)
            done[name] = materialize(
                self._session,
                self._session.get_feature_group(group.name, group.version),
                timeout=self._policy.timeout,
                poll_interval=self._policy.poll_interval,
                log=self._log,
            )
        return replace(growth, materialized=done)

    def _append(self, growth: Growth) -> None:
        growth = replace(growth, stage="appending")
        self._record.grow(growth)
        for name in growth.groups:
            group = self._groups.get(name)
            if group is None:
                continue
            _, names = self._session.append_features(
                self._session.get_feature_group(group.name, group.version),
                feature_group_arguments(self._pipeline, group),
                # An earlier try may have left the offline table behind.
                again=True,
            )
            self._log.info("Appended to %s: %s.", name, ", ".join(names) or "nothing, it is there already")
        self._record.grow(replace(growth, stage="appended"))

    def _undo(self, error: HopsworksFlinkError) -> Rollout:
        """Nothing computes: the job before comes back. What is remembered stays, for the next deployment."""
        undoing = self._steps.undo(f"Feature groups could not grow: {error}")
        if undoing is None:
            self._log.error("The job stays stopped: there is no copy of it to bring back. The next deployment goes on.")
            raise error
        return undoing


def _active(facts: DeploymentFacts) -> list[FlinkJob]:
    return [job for job in facts.jobs if not job.is_terminal]
