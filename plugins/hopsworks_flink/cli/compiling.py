"""``hopsworks-flink compile``: what a pipeline file compiles to, offline."""

from __future__ import annotations

import json
from typing import Any

from hopsworks_flink.pipeline.plan import FeatureGroupRef, JobPlan, compile_plan
from hopsworks_flink.pipeline.resources import (
    feature_group_arguments,
    feature_group_avro_schema,
    source_avro_schema,
    written_type,
)
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.sql.events import Step

# The platform names a project's feature store after it; nothing in the job depends on this name.
_FEATURE_STORE = "project_featurestore"
_JOINED = (
    "with either engine by this package's operator, as Flink's temporal join lets a quiet topic hold the watermark "
    "back; in a recompute by SQL"
)


def unregistered_plan(pipeline: Pipeline) -> JobPlan:
    """The job's plan as if the platform had registered everything with the id 0."""
    refs = [
        FeatureGroupRef(
            project_id=0,
            feature_group_id=0,
            name=group.name,
            version=group.version,
            topic=f"{group.full_name}_onlinefs",
            subject_id=0,
            avro_schema=json.dumps(feature_group_avro_schema(pipeline, group, _FEATURE_STORE)),
        )
        for group in pipeline.feature_groups
    ]
    return compile_plan(pipeline, [*refs, *_joined(pipeline)])


def _joined(pipeline: Pipeline) -> list[FeatureGroupRef]:
    """Feature groups whose rows are joined, as if they were as the joins say."""
    refs = []
    for join in pipeline.source.join.values():
        name, _, version = (join.feature_group or "").rpartition("_")
        schema = {"fields": [{"name": one, "type": written_type(of)} for one, of in join.value_columns.items()]}
        if name:
            refs.append(FeatureGroupRef(0, 0, name, int(version), join.topic, 0, json.dumps(schema)))
    return refs


def compiled(pipeline: Pipeline) -> dict[str, Any]:
    """JSON-safe: the plan, its hash, the schemas, and the arguments of the feature groups."""
    plan = unregistered_plan(pipeline)
    return {
        "pipeline": pipeline.name,
        "job_name": plan.job_name,
        "plan_hash": plan.hash,
        "left_to_sql": pipeline.left_to_sql,
        "joins": {name: _JOINED for name in pipeline.source.join},
        "statements": plan.statements,
        "inserts": plan.inserts,
        "source": {"topic": pipeline.source.topic, "avro_schema": source_avro_schema(pipeline)},
        "feature_groups": [
            {
                **feature_group_arguments(pipeline, group),
                "avro_schema": feature_group_avro_schema(pipeline, group, _FEATURE_STORE),
            }
            for group in pipeline.feature_groups
        ],
    }


def compiled_text(pipeline: Pipeline) -> str:
    """As text: a SQL script with everything else in comments."""
    facts = compiled(pipeline)
    parts = [
        f"-- pipeline {pipeline.name}: Flink job {facts['job_name']}\n"
        f"-- plan hash {facts['plan_hash']}\n"
        "-- The platform's ids stand here as 0, and ${…} is filled in at each start: a deployed plan has another hash.",
        *(f"-- engine native: {name} is left to SQL: {why}" for name, why in facts["left_to_sql"].items()),
        *(f"-- join {name}: {how}" for name, how in facts["joins"].items()),
        _comment(f"Avro schema of topic {pipeline.source.topic}", facts["source"]["avro_schema"]),
    ]
    for group in facts["feature_groups"]:
        schema = group.pop("avro_schema")
        title = f"feature group {group['name']} version {group['version']}"
        parts += [_comment(title, group), _comment(f"its Avro schema ({title})", schema)]
    parts += [_statement(statement) for statement in facts["statements"]]
    inserts = "\n\n".join(f"{insert};" for insert in facts["inserts"])
    parts.append(f"EXECUTE STATEMENT SET\nBEGIN\n\n{inserts}\n\nEND;")
    return "\n\n".join(parts)


def _statement(statement: str | Step) -> str:
    if isinstance(statement, str):
        return f"{statement};"
    # It stands where it is carried out: it makes the view that the next statements read.
    ((name, step),) = statement.items()
    return _comment(f"a step in Java, {name}", step)


def _comment(title: str, facts: dict[str, Any]) -> str:
    """Facts as comment lines: one for each, and one for each entry of a list."""
    lines = [f"{title}:"]
    for name, value in facts.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            lines += [f"  {name}:", *(f"    {_json(entry)}" for entry in value)]
        else:
            lines.append(f"  {name}: {_json(value)}")
    return "\n".join(f"-- {line}" for line in lines)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
