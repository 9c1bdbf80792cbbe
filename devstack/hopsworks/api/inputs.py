"""Checks of a request before its route: values that no database, file system or log can hold are refused with 4xx."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import Request
from pydantic import Field
from starlette.types import ASGIApp, Receive, Scope, Send

from devstack.hopsworks.home.errors import ILLEGAL_ARGUMENT

# What SQLite's integers can hold; and Kafka's and Java's.
SMALLEST, LARGEST = -(2**63), 2**63 - 1
MOST_JSON_BYTES = 16 * 1024 * 1024
DEEPEST_JSON = 64

Number = Annotated[int, Field(ge=SMALLEST, le=LARGEST)]
# Of a page of a list.
Offset = Annotated[int, Field(ge=0, le=LARGEST)]
Limit = Annotated[int | None, Field(ge=0, le=LARGEST)]


def natural_number(text: str) -> int | None:
    """The number that ``text`` writes in decimal digits; None if it writes none, or one that is too large."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST))):
        return None
    return number if (number := int(text)) <= LARGEST else None


class NullByteMiddleware:
    """Refuses null bytes in path and query: they end names in the file system and in C libraries."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and b"\0" in unquote_to_bytes(scope.get("raw_path", b"") + scope["query_string"]):
            body = json.dumps(ILLEGAL_ARGUMENT("the address contains a null byte.").body()).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": ILLEGAL_ARGUMENT.status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        await self.app(scope, receive, send)


async def check_json(request: Request) -> None:
    """Refuse a JSON body whose values cannot be stored or answered; other bodies are left to their routes."""
    if "json" not in request.headers.get("content-type", ""):
        return
    body = await request.body()
    if len(body) > MOST_JSON_BYTES:
        raise ILLEGAL_ARGUMENT(f"the body has {len(body)} bytes; at most {MOST_JSON_BYTES} are taken.")
    if not body.strip():
        return
    try:
        document = json.loads(body)
    except RecursionError:
        raise ILLEGAL_ARGUMENT(f"the body is nested deeper than {DEEPEST_JSON} levels.") from None
    except ValueError:
        # The body of a stop request calls itself JSON and is none: its route does not read it.
        return
    for problem in _problems(document, "body", 0):
        raise ILLEGAL_ARGUMENT(problem)


def _problems(value: Any, place: str, depth: int) -> Iterator[str]:
    if depth > DEEPEST_JSON:
        yield f"{place[:200]} is nested deeper than {DEEPEST_JSON} levels."
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _problems(key, f"a name in {place}", depth + 1)
            yield from _problems(item, f"{place}.{key}", depth + 1)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _problems(item, f"{place}.{number}", depth + 1)
    elif isinstance(value, str):
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            yield f"{_printable(place)} contains a null byte or half of a surrogate pair."
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{_printable(place)} is not a finite number."
    elif isinstance(value, int) and not SMALLEST <= value <= LARGEST:
        yield f"{_printable(place)} is not an integer of 64 bits."


def _printable(place: str) -> str:
    return place.encode("ascii", "backslashreplace").decode()[:200]
