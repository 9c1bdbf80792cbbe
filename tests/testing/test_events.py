"""Events for `evaluate`, held against the format that the jobs read JSON with."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pandas
import pytest

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.testing.events import typed_columns
from tests.pipeline.strict_format import CASES, row_of
from tests.support.pipelines import pipeline


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def objects() -> list[Any]:
    """Cases that are one object of known columns, each of them once: what a file of events can hold as well."""
    found = []
    for case in CASES["json"]:
        try:
            pairs = json.loads(case["text"], parse_float=Decimal, object_pairs_hook=list)
            event = json.loads(case["text"], parse_float=Decimal, parse_constant=_refuse)
        except (KeyError, ValueError):
            continue
        if (
            isinstance(event, dict)
            and len(event) == len(pairs)
            and event.keys() <= CASES["schemas"][case["schema"]].keys()
        ):
            found.append(pytest.param(case, event, id=case["what"]))
    assert len(found) > 150
    return found


@pytest.mark.parametrize(("case", "event"), objects())
def test_evaluate_takes_what_the_jobs_take(case: dict[str, Any], event: dict[str, Any]) -> None:
    schema = CASES["schemas"][case["schema"]]
    source = pipeline("json", schema).source
    event["__kafka_timestamp"] = 1
    if "reason" in case:
        with pytest.raises(PipelineError, match=r"events\[0\]\.") as refused:
            typed_columns(source, [event])
        assert str(refused.value).removeprefix("events[0].").partition(":")[0] in event
    else:
        columns = typed_columns(source, [event])
        assert {name: columns[name][0] for name in schema} == row_of(case, schema)


@pytest.mark.parametrize("column", ["at", "__kafka_timestamp"])
def test_a_time_that_pandas_lacks_is_named(column: str) -> None:
    source = pipeline("json", {"at": "timestamp", "card": "bigint"}).source
    with pytest.raises(PipelineError, match=rf"events\[0\]\.{column}: is no time; one that is missing is None"):
        typed_columns(source, [{"at": None, column: pandas.NaT}])
