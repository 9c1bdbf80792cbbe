"""``hopsworks-flink evaluate``: features of the events in a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.testing import evaluate


def evaluated(file: str, events: str, group: str | None, joined: Sequence[str] = ()) -> dict[str, list[dict[str, Any]]]:
    """Rows by feature group.

    :param events: path of a file of JSON lines; ``-`` is standard input.
    :param joined: the same for versions, each ``NAME=FILE`` with the name of their join.
    :param group: full name of the only group to show; None: all.
    :raises PipelineError: the pipeline, an event or the group's name is wrong.
    """
    pipeline = Pipeline.from_yaml(file)
    known = [known.full_name for known in pipeline.feature_groups]
    if group is not None and group not in known:
        raise PipelineError(f"--group {group!r} is not in {file}, which has {', '.join(known)}")
    versions = {}
    for pair in joined:
        name, separator, path = pair.partition("=")
        if not separator:
            raise PipelineError(f"--join {pair!r} must be NAME=FILE, such as limits=limits.jsonl")
        versions[name] = read_events(path, "--join")
    found = evaluate(pipeline, read_events(events), versions)
    return {group: found[group]} if group is not None else found


def read_events(path: str, option: str = "--events") -> list[dict[str, Any]]:
    """Events of a file of JSON lines; empty lines are skipped.

    :param option: that named it, for errors.
    :raises PipelineError: it cannot be read, or a line is no JSON object.
    """
    if path == "-":
        return _parse(sys.stdin, "standard input", option)
    try:
        with Path(path).open(encoding="utf-8") as lines:
            return _parse(lines, path, option)
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"{option} {path} cannot be read: {error}") from None


def _parse(lines: Iterable[str], name: str, option: str) -> list[dict[str, Any]]:
    events = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            # Decimal: the digits as they stand there, for columns that keep them.
            event = json.loads(line, parse_float=Decimal)
        except ValueError as error:
            raise PipelineError(f"{option} {name} line {number} is not JSON: {error}") from None
        if not isinstance(event, dict):
            raise PipelineError(f"{option} {name} line {number} must be an object, column to value (found: {event!r})")
        events.append(event)
    return events
