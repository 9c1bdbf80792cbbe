"""Details of a feature group: tags, commits, online ingestions."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from devstack.hopsworks.api.inputs import Limit, Offset, natural_number
from devstack.hopsworks.api.routes.context import ContextDep, FeatureGroupDep, JsonObject
from devstack.hopsworks.api.routes.tags import tag_routes
from devstack.hopsworks.home.errors import COMMIT_NOT_FOUND, ILLEGAL_ARGUMENT
from devstack.hopsworks.online.store import ingestion_results

router = APIRouter(prefix="/project/{project_id}/featurestores/{feature_store_id}/featuregroups/{feature_group_id}")
KEPT_INGESTIONS = 100


def tag_owner(group: FeatureGroupDep) -> str:
    """Under which name a group's tags are kept."""
    return f"featuregroup/{group.id}"


router.include_router(tag_routes(tag_owner), prefix="/tags")


# --- commits -------------------------------------------------------------------------------------------------


@router.post("/commits")
def commit(group: FeatureGroupDep, request: Request, context: ContextDep, body: JsonObject) -> Any:
    time = body.get("commitTime")
    if not isinstance(time, int):
        raise ILLEGAL_ARGUMENT(f"commitTime {time!r}: epoch milliseconds as an integer.")
    return {"href": str(request.url), **context.store.add_commit(group.id, {**body, "commitID": time})}


@router.get("/commits")
def commits(
    group: FeatureGroupDep,
    request: Request,
    context: ContextDep,
    offset: Offset = 0,
    limit: Limit = None,
    filter_by: str | None = None,
) -> dict[str, Any]:
    until = None
    if filter_by:
        name, _, value = filter_by.partition(":")
        # The first spelling is the SDK's.
        until = natural_number(value)
        if name not in ("commited_on_ltoeq", "committed_on_ltoeq") or until is None:
            raise ILLEGAL_ARGUMENT(f"filter_by {filter_by!r}: commited_on_ltoeq:<epoch milliseconds> is supported.")
    found = context.store.commits(group.id, until)
    if not found:
        raise COMMIT_NOT_FOUND(f"feature group {group.full_name} has no commit yet.")
    page = found[offset : None if limit is None else offset + limit]
    return {"href": str(request.url), "count": len(found), "items": page}


# --- online ingestions ---------------------------------------------------------------------------------------


@router.post("/online_ingestion", status_code=201)
def start_ingestion(group: FeatureGroupDep, context: ContextDep, body: JsonObject) -> dict[str, Any]:
    entries = body.get("numEntries")
    if entries is not None and not isinstance(entries, int):
        raise ILLEGAL_ARGUMENT(f"numEntries {entries!r}: an integer or null.")
    return {"id": context.store.add_online_ingestion(group.id, entries), "numEntries": entries}


@router.get("/online_ingestion")
def ingestions(group: FeatureGroupDep, context: ContextDep, filter_by: str | None = None) -> dict[str, Any]:
    rows = context.store.online_ingestions(group.id)
    name, _, value = (filter_by or "").partition(":")
    number = natural_number(value)
    if name == "ID" and number is not None:
        rows = [row for row in rows if row["id"] == number]
    elif name == "LATEST":
        rows = rows[:1]
    elif filter_by:
        raise ILLEGAL_ARGUMENT(f"filter_by {filter_by!r}: ID:<number> and LATEST are supported.")
    items = [
        {
            "id": row["id"],
            "numEntries": row["num_entries"],
            "results": ingestion_results(context.online.connection, row["id"]),
        }
        for row in rows[:KEPT_INGESTIONS]
    ]
    return {"count": len(items), **({"items": items} if items else {})}
