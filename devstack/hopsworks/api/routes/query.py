"""Construction of queries: the SDK sends features, joins and filters, and gets SQL for the online store."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from devstack.hopsworks.api.routes.context import ContextDep, JsonObject, ProjectDep
from devstack.hopsworks.featurestore.querysql import render

router = APIRouter(prefix="/project/{project_id}/featurestores")


@router.put("/query")
def construct(project: ProjectDep, context: ContextDep, body: JsonObject) -> dict[str, Any]:
    sql = render(body, context.groups.get)
    return {
        "query": sql,
        "queryOnline": sql,
        "onDemandFeatureGroups": [],
        "hudiCachedFeatureGroups": [],
        "deltaCachedFeatureGroups": [],
    }
