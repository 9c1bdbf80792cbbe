"""Whatever a file holds, reading it ends with a pipeline or with one error in words about the file."""

import copy

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support import bad_files

GOOD = yaml.safe_load(bad_files.GOOD)
SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([10**49, -(2**63), 2**63, 1e308, 5e-324, 10**4000]),
)
WORDS = st.sampled_from(
    [
        "",
        "on",
        "null",
        "1e999999999",
        "0e999999999",
        "-0",
        "9d" * 99,
        "10000000000d",
        "decimal(38,0)",
        "nan",
        "*",
        "..",
        "/a/**",
    ]
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, WORDS, st.text(max_size=20), st.dates(), st.binary(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(WORDS, st.text(max_size=5), st.integers()), inner, max_size=4),
    ),
    max_leaves=10,
)


def places(data, at=()):
    yield at
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for name, value in items:
        yield from places(value, (*at, name))


PLACES = [place for place in places(GOOD) if place]
MORE = [("history",), ("freshness",), ("supervision",), ("source", "derive"), ("source", "where"), ("source", "late")]


def read(file, content: bytes):
    file.write_bytes(content)
    try:
        pipeline = Pipeline.from_yaml(file)
    except PipelineError as error:
        message = str(error)
    else:
        assert Pipeline.parse(pipeline.to_dict()) == pipeline
        return
    assert str(file) in message
    assert len(message) < 60_000
    assert message.replace("\n", "").isprintable()


@SETTINGS
@given(st.lists(st.tuples(st.sampled_from(PLACES + MORE), VALUES), min_size=1, max_size=3))
def test_any_value_at_any_place(tmp_path, changes):
    data = copy.deepcopy(GOOD)
    for place, value in changes:
        *parents, last = place
        part = data
        for parent in parents:
            known = isinstance(part, dict) or (
                isinstance(part, list) and isinstance(parent, int) and parent < len(part)
            )
            part = (part.get(parent) if isinstance(part, dict) else part[parent]) if known else None
        if isinstance(part, dict) or (isinstance(part, list) and isinstance(last, int) and last < len(part)):
            part[last] = value
    read(tmp_path / "a.yaml", yaml.dump(data, allow_unicode=True).encode("utf-8", "surrogatepass"))


@SETTINGS
@given(st.data())
def test_any_change_of_the_text(tmp_path, data):
    text = bad_files.GOOD
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 20)))
        text = (
            text[:start]
            + data.draw(st.one_of(st.text(max_size=8), st.text("&*!|>%@`'\"{}[],?:-#\n \t", max_size=8)))
            + text[end:]
        )
    read(tmp_path / "a.yaml", text.encode("utf-8", "surrogatepass"))


@SETTINGS
@given(st.binary(max_size=300))
def test_any_bytes(tmp_path, content):
    read(tmp_path / "a.yaml", content)


SQL = """
amount tid cc_num 1 0.5 1e400 'x' NULL TRUE ( ) + - * / % = < AND OR NOT CASE WHEN THEN ELSE END IN IS BETWEEN LIKE
CAST( AS BIGINT DECIMAL(10,2) SQRT( GREATEST( ROUND( SUBSTRING( CONCAT( DATE_TRUNC( 'day' EXTRACT( FROM SELECT DATE
, ; -- ' [ ::
"""


@SETTINGS
@given(st.lists(st.sampled_from(SQL.split()), max_size=30).map(" ".join), st.booleans())
def test_any_expression(tmp_path, expression, derived):
    data = copy.deepcopy(GOOD)
    if derived:
        data["source"]["derive"] = {"d": {"expression": expression, "type": "double"}}
    else:
        data["source"]["where"] = expression
    read(tmp_path / "a.yaml", yaml.safe_dump(data).encode())
