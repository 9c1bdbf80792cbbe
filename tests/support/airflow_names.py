"""Names that tests need and that Airflow 3.0 to 3.3 keep in different places (the package's own are in ``_compat``)."""

from __future__ import annotations

import json
from typing import Any

from airflow.providers.common.compat.sdk import AirflowSkipException, TaskDeferred

sync_bag_to_db: Any
try:
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
except ImportError:
    from airflow.models.dagbag import DagBag

    try:
        from airflow.models.dagbag import sync_bag_to_db
    except ImportError:  # before 3.1 it is a method
        sync_bag_to_db = None

try:
    from airflow.sdk.exceptions import ParamValidationError
except ImportError:  # before 3.2
    from airflow.exceptions import ParamValidationError

try:
    from airflow.sdk.exceptions import DagRunTriggerException
except ImportError:  # before 3.2
    from airflow.exceptions import DagRunTriggerException

try:
    from airflow.serialization.serialized_objects import DagSerialization
except ImportError:  # before 3.2
    from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization

__all__ = [
    "AirflowSkipException",
    "DagBag",
    "DagRunTriggerException",
    "DagSerialization",
    "ParamValidationError",
    "TaskDeferred",
    "sync_bag_to_db",
    "through_the_database",
]


def through_the_database(arguments: dict[str, Any]) -> dict[str, Any]:
    """A trigger's arguments as the triggerer gets them, after the way that this Airflow sends them."""
    try:
        from airflow.sdk.serde import deserialize, serialize
    except ImportError:  # before 3.2
        from airflow.serialization.serialized_objects import BaseSerialization

        return BaseSerialization.deserialize(json.loads(json.dumps(BaseSerialization.serialize(arguments))))  # type: ignore[return-value]
    return deserialize(json.loads(json.dumps(serialize(arguments))))  # type: ignore[return-value, arg-type]
