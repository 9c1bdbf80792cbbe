"""Where a materialization begins and ends: checkpoint strings ``<topic>,<partition>:<offset>,...`` and their rules."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Checkpoint:
    """Next offsets to read, by partition, of one topic."""

    topic: str
    offsets: dict[int, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read ``topic,0:5,1:7``. Raises ValueError naming the part that is wrong."""
        topic, *parts = text.strip().split(",")
        if not topic:
            raise ValueError(f"checkpoint {text!r} names no topic; expected <topic>,<partition>:<offset>,...")
        offsets = {}
        for part in parts:
            partition, colon, offset = part.partition(":")
            if not colon or not partition.isdigit() or not offset.lstrip("-").isdigit():
                raise ValueError(f"checkpoint {text!r}: {part!r} is not <partition>:<offset>")
            offsets[int(partition)] = int(offset)
        return cls(topic, offsets)

    def __str__(self) -> str:
        return ",".join([self.topic, *(f"{partition}:{offset}" for partition, offset in sorted(self.offsets.items()))])


def start_offsets(
    topic: str, low: dict[int, int], end: dict[int, int], saved: Checkpoint | None, initial: Checkpoint | None
) -> dict[int, int]:
    """First offset to read per partition.

    ``initial`` (of the job's arguments) goes before ``saved``; neither counts for another topic, nor below the
    topic's lowest offset ``low``; partitions they do not know begin at the lowest. So do all if one lies beyond its
    ``end``: they are of an earlier topic of that name, and what the new one holds would never be read.
    """
    chosen = initial or saved
    known = chosen.offsets if chosen is not None and chosen.topic == topic else {}
    if any(known.get(partition, 0) > offset for partition, offset in end.items()):
        known = {}
    return {partition: max(known.get(partition, lowest), lowest) for partition, lowest in low.items()}


# Delta ignores names with a leading underscore, so the offsets can stay with the table they belong to.
FILE_NAME = "_kafka_offsets"


def load_checkpoint(table: Path) -> Checkpoint | None:
    """The offsets saved with an offline table; None before its first materialization."""
    path = table / FILE_NAME
    return Checkpoint.parse(path.read_text()) if path.exists() else None


def save_checkpoint(table: Path, checkpoint: Checkpoint) -> None:
    """Replace the saved offsets at once: a crash leaves the old ones or the new ones."""
    table.mkdir(parents=True, exist_ok=True)
    temporary = table / f"{FILE_NAME}.{os.getpid()}"
    with temporary.open("w") as file:
        file.write(str(checkpoint))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(table / FILE_NAME)
