"""How a pipeline and its registered feature groups become the job that should run: for a deployment, and for `plan`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hopsworks_flink.clients.flink.bundle import Bundle
from hopsworks_flink.clients.flink.files import JobJars, read_program
from hopsworks_flink.clients.flink.jobs import MARK_PLAN
from hopsworks_flink.clients.kafka.java_properties import credentials_fingerprint
from hopsworks_flink.deployment.decision import Start
from hopsworks_flink.deployment.desired import PLAN_FILE, PROGRAM, STREAMING_DEFAULTS, DesiredJob
from hopsworks_flink.pipeline.plan import JobPlan
from hopsworks_flink.pipeline.resources import feature_group_arguments
from hopsworks_flink.pipeline.state import state_signature
from hopsworks_flink.pipeline.types import avro_type

if TYPE_CHECKING:
    from hopsworks_flink.clients.hopsworks.session import HopsworksSession
    from hopsworks_flink.pipeline.plan import FeatureGroupRef
    from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline


def feature_job(
    pipeline: Pipeline,
    plan: JobPlan,
    *,
    jars: JobJars,
    parallelism: int,
    flink_configuration: Mapping[str, str],
    brokers: Sequence[Mapping[str, Any]],
    start_files: Callable[[Start, Mapping[str, Any]], Mapping[str, bytes]] | None = None,
) -> DesiredJob:
    """The job of a pipeline: the runner with the plan beside it.

    :param brokers: librdkafka settings of the brokers that the job connects to.
    :param start_files: as for :class:`DesiredJob`; None for a job that is compared only.
    """
    module, program = read_program(PROGRAM)
    return DesiredJob(
        job_name=pipeline.job_name,
        bundle=Bundle(module, {f"{module}.py": program, PLAN_FILE: plan.to_json().encode()}),
        jars=jars,
        parallelism=parallelism,
        flink_configuration={**STREAMING_DEFAULTS, **flink_configuration},
        start_files=start_files,
        recipe={"pipeline": pipeline.to_dict()},
        credentials=credentials_fingerprint(*brokers),
        # The next deployment, and `plan`, know the job by them.
        marks={**state_signature(pipeline).marks(), MARK_PLAN: plan.hash},
    )


def registered_groups(
    session: HopsworksSession, pipeline: Pipeline, groups: Iterable[FeatureGroup]
) -> list[FeatureGroupRef]:
    """The platform's view of a pipeline's feature groups.

    :raises HopsworksNotFoundError: one of them is not registered.
    :raises HopsworksConflictError: one is registered with other features, key or event time.
    """
    found = []
    for wanted in groups:
        group = session.get_feature_group(wanted.name, wanted.version)
        session.check_feature_group(group, feature_group_arguments(pipeline, wanted))
        found.append(session.describe(group))
    return found


def growing_groups(session: HopsworksSession, pipeline: Pipeline) -> tuple[list[FeatureGroupRef], dict[str, list[str]]]:
    """The platform's view of a pipeline's feature groups, as it will be when they have the features that they lack.

    :return: the view, and full name -> names of the lacking features. While there are any, the id of that group's
        schema is still the older one's.
    :raises HopsworksNotFoundError: a group is not registered.
    :raises HopsworksConflictError: one differs in something that appending features would not mend.
    """
    found, growing = [], {}
    for wanted in pipeline.feature_groups:
        arguments = feature_group_arguments(pipeline, wanted)
        group = session.get_feature_group(wanted.name, wanted.version)
        names, ref = session.lacking_features(group, arguments), session.describe(group)
        if names:
            growing[ref.full_name] = names
            ref = _with_features(ref, {f["name"]: f["type"] for f in arguments["features"] if f["name"] in names})
        found.append(ref)
    return found, growing


def _with_features(ref: FeatureGroupRef, types: dict[str, str]) -> FeatureGroupRef:
    schema = json.loads(ref.avro_schema)
    schema["fields"] += [{"name": name, "type": avro_type(kind)} for name, kind in types.items()]
    return replace(ref, avro_schema=json.dumps(schema))
