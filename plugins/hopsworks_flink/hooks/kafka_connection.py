"""Airflow's Kafka connections: which broker an operator or a sensor talks to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import AirflowNotFoundException, BaseHook
from hopsworks_flink.clients.masking import mask_values
from hopsworks_flink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from hopsworks_flink.clients.hopsworks.session import HopsworksSession


# Functions that the official provider looks up for its own operators; here they would be texts.
_FUNCTIONS = ("error_cb", "throttle_cb", "stats_cb", "log_cb", "on_commit")


def kafka_connection(conn_id: str) -> dict[str, Any]:
    """The librdkafka settings in an Airflow connection of the official Kafka provider, without its functions.

    :raises ConfigurationError: there is no such connection, it has no settings, or a function gives its tokens.
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
    if settings.get("oauth_cb"):
        raise ConfigurationError(
            f"connection {conn_id!r}: oauth_cb names a function on this worker, which cannot travel to Flink; a job "
            "asks for its tokens itself: set sasl.oauthbearer.method=oidc and what belongs to it."
        )
    return {name: value for name, value in settings.items() if name not in _FUNCTIONS}


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
