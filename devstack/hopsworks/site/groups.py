"""Feature groups: schema and tags, online and offline rows, statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.responses import RedirectResponse

from devstack.hopsworks.api.routes.context import Context, ContextDep, FeatureGroupDep, feature_store_in_path
from devstack.hopsworks.api.routes.quality import STATISTICS, stored_suite
from devstack.hopsworks.home.errors import HopsworksError
from devstack.hopsworks.metadata.models import FeatureGroup
from devstack.hopsworks.online.store import ingestion_results
from devstack.hopsworks.site.rendering import GROUPS, PER_PAGE, Page, page_of, render
from devstack.hopsworks.site.rows import (
    MOST_COUNTED,
    count_online,
    newest_offline,
    offline_location,
    offline_table,
    online_page,
)
from devstack.hopsworks.site.statistics import COLUMNS, MOST_ROWS_UNASKED, feature_lines, of_offline_rows

router = APIRouter(prefix="/p/{project_id}/fs/{feature_store_id}", dependencies=[Depends(feature_store_in_path)])
PageNumber = Annotated[int, Query(alias="page", ge=1, le=1_000_000)]
SHOWN_COMMITS, SHOWN_INGESTIONS = 50, 20


class Summary(NamedTuple):
    """A line of the list of groups."""

    group: FeatureGroup
    online_rows: int | None
    commit: dict[str, Any] | None


def summaries(context: Context, groups: Sequence[FeatureGroup]) -> list[Summary]:
    return [Summary(group, count_online(context, group), context.store.last_commit(group.id)) for group in groups]


@router.get("")
def feature_store() -> Response:
    return RedirectResponse(GROUPS, 303)


@router.get("/fg")
def list_groups(request: Request, context: ContextDep, number: PageNumber = 1, q: str = "") -> Response:
    """All groups, or those whose name contains ``q``."""
    groups = [group for group in context.store.feature_groups() if q.strip().lower() in group.name]
    page = page_of(groups, number)
    return render(request, "groups.html", page=page, q=q, groups=summaries(context, page.items), most=MOST_COUNTED)


def _group_page(request: Request, context: Context, template: str, group: FeatureGroup, **values: Any) -> Response:
    versions = context.store.feature_groups(group.name)
    return render(request, template, group=group, versions=versions, group_url=f"{GROUPS}/{group.id}", **values)


@router.get("/fg/{feature_group_id}")
def schema(request: Request, group: FeatureGroupDep, context: ContextDep) -> Response:
    subject = context.store.subject_versions(group.full_name)
    return _group_page(
        request,
        context,
        "group_schema.html",
        group,
        tags=context.store.tags(f"featuregroup/{group.id}"),
        subject_version=subject[-1].version if subject else None,
        job=context.jobs.job(group.job_name),
    )


@router.get("/fg/{feature_group_id}/online")
def online(request: Request, group: FeatureGroupDep, context: ContextDep, number: PageNumber = 1) -> Response:
    """Rows by primary key. A query parameter ``key.<feature>`` asks for rows with that value."""
    key = {name: request.query_params.get(f"key.{name}", "").strip() for name in group.primary_key}
    page: Page[list[Any]] = Page([], 1, False)
    problem = ""
    if group.online_enabled:
        try:
            page = online_page(context, group, {name: value for name, value in key.items() if value}, number)
        except HopsworksError as error:
            problem = error.detail or error.message
    ingestions = [
        {**dict(row), "results": ingestion_results(context.online.connection, row["id"])}
        for row in context.store.online_ingestions(group.id)[:SHOWN_INGESTIONS]
    ]
    return _group_page(
        request,
        context,
        "group_online.html",
        group,
        page=page,
        first=(number - 1) * PER_PAGE + 1,
        key=key,
        problem=problem,
        count=count_online(context, group),
        most=MOST_COUNTED,
        ingestions=ingestions,
    )


@router.get("/fg/{feature_group_id}/offline")
def offline(request: Request, group: FeatureGroupDep, context: ContextDep) -> Response:
    table = offline_table(group)
    commits = context.store.commits(group.id)
    return _group_page(
        request,
        context,
        "group_offline.html",
        group,
        table_facts=table,
        location=offline_location(group),
        rows=newest_offline(context, group) if table else [],
        commits=commits[:SHOWN_COMMITS],
        commit_count=len(commits),
    )


@router.get("/fg/{feature_group_id}/statistics")
def statistics(
    request: Request, group: FeatureGroupDep, context: ContextDep, at: int | None = None, now: bool = False
) -> Response:
    """Statistics as a client computed them: the newest, or those of the time ``at`` (epoch milliseconds).

    Without any, or with ``now``, those of the offline rows.
    """
    documents = [document for _, document in context.store.documents(group.id, STATISTICS)]
    documents.sort(key=lambda document: document["computationTime"], reverse=True)
    chosen = [document for document in documents if at in (None, document["computationTime"])]
    table = offline_table(group)
    unasked = not documents and table is not None and table.rows <= MOST_ROWS_UNASKED
    return _group_page(
        request,
        context,
        "group_statistics.html",
        group,
        documents=documents[:PER_PAGE],
        shown=chosen[0] if chosen else None,
        features=feature_lines(chosen[0]) if chosen else [],
        computed=of_offline_rows(context, group) if table and table.rows and (now or unasked) else [],
        table_facts=table,
        statistic_columns=COLUMNS,
        suite=stored_suite(group, context),
    )
