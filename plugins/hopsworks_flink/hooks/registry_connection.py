"""Airflow's connections of schema registries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hopsworks_flink._compat import AirflowNotFoundException, BaseHook, mask_secret
from hopsworks_flink.clients.registry import RegistryConnection, schema_of
from hopsworks_flink.exceptions import ConfigurationError
from hopsworks_flink.pipeline.spec import Pipeline


def registry_connection(conn_id: str) -> RegistryConnection:
    """The registry of an Airflow connection; its secrets are masked in logs.

    :raises ConfigurationError: there is no such connection, or a field of it is wrong.
    """
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise ConfigurationError(
            f"There is no Airflow connection {conn_id!r}, which source.registry names. Create one of type 'http' whose "
            "host is the URL of the schema registry's API."
        ) from error
    found = RegistryConnection.from_airflow(connection)
    if found.authorization:
        mask_secret(found.authorization)
    return found


def source_registry(pipeline: Pipeline) -> dict[str, str] | None:
    """What a job needs to reach the registry of its source; None if that has none.

    :raises ConfigurationError: as `registry_connection`, or the CA's certificate cannot be read.
    """
    return registry_connection(pipeline.source.registry).options() if pipeline.source.registry else None


def registry_shown(pipeline: Pipeline) -> list[str]:
    """What tells another registry, CA or user of it from the one that a job was given; empty if the source has none.

    :raises ConfigurationError: as `source_registry`.
    """
    return registry_connection(pipeline.source.registry).public() if pipeline.source.registry else []


def source_schemas(pipeline: Pipeline) -> Callable[[int], Any] | None:
    """The schemas of a source's registry by their ids, as `hopsworks_flink.pipeline.decoding.decoder` takes them."""
    if pipeline.source.registry is None:
        return None
    registry = registry_connection(pipeline.source.registry)
    return lambda number: schema_of(registry, number)
