"""How far a feature group is materialized, and whether its job has to run (again). No I/O.

Hopsworks' Python job for materialization prints the offsets from which and to which it reads the topic; its log is
available through the dataset API. The saved offsets are stored beside the table, where only the cluster can read them.
The Java job for Hudi tables prints no offsets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Records that one run of Hopsworks' job takes at most, unless the group's write option ``job_limit`` says otherwise.
RECORDS_PER_RUN = 5_000_000
Offsets = Mapping[int, int]

_LINE = re.compile(r"^\W*(start|end|next)(?:ing)? ?offsets: (.+?)\s*$", re.IGNORECASE | re.MULTILINE)


def parse_offsets(text: str) -> dict[int, int]:
    """``topic,0:12,1:7`` -> ``{0: 12, 1: 7}``: the way the SDK writes a topic's offsets; empty for no topic."""
    return {
        int(partition): int(offset) for partition, _, offset in (part.partition(":") for part in text.split(",")[1:])
    }


def _of_topic(text: str, topic: str) -> dict[int, int] | None:
    """Offsets in either spelling, ``topic,0:12`` or ``{"topic": {"0": 12}}``; None for another topic or no offsets."""
    try:
        if not text.startswith("{"):
            return parse_offsets(text) if text.partition(",")[0] == topic else None
        found = json.loads(text).get(topic)
        return None if found is None else {int(partition): int(offset) for partition, offset in found.items()}
    except (ValueError, TypeError, AttributeError):
        return None


@dataclass(frozen=True)
class RunOffsets:
    """The offsets that one execution printed.

    :param start: partition -> first offset that it read.
    :param end: partition -> offset after the last one that it would read; None if not printed.
    :param saved: partition -> offset from which the next execution reads; None if not printed.
    """

    start: Offsets
    end: Offsets | None = None
    saved: Offsets | None = None

    @classmethod
    def from_log(cls, text: str, topic: str) -> RunOffsets | None:
        """Parse an execution's standard output; None if it prints no offsets of the topic."""
        found = {name.lower(): _of_topic(value, topic) for name, value in _LINE.findall(text)}
        start = found.get("start")
        return None if start is None else cls(start, found.get("end"), found.get("next"))

    def progress(self, succeeded: bool, limit: int) -> Progress:
        """How far the group is materialized after this execution.

        :param limit: records that one run takes at most; with fewer between start and end, all of them were taken.
        """
        if any(self.start.get(partition, 0) > offset for partition, offset in (self.end or {}).items()):
            # Of an earlier topic of that name: the job reads nothing until the new one has grown as long.
            return Progress({})
        if not succeeded:
            return Progress(self.start)
        if self.saved is not None:
            return Progress(self.saved)
        if self.end is None:
            return Progress(self.start, exact=False)
        span = sum(max(0, offset - self.start.get(partition, 0)) for partition, offset in self.end.items())
        return Progress(self.end) if span < limit else Progress(self.start, exact=False)


@dataclass(frozen=True)
class Progress:
    """How far a feature group is materialized.

    :param offsets: partition -> everything before this offset is.
    :param exact: False if it may be further: the run reached its limit and did not print where it stopped.
    """

    offsets: Offsets
    exact: bool = True

    def covers(self, end: Offsets) -> bool:
        """Whether everything before ``end`` is materialized."""
        return all(self.offsets.get(partition, 0) >= offset for partition, offset in end.items())

    def is_beyond(self, other: Progress) -> bool:
        """Whether any partition is further than there."""
        return any(offset > other.offsets.get(partition, 0) for partition, offset in self.offsets.items())

    def to_json(self) -> dict[str, Any]:
        """JSON, to survive a deferral."""
        return {"offsets": with_text_keys(self.offsets), "exact": self.exact}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Progress:
        """The reverse of :meth:`to_json`."""
        return cls(with_number_keys(body["offsets"]), bool(body["exact"]))


def with_text_keys(offsets: Offsets) -> dict[str, int]:
    """Offsets with string keys, as JSON needs them."""
    return {str(partition): offset for partition, offset in sorted(offsets.items())}


def with_number_keys(offsets: Mapping[str, int]) -> dict[int, int]:
    """The reverse of :func:`with_text_keys`."""
    return {int(partition): int(offset) for partition, offset in offsets.items()}


@dataclass(frozen=True)
class Decision:
    """What to do about a feature group's offline table.

    :param action: ``wait`` (an execution runs), ``start`` (one is needed), ``done`` or ``refuse``.
    :param reason: one sentence.
    :param verified: for ``done``: whether offsets prove it.
    """

    action: str
    reason: str
    verified: bool = False


@dataclass(frozen=True)
class Situation:
    """The input of :func:`decide`.

    :param end: partition -> offset after the last record when the task began: what has to be materialized.
    :param running: id of an execution that has not ended.
    :param progress: how far the group is materialized; None if unknown.
    :param before: the same before this task's last own execution.
    :param own_runs: executions started by this task that succeeded.
    :param max_runs: executions that this task may start.
    """

    end: Offsets
    running: int | None = None
    progress: Progress | None = None
    before: Progress | None = None
    own_runs: int = 0
    max_runs: int = 20


def decide(now: Situation) -> Decision:
    """Whether to wait for an execution, start one, stop, or give up."""
    if now.running is not None:
        return Decision("wait", f"execution {now.running} runs already")
    progress = now.progress
    # Beyond the topic's end: the topic was created again, and the logs are about the old one.
    if now.own_runs == 0 and progress and any(progress.offsets.get(p, 0) > offset for p, offset in now.end.items()):
        progress = None
    if progress is None or not now.end:
        if now.own_runs == 0:
            return Decision("start", "it is unknown how far the feature group is materialized")
        return Decision("done", "the execution succeeded; it printed no offsets that would prove it")
    if progress.covers(now.end):
        return Decision("done", f"everything before {with_text_keys(now.end)} is materialized", verified=True)
    missing = {p: (progress.offsets.get(p, 0), end) for p, end in now.end.items() if progress.offsets.get(p, 0) < end}
    open_ends = ", ".join(f"partition {p}: {at} of {end}" for p, (at, end) in sorted(missing.items()))
    if now.own_runs == 0:
        return Decision("start", f"records are waiting ({open_ends})")
    if now.before is not None and not progress.is_beyond(now.before) and (progress.exact or not now.before.exact):
        return Decision(
            "refuse",
            f"it succeeded, but its offsets did not move although records wait ({open_ends}); a transaction that "
            "is open in the topic may hold them back, or the topic was made anew and the offsets that the job saved "
            "are of the earlier one: run it once with -initialCheckPointString <topic>,0:0,… behind its own arguments",
        )
    if now.own_runs >= now.max_runs:
        return Decision("refuse", f"after {now.own_runs} execution(s), all allowed, records still wait ({open_ends})")
    return Decision("start", f"one run does not read everything ({open_ends})")


def newest_commit(commits: Mapping[Any, Any]) -> int:
    """The newest of a feature group's offline commits (ids are their times); 0 if there is none."""
    return max((int(commit) for commit in commits), default=0)


def rows_since(commits: Mapping[Any, Mapping[str, Any]], since: int) -> dict[str, int]:
    """Rows inserted and updated by the commits after ``since``."""
    new = [details for commit, details in commits.items() if int(commit) > since]
    return {
        "rows_inserted": sum(int(details.get("rowsInserted") or 0) for details in new),
        "rows_updated": sum(int(details.get("rowsUpdated") or 0) for details in new),
    }
