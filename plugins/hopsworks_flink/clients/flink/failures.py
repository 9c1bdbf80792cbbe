"""Finds causes: of a failed job in Flink's answers, of a failed submission in the JobManager's log. Pure, no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hopsworks_flink.clients.masking import mask

# A line of Flink's log that starts a new event: "2026-01-31 12:00:00,000 INFO  class [] - text".
_EVENT = re.compile(
    r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[,.]\d+ +(?P<level>[A-Z]+) +(?P<logger>\S+) +\[.*?\] - (?P<text>.*)$"
)
_PYTHON_ERROR = re.compile(r"^(?P<error>[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)\b.*)$")
_CAUSED_BY = re.compile(r"^(: )?Caused by: (?P<cause>.+)$")
_JAVA_ERROR = re.compile(r"^: (?P<error>[a-z][\w.$]+(Error|Exception)\b.*)$")
_CONTEXT_LINES = 12
_STACK_LINES = 80


def innermost_cause(stack_trace: str) -> str:
    """The last ``Caused by:`` line of a Java stack trace (else its first line), without the words themselves."""
    lines = [line.strip() for line in stack_trace.splitlines() if line.strip()]
    causes = [line.removeprefix("Caused by:").strip() for line in lines if line.startswith("Caused by:")]
    return causes[-1] if causes else (lines[0] if lines else "")


def stack_trace(exceptions: Mapping[str, Any] | None) -> str:
    """The stack trace of the newest failure in ``GET /jobs/{id}/exceptions``; empty without failure."""
    entries = ((exceptions or {}).get("exceptionHistory") or {}).get("entries") or []
    return str((entries[0].get("stacktrace") if entries else (exceptions or {}).get("root-exception")) or "")


def root_exception(exceptions: Mapping[str, Any] | None) -> str | None:
    """The innermost cause of the newest failure in ``GET /jobs/{id}/exceptions``, one line; None without failure."""
    return innermost_cause(stack_trace(exceptions)) or None


def head(text: str) -> str:
    """The first lines of a stack trace, and how many follow."""
    rows = text.splitlines()
    return "\n".join(rows[:_STACK_LINES]) + (
        f"\n… {len(rows) - _STACK_LINES} more lines" if len(rows) > _STACK_LINES else ""
    )


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
            # Logged whenever somebody asks for the status of a job that is gone.
            "FlinkJobNotFoundException",
        )
    )
