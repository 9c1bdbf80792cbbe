"""The Flink hook for an event loop: a client by the same Airflow connection."""

from __future__ import annotations

import asyncio
from types import TracebackType

from hopsworks_flink._compat import AirflowNotFoundException, get_async_connection, get_async_extra_dejson
from hopsworks_flink.clients.flink.connection import FlinkConnection, missing_connection
from hopsworks_flink.clients.flink.http import effective_verify
from hopsworks_flink.clients.flink.rest_async import AsyncFlinkRestClient
from hopsworks_flink.clients.hopsworks.flink_clusters import find_cluster_async
from hopsworks_flink.clients.hopsworks.rest import async_settings
from hopsworks_flink.clients.tls import tls_context


class AsyncFlinkHook:
    """The client of one Flink cluster, by the same Airflow connection as :class:`~.flink.FlinkHook`.

    Use it as ``async with AsyncFlinkHook("flink_default") as flink: ...``.

    :param flink_conn_id: Airflow connection of type ``flink``.
    :param settings: that connection, where it has been read already; None: entering reads it.
    """

    def __init__(self, flink_conn_id: str, settings: FlinkConnection | None = None) -> None:
        self.flink_conn_id = flink_conn_id
        self._settings = settings
        self.client: AsyncFlinkRestClient

    async def __aenter__(self) -> AsyncFlinkHook:
        """Open the client.

        :raises ConfigurationError: the connection does not exist or a field of it is wrong.
        :raises FlinkConnectionError: Hopsworks does not answer, or its cluster does not run.
        """
        settings = self._settings or await self._read()
        # Also for http: a proxy may send the client on to https. It is read once, and not on the event loop.
        tls = await asyncio.to_thread(tls_context, effective_verify(settings.verify), "ca_path")
        self.client = AsyncFlinkRestClient(settings.url, auth=settings.auth, tls=tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self.client.close()

    async def _read(self) -> FlinkConnection:
        try:
            connection = await get_async_connection(self.flink_conn_id)
        except AirflowNotFoundException as error:
            raise missing_connection(self.flink_conn_id) from error
        settings = FlinkConnection.from_airflow(connection, await get_async_extra_dejson(connection))
        if settings.hopsworks_conn_id:
            return await find_cluster_async(settings, await async_settings(settings.hopsworks_conn_id))
        return settings
