"""``flinkmaster/{application}/...``: Flink's REST API of a running cluster of the project, behind the API key."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from urllib.parse import unquote, urlencode

import httpx
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse

from devstack.hopsworks.api.routes.context import ContextDep

PREFIX = "/hopsworks-api/flinkmaster"
router = APIRouter(prefix=PREFIX)
# Headers of the message, not of the connection. The API key is not forwarded.
_REQUEST_HEADERS = ("accept", "content-type", "content-length")
_RESPONSE_HEADERS = ("content-type", "content-length", "content-encoding", "retry-after")
# Starting a Python job takes a while.
_TIMEOUT = httpx.Timeout(300.0, connect=5.0)


@router.delete("/{application}/cluster")
def shut_down(application: str, context: ContextDep) -> Response:
    """End the cluster: here only the execution that represents it. Flink goes on running."""
    execution = context.clusters.running(application)
    if execution is None:
        return _gone(application)
    context.clusters.stop(execution, "FINISHED")
    return Response(status_code=202)


@router.api_route("/{application}/{path:path}", methods=["GET", "POST", "PATCH", "DELETE"])
async def forward(application: str, request: Request, context: ContextDep) -> Response:
    """Forward the request to Flink without its authorization, and return the answer."""
    if context.clusters.running(application) is None:
        return _gone(application)
    # Not decoded and encoded again: a slash inside a segment would change the path.
    raw = request.scope["raw_path"].decode("ascii").removeprefix(f"{PREFIX}/").partition("/")[2]
    query = request.scope["query_string"].decode("ascii")
    raw, query = program_arguments(raw, query)
    url = f"{context.clusters.url}/{raw}" + (f"?{query}" if query else "")
    headers = {name: value for name, value in request.headers.items() if name in _REQUEST_HEADERS}
    client = httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False)
    body = request.stream() if "content-length" in request.headers or "transfer-encoding" in request.headers else None
    try:
        answer = await client.send(
            client.build_request(request.method, url, headers=headers, content=body), stream=True
        )
    except httpx.InvalidURL as error:
        await client.aclose()
        return PlainTextResponse(f"Not an address of Flink's: {error}.", status_code=400)
    except httpx.HTTPError as error:
        await client.aclose()
        return PlainTextResponse(f"Flink does not answer: {type(error).__name__}.", status_code=502)
    kept = {name: value for name, value in answer.headers.items() if name in _RESPONSE_HEADERS}
    return StreamingResponse(_relay(client, answer), status_code=answer.status_code, headers=kept)


def program_arguments(path: str, query: str) -> tuple[str, str]:
    """Path and query of ``jars/{id}/run`` as Flink reads them.

    The client of SDK 4.8 writes the query into the last segment of the path, and the program's arguments as they are:
    everything behind the first ``&program-args=`` is theirs, ``&`` and ``=`` included.
    """
    match = re.fullmatch(r"(jars/[^/]+/run)(?:%3[Ff]|\?)(.*)", path)
    if match is None:
        return path, query
    first, mark, arguments = unquote(match[2]).partition("&program-args=")
    name, equals, entry_class = first.partition("=")
    if not equals:
        # Without arguments it leaves out the equals sign.
        entry_class = name.removeprefix("entry-class")
    values = {"entry-class": entry_class, **({"program-args": arguments} if mark else {})}
    return match[1], urlencode(values)


async def _relay(client: httpx.AsyncClient, answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    finally:
        await answer.aclose()
        await client.aclose()


def _gone(application: str) -> Response:
    return PlainTextResponse(f"No Flink cluster {application} is running.", status_code=404)
