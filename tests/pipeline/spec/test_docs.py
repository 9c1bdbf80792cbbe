"""Every piece of a file in the documentation compiles and says something, and every aggregate is documented."""

import json
import re

import pytest

from hopsworks_flink.pipeline.expressions.functions import FUNCTION_NAMES
from hopsworks_flink.pipeline.plan import compile_plan
from hopsworks_flink.pipeline.resources import feature_group_arguments, source_avro_schema
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.spec.aggregates import FUNCTIONS
from hopsworks_flink.pipeline.sql.files import source_tables
from hopsworks_flink.pipeline.types import TYPE_NAMES
from tests.support import REPOSITORY
from tests.support.documents import BASE, PIECES, shown, with_piece
from tests.support.pipelines import REFERENCE, registered

DOCUMENT = (REPOSITORY / "docs" / "pipeline-file.md").read_text()
(README_BASE,) = shown("README.md")


def meaning(pipeline):
    """All that follows from a file."""
    groups = [feature_group_arguments(pipeline, group) for group in pipeline.feature_groups]
    plan = compile_plan(pipeline, registered(pipeline))
    files = source_tables(pipeline, plan.statements[0], 0, 1) if pipeline.history else []
    return json.dumps([groups, source_avro_schema(pipeline), plan.to_json(), files, pipeline.job_parallelism])


@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: json.dumps(piece)[:60])
def test_a_piece_compiles_and_makes_a_difference(piece):
    assert meaning(Pipeline.parse(with_piece(piece))) != meaning(Pipeline.parse(BASE))


def test_the_file_in_the_readme_is_the_reference_pipelines():
    shown, reference = Pipeline.parse(README_BASE), Pipeline.from_yaml(REFERENCE)
    assert shown.source == reference.source
    (group,) = shown.feature_groups
    assert group in [known.model_copy(update={"description": ""}) for known in reference.feature_groups]


@pytest.mark.parametrize("setting", ["where", "window", "default", "description", *FUNCTIONS])
def test_every_aggregate_is_documented(setting):
    assert f"`{setting}`" in DOCUMENT


def test_every_type_and_function_is_documented():
    words = set(re.findall(r"`([A-Za-z_]+)(?:\(p,s\))?`", DOCUMENT))
    assert set(TYPE_NAMES) <= words
    assert set(FUNCTION_NAMES.split(", ")) <= words
