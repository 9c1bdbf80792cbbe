"""Log-in: versions, variables, the project, its credentials."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from devstack.hopsworks.api.auth import EXCHANGE, TOKEN_SECONDS, exchange
from devstack.hopsworks.api.routes.context import ContextDep, ProjectDep
from devstack.hopsworks.home.errors import PROJECT_UNKNOWN_NAME, VARIABLE_NOT_FOUND
from devstack.hopsworks.home.layout import CREATED, DOMAIN, HOPSWORKS_VERSION, PROJECT_ID
from devstack.hopsworks.home.setup import read_api_key

router = APIRouter()

VARIABLES = {
    "service_discovery_domain": DOMAIN,
    "enable_data_science_profile": "false",
}


SERVICES = ("mysqld", "kafka", "online_store_rest_server", "datanode", "namenode")


@router.get("/variables/versions")
def versions() -> list[dict[str, str]]:
    return [{"software": "hopsworks", "version": HOPSWORKS_VERSION}]


@router.post(EXCHANGE)
def project_token(request: Request, context: ContextDep) -> dict[str, str | int]:
    header, key = request.headers.get("authorization"), read_api_key(context.config)
    token = exchange(header, context.layout.task_key, key)
    return {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS}


@router.get("/variables/{name}")
def variable(name: str, context: ContextDep) -> dict[str, str]:
    if name == "enable_flyingduck":
        # Without the service the SDK would try for a minute to reach it.
        return {"successMessage": str(context.offline_queries).lower()}
    if name == "loadbalancer_external_domain_feature_query":
        # To what it takes for a host name the SDK appends ":5005"; behind a slash that is a path, which nobody reads.
        return {"successMessage": f"{context.config.host('hopsworks')}:{context.config.hopsworks_query_port}/"}
    if name.removeprefix("loadbalancer_external_domain_") in SERVICES:
        return {"successMessage": context.config.host("hopsworks")}
    if name not in VARIABLES:
        raise VARIABLE_NOT_FOUND(f"variable {name!r}")
    return {"successMessage": VARIABLES[name]}


@router.get("/project")
def projects(context: ContextDep) -> list[dict[str, Any]]:
    user = {**context.layout.creator, "uid": 10000}
    return [{"project": {"id": PROJECT_ID, "name": context.layout.project, "owner": user}, "user": user}]


@router.get("/project/getProjectInfo/{name}")
def project_info(name: str, context: ContextDep) -> dict[str, Any]:
    if name != context.layout.project:
        raise PROJECT_UNKNOWN_NAME(f"project {name!r}; this server has {context.layout.project!r}.")
    return {
        "projectId": PROJECT_ID,
        "projectName": name,
        "owner": context.config.user,
        "description": "Project of the local stack",
        "created": CREATED,
    }


@router.get("/project/{project_id}/credentials")
def credentials(project: ProjectDep, context: ContextDep) -> dict[str, str]:
    material = context.credentials
    return {
        "fileExtension": "jks",
        "kStore": material.key_store,
        "tStore": material.trust_store,
        "password": material.password,
        "caChain": material.ca_pem,
        "clientCert": material.client_pem,
        "clientKey": material.client_key_pem,
    }
