"""What the operators that are given a pipeline have in common."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hopsworks_flink.clients.hopsworks.session import HopsworksSession
    from hopsworks_flink.pipeline.plan import FeatureGroupRef
    from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline


def registered_groups(
    session: HopsworksSession, pipeline: Pipeline, groups: Iterable[FeatureGroup]
) -> list[FeatureGroupRef]:
    """The platform's view of a pipeline's feature groups.

    :raises HopsworksNotFoundError: one of them is not registered.
    :raises HopsworksConflictError: one is registered with other features, key or event time.
    """
    from hopsworks_flink.pipeline.resources import feature_group_arguments

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
    from hopsworks_flink.pipeline.resources import feature_group_arguments

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
    from hopsworks_flink.pipeline.types import avro_type

    schema = json.loads(ref.avro_schema)
    schema["fields"] += [{"name": name, "type": avro_type(kind)} for name, kind in types.items()]
    return replace(ref, avro_schema=json.dumps(schema))
