"""Finds the cause of a failed submission in the JobManager's log. Pure text work."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hopsworks_flink.clients.flink.bundle import mask

# A line of Flink's log that starts a new event: "2026-01-31 12:00:00,000 INFO  class [] - text".
_EVENT = re.compile(
    r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[,.]\d+ +(?P<level>[A-Z]+) +(?P<logger>\S+) +\[.*?\] - (?P<text>.*)$"
)
_PYTHON_ERROR = re.compile(r"^(?P<error>[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)\b.*)$")
_CAUSED_BY = re.compile(r"^(: )?Caused by: (?P<cause>.+)$")
_JAVA_ERROR = re.compile(r"^: (?P<error>[a-z][\w.$]+(Error|Exception)\b.*)$")
_CONTEXT_LINES = 12
# The logger under which the JobManager keeps what a Python program prints.
_RELAY = "PythonLauncher"


def submission_cause(log_tail: str, secrets: Sequence[str] = ()) -> str | None:
    """The cause of a Python job's failed start, in one or two lines, secrets cut out.

    :param log_tail: what the submission added to the JobManager's log.
    :return: None if nothing in the text looks like a cause.
    """
    lines = _python_output(log_tail)
    causes = [m.group("cause") for line in lines if (m := _CAUSED_BY.match(line)) and not _is_wrapper(m.group("cause"))]
    java = [m.group("error") for line in lines if (m := _JAVA_ERROR.match(line))]
    python = [
        m.group("error") for line in lines if (m := _PYTHON_ERROR.match(line)) and not _is_wrapper(m.group("error"))
    ]
    parts = python[-1:]
    inner = (causes or java)[-1:]
    if inner and not any(inner[0] in part for part in parts):
        parts = [*parts, inner[0]] if parts else inner
    return mask(" - caused by ".join(parts), secrets) if parts else None


def excerpt(log_tail: str, secrets: Sequence[str] = ()) -> str:
    """The last lines that the Python process wrote, without Java's stack frames, secrets cut out."""
    lines = [line for line in _python_output(log_tail) if line.strip() and not line.lstrip().startswith("at ")]
    return mask("\n".join(lines[-_CONTEXT_LINES:]), secrets)


def _python_output(log_tail: str) -> list[str]:
    """The text of the events that relay what the Python process printed (all lines, if there are none)."""
    lines = log_tail.splitlines()
    events = [event for line in lines if (event := _EVENT.match(line))]
    relayed = [event.group("text").rstrip() for event in events if event.group("logger").endswith(_RELAY)]
    return relayed or [_content(line) for line in lines]


def _content(line: str) -> str:
    event = _EVENT.match(line)
    return event.group("text").rstrip() if event else line.rstrip()


def _is_wrapper(text: str) -> bool:
    """Flink's own words around every failure say nothing about the cause."""
    return any(
        marker in text
        for marker in (
            "Python process exits with code",
            "ProgramAbortException",
            "ProgramInvocationException",
            "CompletionException",
            "Could not execute application",
            "An error occurred while calling",
            "Py4JJavaError",
        )
    )
