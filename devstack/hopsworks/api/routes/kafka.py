"""Kafka: Avro subjects, topics, brokers. Served under the project and under the feature store alike."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from pydantic import Field

from devstack.hopsworks.api.inputs import Number
from devstack.hopsworks.api.routes.context import ContextDep, ProjectDep
from devstack.hopsworks.featurestore.groupcheck import TOPIC_NAME
from devstack.hopsworks.featurestore.registry import unknown_subject
from devstack.hopsworks.metadata.models import Wire
from devstack.hopsworks.metadata.store import SubjectVersion, Topic

router = APIRouter()


class SchemaBody(Wire):
    text: str = Field(alias="schema")


class TopicBody(Wire):
    name: str = Field(pattern=TOPIC_NAME.pattern.replace("\\Z", "$"))
    schema_name: str
    schema_version: Number
    num_of_replicas: int = Field(1, ge=1, le=32767)
    num_of_partitions: int = Field(1, ge=1, le=10_000)


def _version(version: SubjectVersion) -> dict[str, Any]:
    return {"id": version.id, "subject": version.subject, "version": version.version, "schema": version.schema}


def _topic(topic: Topic) -> dict[str, Any]:
    return {
        "name": topic.name,
        "numOfReplicas": topic.replicas,
        "numOfPartitions": topic.partitions,
        "schemaName": topic.schema_name,
        "schemaVersion": topic.schema_version,
        "shared": False,
        "accepted": True,
    }


@router.get("/subjects")
def subjects(project: ProjectDep, context: ContextDep) -> list[str]:
    return context.store.subjects()


@router.post("/subjects/{subject}/versions")
def register(project: ProjectDep, subject: str, body: SchemaBody, context: ContextDep) -> dict[str, Any]:
    version = context.registry.register(subject, body.text)
    return {"id": version.id, "subject": version.subject, "version": version.version}


@router.get("/subjects/{subject}/versions")
def versions(project: ProjectDep, subject: str, context: ContextDep) -> list[int]:
    return [version.version for version in context.registry.versions(subject)]


@router.get("/subjects/{subject}/versions/{version}")
def version(project: ProjectDep, subject: str, version: str, context: ContextDep) -> dict[str, Any]:
    return _version(context.registry.version(subject, version))


@router.delete("/subjects/{subject}/versions/{version}")
def delete_version(project: ProjectDep, subject: str, version: str, context: ContextDep) -> int:
    return context.registry.delete_version(subject, version)


@router.get("/schemas/ids/{schema_id}")
def schema_by_id(project: ProjectDep, schema_id: Number, context: ContextDep) -> dict[str, Any]:
    text = context.store.schema_text(schema_id)
    if text is None:
        raise unknown_subject(f"id {schema_id}")
    return {"schema": text}


@router.get("/topics")
def topics(project: ProjectDep, context: ContextDep) -> dict[str, Any]:
    items = [_topic(topic) for topic in context.store.topics()]
    return {"count": len(items), **({"items": items} if items else {})}


@router.post("/topics", status_code=201)
def create_topic(project: ProjectDep, body: TopicBody, context: ContextDep) -> dict[str, Any]:
    topic = Topic(body.name, body.num_of_partitions, body.num_of_replicas, body.schema_name, body.schema_version)
    return _topic(context.registry.create_topic(topic))


@router.get("/topics/{name}")
def topic(project: ProjectDep, name: str, context: ContextDep) -> dict[str, Any]:
    return _topic(context.registry.topic(name))


@router.delete("/topics/{name}", status_code=204)
def delete_topic(project: ProjectDep, name: str, context: ContextDep) -> Response:
    context.registry.delete_topic(name)
    return Response(status_code=204)


@router.get("/clusterinfo")
def cluster(project: ProjectDep, context: ContextDep) -> dict[str, list[str]]:
    return {"brokers": [context.config.kafka_address]}
