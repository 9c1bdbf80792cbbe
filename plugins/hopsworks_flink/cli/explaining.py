"""`explain`: where one value comes from, what each place says of it, and why they differ."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, cast

from hopsworks_flink.cli.output import cell
from hopsworks_flink.exceptions import ConfigurationError, PipelineError
from hopsworks_flink.health.explanation import COUNTED, Event, Explanation, Row, iso
from hopsworks_flink.health.words import duration
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.hooks.kafka_connection import source_kafka
from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline
from hopsworks_flink.pipeline.spec.durations import parse_duration
from hopsworks_flink.pipeline.times import as_epoch_milliseconds, as_time
from hopsworks_flink.pipeline.types import FeatureType
from hopsworks_flink.tasks.explaining import Asked, Explainer

#: Columns that a line of the output has at the most.
WIDTH = 80
_MOST_EVENTS = 30
_GAP = "  "
# Width of a last column below which others are cut.
_LEAST = 20


@dataclass(frozen=True)
class Question:
    """The words of a command line.

    :param key: values of the key, separated by commas, in the order of the group's key; as in CSV, one with a comma
        stands in double quotes.
    :param at: a time in ISO 8601, UTC unless it says otherwise, or epoch milliseconds.
    :param group: full name of the feature group; None: every one of the file.
    :param margin: a duration such as ``1h``; None: found out.
    """

    file: str
    key: str
    at: str
    group: str | None = None
    margin: str | None = None
    hopsworks_conn_id: str = HopsworksHook.default_conn_name
    flink_conn_id: str = FlinkHook.default_conn_name
    source_kafka_conn_id: str | None = None


def explain(question: Question) -> list[Explanation]:
    """Explain a value in each feature group that is asked for; looks, and changes nothing.

    :raises PipelineError: the file is wrong, or has no such group.
    :raises ConfigurationError: key, time or margin cannot be read.
    :raises HopsworksFlinkError: somebody who has to be asked does not answer.
    """
    pipeline = Pipeline.from_yaml(question.file)
    at, margin = _moment(question.at), question.margin
    try:
        allowed = None if margin is None else parse_duration(margin)
    except ValueError as error:
        raise ConfigurationError(f"--margin {margin!r}: {error}.") from None
    keys = {group.full_name: parse_key(pipeline, group, question.key) for group in _groups(pipeline, question)}
    with HopsworksHook(question.hopsworks_conn_id).session() as session:
        explainer = Explainer(
            pipeline,
            session,
            FlinkHook(question.flink_conn_id),
            source_kafka(question.source_kafka_conn_id, session),
            hopsworks_conn_id=question.hopsworks_conn_id,
            margin=allowed,
        )
        return [
            one
            for group in _groups(pipeline, question)
            for one in explainer.explain(group, [Asked(keys[group.full_name], at)])
        ]


def _groups(pipeline: Pipeline, question: Question) -> list[FeatureGroup]:
    known = {group.full_name: group for group in pipeline.feature_groups}
    if question.group is None:
        return list(known.values())
    if question.group not in known:
        raise PipelineError(f"--group {question.group!r} is not in {question.file}, which has {', '.join(known)}")
    return [known[question.group]]


def _moment(text: str) -> int:
    if text.isdigit() and len(text) > len("20250301"):
        return cast(int, as_epoch_milliseconds(text, "--at"))
    moment = as_time(text, "--at")
    if moment is None:
        raise ConfigurationError("--at must be a time such as 2025-03-01T12:00:00Z.")
    return round(moment.timestamp() * 1000)


def parse_key(pipeline: Pipeline, group: FeatureGroup, text: str) -> tuple[Any, ...]:
    """The key's values, as their columns' types.

    :raises ConfigurationError: there are too few or too many, or one is not of its type.
    """
    parts = [text] if len(group.key) == 1 else next(csv.reader(io.StringIO(text)), [])
    if len(parts) != len(group.key):
        raise ConfigurationError(
            f"--key {text!r} has {len(parts)} value(s), and the key of {group.full_name} is {', '.join(group.key)}: "
            "separate the values by commas, and put one that has a comma into double quotes."
        )
    columns = pipeline.source.all_columns
    return tuple(_key_value(name, columns[name], part) for name, part in zip(group.key, parts, strict=True))


def _key_value(name: str, kind: FeatureType, text: str) -> Any:
    try:
        if kind.is_integer:
            return int(text)
        if kind.is_decimal:
            return Decimal(text)
        if kind.name == "date":
            return date.fromisoformat(text)
        if kind.name == "boolean":
            return {"true": True, "false": False}[text.lower()]
    except (ValueError, KeyError, InvalidOperation):
        raise ConfigurationError(f"--key: {name} is {kind}, and {text!r} is none.") from None
    return text


# --- for people ----------------------------------------------------------------------------------------------------


def to_text(explanation: Explanation) -> str:
    """For people, in lines of `WIDTH` columns."""
    key = ", ".join(f"{name} {value}" for name, value in explanation.key.items())
    parts = [
        _wrapped(f"{explanation.group}: {key}, row of {iso(explanation.facts.at)}"),
        _events(explanation),
        _values(explanation),
        _listed("Read", explanation.read),
    ]
    if explanation.unknown:
        parts.append(_listed("Not known", explanation.unknown))
    for finding in explanation.findings:
        head = f"{finding.cause} ({', '.join(finding.where)}): {finding.text}."
        parts.append(f"{_wrapped(head, '  ')}\n{_wrapped(f'  Remedy: {finding.remedy}', '  ')}")
    if not explanation.differs:
        parts.append(f"Nothing differs: {' and '.join(explanation.compared) or 'no store'} as recomputed.")
    if explanation.facts.has_moved_on:
        parts.append("Online is a later row, which was not compared.")
    return "\n\n".join(parts)


def _listed(head: str, lines: Sequence[str]) -> str:
    return "\n".join([head, *(_wrapped(f"- {line}", "  ") for line in lines)])


def _wrapped(text: str, indent: str = "") -> str:
    return "\n".join(textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_long_words=True))


def _events(explanation: Explanation) -> str:
    events, day = explanation.events, explanation.facts.at
    if not events:
        return "Events\n(none)"
    shown = events[-_MOST_EVENTS:]
    rows = [
        {
            "partition": str(event.partition),
            "offset": str(event.offset),
            "event time": "" if event.time is None else _clock(event.time, day),
            "Kafka time": _clock(event.timestamp, day),
            "": _outcome(event),
        }
        for event in shown
    ]
    more = f"\n(the last {len(shown)} of {len(events)}; --json has all)" if len(shown) < len(events) else ""
    return f"Events\n{_table(rows)}{more}"


def _clock(moment: int, day: int) -> str:
    """A time in UTC; without its date if that is another one's."""
    date_, _, clock = iso(moment).removesuffix("Z").partition("T")
    return clock if iso(day).startswith(date_) else f"{date_} {clock}"


