"""The SQL of decimals: every number in it is one that Flink's parser takes."""

from __future__ import annotations

import re

import pytest

from hopsworks_flink.cli.compiling import compiled_text
from hopsworks_flink.pipeline.spec import Pipeline

FUNCTIONS = ("sum", "avg", "stddev_samp", "stddev_pop", "var_samp", "var_pop", "min", "max")
# Not in a text, no part of a name, without a point behind it or an exponent.
INTEGER = re.compile(r"(?<![\w.'`])\d+(?![\d.'E`])")


@pytest.mark.parametrize("emit", ["on_window", "on_event"])
@pytest.mark.parametrize("precision", [1, 10, 18, 19, 28, 31, 37, 38])
def test_whole_numbers_are_bigint_at_most(precision: int, emit: str) -> None:
    for scale in {0, 1, precision // 2, precision - 1, precision}:
        if scale > precision:
            continue
        pipeline = Pipeline.parse(
            {
                "name": "p",
                "source": {
                    "topic": "t",
                    "schema": {"k": "string", "at": "bigint", "m": f"decimal({precision},{scale})"},
                    "event_time": {"column": "at"},
                },
                "feature_groups": [
                    {
                        "name": "g",
                        "key": ["k"],
                        "emit": emit,
                        "event_time": None if emit == "on_event" else "window_end",
                        "window": {"size": "10m", **({"slide": "1m"} if emit != "on_event" else {})},
                        "aggregates": {f"f_{function}": {function: "m"} for function in FUNCTIONS},
                    }
                ],
            }
        )
        # A comment of a line begins with --, and is no SQL.
        sql = re.sub(r"--.*|'[^']*'", "", compiled_text(pipeline))
        assert [number for number in INTEGER.findall(sql) if int(number) >= 2**63] == []
