"""Operators that keep exactly one streaming job running."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import conf
from hopsworks_flink.clients.flink.jobs import STATE_POLICIES
from hopsworks_flink.deployment.deployer import Deployer
from hopsworks_flink.deployment.desired import STREAMING_DEFAULTS, DeploymentPolicy, DeploymentResult, DesiredJob
from hopsworks_flink.deployment.record import DeploymentRecord
from hopsworks_flink.deployment.rollout import HealthResult, Rollout, RolloutSteps, rollback_error
from hopsworks_flink.exceptions import (
    ConfigurationError,
    FlinkConnectionError,
    FlinkDeploymentRolledBack,
    FlinkError,
    HopsworksFlinkError,
)
from hopsworks_flink.health.bounds import Bounds
from hopsworks_flink.health.status import OUTCOME
from hopsworks_flink.health.wait import ERROR, TIMEOUT, until_stable
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.operators.flink.base import FlinkPythonJobOperator, wait_for_event
from hopsworks_flink.tasks.arguments import as_bool, as_float, one_of
from hopsworks_flink.tasks.context import owner_marks, task_errors, time_limit

if TYPE_CHECKING:
    from hopsworks_flink._compat import Context
    from hopsworks_flink.triggers.flink_deploy import FlinkDeploymentTrigger

# Of use to a later moment of the same task only.
# In a new job, before it is stable.
_MAX_RESTARTS = 5
_NOT_SHOWN = ("own", "kept_state", "replaced_hash")


class FlinkDeployJobOperator(FlinkPythonJobOperator):
    """Keeps exactly one healthy job of a name on a Flink session cluster.

    What the task does depends on what runs under the name:

    - nothing: it submits the program, from the state that the last job of the name left, if there is any;
    - the same deployment: it changes nothing; a job that does not get well is started again from its newest checkpoint;
    - another deployment: it stops that job with a savepoint and starts the new one from there; where no savepoint can
      be taken, it cancels the job and uses its newest checkpoint;
    - more than one job, or state that existed and cannot be found: it fails for good and names the ways out.

    The job carries a hash of all that shapes it (program, files, arguments, parallelism, configuration, jars). The next
    deployment recognises it by that hash. The job's id is derived from the name, the hash and the job before it, so
    that a retry finds the job of an earlier try.

    The task ends when the job is healthy: all vertices run, a checkpoint has completed since the start, and there was
    no restart for the grace period. If it does not become healthy and has replaced another job, it is cancelled, the
    deployment before it is brought back from the state that it had left and proved healthy, and the task fails for
    good with both facts. A finished task never ends the job; a task that is killed before the job is healthy cancels
    the job that it has submitted, and no other.

    With ``deferrable`` the triggerer waits for the job's health, also after a roll-back. The task holds a worker only
    from the stop of one job to the start of the next.

    Give the task an asset for the job as outlet. A roll-back needs a copy of the previous deployment (program, plan,
    arguments and configuration, no secrets), and a JobManager that lost its jobs can only be noticed by comparison with
    what was deployed before. Airflow 3.3 keeps both in the asset's state store. Before 3.3 they travel in the asset's
    events, and the asset has to be an inlet as well. Without an asset neither works, and the error says so. Of
    ``files`` only digests are kept; for a roll-back the worker must still have them.

    :param job_name: name of the job; unique on the cluster (templated).
    :param program: path of a Python file on the worker, or the name of a program of this package (templated).
    :param files: name in the bundle → path on the worker; they lie beside the program when it runs; default: none
        (templated).
    :param data_files: name in the bundle → value, written as JSON; shown in Airflow, so nothing secret; default: none
        (templated).
    :param arguments: command line arguments of the program; ``--jars file:///a.jar;file:///b.jar`` follows them when
        the job brings jars along; shown in Airflow and Flink, so options called like a secret are refused; default:
        none (templated).
    :param parallelism: of the job; default: 1 (templated).
    :param flink_configuration: Flink's configuration for this job; a checkpoint every 10 s, kept on cancellation, is
        the default; shown, as the arguments are (templated).
    :param jars: names or paths of the connector jars that the job brings along; None: all of the connection's folder,
        an empty list: none (templated).
    :param state: ``auto`` continues from the state of the previous job where old and new job mean the same by it, and
        rewarms a feature pipeline otherwise; ``restore`` continues from it, and refuses a pipeline whose state means
        something else (of native windows with other aggregates those that stay go on); ``fresh`` leaves it behind;
        ``rewarm``, for feature pipelines, leaves it behind as well, but reads again what the open windows need;
        default: ``auto`` (templated).
    :param savepoint_path: start from this savepoint or retained checkpoint instead; after that of a drained job
        ``auto`` rewarms a feature pipeline, whose open windows are not in it; None: as ``state`` says (templated).
    :param allow_non_restored_state: start also if the savepoint holds state that the job has no use for; default: false
        (templated).
    :param savepoint_directory: where savepoints go; None: the cluster's default (templated).
    :param require_checkpoint: whether healthy needs a completed checkpoint, which is asked for as soon as the job runs;
        default: true (templated).
    :param grace_period: seconds without a restart, all vertices running, that healthy needs; a job that runs already
        has them behind it. A job that is found restarting gets three times as long to get well by itself; default: 5.
    :param timeout: seconds for the whole deployment; a roll-back gets as much again; in a deferrable task
        ``execution_timeout`` bounds the same time; default: 600.
    :param poll_interval: seconds between two looks; default: 2.
    :param deferrable: wait for health in the triggerer, without a worker slot, also after a roll-back. Default:
        Airflow's setting ``[operators] default_deferrable``.
    :param flink_conn_id: Airflow connection of type ``flink``; default: ``flink_default`` (templated).
    :return: (XCom) ``job_id``, ``job_name``, ``action`` (``none``, ``submitted``, ``replaced``, ``recovered``),
        ``deployment_hash``, ``savepoint_path``, ``replaced_job_id``, ``reason``, ``state`` (what the job began with:
        ``restore``, ``rewarm``, ``fresh``, None if nothing was started), ``rewarmed_at`` (epoch milliseconds),
        ``web_url``.
    :raises AirflowFailException: an argument is wrong, more than one job of the name runs, state is missing, or the
        new job was not healthy and the previous deployment was brought back: no retry would change that.
    :raises FlinkSavepointError: the running job could not be stopped with a savepoint; it runs on.
    :raises FlinkSubmissionError: the program did not start; the text holds the cause and the savepoint.
    :raises FlinkJobFailed: the job was not healthy and there is nothing to go back to, or going back failed
        (:class:`~hopsworks_flink.exceptions.FlinkRollbackFailed`); the text says where the state lies.
    """

    template_fields: Sequence[str] = (
        *FlinkPythonJobOperator.template_fields,
        "state",
        "savepoint_path",
        "allow_non_restored_state",
        "savepoint_directory",
        "require_checkpoint",
    )
    #: Whether the program can begin by reading again what its open windows need.
    can_rewarm = False

    def __init__(
        self,
        *,
        state: str = "auto",
        savepoint_path: str | None = None,
        allow_non_restored_state: bool | str = False,
        savepoint_directory: str | None = None,
        require_checkpoint: bool | str = True,
        grace_period: float = 5.0,
        timeout: float = 600.0,
        poll_interval: float = 2.0,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.state = state
        self.savepoint_path = savepoint_path
        self.allow_non_restored_state = allow_non_restored_state
        self.savepoint_directory = savepoint_directory
        self.require_checkpoint = require_checkpoint
        self.grace_period = grace_period
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.deferrable = deferrable
        self._deployer: Deployer | None = None
        self._kept: tuple[Context, DeploymentRecord] | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Converge, and wait until the job is healthy."""
        with self._told_errors(context):
            self.prepare()
            return self.deploy(context)

    def prepare(self) -> None:
        """Complete the rendered arguments; runs before each use of them."""

    def deploy(self, context: Context) -> dict[str, Any]:
        """Converge; errors are this package's own."""
        steps, deployer = self._begin(context)
        return self._see_through(steps, deployer, steps.converge())

    def execute_complete(
        self, context: Context, event: dict[str, Any] | None = None, rollout: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Go on after the trigger has watched a job: done, going back, or back.

        :param event: of :class:`~hopsworks_flink.triggers.flink_deploy.FlinkDeploymentTrigger`.
        :param rollout: what the watch was about.
        """
        with self._told_errors(context):
            if not event or rollout is None:
                raise FlinkError(
                    "The wait for the job's health ended without an event, so its health is not known. The job was "
                    "left alone; another try looks at it again."
                )
            watched = Rollout.from_json(rollout)
            hook = FlinkHook(self.flink_conn_id)
            self.show_job(context, hook, watched.job_id)
            if watched.back is not None:
                # Not prepared again: what the new version could not do must not stand in the way of the old one.
                record = self._record(context, watched.back.job_name)
                how_to_resume = self._how_to_resume(watched.back.job_name)
                raise rollback_error(watched, self._health_result(event, back=True), record, how_to_resume)
            health = self._health_result(event)
            self.prepare()
            steps, deployer = self._begin(context)
            if watched.killable:
                deployer.killable_job_id = watched.job_id
            return self._see_through(steps, deployer, steps.step(watched, health))

    @staticmethod
    @contextlib.contextmanager
    def _told_errors(context: Context) -> Iterator[None]:
        """A failure is kept for the status page: a task that fails leaves no event of its asset."""
        with task_errors():
            try:
                yield
            except HopsworksFlinkError as error:
                action = "rolled_back" if isinstance(error, FlinkDeploymentRolledBack) else "failed"
                context["ti"].xcom_push(key=OUTCOME, value={"action": action, "text": str(error)})
                raise

    def on_kill(self) -> None:
        """Cancel the job that this try has submitted, if it is not healthy yet; nothing else."""
        if self._deployer is not None:
            self._deployer.cancel_unstable()

    def desired_deployment(self, hook: FlinkHook) -> DesiredJob:
        """The job, with all that brings it back later."""
        desired = self.desired_job(hook, STREAMING_DEFAULTS)
        return replace(desired, local_files=frozenset(self.files or {}))

    def _begin(self, context: Context) -> tuple[RolloutSteps, Deployer]:
        hook = FlinkHook(self.flink_conn_id)
        desired = self.desired_deployment(hook)
        record = self._record(context, desired.job_name)
        policy = self._policy(record)
        deployer = Deployer(
            hook,
            desired,
            policy,
            log=self.log,
            record=record,
            on_job=lambda job_id: self.show_job(context, hook, job_id),
            marks=owner_marks(context),
        )
        self._deployer = deployer
        how_to_resume = self._how_to_resume(desired.job_name)
        return RolloutSteps(deployer, how_to_resume, lambda job_id: self.explain_failure(hook, job_id)), deployer

    def explain_failure(self, hook: FlinkHook, job_id: str) -> str | None:
        """What else than Flink knows about the failure of the operator's job, sentences; None: nothing."""
        return None

    def _record(self, context: Context, job_name: str) -> DeploymentRecord:
        """The same one in all of a try: before Airflow 3.3 nothing else remembers what it has begun."""
        if self._kept is None or self._kept[0] is not context:
            self._kept = context, DeploymentRecord(job_name, context, [*self.outlets, *self.inlets])
        return self._kept[1]

    def _how_to_resume(self, job_name: str) -> str:
        call = f"{type(self).__name__}(task_id={self.task_id!r}, job_name={job_name!r}, savepoint_path='{{path}}', …)"
        return f"{call} with the previous version's files"

    def _see_through(self, steps: RolloutSteps, deployer: Deployer, step: DeploymentResult | Rollout) -> dict[str, Any]:
        """Watch what has to be watched, here or in the triggerer, until there is a result."""
        deferrable = as_bool(self.deferrable, "deferrable")
        while isinstance(step, Rollout):
            trigger = self._trigger(deployer, step)
            event = self._already_known(deployer, step) if deferrable else None
            if event is None:
                kwargs = {"rollout": step.to_json()}
                event = wait_for_event(self, deployer.hook, trigger, deferrable, kwargs)
            step = steps.step(step, self._health_result(event, back=step.back is not None))
        shown = {name: value for name, value in step.to_dict().items() if name not in _NOT_SHOWN}
        return {**shown, "web_url": deployer.hook.job_url(step.job_id)}

    @staticmethod
    def _already_known(deployer: Deployer, rollout: Rollout) -> dict[str, Any] | None:
        """The event of one look at a job that ran before this task; None if it has to be watched."""
        if rollout.killable or rollout.back is not None:
            return None
        policy = deployer.policy
        event = deployer.hook.wait(
            lambda wait: until_stable(wait, rollout.job_id, policy.health), 0.0, policy.poll_interval
        )
        return None if event["status"] == "late" else event

    def _trigger(self, deployer: Deployer, rollout: Rollout) -> FlinkDeploymentTrigger:
        from hopsworks_flink.triggers.flink_deploy import FlinkDeploymentTrigger

        bounds = deployer.policy.health
        return FlinkDeploymentTrigger(
            job_id=rollout.job_id,
            require_checkpoint=bounds.require_checkpoint,
            grace_period=bounds.grace_period,
            max_restarts=_MAX_RESTARTS,
            flink_conn_id=self.flink_conn_id,
            deadline=rollout.deadline,
            poll_interval=deployer.policy.poll_interval,
            kill_job_id=rollout.job_id if rollout.killable else None,
        )

    @staticmethod
    def _health_result(event: dict[str, Any], back: bool = False) -> HealthResult:
        status, reason = event.get("status"), str(event.get("message") or "")
        if status in ("healthy", "failed", "late"):
            return HealthResult(status, reason, str(event.get("state")))
        known = status in (TIMEOUT, ERROR)
        if back and known:
            # Another try would bring the version that failed again: this is the end, and says where the state lies.
            return HealthResult("late", f"its health could not be learned: {reason}", "UNKNOWN")
        kind = FlinkConnectionError if known else FlinkError
        raise kind(
            f"The job's health could not be learned ({status}): {reason or 'no reason given'}. The job was left alone; "
            "another try looks at it again."
        )

    def _policy(self, record: DeploymentRecord) -> DeploymentPolicy:
        state = one_of(self.state, "state", STATE_POLICIES)
        if state == "rewarm" and not self.can_rewarm:
            raise ConfigurationError(
                "state='rewarm' is for feature pipelines (FlinkDeployFeaturePipelineOperator): only there it is known "
                "what a program has to read again. Choose 'auto', 'restore' or 'fresh'."
            )
        rewarm_from = self._rewarm_from()
        for name, given, ignored_by in (
            ("savepoint_path", self.savepoint_path or None, ("rewarm", "fresh")),
            ("rewarm_from", rewarm_from, ("restore", "fresh")),
        ):
            if given is not None and state in ignored_by:
                raise ConfigurationError(
                    f"{name} and state={state!r} contradict each other; leave {name} empty, or choose another state."
                )
        grace_period, timeout = as_float(self.grace_period, "grace_period"), as_float(self.timeout, "timeout")
        return DeploymentPolicy(
            state=state,  # type: ignore[arg-type]
            savepoint_path=self.savepoint_path or None,
            savepoint_directory=self.savepoint_directory or None,
            allow_non_restored_state=as_bool(self.allow_non_restored_state, "allow_non_restored_state"),
            rewarm_from=rewarm_from,
            health=Bounds(
                require_checkpoint=as_bool(self.require_checkpoint, "require_checkpoint"),
                grace_period=grace_period,
            ),
            patience=3 * grace_period,
            timeout=time_limit(self, timeout) if as_bool(self.deferrable, "deferrable") else timeout,
            poll_interval=as_float(self.poll_interval, "poll_interval"),
        )

    def _rewarm_from(self) -> int | None:
        return None
