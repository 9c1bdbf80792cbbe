"""Rendered arguments of operators and sensors, parsed and checked; each error names the argument. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hopsworks_flink.clients.masking import SECRET_NAME
from hopsworks_flink.exceptions import ConfigurationError


def as_int(value: Any, argument: str, minimum: int = 1) -> int:
    """Parse an integer from a rendered argument.

    :raises ConfigurationError: not an integer, or below ``minimum``.
    """
    try:
        number = int(str(value))
    except ValueError:
        raise ConfigurationError(f"{argument} must be a whole number, not {value!r}.") from None
    if number < minimum:
        raise ConfigurationError(f"{argument} must be at least {minimum}, not {number}.")
    return number


def as_float(value: Any, argument: str, zero: bool = False) -> float:
    """Parse a positive number from a rendered argument.

    :param zero: whether zero is allowed.
    :raises ConfigurationError: not a number, or out of range.
    """
    try:
        number = float(str(value))
    except ValueError:
        raise ConfigurationError(f"{argument} must be a number, not {value!r}.") from None
    if not ((number > 0 or (zero and number == 0)) and math.isfinite(number)):
        raise ConfigurationError(f"{argument} must be {'0 or more' if zero else 'above 0'}, not {value!r}.")
    return number


def as_bool(value: Any, argument: str) -> bool:
    """Parse a boolean from a rendered argument: a boolean, or ``true`` or ``false`` as text.

    :raises ConfigurationError: neither.
    """
    if isinstance(value, bool):
        return value
    if str(value).strip().lower() in ("true", "false"):
        return str(value).strip().lower() == "true"
    raise ConfigurationError(f"{argument} must be true or false, not {value!r}.")


def as_text(value: Any, argument: str) -> str:
    """Parse a non-empty string; blanks at its ends are removed.

    :raises ConfigurationError: empty, or not a string.
    """
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"{argument} must be a text that is not empty, not {value!r}.")
    return value.strip()


def one_of(value: Any, argument: str, allowed: Sequence[str]) -> str:
    """Check that a value is one of the allowed words.

    :raises ConfigurationError: it is not.
    """
    if value not in allowed:
        raise ConfigurationError(f"{argument} must be one of {', '.join(allowed)}, not {value!r}.")
    return str(value)


def as_strings(value: Mapping[str, Any] | None, argument: str) -> dict[str, str]:
    """Parse a mapping of strings; numbers and booleans are written as Flink and Kafka write them.

    :raises ConfigurationError: not a mapping, or a value is nested.
    """
    if value is not None and not isinstance(value, Mapping):
        raise ConfigurationError(f"{argument} must be a mapping, not {value!r}.")
    result = {}
    for key, item in (value or {}).items():
        if not isinstance(item, (str, int, float)):
            raise ConfigurationError(f"{argument}[{key!r}] must be a text or a number, not {item!r}.")
        result[str(key)] = str(item).lower() if isinstance(item, bool) else str(item)
    return result


def refuse_secrets(names: Iterable[str], argument: str) -> None:
    """Refuse settings and options that would show a secret in Flink's and Airflow's pages.

    :raises ConfigurationError: a name is that of a secret; the text does not repeat its value.
    """
    for name in names:
        if SECRET_NAME.search(name):
            raise ConfigurationError(
                f"{argument} must not hold {name!r}: Airflow and Flink show it to everybody, and remember it. Put it "
                "into the cluster's own configuration, or into the bundle by secret_files() of a subclass."
            )


def option_names(arguments: Sequence[str]) -> list[str]:
    """The options of a command line, such as ``--name`` of ``--name=value``, without dashes."""
    return [text.partition("=")[0].lstrip("-") for text in arguments if text.startswith("-")]


def check_name_or_id(job_name: str | None, job_id: str | None) -> None:
    """Check that a job is given either by its name or by its id.

    :raises ConfigurationError: both are given, or neither.
    """
    if bool(job_name) == bool(job_id):
        both = "both" if job_id else "neither"
        raise ConfigurationError(f"Give either job_name or job_id, not {both}: {job_name!r}, {job_id!r}.")
