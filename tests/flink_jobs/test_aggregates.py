"""Aggregate functions in Java: however values are ordered, split, stored and merged, the result is what the words mean,
and an array is what the feature store's own encoder writes."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import subprocess
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest

from devstack import flink, jars
from hopsworks_flink.pipeline.types import FeatureType, array, avro_type
from tests.support.java_program import JavaProgram

VALUES: dict[str, list[Any]] = {
    "boolean": [True, False],
    "tinyint": [-128, 0, 127],
    "smallint": [-32768, 5, 32767],
    "int": [-(2**31), 64, 2**31 - 1],
    "bigint": [-(2**63), -65, 2**63 - 1],
    "float": [-0.25, 1.5, 3.0],
    "double": [-1e300, 0.1, 2.5],
    "string": ["", "Zürich", "👍", "ﬀ", "z"],
    "decimal(38,2)": [Decimal("-123456789012345678901234567890.12"), Decimal("0.00"), Decimal("0.50")],
}


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JavaProgram]:
    folder, harness = tmp_path_factory.mktemp("classes"), Path(__file__).parent / "harness"
    classes = f"{folder}:{jars.JAVA_JARS}/*:{flink.distribution() / 'lib'}/*"
    source = str(harness / "AggregateHarness.java")
    subprocess.run([jars.java("javac"), "-d", str(folder), "-cp", classes, source], check=True, timeout=120)
    command = [jars.java(), "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    command += ["-cp", classes, "hopsworksflink.aggregate.AggregateHarness"]
    program = JavaProgram(command, subprocess.DEVNULL)
    yield program
    program.close()


def ask(java: JavaProgram, function: str, kind: str, given: list[Any], setting: float = 0) -> Any:
    chance = random.Random(repr(given))
    chance.shuffle(given)
    cuts = sorted(chance.choices(range(len(given) + 1), k=3))
    parts = [given[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(given)], strict=True)]
    request = {"function": function, "type": kind, "setting": setting, "parts": parts}
    return java.ask(json.loads(json.dumps(request, default=str)))["result"]


def encoded(kind: str, values: list[Any]) -> bytes:
    buffer = io.BytesIO()
    schema = fastavro.parse_schema(avro_type(array(FeatureType.parse(kind))))
    fastavro.schemaless_writer(buffer, schema, values)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", VALUES)
def test_arrays_of_each_type_are_the_sdks_bytes(java: JavaProgram, kind: str) -> None:
    chance = random.Random(kind)
    values = [chance.choice(VALUES[kind]) for _ in range(40)]
    in_order = [[f"{number:034}", value] for number, value in enumerate(values)]
    # By the bytes of UTF-8, as DuckDB sorts.
    by_value = sorted(set(values), key=lambda value: value.encode() if isinstance(value, str) else value)
    counts = Counter(values)
    frequent = sorted(by_value, key=lambda value: -counts[value])
    wanted = {
        "FirstN": values[:7],
        "LastN": values[-7:],
        "CollectDistinct": by_value[:2],
        "TopK": frequent[:2],
    }
    for function, array_ in wanted.items():
        given = in_order if function in ("FirstN", "LastN") else values
        found = ask(java, function, kind, [*given, *([None] * (given is values))], 7 if given is in_order else 2)
        assert base64.b64decode(found) == encoded(kind, array_), function
    found = ask(java, "Mode", kind, [*values, None])
    assert found == (str(frequent[0]).lower() if kind == "boolean" else _java_text(kind, frequent[0]))
    assert ask(java, "ApproxCountDistinct", kind, [*values, None]) == str(len(by_value))


def _java_text(kind: str, value: Any) -> str:
    return "-1.0E300" if value == -1e300 and kind == "double" else str(value)


def test_values_with_the_same_order_are_all_kept(java: JavaProgram) -> None:
    given = [["0" * 34, value] for value in ("b", "a", "b")]
    assert base64.b64decode(ask(java, "LastN", "string", given, 5)) == encoded("string", ["a", "b", "b"])


@pytest.mark.parametrize("function", ["FirstN", "CollectDistinct", "TopK", "Mode", "Percentile"])
def test_of_nothing_there_is_nothing(java: JavaProgram, function: str) -> None:
    given = [["0" * 34, None]] if function == "FirstN" else [None]
    assert ask(java, function, "double", given, 1) is None
    assert ask(java, function, "double", [], 1) is None


def test_a_percentile_does_not_depend_on_the_order(java: JavaProgram) -> None:
    values = [float(number * number) for number in range(101)]
    assert [float(ask(java, "Percentile", "double", values, p)) for p in (0, 0.5, 0.505, 1)] == [0, 2500, 2550.5, 10000]


@pytest.mark.parametrize(("different", "known"), [(10_000, True), (10_001, False)])
def test_of_too_many_values_there_is_no_result(java: JavaProgram, different: int, known: bool) -> None:
    values = [float(number) for number in range(different)]
    assert (ask(java, "Percentile", "double", values, 0) == "0.0") is known
    assert (ask(java, "Mode", "double", [*values, 5.0, 5.0]) == "5.0") is known


def test_an_approximate_count_is_that_of_the_least_hashes(java: JavaProgram) -> None:
    values = [f"user {number}" for number in range(5000)]
    hashes = sorted(int.from_bytes(hashlib.md5(value.encode()).digest()[:8], "big") for value in values)
    wanted = int(1023 * 2.0**53 / (hashes[1023] >> 11))
    assert (
        int(ask(java, "ApproxCountDistinct", "string", values + values[:100])) == wanted == pytest.approx(5000, rel=0.1)
    )
