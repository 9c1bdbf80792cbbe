"""What a deployment should do. Pure: one decision from the desired job, what Flink shows, the record and the policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hopsworks_flink.clients.flink.jobs import (
    ENDING_STATES,
    MARK_STATE,
    UNWELL_STATES,
    FlinkJob,
    RestorePoint,
    StatePolicy,
    newest,
)
from hopsworks_flink.pipeline.state import panes_go_on, state_outcome


@dataclass(frozen=True)
class KnownDeployment:
    """What is remembered outside Flink about the last deployment of a name.

    :param job_id: the job that it submitted, or was about to submit.
    :param stable: whether the job was seen healthy: it then has newer state than ``path``.
    :param path: the state that the job before it left, or that it was started from.
    :param watermark: windows ending by then were emitted before this job; epoch milliseconds.
    :param checkpoints: the folder in which the cluster keeps a folder of checkpoints for each job.
    :param marks: what the job whose state there is says about it: the one that left ``path``, if this one was never
        healthy. None if that was not remembered.
    """

    job_id: str
    stable: bool
    path: str | None = None
    watermark: int | None = None
    checkpoints: str | None = None
    marks: Mapping[str, str] | None = None


@dataclass(frozen=True)
class DeploymentFacts:
    """What Flink shows at one moment.

    :param jobs: all jobs of the deployment's name, running and ended, in any order.
    :param left: the newest state that a successor could start from without a savepoint; None: not looked up.
    :param watermark: the one active job has emitted the windows ending by then; epoch milliseconds; None: not known.
    :param unwell_for: seconds for which the one active job has been in one of ``UNWELL_STATES``.
    :param nothing_emitted: the one active job began without state and has emitted no window yet, and its successor can
        read the source from its beginning as well.
    """

    jobs: Sequence[FlinkJob] = ()
    left: RestorePoint | None = None
    watermark: int | None = None
    unwell_for: float = 0.0
    nothing_emitted: bool = False


@dataclass(frozen=True)
class StartPolicy:
    """What was asked for.

    :param state: ``auto``: carry the state over where the old and the new job mean the same by it, else rewarm.
    :param savepoint_path: start from this state, whatever else there is.
    :param watermark: rewarm as if the previous job had emitted the windows ending by then; epoch milliseconds.
    :param patience: seconds in which an unhealthy job may recover by itself.
    :param credentials: fingerprint of those that a new job would get; None: they are not compared.
    :param marks: what the new job says about its state.
    :param why: what makes a rewarm necessary that nobody asked for.
    :param panes: whether the job can go on with the state where that rewarm is impossible: native windows then have no
        value of what is new until their first whole window.
    """

    state: StatePolicy = "auto"
    savepoint_path: str | None = None
    watermark: int | None = None
    patience: float = 30.0
    credentials: str | None = None
    marks: Mapping[str, str] = field(default_factory=dict)
    why: str = ""
    panes: bool = False


@dataclass(frozen=True)
class Start:
    """What a new job begins with.

    :param path: savepoint or checkpoint; None: no state.
    :param origin: words for logs.
    :param replay: read the source again from before ``watermark``, instead of from where the pipeline says.
    :param watermark: emit only windows ending after it; epoch milliseconds.
    """

    path: str | None
    origin: str
    replay: bool = False
    watermark: int | None = None

    @property
    def policy(self) -> StatePolicy:
        """The state policy that this start amounts to."""
        return "restore" if self.path else "rewarm" if self.replay else "fresh"

    @property
    def words(self) -> str:
        """For logs and results."""
        if self.path:
            return f"started from {self.origin}"
        return f"started without state ({self.origin})"


@dataclass(frozen=True)
class NoOp:
    """The desired job runs already (or is starting up)."""

    job: FlinkJob
    reason: str


@dataclass(frozen=True)
class Submit:
    """Nothing runs: start the job.

    :param panes: begin with this state if the source no longer holds what ``start`` needs.
    """

    predecessor: FlinkJob | None
    start: Start
    reason: str
    panes: Start | None = None


@dataclass(frozen=True)
class Replace:
    """End ``job`` and start the new one.

    :param savepoint: stop it with a savepoint; otherwise it is cancelled.
    :param start: what the new job begins with; None: the savepoint.
    :param panes: begin with the savepoint if the source no longer holds what ``start`` needs.
    """

    job: FlinkJob
    savepoint: bool
    start: Start | None
    reason: str
    panes: bool = False


@dataclass(frozen=True)
class Recover:
    """The desired job itself has failed, or does not recover: cancel it if need be, and start it again.

    :param panes: as of `Submit`.
    """

    job: FlinkJob
    start: Start
    reason: str
    panes: Start | None = None


@dataclass(frozen=True)
class Wait:
    """``job`` is ending, or may change by itself: look again."""

    job: FlinkJob
    reason: str


@dataclass(frozen=True)
class Refuse:
    """A person has to decide.

    :param ambiguous: more than one job runs; otherwise state is missing.
    """

    reason: str
    ambiguous: bool = False


Decision = NoOp | Submit | Replace | Recover | Wait | Refuse

#: Where a rewarm is impossible.
WITH_PANES = (
    "it goes on with the panes of the aggregates that it had; new ones have no value until their first whole window"
)
OTHERS = "other credentials, or the address of another broker or registry, than it would be given now"
DRAINED = "the last job was drained: it emitted its open windows as if they were complete"
_BY_CHOICE = "its state is left behind because state='fresh'"
_WAYS_OUT = "Name a savepoint or retained checkpoint (savepoint_path=…), or start without state (state='fresh')."


def decide(desired_hash: str, facts: DeploymentFacts, known: KnownDeployment | None, policy: StartPolicy) -> Decision:
    """Choose what brings the cluster to exactly one job with ``desired_hash``.

    :param desired_hash: hash of the deployment that should run.
    :param facts: what Flink shows; it is the truth about what runs.
    :param known: what an earlier deployment remembered; it counts only where Flink has forgotten.
    """
    policy = without_drained(policy)
    active = [job for job in facts.jobs if not job.is_terminal]
    if len(active) > 1:
        listed = ", ".join(f"{job.job_id} ({job.state})" for job in sorted(active, key=lambda job: job.start_time))
        return Refuse(
            f"{len(active)} jobs named {active[0].name!r} run at once: {listed}. "
            "Stop all but one of them (FlinkStopJobOperator with job_id), then deploy again.",
            ambiguous=True,
        )
    if active:
        return _decide_for_active(desired_hash, active[0], facts, known, policy)
    return _decide_without_job(desired_hash, facts, known, policy)


def without_drained(policy: StartPolicy) -> StartPolicy:
    """With ``auto`` a drained job is followed by a rewarm, also where the task names its savepoint."""
    named = RestorePoint(policy.savepoint_path, "named by the task")
    if policy.state != "auto" or not policy.marks or not named.drained:
        return policy
    watermark = policy.watermark if policy.watermark is not None else named.complete
    return replace(policy, savepoint_path=None, state="rewarm", why=DRAINED, watermark=watermark)


def _decide_for_active(
    desired_hash: str, job: FlinkJob, facts: DeploymentFacts, known: KnownDeployment | None, policy: StartPolicy
) -> Decision:
    if job.state in ENDING_STATES:
        return Wait(job, f"job {job.job_id} is {job.state}")
    if job.state == "INITIALIZING" and job.deployment_hash is None:
        return Wait(job, f"job {job.job_id} is INITIALIZING and does not tell yet what it was started with")
    if job.deployment_hash == desired_hash:
        return _decide_for_same(desired_hash, job, facts, policy)
    if job.deployment_hash is None:
        why = f"job {job.job_id} was not started by this provider"
    else:
        other = f"({job.deployment_hash[:12]}, wanted {desired_hash[:12]})"
        why = f"job {job.job_id} was started with another deployment {other}"
    if policy.state == "fresh":
        return Replace(job, False, _start_as_asked(policy), f"{why}; {_BY_CHOICE}")
    policy, why = with_state(policy, job.marks), why + _told_of_named(policy, job.marks)
    if job.state in UNWELL_STATES and facts.unwell_for < policy.patience and not policy.savepoint_path:
        return Wait(job, f"{why}, but is {job.state}; it may recover and take a savepoint")
    if policy.state == "rewarm":
        return _replace_by_rewarming(job, facts, known, policy, why)
    if policy.why:
        return Refuse(_not_carried(policy, job.job_id))
    if job.state == "RUNNING":
        start = _start_as_asked(policy) if policy.savepoint_path else None
        return Replace(job, True, start, why)
    why = f"{why} and cannot take a savepoint ({job.state})"
    start = _start_as_asked(policy) if policy.savepoint_path else _start_from(facts.left)
    return Replace(job, False, start, why) if start else Refuse(f"{_nothing_left(job, facts.left, why)} {_WAYS_OUT}")


def _decide_for_same(desired_hash: str, job: FlinkJob, facts: DeploymentFacts, policy: StartPolicy) -> Decision:
    if job.state == "RUNNING" and policy.credentials not in (None, job.credentials):
        why = f"job {job.job_id} is the desired one, but was given {OTHERS}"
        return Replace(job, True, None, f"{why}; it continues with these")
    if job.state != "RESTARTING":
        return NoOp(job, f"job {job.job_id} was started with this very deployment ({desired_hash[:12]})")
    if facts.unwell_for < policy.patience:
        return Wait(job, f"job {job.job_id} is the desired one and RESTARTING by itself")
    why = f"job {job.job_id} is the desired one, but has been RESTARTING for {facts.unwell_for:.0f} s"
    start = _start_as_asked(policy) if policy.savepoint_path else _start_from(facts.left)
    return Recover(job, start, why) if start else Refuse(f"{_nothing_left(job, facts.left, why)} {_WAYS_OUT}")


def _replace_by_rewarming(
    job: FlinkJob, facts: DeploymentFacts, known: KnownDeployment | None, policy: StartPolicy, why: str
) -> Decision:
    start, panes = _rewarm(facts, known, policy), policy.panes and job.state == "RUNNING"
    if start is None and panes:
        return Replace(job, True, None, f"{why}; {policy.why}, and {WITH_PANES}")
    if start is None:
        return Refuse(_no_watermark(policy, f"{why} and is {job.state}"))
    return Replace(job, job.state == "RUNNING", start, f"{why}; {_rewarmed(policy)}", panes)


_REWARM_WAYS_OUT = (
    "Give a time by which its windows have been emitted (rewarm_from=…, the end of its last window or earlier), or "
    "leave its state and its open windows behind (state='fresh')."
)


def _rewarmed(policy: StartPolicy) -> str:
    return f"rewarmed because {policy.why or 'of state=' + repr(policy.state)}"


def _no_watermark(policy: StartPolicy, found: str) -> str:
    cause = f" because {policy.why}" if policy.why else ""
    return f"{found}; it is to be rewarmed{cause}, but its watermark is not known. {_REWARM_WAYS_OUT}"


def _not_carried(policy: StartPolicy, job_id: str) -> str:
    return (
        f"the state of job {job_id} cannot be carried over: {policy.why}. Nothing was touched. Let it be rewarmed "
        "(state='auto' or 'rewarm'), or leave it behind (state='fresh')."
    )


def with_state(policy: StartPolicy, running: Mapping[str, str] | None, left: RestorePoint | None = None) -> StartPolicy:
    """The policy with ``auto`` resolved, by the marks of the job whose state there is.

    With ``restore`` and a ``why`` the state must not be carried over.

    :param left: what that job has left, if it has ended.
    """
    if policy.savepoint_path:
        return replace(policy, state="restore")
    if policy.state not in ("auto", "restore"):
        return policy
    # Without marks it is no feature pipeline, and there are no windows that could be emitted again.
    if left is not None and left.drained and policy.marks:
        watermark = policy.watermark if policy.watermark is not None else left.complete
        state: StatePolicy = "rewarm" if policy.state == "auto" else "restore"
        return replace(policy, state=state, why=DRAINED, watermark=watermark)
    outcome, reasons = state_outcome(policy.marks, running)
    if outcome != "rewarms":
        return replace(policy, state="restore", why="")
    panes, why = panes_go_on(policy.marks, running), "; ".join(reasons)
    if policy.state == "auto":
        return replace(policy, state="rewarm", why=why, panes=panes)
    return replace(policy, state="restore", why="" if panes else why)


def _decide_without_job(
    desired_hash: str, facts: DeploymentFacts, known: KnownDeployment | None, policy: StartPolicy
) -> Decision:
    previous = newest(facts.jobs)
    if previous is None:
        ended = "no job of this name is known to Flink" if known else "first deployment: no job of this name is known"
    else:
        ended = f"no job of this name runs; the last one, {previous.job_id}, is {previous.state}"

    def begin(start: Start, suffix: str = "", panes: Start | None = None) -> Decision:
        if previous is not None and previous.state == "FAILED" and previous.deployment_hash == desired_hash:
            return Recover(previous, start, ended + suffix, panes)
        return Submit(previous, start, ended + suffix, panes)

    forgotten = known if known is not None and known.job_id not in {job.job_id for job in facts.jobs} else None
    left = _left(facts.left or RestorePoint(None, "no earlier job is known"), forgotten)
    if policy.savepoint_path or policy.state == "fresh":
        by_choice = f"; {_BY_CHOICE}" if previous and not policy.savepoint_path else ""
        named = _told_of_named(policy, marks_before(previous, left, known))
        return begin(_start_as_asked(policy), by_choice or named)
    policy = with_state(policy, marks_before(previous, left, known), left)
    if policy.state == "rewarm":
        if previous is None and known is None and policy.watermark is None and not policy.why:
            return begin(Start(None, "there is nothing to rewarm after"))
        return _begin_rewarmed(_rewarm(facts, known, policy), left, policy, ended, begin)
    if left.path:
        if policy.why:
            return Refuse(_not_carried(policy, previous.job_id if previous else "of the last deployment"))
        return begin(Start(left.path, left.origin, watermark=left.watermark))
    if left.lost:
        return Refuse(f"The deployment has run before, but its state is unavailable: {left.origin}. {_WAYS_OUT}")
    if (begun := start_after(left)).replay:
        return begin(begun, "; it was rewarmed and left no state of its own, so its successor is rewarmed as well")
    if forgotten:
        return _after_forgotten(forgotten, begin)
    return begin(Start(None, left.origin))


def _begin_rewarmed(
    start: Start | None, left: RestorePoint, policy: StartPolicy, ended: str, begin: Callable[..., Decision]
) -> Decision:
    """Rewarm; where that is impossible, with the panes in what was left."""
    panes = _start_from(left) if policy.panes and left.path else None
    if start is None and panes is None:
        return Refuse(_no_watermark(policy, ended))
    if start is None:
        return begin(panes, f"; {policy.why}, and {WITH_PANES}")
    return begin(start, f"; {_rewarmed(policy)}", panes)


def marks_before(
    previous: FlinkJob | None, left: RestorePoint, known: KnownDeployment | None
) -> Mapping[str, str] | None:
    """Marks of the job whose state there is; None: of a job of that name nothing is known."""
    if left.path and left.marks:
        return left.marks
    if previous is not None:
        return previous.marks
    return (known.marks or {}) if known is not None else None


def _left(seen: RestorePoint, forgotten: KnownDeployment | None) -> RestorePoint:
    """What Flink shows that jobs left; if that is nothing, what was left for a job that was never healthy."""
    if forgotten is None or forgotten.stable or not forgotten.path:
        return seen
    if seen.path or seen.lost or start_after(seen).replay:
        return seen
    origin = f"the state that was kept for job {forgotten.job_id}, which Flink does not know"
    return RestorePoint(forgotten.path, origin, watermark=forgotten.watermark, marks=forgotten.marks or {})


def _after_forgotten(known: KnownDeployment, begin: Callable[..., Decision]) -> Decision:
    """Flink has forgotten a job that ran, or was to run: its successor must not silently begin without state."""
    if known.stable:
        hint = f" It was itself started from {known.path}." if known.path else ""
        return Refuse(
            f"Job {known.job_id} of the last deployment was healthy, but Flink has forgotten it (the JobManager lost "
            f"its memory), so its newest state is not known.{hint} Its retained checkpoints lie in the folder "
            f"{known.job_id} below the cluster's checkpoint directory. {_WAYS_OUT}"
        )
    again = _replay_after(known.watermark)
    return begin(again or Start(None, f"job {known.job_id} was never seen healthy and was to start without state"))


def _told_of_named(policy: StartPolicy, running: Mapping[str, str] | None) -> str:
    """What is said where a state is named and the file has changed: nothing tells what the state was made for.

    :param running: marks of the job that runs, or ran last.
    """
    outcome, reasons = state_outcome(policy.marks, running)
    if not policy.savepoint_path or outcome != "rewarms":
        return ""
    found = "; ".join(reasons)
    return f"; the named state is taken as it is, and if it is the last job's, it means something else: {found}"


def _start_as_asked(policy: StartPolicy) -> Start:
    if policy.savepoint_path:
        return Start(policy.savepoint_path, "the savepoint named by the task")
    return Start(None, "no state, as asked for (state='fresh')")


def _start_from(left: RestorePoint | None) -> Start | None:
    """Start of a successor to a job that takes no savepoint; None if state would be lost."""
    return None if left is None or left.lost else start_after(left)


def start_after(left: RestorePoint) -> Start:
    """Start from what a job left that may go on. One that was rewarmed and left nothing did not finish its replay."""
    again = _replay_after(left.watermark) if not left.path and left.marks.get(MARK_STATE) == "rewarm" else None
    return again or Start(left.path, left.origin, watermark=left.watermark)


def _nothing_left(job: FlinkJob, left: RestorePoint | None, why: str) -> str:
    return f"{why}; it was not touched, because it would leave no state: {left.origin if left else 'nothing seen'}."


def _rewarm(facts: DeploymentFacts, known: KnownDeployment | None, policy: StartPolicy) -> Start | None:
    """A replay after the last window that has certainly been emitted; None if that is not known."""
    watermark = policy.watermark if policy.watermark is not None else facts.watermark
    if watermark is None and known is not None and not known.stable:
        watermark = known.watermark
    if watermark is None and facts.nothing_emitted:
        return Start(None, "the job before has emitted nothing yet")
    return _replay_after(watermark)


def _replay_after(watermark: int | None) -> Start | None:
    if watermark is None:
        return None
    return Start(None, f"replay of the windows that end after {watermark}", replay=True, watermark=watermark)
