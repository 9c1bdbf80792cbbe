"""Deletes feature groups and topics by their names, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from hopsworks_flink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from hopsworks_flink.clients.hopsworks.session import HopsworksSession


def as_names(value: Any, argument: str) -> list[str]:
    """Parse a list of names; None is none.

    :raises ConfigurationError: it is something else.
    """
    if value is None:
        return []
    if isinstance(value, str) or not all(isinstance(name, str) and name for name in value):
        raise ConfigurationError(f"{argument} must be a list of names, not {value!r}.")
    return list(value)


def as_groups(value: Any, argument: str) -> list[tuple[str, int]]:
    """Parse a list of names with version, such as ``cards_1``, to names and versions.

    :raises ConfigurationError: it is something else.
    """
    return [_parts(name, argument) for name in as_names(value, argument)]


def delete(
    session: HopsworksSession, groups: Iterable[tuple[str, int]], topics: Iterable[str]
) -> Iterator[tuple[str, str]]:
    """Delete what is named; what does not exist (any more) is passed over.

    A feature group goes with its online rows, its offline table and its topic; a topic with its records and the schema
    of the same name.

    :return: ``feature_groups`` or ``topics``, and the name of one that was deleted just now.
    """
    for name, version in groups:
        if session.delete_feature_group(name, version):
            yield "feature_groups", f"{name}_{version}"
    for topic in topics:
        if session.topics.delete(topic):
            yield "topics", topic


def _parts(name: str, argument: str) -> tuple[str, int]:
    base, _, version = name.rpartition("_")
    if not base or not version.isdecimal():
        raise ConfigurationError(f"{argument}: {name!r} must be a name with a version, e.g. cards_1.")
    return base, int(version)
