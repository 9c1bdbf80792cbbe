"""Airflow's Kafka connections: which broker an operator or a sensor talks to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import AirflowNotFoundException, BaseHook
from hopsworks_flink.clients.masking import mask_values
from hopsworks_flink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from hopsworks_flink.clients.hopsworks.session import HopsworksSession


def kafka_connection(conn_id: str) -> dict[str, Any]:
    """The librdkafka settings in an Airflow connection of the official Kafka provider.

    :raises ConfigurationError: there is no such connection, or it has no settings.
    """
    try:
        settings = BaseHook.get_connection(conn_id).extra_dejson
    except AirflowNotFoundException as error:
        raise ConfigurationError(
            f"There is no Airflow connection {conn_id!r}. Create one of type 'kafka' whose extra holds librdkafka "
            'settings, e.g. {"bootstrap.servers": "broker:9092"}.'
        ) from error
    mask_values(settings)
    if not settings.get("bootstrap.servers"):
        raise ConfigurationError(f"connection {conn_id!r}: extra has no 'bootstrap.servers'.")
    return settings


def source_kafka(kafka_conn_id: str | None, hopsworks: HopsworksSession | str) -> dict[str, Any]:
    """The librdkafka settings that reach a source topic: those of a Kafka connection, else of the feature store.

    :param kafka_conn_id: Airflow connection of type ``kafka``; None or empty: the feature store's own broker.
    :param hopsworks: an open session, or the id of the Airflow connection to log in with if that is needed.
    """
    if kafka_conn_id:
        return kafka_connection(kafka_conn_id)
    if not isinstance(hopsworks, str):
        return hopsworks.kafka_config()
    from hopsworks_flink.hooks.hopsworks import HopsworksHook

    with HopsworksHook(hopsworks).session() as session:
        return session.kafka_config()
