"""Tags: the same four routes for feature groups and for jobs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends, Response

from devstack.hopsworks.api.routes.context import Context, ContextDep, JsonValue
from devstack.hopsworks.home.errors import TAG_NOT_FOUND
from devstack.hopsworks.metadata.models import Tag


def tag_routes(owner_of: Callable[..., str]) -> APIRouter:
    """Routes of the tags of what ``owner_of``, a dependency, names."""
    router = APIRouter()
    # FastAPI resolves annotations in the module's names, where this one is not.
    owned = Depends(owner_of)

    @router.get("")
    def tags(context: ContextDep, owner: str = owned) -> dict[str, Any]:
        return _tags(context, owner)

    @router.get("/{tag}")
    def tag(tag: str, context: ContextDep, owner: str = owned) -> dict[str, Any]:
        return _tags(context, owner, tag)

    @router.put("/{tag}", status_code=201)
    def put(tag: str, context: ContextDep, value: JsonValue, owner: str = owned) -> dict[str, Any]:
        context.store.put_tag(owner, tag, json.dumps(value))
        return _tags(context, owner, tag)

    @router.delete("/{tag}", status_code=204)
    def delete(tag: str, context: ContextDep, owner: str = owned) -> Response:
        context.store.delete_tag(owner, tag)
        return Response(status_code=204)

    return router


def put_tag(context: Context, owner: str, tag: Tag) -> None:
    """Keep a tag that came with a new feature group: texts as they are, all else as JSON in a text."""
    value = tag.value
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    context.store.put_tag(owner, tag.name, json.dumps(value))


def _tags(context: Context, owner: str, name: str | None = None) -> dict[str, Any]:
    tags = context.store.tags(owner, name)
    if name is not None and not tags:
        raise TAG_NOT_FOUND(f"tag {name!r}")
    return {"count": len(tags), **({"items": tags} if tags else {})}
