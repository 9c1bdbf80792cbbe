"""The one place that knows where Airflow keeps its names (3.0 to 3.3 differ; common-compat knows them all)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow import __version__ as AIRFLOW_VERSION
from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowNotFoundException,
    AirflowOptionalProviderFeatureException,
    AirflowSensorTimeout,
    AirflowSkipException,
    Asset,
    BaseHook,
    BaseOperator,
    BaseOperatorLink,
    BaseSensorOperator,
    ObjectStoragePath,
    PokeReturnValue,
    XCom,
    conf,
    literal,
)

try:
    from airflow.sdk.log import mask_secret
except ImportError:  # Airflow 3.0
    from airflow.sdk.execution_time.secrets_masker import mask_secret  # type: ignore[no-redef]

try:
    from airflow.providers.common.compat.connection import get_async_extra_dejson
except ImportError:  # before common-compat 1.23, which needs Python 3.11

    async def get_async_extra_dejson(conn: Connection) -> dict[str, Any]:
        """The connection's extra; Airflow's property blocks, so not on the event loop."""
        return await asyncio.to_thread(lambda: conn.extra_dejson)


try:
    from airflow.sdk.execution_time.context import NEVER_EXPIRE
except ImportError:  # before Airflow 3.3, which has no store for a task's state either
    NEVER_EXPIRE = None  # type: ignore[assignment]


#: Whether a browser sends who it is with each request, in a cookie: Airflow 3.0's UI keeps that to itself.
BROWSERS_SEND_TOKENS = not AIRFLOW_VERSION.startswith("3.0.")


def get_stats() -> Any:
    """Airflow's metrics. Not imported above: DAGs would pay for it at each parse."""
    try:
        from airflow.sdk.observability.stats import Stats
    except ImportError:  # before Airflow 3.2
        from airflow.stats import Stats
    return Stats


if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection, Context

__all__ = [
    "AIRFLOW_VERSION",
    "BROWSERS_SEND_TOKENS",
    "NEVER_EXPIRE",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowOptionalProviderFeatureException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "Asset",
    "BaseHook",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "Connection",
    "Context",
    "ObjectStoragePath",
    "PokeReturnValue",
    "XCom",
    "conf",
    "get_async_connection",
    "get_async_extra_dejson",
    "get_stats",
    "literal",
    "mask_secret",
]
