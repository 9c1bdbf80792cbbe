"""The JSON Schema takes what the models take, refuses what editors should underline, and leaves no setting out."""

import copy
import json

import jsonschema
import pytest

from hopsworks_flink.cli import main
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.spec.aggregates import FUNCTIONS
from hopsworks_flink.pipeline.spec.loading import load_yaml
from hopsworks_flink.pipeline.spec.schema import json_schema, settings
from tests.support import REPOSITORY
from tests.support.documents import BASE, PIECES, with_piece
from tests.support.live.random_pipelines import random_case
from tests.support.pipelines import EVERYTHING, MINIMAL, REFERENCE

SCHEMA = json_schema()
FILES = [EVERYTHING, REFERENCE, *(REPOSITORY / "dags" / "pipelines" / "examples").glob("*.yaml")]


def problems(data):
    return [error.message for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(data)]


def test_it_is_a_schema():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("piece", [{}, *PIECES], ids=lambda piece: json.dumps(piece)[:60])
def test_pieces_of_the_documentation(piece):
    data = with_piece(piece) if piece else BASE
    assert problems(data) == []
    assert problems(Pipeline.parse(data).to_dict()) == []


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_files(file):
    assert problems(load_yaml(file.read_text()).data) == []
    assert problems(Pipeline.from_yaml(file).to_dict()) == []


@pytest.mark.parametrize("seed", range(5))
def test_random_pipelines(seed):
    assert problems(random_case(seed).spec) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("sources",), {}),
        (("source", "formatt"), "json"),
        (("source", "format"), "xml"),
        (("source", "schema", "tid"), {"type": "string", "pth": "a"}),
        (("source", "max_disorder"), 5),
        (("source", "event_time"), "datetime"),
        (("feature_groups", 0, "aggregates", "n"), {"p99": "amount"}),
        (("feature_groups", 0, "aggregates", "Mean"), "count"),
        (("feature_groups", 0, "window", "size"), "10 minutes"),
        (("feature_groups", 0, "event_time"), {"is": "window_start"}),
        (("feature_groups", 0, "statistics_config"), {"histogram": True}),
        (("feature_groups", 0, "key"), None),
    ],
)
def test_what_an_editor_underlines(path, value):
    data = copy.deepcopy(MINIMAL)
    assert problems(data) == []
    *way, last = path
    place = data
    for step in way:
        place = place[step]
    place[last] = value
    assert problems(data)


def test_every_setting_has_words():
    named = dict((path, value) for path, value, _ in settings())
    assert {"source.event_time.unit", "feature_groups[].aggregates.*.where", "history.header"} <= named.keys()
    assert [path for path, value in named.items() if not value.get("description")] == []
    functions = SCHEMA["$defs"]["Aggregate"]["anyOf"][1]["properties"]
    assert set(FUNCTIONS) <= functions.keys()


def test_defaults_are_as_the_file_writes_them():
    defaults = {path: value["default"] for path, value, _ in settings() if "default" in value}
    assert defaults["source.max_past"] == "3650d"
    assert defaults["source.max_disorder"] == "5s"
    assert defaults["feature_groups[].emit"] == "on_window"


def test_the_command_prints_it(capsys):
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA
