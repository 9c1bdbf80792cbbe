"""Which records of the source topic count nowhere, and why, for a sample of them. Pure.

The rules are those of the job's SQL, which counts nothing: Flink has no metric for rows that a condition leaves out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from hopsworks_flink.pipeline.decoding import Schemas, UndecodableError, decoder
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.spec.durations import milliseconds
from hopsworks_flink.pipeline.spec.source import Source
from hopsworks_flink.pipeline.sql.quarantine import NOT_AFTER_1970, NULL, TOO_FAR_AHEAD, TOO_OLD, UNDECODED

#: From a record's value and Kafka timestamp (epoch milliseconds) to why it counts nowhere; None if it may count.
Refusal = Callable[[bytes, int], str | None]
_EPOCH = datetime(1970, 1, 1)
_PER_MILLISECOND = {"seconds": (1000, 1), "milliseconds": (1, 1), "microseconds": (1, 1000)}


@dataclass(frozen=True)
class Refused:
    """What became of a sample of records.

    :param examined: how many records that are events.
    :param reasons: reason -> how many were refused for it; the most frequent first.
    """

    examined: int
    reasons: dict[str, int]

    @property
    def count(self) -> int:
        """How many count nowhere."""
        return sum(self.reasons.values())

    @property
    def most(self) -> bool:
        """Whether more than half do."""
        return 2 * self.count > self.examined

    def __str__(self) -> str:
        why = "; ".join(f"{reason} ({count})" for reason, count in self.reasons.items())
        return f"{self.count} of the topic's newest {self.examined} events count nowhere: {why}"


def refused_of(
    pipeline: Pipeline, records: Iterable[tuple[bytes | None, int]], registry: Schemas | None = None
) -> Refused:
    """Judge a sample.

    :param registry: the schemas of the source's registry, if it has one.
    :param records: value and Kafka timestamp (epoch milliseconds) of each.
    """
    refusal = _refusal(pipeline, registry)
    events = [(value, arrived) for value, arrived in records if value is not None]
    reasons = Counter(reason for value, arrived in events if (reason := refusal(value, arrived)))
    return Refused(len(events), dict(reasons.most_common()))


def _refusal(pipeline: Pipeline, registry: Schemas | None) -> Refusal:
    source, decode = pipeline.source, decoder(pipeline.source, registry)
    # What a key is derived from is not computed here. An event that one group counts, counts.
    keys = [[column for column in group.key if column in source.value_columns] for group in pipeline.feature_groups]

    def refusal(value: bytes, arrived: int) -> str | None:
        try:
            event = decode(value)
        except UndecodableError:
            return UNDECODED
        if event is None:
            return None
        # Nor is a time by an expression.
        if (
            source.event_time.expression is None
            and source.event_time.column not in source.beside_columns
            and (problem := time_problem(source, event.get(source.event_time.column or ""), arrived))
        ):
            return problem
        missing = [next((column for column in key if event[column] is None), None) for key in keys]
        return NULL.format(missing[0]) if all(missing) else None

    return refusal


def time_problem(source: Source, value: int | datetime | None, arrived: int) -> str | None:
    """Why an event's time is refused; None if it is not.

    :param value: of the column with the time; says nothing where that is not a column.
    :param arrived: Kafka timestamp, epoch milliseconds.
    """
    column = source.event_time.column
    if column is None:
        # Without a Kafka timestamp there is no event time.
        return None if arrived > 0 else "no Kafka timestamp"
    if value is None:
        return NULL.format(column)
    if isinstance(value, datetime):
        time = round((value - _EPOCH).total_seconds() * 1000)
    else:
        factor, divisor = _PER_MILLISECOND[source.event_time.unit]
        time = value * factor // divisor
    if time < 1:
        return NOT_AFTER_1970.format(column)
    if source.max_past is not None and time + milliseconds(source.max_past) < arrived:
        return TOO_OLD.format(column)
    return TOO_FAR_AHEAD.format(column) if time - milliseconds(source.max_future) > arrived else None
