"""`status`: one line for each pipeline of a folder, and for each job of this package that has no file any more."""

from __future__ import annotations

import time
from dataclasses import dataclass

from hopsworks_flink.clients.flink.jobs import MARK_OWNER, OWNER, TERMINAL_STATES
from hopsworks_flink.exceptions import ConfigurationError
from hopsworks_flink.health.facts import JobFacts
from hopsworks_flink.health.verdict import HEALTHY, judge
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.operators.flink.supervise import bounds_of
from hopsworks_flink.pipeline.catalog import load_pipelines
from hopsworks_flink.pipeline.spec import Pipeline

NO_FILE = "no file"
_MOST_REASON = 60


@dataclass(frozen=True)
class Line:
    """How one pipeline is.

    :param verdict: that of a first look, or ``no file``.
    :param job: the job's id; None if none runs.
    :param up: for how long it runs; ``checkpoint``: how old its last one is; both as text, e.g. ``3 h``.
    :param lag: events of the topic that were not read; None: not told.
    :param behind: how far the watermark lies behind the clock, as text.
    :param reason: why the verdict is not ``healthy``.
    """

    pipeline: str
    verdict: str
    job: str | None
    up: str
    lag: int | None
    behind: str
    checkpoint: str
    reason: str

    @property
    def is_well(self) -> bool:
        """Whether nobody needs to look."""
        return self.verdict == HEALTHY


def status(folder: str, flink_conn_id: str) -> list[Line]:
    """Look at each pipeline's job once.

    :raises ConfigurationError: the folder cannot be read.
    :raises FlinkError: Flink does not answer.
    """
    try:
        catalog = load_pipelines(folder)
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be read: {error.strerror}.") from error
    hook = FlinkHook(flink_conn_id)
    lines = [_of_pipeline(hook, pipeline) for pipeline in catalog.pipelines]
    lines += [_line(str(path.name), "bad file", JobFacts(0.0), str(error)) for path, error in catalog.errors.items()]
    expected = {name for p in catalog.pipelines for name in (p.job_name, f"{p.name}__simulate")}
    # With the interval behind it.
    recomputing = tuple(f"{p.name}__recompute__" for p in catalog.pipelines)
    for entry in hook.client.jobs():
        if entry["state"] in TERMINAL_STATES or entry["name"] in expected or entry["name"].startswith(recomputing):
            continue
        if hook.job_marks(entry["jid"]).get(MARK_OWNER) == OWNER:
            facts = hook.facts(job_id=entry["jid"], counts=True)
            lines.append(_line(entry["name"], NO_FILE, facts, "it runs, and no file of the folder describes it"))
    return lines


def _of_pipeline(hook: FlinkHook, pipeline: Pipeline) -> Line:
    bounds = bounds_of(pipeline.supervision)
    facts = hook.facts(pipeline.job_name, restart_window=bounds.restart_window, counts=True)
    verdict = judge(pipeline.job_name, facts, None, bounds)
    # The line is short: what broke the job says more than what state that left it in.
    reason = facts.cause if facts.cause and not facts.all_running else str(verdict)
    return _line(pipeline.name, verdict.kind, facts, "" if verdict.kind == HEALTHY else reason)


def _line(name: str, verdict: str, facts: JobFacts, reason: str) -> Line:
    reason = " ".join(reason.split())
    return Line(
        name,
        verdict,
        facts.job_id if facts.job_ids else None,
        _duration(facts.age) if facts.job_ids else "",
        facts.lag,
        "" if facts.watermark is None else _duration(time.time() - facts.watermark / 1000),
        "" if facts.checkpoint_age is None else _duration(facts.checkpoint_age),
        reason if len(reason) <= _MOST_REASON else f"{reason[: _MOST_REASON - 1]}…",
    )


def _duration(seconds: float) -> str:
    """Two digits and a unit, as people say it."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
