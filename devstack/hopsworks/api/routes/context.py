"""What every route needs: the parts of the server, and the checks of project and feature store in the path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pydantic
from fastapi import Body, Depends, Request

from devstack.config import DevstackConfig
from devstack.hopsworks.api.inputs import Number
from devstack.hopsworks.featurestore.broker import Broker
from devstack.hopsworks.featurestore.groups import FeatureGroups
from devstack.hopsworks.featurestore.registry import Registry
from devstack.hopsworks.home import errors
from devstack.hopsworks.home.datasets import Datasets
from devstack.hopsworks.home.layout import FEATURE_STORE_ID, PROJECT_ID, Layout
from devstack.hopsworks.home.setup import Credentials, load_credentials
from devstack.hopsworks.jobs.clusters import FlinkClusters
from devstack.hopsworks.jobs.executions import Executor
from devstack.hopsworks.jobs.store import JobStore
from devstack.hopsworks.metadata.db import Database
from devstack.hopsworks.metadata.models import FeatureGroup
from devstack.hopsworks.metadata.store import MetadataStore
from devstack.hopsworks.online.store import open_online_store
from devstack.kafka.access import client_settings


@dataclass
class Context:
    """The parts of one running server."""

    config: DevstackConfig
    layout: Layout
    store: MetadataStore
    online: Database
    jobs: JobStore
    registry: Registry
    groups: FeatureGroups
    executor: Executor
    clusters: FlinkClusters
    datasets: Datasets
    # Whether the query service runs beside the API.
    offline_queries: bool = False

    @property
    def credentials(self) -> Credentials:
        return load_credentials(self.config)


def build_context(config: DevstackConfig) -> Context:
    """Open the databases and wire the parts together; contacts neither broker nor network."""
    layout = Layout(config)
    store = MetadataStore(layout)
    online = open_online_store(layout)
    jobs = JobStore(store.db)
    registry = Registry(store, Broker(client_settings(config)))
    return Context(
        config=config,
        layout=layout,
        store=store,
        online=online,
        jobs=jobs,
        registry=registry,
        groups=FeatureGroups(layout, store, jobs, online, registry),
        executor=Executor(config, jobs),
        clusters=FlinkClusters(config, jobs),
        datasets=Datasets(layout),
    )


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


ContextDep = Annotated[Context, Depends(_context)]


def project_in_path(project_id: Number) -> int:
    if project_id != PROJECT_ID:
        raise errors.PROJECT_UNKNOWN_ID(f"project id {project_id}; this server has {PROJECT_ID}.")
    return project_id


ProjectDep = Annotated[int, Depends(project_in_path)]


def feature_store_in_path(project: ProjectDep, feature_store_id: Number) -> int:
    if feature_store_id != FEATURE_STORE_ID:
        raise errors.FEATURE_STORE_NOT_FOUND(
            f"feature store id {feature_store_id}; this server has {FEATURE_STORE_ID}."
        )
    return feature_store_id


FeatureStoreDep = Annotated[int, Depends(feature_store_in_path)]


def _feature_group(_: FeatureStoreDep, feature_group_id: Number, context: ContextDep) -> FeatureGroup:
    return context.groups.get(feature_group_id)


FeatureGroupDep = Annotated[FeatureGroup, Depends(_feature_group)]


JsonObject = Annotated[dict[str, Any], Body()]
# Not Any: to that, FastAPI gives the bytes of a body that is no JSON.
JsonValue = Annotated[pydantic.JsonValue, Body()]
