"""The asynchronous client of Flink's REST API, for waits in an event loop: no call blocks it."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import httpx

from hopsworks_flink.clients.flink.connection import Auth
from hopsworks_flink.clients.flink.http import (
    CONNECT_SECONDS,
    READ_SECONDS,
    FlinkCalls,
    Ignore,
    Question,
    api_error,
    certificate_error,
    not_json,
    understood,
)
from hopsworks_flink.clients.tls import reason_of
from hopsworks_flink.exceptions import FlinkConnectionError, FlinkError

T = TypeVar("T")


class AsyncFlinkRestClient(FlinkCalls):
    """Speaks to one JobManager without blocking the event loop; sends each request once: waits ask again by themselves.

    :param base_url: e.g. ``http://jobmanager:8081``; a path is kept.
    :param auth: user and password for HTTP basic authentication, or what signs each request.
    :param tls: TLS settings.
    """

    def __init__(self, base_url: str, *, auth: Auth | None = None, tls: ssl.SSLContext) -> None:
        self.base_url = base_url.rstrip("/")
        self._http = httpx.AsyncClient(
            auth=auth,
            verify=tls,
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=True,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def answer(self, steps: Generator[Question, Any, T]) -> T:
        """What a generator returns that yields questions to this client; errors are thrown in."""
        question = next(steps)
        while True:
            try:
                try:
                    answer = await getattr(self, question[0])(*question[1:])
                except FlinkError as error:
                    question = steps.throw(error)
                else:
                    question = steps.send(answer)
            except StopIteration as end:
                return end.value

    async def _call(
        self,
        method: str,
        path: str,
        read: Callable[[Any], Any] = lambda answer: answer,
        ignore: Ignore = lambda error: False,
        **options: Any,
    ) -> Any:
        url = self.base_url + path
        try:
            response = await self._http.request(method, url, **options)
        except httpx.TimeoutException as error:
            raise FlinkConnectionError(f"Flink at {self.base_url} cannot be reached: no answer in time.") from error
        except httpx.RemoteProtocolError as error:
            raise FlinkConnectionError(f"Flink at {self.base_url} broke off its answer: {error}.") from error
        except httpx.HTTPError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise certificate_error(self.base_url, str(error)) from error
            raise FlinkConnectionError(f"Flink at {self.base_url} cannot be reached: {reason_of(error)}.") from error
        if response.status_code >= 400:
            refused = api_error(method, url, response.status_code, response.text, response.reason_phrase)
            if ignore(refused):
                return None
            raise refused
        try:
            answer = json.loads(response.content) if response.content else {}
        except ValueError:
            raise not_json(method, url, response.status_code, response.text) from None
        return understood(read, answer, method, url, response.status_code)
