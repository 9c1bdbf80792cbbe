"""What a running job must keep to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """Bounds on a job; one that is None is not held against it.

    :param max_checkpoint_age: seconds since the last completed checkpoint, or since the start before the first one.
    :param require_checkpoint: a checkpoint must have completed since the job's start.
    :param max_restarts: more restarts than this are too many: within the window, or in a new job since it is watched.
    :param restart_window: seconds.
    :param max_lag: so many events may wait in the topic.
    :param max_silence: seconds in which events are read and nothing is written.
    :param grace_period: seconds without a restart, all vertices running, after which a new job is stable.
    """

    max_checkpoint_age: float | None = None
    require_checkpoint: bool = False
    max_restarts: int | None = None
    restart_window: float = 600.0
    max_lag: int | None = None
    max_silence: float | None = None
    grace_period: float = 5.0
