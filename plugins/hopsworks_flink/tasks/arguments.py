"""What all operators share: how errors end a task, and how rendered values become what they should be."""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import AirflowFailException, AirflowSkipException
from hopsworks_flink.exceptions import ConfigurationError, HopsworksFlinkError

if TYPE_CHECKING:
    from hopsworks_flink._compat import BaseOperator, Context


# What a value is called by whose name one keeps it from others; Flink's own list is part of it.
_SECRET_NAME = re.compile(
    r"(passw(or)?d|secret|token|api[._-]?key|(access|secret|private|service)[._-]?key|jaas[._-]config|basic[._-]auth"
    r"|auth[._-]params|http[._-]headers|account\.key\..+)\Z",
    re.IGNORECASE,
)


@contextlib.contextmanager
def task_errors() -> Iterator[None]:
    """Let errors that no retry can cure fail the task for good."""
    try:
        yield
    except HopsworksFlinkError as error:
        if error.permanent:
            raise AirflowFailException(str(error)) from error
        raise


def time_limit(operator: BaseOperator, timeout: float) -> float:
    """How long a deferred wait may take, seconds.

    A deferred task's ``execution_timeout`` would only count the moments on a worker: here it bounds the whole.
    """
    limit = operator.execution_timeout
    return min(timeout, limit.total_seconds()) if limit else timeout


def as_int(value: Any, argument: str, minimum: int = 1) -> int:
    """A whole number out of a rendered argument.

    :raises ConfigurationError: it is none, or below ``minimum``.
    """
    try:
        number = int(str(value))
    except ValueError:
        raise ConfigurationError(f"{argument} must be a whole number, not {value!r}.") from None
    if number < minimum:
        raise ConfigurationError(f"{argument} must be at least {minimum}, not {number}.")
    return number


def as_float(value: Any, argument: str, zero: bool = False) -> float:
    """A number above zero out of a rendered argument; zero itself only where it is allowed.

    :raises ConfigurationError: it is none.
    """
    try:
        number = float(str(value))
    except ValueError:
        raise ConfigurationError(f"{argument} must be a number, not {value!r}.") from None
    if not ((number > 0 or (zero and number == 0)) and math.isfinite(number)):
        raise ConfigurationError(f"{argument} must be {'0 or more' if zero else 'above 0'}, not {value!r}.")
    return number


def as_epoch_milliseconds(value: Any, argument: str) -> int:
    """A moment out of a rendered argument: epoch milliseconds, or ISO time with its zone.

    :raises ConfigurationError: it is neither.
    """
    text = str(value).strip()
    if text.isdigit():
        return int(text)
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConfigurationError(
            f"{argument} must be epoch milliseconds or an ISO time with zone such as 2025-01-31T12:00:00+00:00, "
            f"not {value!r}."
        )
    return round(moment.timestamp() * 1000)


def as_bool(value: Any, argument: str) -> bool:
    """A truth value out of a rendered argument: a boolean, or the words ``true`` and ``false``.

    :raises ConfigurationError: it is neither.
    """
    if isinstance(value, bool):
        return value
    if str(value).strip().lower() in ("true", "false"):
        return str(value).strip().lower() == "true"
    raise ConfigurationError(f"{argument} must be true or false, not {value!r}.")


def as_text(value: Any, argument: str) -> str:
    """A text that is not empty.

    :raises ConfigurationError: it is empty or not a text.
    """
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"{argument} must be a text that is not empty, not {value!r}.")
    return value.strip()


def one_of(value: Any, argument: str, allowed: Sequence[str]) -> str:
    """One of some words.

    :raises ConfigurationError: it is another one.
    """
    if value not in allowed:
        raise ConfigurationError(f"{argument} must be one of {', '.join(allowed)}, not {value!r}.")
    return str(value)


def as_strings(value: Mapping[str, Any] | None, argument: str) -> dict[str, str]:
    """A mapping of texts; numbers and booleans are written as Flink and Kafka write them.

    :raises ConfigurationError: it is no mapping, or a value of it is nested.
    """
    if value is not None and not isinstance(value, Mapping):
        raise ConfigurationError(f"{argument} must be a mapping, not {value!r}.")
    result = {}
    for key, item in (value or {}).items():
        if not isinstance(item, (str, int, float)):
            raise ConfigurationError(f"{argument}[{key!r}] must be a text or a number, not {item!r}.")
        result[str(key)] = str(item).lower() if isinstance(item, bool) else str(item)
    return result


def run_mark(context: Context) -> str:
    """Names this task in this DAG run, the same on every try: 16 hex digits."""
    instance = context["ti"]
    parts = (instance.dag_id, instance.run_id, instance.task_id, str(getattr(instance, "map_index", -1)))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def owner_marks(context: Context) -> dict[str, str]:
    """Who started a job: DAG and task, shown in the job's configuration in Flink."""
    return {"dag_id": context["ti"].dag_id, "task_id": context["ti"].task_id}


def skip_while_deploying(context: Context, dag_id: str) -> None:
    """End the task, skipped, if the DAG that deploys is at work.

    :raises AirflowSkipException: it is.
    """
    number = context["ti"].get_dr_count(dag_id=dag_id, states=["running", "queued"])
    if number:
        raise AirflowSkipException(
            f"{number} run(s) of {dag_id} are running or queued: what they leave behind is judged by the next look. "
            "A run that stays queued waits for its DAG to be unpaused."
        )


def refuse_secrets(names: Iterable[str], argument: str) -> None:
    """Refuse settings and options that would show a secret in Flink's and Airflow's pages.

    :raises ConfigurationError: one is called like a secret; the text does not repeat its value.
    """
    for name in names:
        if _SECRET_NAME.search(name):
            raise ConfigurationError(
                f"{argument} must not hold {name!r}: Airflow and Flink show it to everybody, and remember it. Put it "
                "into the cluster's own configuration, or into the bundle by secret_files() of a subclass."
            )


def option_names(arguments: Sequence[str]) -> list[str]:
    """The options of a command line, such as ``--name`` of ``--name=value``, without dashes."""
    return [text.partition("=")[0].lstrip("-") for text in arguments if text.startswith("-")]
