"""Construction of queries: the SDK sends features, joins and filters, and gets the SQL of both stores."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from devstack.hopsworks.api.queryservice import payload
from devstack.hopsworks.api.routes.context import ContextDep, JsonObject, ProjectDep
from devstack.hopsworks.featurestore.querysql import build, online_text, parse

router = APIRouter(prefix="/project/{project_id}/featurestores")


@router.put("/query")
def construct(project: ProjectDep, context: ContextDep, body: JsonObject, hqs: bool = False) -> dict[str, Any]:
    query, load = parse(body), context.groups.get
    offline = build(query, load, online=False)
    # Of an offline read: what the online store lacks, or cannot compare, is no reason to refuse that.
    online = not hqs and all(group.online_enabled for group in offline.groups.values())
    return {
        "query": offline.text(database=context.layout.feature_store_name),
        "queryOnline": online_text(build(query, load, online=True)) if online else None,
        "onDemandFeatureGroups": [],
        "hudiCachedFeatureGroups": [],
        "deltaCachedFeatureGroups": [],
        # Without a signature the SDK would send its key stores instead. The payload is a query, checked when it is run.
        **({"hqsPayload": payload(body), "hqsPayloadSignature": "none"} if hqs else {}),
    }
