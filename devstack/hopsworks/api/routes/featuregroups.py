"""Feature stores and feature groups."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from devstack.hopsworks.api.inputs import Number, natural_number
from devstack.hopsworks.api.routes.context import Context, ContextDep, FeatureGroupDep, FeatureStoreDep, ProjectDep
from devstack.hopsworks.api.routes.groupdetails import tag_owner
from devstack.hopsworks.api.routes.jobs import job_response
from devstack.hopsworks.api.routes.quality import SUITE, attach_suite, stored_suite, suite_response
from devstack.hopsworks.api.routes.tags import put_tag
from devstack.hopsworks.home.errors import FEATURE_STORE_NOT_FOUND
from devstack.hopsworks.home.layout import CREATED, FEATURE_STORE_ID, PROJECT_ID
from devstack.hopsworks.metadata.models import FeatureGroup, FeatureGroupRequest

router = APIRouter(prefix="/project/{project_id}/featurestores")
GROUPS = "/{feature_store_id}/featuregroups"
GROUP = GROUPS + "/{feature_group_id}"


def _feature_store(context: Context) -> dict[str, Any]:
    name = context.layout.feature_store_name
    return {
        "featurestoreId": FEATURE_STORE_ID,
        "featurestoreName": name,
        "created": CREATED,
        "projectName": context.layout.project,
        "projectId": PROJECT_ID,
        "offlineFeaturestoreName": name,
        "onlineFeaturestoreName": context.layout.project.lower(),
        "onlineEnabled": True,
        "numFeatureGroups": len(context.store.feature_groups()),
        "numTrainingDatasets": 0,
        "numStorageConnectors": 2,
        "numFeatureViews": 0,
    }


@router.get("")
def feature_stores(project: ProjectDep, context: ContextDep) -> list[dict[str, Any]]:
    return [_feature_store(context)]


@router.get("/{feature_store}")
def feature_store(project: ProjectDep, feature_store: str, context: ContextDep) -> dict[str, Any]:
    if feature_store not in (str(FEATURE_STORE_ID), context.layout.feature_store_name):
        raise FEATURE_STORE_NOT_FOUND(
            f"feature store {feature_store!r}; this server has {_feature_store(context)['featurestoreName']!r}."
        )
    return _feature_store(context)


def _response(group: FeatureGroup, context: Context) -> dict[str, Any]:
    """The group with its address and what clients stored with it."""
    api = f"{context.config.hopsworks_url}/hopsworks-api/api"
    href = f"{api}/project/{PROJECT_ID}/featurestores/{FEATURE_STORE_ID}/featuregroups/{group.id}"
    suite = stored_suite(group, context)
    more = {"expectationSuite": suite_response(suite, group, f"{href}/{SUITE}/{suite.id}")} if suite else {}
    return {**context.groups.response(group), "href": href, **more}


@router.get(GROUPS)
def feature_groups(_: FeatureStoreDep, context: ContextDep) -> dict[str, Any]:
    groups = [_response(group, context) for group in context.store.feature_groups()]
    return {"count": len(groups), **({"items": groups} if groups else {})}


@router.post(GROUPS, status_code=201)
def create(_: FeatureStoreDep, request: FeatureGroupRequest, context: ContextDep) -> dict[str, Any]:
    group = context.groups.create(request)
    if request.expectation_suite is not None:
        attach_suite(request.expectation_suite, group, context)
    for tag in request.tags.items if request.tags else []:
        put_tag(context, tag_owner(group), tag)
    return _response(group, context)


@router.get(GROUP + "/provenance/links")
def links(group: FeatureGroupDep, context: ContextDep) -> dict[str, Any]:
    """What the group was made of, and what is made of it; one level, whatever is asked for."""
    groups = context.store.feature_groups()
    upstream = [other for other in groups if other.id in group.parent_ids]
    downstream = [other for other in groups if group.id in other.parent_ids]
    return {"upstream": _nodes(upstream, context), "downstream": _nodes(downstream, context)}


def _nodes(groups: list[FeatureGroup], context: Context) -> list[dict[str, Any]]:
    node = {"artifactType": "FEATURE_GROUP", "accessible": True, "deleted": False}
    return [{"node": {**node, "artifact": _response(group, context)}} for group in groups]


@router.get(GROUPS + "/{name_or_id}")
def feature_group(_: FeatureStoreDep, name_or_id: str, context: ContextDep, version: Number | None = None) -> Any:
    """By id: the group. By name: a list, of one version or of all."""
    number = natural_number(name_or_id)
    if number is not None:
        return _response(context.groups.get(number), context)
    return [_response(group, context) for group in context.groups.named(name_or_id, version)]


@router.put(GROUP)
def update(
    group: FeatureGroupDep,
    request: FeatureGroupRequest,
    context: ContextDep,
    update_metadata: Annotated[bool, Query(alias="updateMetadata")] = False,
    update_stats: Annotated[bool, Query(alias="updateStatsConfig")] = False,
    deprecate: bool | None = None,
) -> dict[str, Any]:
    if update_metadata:
        group = context.groups.update_metadata(group, request)
    if update_stats and request.statistics_config:
        group = context.groups.update_fields(group, statistics_config=request.statistics_config)
    if deprecate is not None:
        group = context.groups.update_fields(group, deprecated=deprecate)
    return _response(group, context)


@router.post(GROUP + "/updatetableschema")
def update_table_schema(group: FeatureGroupDep, context: ContextDep) -> dict[str, Any]:
    """The job that would alter the offline table. Here the next materialization adds the columns itself."""
    name = f"{group.full_name}_update_table_schema"
    job, _ = context.jobs.put_job(name, "SPARK", {"type": "sparkJobConfiguration", "appName": name})
    return job_response(job, context)


def _stop_materialization(group: FeatureGroup, context: Context) -> None:
    """A run that outlives its group would write its rows into the table of the next group of that name."""
    job = context.jobs.job(group.job_name)
    for execution in context.jobs.executions(job) if job else ():
        context.executor.stop(execution)


@router.post(GROUP + "/clear")
def clear(group: FeatureGroupDep, context: ContextDep) -> dict[str, Any]:
    _stop_materialization(group, context)
    return _response(context.groups.clear(group), context)


@router.delete(GROUP)
def delete(group: FeatureGroupDep, context: ContextDep) -> Response:
    _stop_materialization(group, context)
    context.groups.delete(group)
    return Response(status_code=200)
