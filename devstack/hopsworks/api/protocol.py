"""The HTTP protocol of the server: uvicorn's, with bounds on how long a client may take to send a request."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# From the connection, or the first byte after an answer, to the end of the headers.
HEADER_SECONDS = 20.0
# Between two pieces of a body.
BODY_SECONDS = 60.0


class BoundedProtocol(H11Protocol):
    """Closes a connection whose client does not finish its request: uvicorn itself waits for ever."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._restart(HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            self._restart(BODY_SECONDS)
        elif state is not h11.IDLE:
            self._cancel()
        elif self._timer is None:
            # The beginning of another request; more of it does not gain time.
            self._restart(HEADER_SECONDS)

    def _restart(self, seconds: float) -> None:
        self._cancel()
        self._timer = self.loop.call_later(seconds, self._expire)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        if self.conn.their_state is h11.SEND_BODY and self.flow.read_paused:
            # It is the server that does not take more at the moment.
            self._restart(BODY_SECONDS)
        else:
            self.logger.warning("connection closed: its request did not arrive in time")
            self.transport.abort()
