"""Airflow's connections of schema registries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hopsworks_flink._compat import AirflowNotFoundException, BaseHook, mask_secret
from hopsworks_flink.clients.registry import RegistryConnection, schema_of
from hopsworks_flink.exceptions import ConfigurationError
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.spec.source import Records


def registry_connection(conn_id: str) -> RegistryConnection:
    """The registry of an Airflow connection; its secrets are masked in logs.

    :raises ConfigurationError: there is no such connection, or a field of it is wrong.
    """
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise ConfigurationError(
            f"There is no Airflow connection {conn_id!r}, which the pipeline names as a registry. Create one of type "
            "'http' whose host is the URL of the schema registry's API."
        ) from error
    found = RegistryConnection.from_airflow(connection)
    if found.authorization:
        mask_secret(found.authorization)
    return found


def registries(pipeline: Pipeline) -> dict[str, dict[str, str]]:
    """What a job needs to reach the registries of its topics, by the names of their connections.

    :raises ConfigurationError: as `registry_connection`, or a CA's certificate cannot be read.
    """
    return {name: registry_connection(name).options() for name in pipeline.source.registries}


def registries_shown(pipeline: Pipeline) -> list[str]:
    """What tells another registry, CA or user of it from those that a job was given; empty if its topics have none.

    :raises ConfigurationError: as `registries`.
    """
    return [fact for name in pipeline.source.registries for fact in registry_connection(name).public()]


def schemas_of(records: Records) -> Callable[[int], Any] | None:
    """The schemas of a topic's registry by their ids, as `hopsworks_flink.pipeline.decoding.decoder` takes them."""
    if records.registry is None:
        return None
    registry = registry_connection(records.registry)
    return lambda number: schema_of(registry, number)