def _outcome(event: Event) -> str:
    if event.is_refused:
        return f"refused: {event.outcome}"
    if event.behind is None:
        return event.outcome
    late = f"{duration(event.behind / 1000)} behind the watermark"
    return f"came {late}" if event.outcome == COUNTED else f"{event.outcome}, {late}"


def _values(explanation: Explanation) -> str:
    columns = explanation.columns
    names = ["time", *(name for name in explanation.facts.types if name not in explanation.key)]
    rows = []
    for name in names:
        found = {place: _of(row, name, explanation.facts.at) for place, row in columns.items()}
        rows.append({"feature": name, **found, "": _mark(explanation, name)})
    return f"Values\n{_table(rows)}"


def _of(row: Row | None, name: str, day: int) -> str:
    if row is None:
        return "(no row)" if name == "time" else ""
    if name == "time":
        return "" if row.time is None else _clock(row.time, day)
    value = row.values.get(name)
    return "null" if value is None else cell(value)


def _mark(explanation: Explanation, name: str) -> str:
    facts = explanation.facts
    rows = [store.row for store in (facts.online, facts.offline) if store is not None and facts.holds(store)]
    return "differs" if any(name in facts.unlike(row, facts.recomputed) for row in rows) else ""


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    """A table of `WIDTH` columns. The last one goes on in the next line where it must; others are cut off, the widest
    first."""
    *names, last = rows[0]
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}
    room = min(_LEAST, max(len(row[last]) for row in rows))
    while sum(widths.values()) + len(_GAP) * len(names) + room > WIDTH:
        widths[max(widths, key=lambda name: widths[name])] -= 1
    room = WIDTH - sum(widths.values()) - len(_GAP) * len(names)
    lines = [_GAP.join([*(_cut(name, width) for name, width in widths.items()), last])]
    for row in rows:
        first, *more = textwrap.wrap(row[last], max(1, room)) or [""]
        lines.append(_GAP.join([*(_cut(row[name], width) for name, width in widths.items()), first]))
        lines += [" " * (WIDTH - room) + line for line in more]
    return "\n".join(line.rstrip() for line in lines)


def _cut(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else f"{text[: width - 1]}…"
