"""What the online store did with the rows that a job wrote, by the platform's own count. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

#: The platform's word for rows that it dropped for good; under every other one it has done what was asked.
FAILED = "FAILED"


@dataclass(frozen=True)
class OnlineRows:
    """The rows of one job for one feature group; JSON-safe.

    :param ingestion_id: under which the platform counts them; each job has its own.
    :param taken: written, deleted, or left because a newer row is there; since the job's start.
    :param failed: dropped for good.
    :param new_taken: of these, since the look before; ``new_failed`` likewise.
    :param short: online columns that a string may be too long for: ``url varchar(100)``.
    """

    ingestion_id: int
    taken: int = 0
    failed: int = 0
    new_taken: int = 0
    new_failed: int = 0
    short: tuple[str, ...] = ()

    @classmethod
    def counted(cls, ingestion_id: int, results: Mapping[str, int], short: tuple[str, ...] = ()) -> OnlineRows:
        """From the platform's results: status -> rows."""
        failed = results.get(FAILED, 0)
        return cls(ingestion_id, sum(results.values()) - failed, failed, short=short)

    def after(self, before: OnlineRows | None) -> OnlineRows:
        """The same, with what is new since a look at the same job; all of it, if that saw another one."""
        if before is None or before.ingestion_id != self.ingestion_id:
            before = OnlineRows(self.ingestion_id)
        taken, failed = self.taken - before.taken, self.failed - before.failed
        return replace(self, new_taken=max(0, taken), new_failed=max(0, failed))
