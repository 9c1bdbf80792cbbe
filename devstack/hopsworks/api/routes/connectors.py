"""Storage connectors that the SDK asks for: Kafka for writing, the online store for reading."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from devstack.hopsworks.api.routes.context import Context, ContextDep, FeatureStoreDep
from devstack.hopsworks.home.errors import CONNECTOR_NOT_FOUND
from devstack.hopsworks.home.layout import FEATURE_STORE_ID
from devstack.kafka.access import java_sasl_options

router = APIRouter(prefix="/project/{project_id}/featurestores/{feature_store_id}/storageconnectors")


def _kafka(context: Context) -> dict[str, Any]:
    config = context.config
    secured = config.kafka_security != "PLAINTEXT"
    return {
        "type": "featureStoreKafkaConnectorDTO",
        "id": -1,
        "name": "kafka_connector",
        "description": "Broker of the local stack",
        "featurestoreId": FEATURE_STORE_ID,
        "storageConnectorType": "KAFKA",
        "bootstrapServers": config.kafka_address,
        "securityProtocol": config.kafka_security,
        # The platform's default is "", no check of the broker's name. Here the certificate holds it, so it is checked.
        "sslEndpointIdentificationAlgorithm": "https" if secured else "",
        "options": java_sasl_options(config) if config.kafka_security == "SASL_SSL" else [],
        # True: without it the Java clients throw, and with it every client takes PLAINTEXT. False: the client takes the
        # key stores of the project's credentials.
        "externalKafka": not secured,
    }


def _online(context: Context) -> dict[str, Any]:
    return {
        "type": "featurestoreJdbcConnectorDTO",
        "id": 5,
        "name": f"{context.layout.project}_{context.config.user}_onlinefeaturestore",
        "featurestoreId": FEATURE_STORE_ID,
        "storageConnectorType": "JDBC",
        # The SDK replaces "jdbc:mysql://" only and hands the rest to SQLAlchemy. With detect_types (declared types)
        # a timestamp is read as a datetime, as it is from MySQL.
        "connectionString": f"sqlite:///{context.layout.online_db}?detect_types=1",
        # SQLite has no users; the SDK insists on both names.
        "arguments": [
            {"name": "user", "value": context.config.user},
            {"name": "password", "value": "unused"},
        ],
    }


@router.get("/kafka_connector/byok")
def kafka_connector(_: FeatureStoreDep, context: ContextDep) -> dict[str, Any]:
    return _kafka(context)


@router.get("/onlinefeaturestore")
def online_connector(_: FeatureStoreDep, context: ContextDep) -> dict[str, Any]:
    return _online(context)


@router.get("/{name}")
def connector(_: FeatureStoreDep, name: str, context: ContextDep) -> dict[str, Any]:
    found = [c for c in (_kafka(context), _online(context)) if c["name"] == name]
    if not found:
        raise CONNECTOR_NOT_FOUND(f"storage connector {name!r}")
    return found[0]
