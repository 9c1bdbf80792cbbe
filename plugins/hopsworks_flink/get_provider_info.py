"""Provider metadata, read by Airflow at start-up. Imports nothing, see the package docstring."""

from __future__ import annotations

from typing import Any

_TEXT = {"type": ["string", "null"]}


def get_provider_info() -> dict[str, Any]:
    """What Airflow's provider manager asks for."""
    return {
        "package-name": "airflow-provider-hopsworks-flink",
        "name": "Hopsworks Flink",
        "description": "Streaming features on Hopsworks, computed by Apache Flink, orchestrated by Apache Airflow.",
        "integrations": [
            {"integration-name": "Hopsworks", "external-doc-url": "https://docs.hopsworks.ai/", "tags": ["service"]},
            {"integration-name": "Apache Flink", "external-doc-url": "https://flink.apache.org/", "tags": ["apache"]},
            {"integration-name": "Apache Kafka", "external-doc-url": "https://kafka.apache.org/", "tags": ["apache"]},
        ],
        "hooks": [
            {"integration-name": "Hopsworks", "python-modules": ["hopsworks_flink.hooks.hopsworks"]},
            {"integration-name": "Apache Flink", "python-modules": ["hopsworks_flink.hooks.flink"]},
        ],
        "operators": [
            {"integration-name": "Hopsworks", "python-modules": ["hopsworks_flink.operators.hopsworks"]},
            {
                "integration-name": "Apache Flink",
                "python-modules": [
                    "hopsworks_flink.operators.approve_deployment",
                    "hopsworks_flink.operators.audit",
                    "hopsworks_flink.operators.flink",
                    "hopsworks_flink.operators.freshness",
                    "hopsworks_flink.operators.simulate",
                    "hopsworks_flink.operators.trigger_deployment",
                ],
            },
            {"integration-name": "Apache Kafka", "python-modules": ["hopsworks_flink.operators.kafka"]},
        ],
        "sensors": [
            {"integration-name": "Hopsworks", "python-modules": ["hopsworks_flink.sensors.hopsworks"]},
            {"integration-name": "Apache Flink", "python-modules": ["hopsworks_flink.sensors.flink"]},
        ],
        "triggers": [
            {"integration-name": "Hopsworks", "python-modules": ["hopsworks_flink.triggers.hopsworks"]},
            {"integration-name": "Apache Flink", "python-modules": ["hopsworks_flink.triggers.flink"]},
        ],
        # The provider of the Airflow inside Hopsworks has the type `hopsworks` too. Airflow gives the form to whoever
        # comes first in the alphabet, which is this one; the hooks of both read what it saves.
        "extra-links": [
            "hopsworks_flink.links.FeatureGroupLink",
            "hopsworks_flink.links.FlinkExceptionsLink",
            "hopsworks_flink.links.FlinkJobLink",
            "hopsworks_flink.links.HopsworksExecutionLink",
        ],
        "task-decorators": [
            {"name": "hopsworks", "class-name": "hopsworks_flink.operators.hopsworks.task.hopsworks_task"},
        ],
        # Of Kafka's addresses the official provider takes care.
        "asset-uris": [
            {
                "schemes": ["hopsworks"],
                "handler": "hopsworks_flink.assets.normal_uri",
                "to_openlineage_converter": "hopsworks_flink.tasks.lineage.dataset_of_asset",
            }
        ],
        "connection-types": [_flink(), _hopsworks()],
        "config": {
            "hopsworks_flink": {
                "description": "Settings of the Hopsworks Flink provider.",
                "options": {
                    "jars_dir": {
                        "description": (
                            "Folder on the workers with flink-python and the connector jars that jobs bring along. "
                            "A Flink connection's own jars_dir wins; empty means flink_jobs/connectors/jars."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "/opt/flink-jars",
                        "default": "",
                    },
                    "task_token": {
                        "description": (
                            "In the Airflow inside Hopsworks: import path of a function without arguments that returns "
                            "the token of the running task, which is exchanged for one of its project. Empty: tasks "
                            "take the DAG's API key."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "my_platform.tokens.of_this_task",
                        "default": "",
                    },
                    "lineage_kafka": {
                        "description": (
                            "Host and port of the source topics' broker (the first of several), as other tools of "
                            "OpenLineage call it: what the addresses of topics as assets and datasets begin with."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "broker-1.example:9092",
                        "default": "kafka:9092",
                    },
                    "lineage_hopsworks": {
                        "description": (
                            "Host, and if need be port and project, of Hopsworks: what the addresses of feature groups "
                            "as assets and datasets begin with."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "my-cluster.hopsworks.ai:443/fraud",
                        "default": "hopsworks",
                    },
                    "status_sample_rows": {
                        "description": (
                            "So many online rows of each feature group, and late and refused records, supervision "
                            "keeps for the status page, where those see them who may read the DAG's XComs. They are "
                            "data of yours in Airflow's database: 0 keeps none."
                        ),
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": "5",
                        "default": "0",
                    },
                },
            }
        },
    }


def connection_type(name: str) -> dict[str, Any]:
    """The metadata of one of our connection types."""
    return next(item for item in get_provider_info()["connection-types"] if item["connection-type"] == name)


def _field(label: str, description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": schema or _TEXT}


def _flink() -> dict[str, Any]:
    return {
        "connection-type": "flink",
        "hook-class-name": "hopsworks_flink.hooks.flink.FlinkHook",
        "hook-name": "Apache Flink (REST)",
        "ui-field-behaviour": {
            "hidden-fields": ["schema"],
            "relabeling": {"host": "REST URL", "login": "User (basic authentication)"},
            "placeholders": {"host": "http://jobmanager:8081"},
        },
        "conn-fields": {
            "python_executable": _field(
                "Python of the cluster", "Path, on JobManager and TaskManagers, of a Python with PyFlink installed."
            ),
            "web_ui_url": _field("Web UI URL", "Flink's web UI as people reach it, if it differs from the REST URL."),
            "jars_dir": _field("Jars folder", "Folder on the Airflow workers with flink-python and the connectors."),
            "connectors_on_cluster": _field(
                "Connectors are on the cluster",
                "The cluster's lib folder has the Kafka and Avro connectors: jobs bring none along.",
                {"type": ["boolean", "null"], "default": False},
            ),
            "verify_tls": _field(
                "Verify TLS", "Check the server's certificate.", {"type": ["boolean", "null"], "default": True}
            ),
            "ca_path": _field("CA certificate", "PEM file on the workers with the CA that signed the certificate."),
            "hopsworks_conn_id": _field(
                "Hopsworks connection", "For a cluster that Hopsworks manages: id of the connection to its project."
            ),
            "hopsworks_job": _field("Job of the cluster", "Its name in Hopsworks, where several clusters run."),
        },
    }


def _hopsworks() -> dict[str, Any]:
    return {
        "connection-type": "hopsworks",
        "hook-class-name": "hopsworks_flink.hooks.hopsworks.HopsworksHook",
        "hook-name": "Hopsworks",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "login"],
            "relabeling": {"password": "API key"},
            "placeholders": {"host": "my-cluster.hopsworks.ai", "port": "443"},
        },
        "conn-fields": {
            "project": _field("Project", "Name of the Hopsworks project."),
            "hostname_verification": _field(
                "Verify TLS",
                "Check the server's certificate and name.",
                {"type": ["boolean", "null"], "default": True},
            ),
            "trust_store_path": _field(
                "CA certificate", "PEM file on the workers with the CA that signed the certificate."
            ),
        },
    }
