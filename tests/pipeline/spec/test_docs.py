"""Every piece of a file in the documentation compiles, says something, and every setting is documented."""

import json
import re

import pytest

from hopsworks_flink.pipeline.expressions.functions import FUNCTION_NAMES
from hopsworks_flink.pipeline.plan import compile_plan
from hopsworks_flink.pipeline.resources import feature_group_arguments, source_avro_schema
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.spec.aggregates import FUNCTIONS
from hopsworks_flink.pipeline.spec.schema import settings
from hopsworks_flink.pipeline.sql.files import source_tables
from hopsworks_flink.pipeline.types import TYPE_NAMES
from tests.support import REPOSITORY
from tests.support.documents import BASE, PIECES, shown, with_piece
from tests.support.pipelines import REFERENCE, registered

DOCUMENT = (REPOSITORY / "docs" / "pipeline-file.md").read_text()
README = (REPOSITORY / "README.md").read_text()
README_BASE, *README_PIECES = shown("README.md")


def meaning(pipeline):
    """All that follows from a file."""
    groups = [feature_group_arguments(pipeline, group) for group in pipeline.feature_groups]
    plan = compile_plan(pipeline, registered(pipeline))
    files = source_tables(pipeline, plan.statements[0], 0, 1) if pipeline.history else []
    return json.dumps([groups, source_avro_schema(pipeline), plan.to_json(), files, pipeline.job_parallelism])


@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: json.dumps(piece)[:60])
def test_a_piece_compiles_and_makes_a_difference(piece):
    assert meaning(Pipeline.parse(with_piece(piece))) != meaning(Pipeline.parse(BASE))


@pytest.mark.parametrize("piece", README_PIECES, ids=lambda piece: json.dumps(piece)[:60])
def test_a_piece_in_the_readme_compiles_and_makes_a_difference(piece):
    base, changed = Pipeline.parse(README_BASE), Pipeline.parse(with_piece(piece, README_BASE))
    assert meaning(changed) != meaning(base) or changed.supervision != base.supervision


def test_the_unit_test_in_the_readme_passes(monkeypatch):
    (text,) = [text for text in re.findall(r"```python\n(.*?)```", README, re.S) if "def test_" in text]
    monkeypatch.chdir(REPOSITORY)
    names = {}
    exec(text, names)
    names["test_average"]()


def test_the_file_in_the_readme_is_the_reference_pipelines():
    shown, reference = Pipeline.parse(README_BASE), Pipeline.from_yaml(REFERENCE)
    assert shown.source == reference.source
    (group,) = shown.feature_groups
    assert group in [known.model_copy(update={"description": ""}) for known in reference.feature_groups]


def test_the_readmes_table_names_settings_that_there_are_and_all_that_a_file_must_have():
    table = README.partition("| setting |")[2].partition("\n\n")[0]
    first = [line.split("|")[1] for line in table.splitlines()[2:]]
    named = {name for cell in first for name in re.findall(r"`[^`]*?(\w+)`", cell)}
    known = {path: required for path, _, required in settings() if path.count(".") < 2}
    assert named <= {path.split(".")[-1] for path in known}
    needed = [path for path, required in known.items() if required and known[path.split("[")[0].split(".")[0]]]
    assert {path.split(".")[-1] for path in needed} <= named | {"source", "feature_groups"}
    assert {"window", "aggregates", "features"} <= named


@pytest.mark.parametrize("setting", ["where", "window", "default", "description", *FUNCTIONS])
def test_every_aggregate_is_documented(setting):
    assert f"`{setting}`" in DOCUMENT


def test_every_type_and_function_is_documented():
    words = set(re.findall(r"`([A-Za-z_]+)(?:\(p,s\))?`", DOCUMENT))
    assert set(TYPE_NAMES) <= words
    assert set(FUNCTION_NAMES.split(", ")) <= words
