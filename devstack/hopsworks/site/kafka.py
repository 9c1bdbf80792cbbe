"""Topics, and the Avro subjects with their versions."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from devstack.hopsworks.api.routes.context import ContextDep, project_in_path
from devstack.hopsworks.home.errors import HopsworksError
from devstack.hopsworks.metadata.store import SubjectVersion
from devstack.hopsworks.offline.checkpoint import load_checkpoint
from devstack.hopsworks.online.store import load_offsets
from devstack.hopsworks.site.rendering import render
from devstack.hopsworks.site.rows import offline_location

router = APIRouter(prefix="/p/{project_id}/kafka", dependencies=[Depends(project_in_path)])


@router.get("")
def lists(request: Request, context: ContextDep) -> Response:
    groups = context.store.feature_groups()
    topics = [
        (topic, [group for group in groups if group.online_topic_name == topic.name])
        for topic in context.store.topics()
    ]
    subjects = [context.store.subject_versions(name) for name in context.store.subjects()]
    by_name = {group.full_name: group for group in groups}
    return render(request, "kafka.html", topics=topics, subjects=[s for s in subjects if s], groups=by_name)


@router.get("/topics/{name}")
def topic(request: Request, name: str, context: ContextDep) -> Response:
    """One topic, and how far its readers have come."""
    found = context.registry.topic(name)
    groups = [group for group in context.store.feature_groups() if group.online_topic_name == name]
    online = {
        partition: offset for (of, partition), offset in load_offsets(context.online.connection).items() if of == name
    }
    readers: list[tuple[str, dict[int, int]]] = [("online store", online)]
    for group in groups:
        saved = load_checkpoint(offline_location(group))
        if saved is not None and saved.topic == name:
            readers.append((f"offline store of {group.full_name}", saved.offsets))
    try:
        ends, problem = context.registry.broker.end_offsets(name, found.partitions), ""
    except HopsworksError as error:
        ends, problem = {}, error.detail or error.message
    return render(request, "topic.html", topic=found, groups=groups, readers=readers, ends=ends, problem=problem)


@router.get("/subjects/{name}")
def subject(request: Request, name: str, context: ContextDep) -> Response:
    versions = context.registry.versions(name)
    group = next((group for group in context.store.feature_groups() if group.full_name == name), None)
    shown = [(version, fields(version)) for version in reversed(versions)]
    return render(request, "subject.html", subject=name, versions=shown, group=group)


def fields(version: SubjectVersion) -> list[tuple[str, str]]:
    """Names and types of a record's fields; empty for another schema."""
    schema = json.loads(version.schema)
    if not isinstance(schema, dict) or schema.get("type") != "record":
        return []
    return [(field["name"], type_text(field["type"])) for field in schema["fields"]]


def type_text(avro: Any) -> str:
    """An Avro type in one line; an optional one with a question mark."""
    if isinstance(avro, list):
        branches = [type_text(one) for one in avro if one != "null"]
        return " or ".join(branches) + ("?" if "null" in avro else "")
    if not isinstance(avro, dict):
        return str(avro)
    kind = avro["type"]
    if "logicalType" in avro:
        digits = f"({avro['precision']},{avro.get('scale', 0)})" if "precision" in avro else ""
        return f"{avro['logicalType']}{digits}"
    if kind == "array":
        return f"array<{type_text(avro['items'])}>"
    if kind == "map":
        return f"map<{type_text(avro['values'])}>"
    if kind == "record":
        return "{" + ", ".join(f"{one['name']}: {type_text(one['type'])}" for one in avro["fields"]) + "}"
    return type_text(kind)
