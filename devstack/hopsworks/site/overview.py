"""The project: what it has, and what happened last."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from devstack.hopsworks.api.routes.context import ContextDep, project_in_path
from devstack.hopsworks.site.groups import summaries
from devstack.hopsworks.site.rendering import GROUPS, PROJECT, render

SHOWN_GROUPS, SHOWN_EXECUTIONS = 10, 10
router = APIRouter(prefix="/p/{project_id}", dependencies=[Depends(project_in_path)])


@router.get("")
@router.get("/view")
def overview(request: Request, context: ContextDep) -> Response:
    groups = context.store.feature_groups()
    config = context.config
    addresses = {
        "REST API": f"{config.hopsworks_url}/hopsworks-api/api",
        "Offline queries (Arrow Flight)": f"{config.host('hopsworks')}:{config.hopsworks_query_port}",
        "Kafka": f"{config.kafka_address} ({config.kafka_security})",
        "Flink": config.flink_url,
    }
    counts = [
        ("Feature groups", len(groups), GROUPS),
        ("Topics", len(context.store.topics()), f"{PROJECT}/kafka"),
        ("Subjects", len(context.store.subjects()), f"{PROJECT}/kafka#subjects"),
        ("Jobs", len(context.jobs.jobs()), f"{PROJECT}/jobs"),
        ("Running executions", len(context.jobs.unfinished() + context.jobs.unfinished(clusters=True)), "#executions"),
    ]
    return render(
        request,
        "overview.html",
        counts=counts,
        addresses=addresses,
        groups=summaries(context, groups[:SHOWN_GROUPS]),
        more_groups=len(groups) > SHOWN_GROUPS,
        executions=context.jobs.latest_executions(SHOWN_EXECUTIONS),
    )
