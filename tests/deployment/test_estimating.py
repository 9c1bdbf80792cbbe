"""What a job will take, from its file: the figures of docs/benchmarks, and how they grow."""

from __future__ import annotations

import re
from typing import Any

import pytest

from hopsworks_flink.deployment.estimating import estimates
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support.pipelines import REFERENCE


def told(spec: dict[str, Any], **group: Any) -> list[str]:
    spec["feature_groups"][0].update(group)
    return estimates(Pipeline.parse(spec))


def numbers(words: str) -> list[float]:
    return [float(number) for number in re.findall(r"(?<![\w.])\d+\.\d+", words)]


def test_the_reference_pipeline_is_what_was_measured() -> None:
    state, cpu = estimates(Pipeline.from_yaml(REFERENCE))
    assert state.startswith("card_transactions_10m_agg_1, card_transactions_10m_agg_2: ")
    low, high = numbers(state)
    assert low < 2.0 < high
    for measured, estimated in zip((561, 218), numbers(cpu), strict=True):
        assert estimated == pytest.approx(1000 / measured, rel=0.05)


def test_state_grows_with_panes_and_with_what_they_hold(minimal: dict[str, Any]) -> None:
    (low, high), (more, most), (longer, _) = (
        numbers(told(minimal, **group)[0])
        for group in (
            {"aggregates": {"n": "count"}},
            {"aggregates": {"n": "count", "sd": {"stddev_samp": "amount"}, "most": {"max": "amount"}}},
            {"window": {"size": "1d", "slide": "1m"}},
        )
    )
    assert low < more < longer
    assert high < most


def test_of_a_growing_window_only_the_panes_to_come_are_kept(minimal: dict[str, Any]) -> None:
    growing = told(minimal, window={"size": "1d", "step": "5m"})[0]
    assert numbers(growing)[1] < numbers(told(minimal, window={"size": "1d", "slide": "5m"})[0])[0]


def test_a_row_for_each_event_keeps_each_event(minimal: dict[str, Any]) -> None:
    state, cpu = told(minimal, window={"size": "10m"}, emit="on_event", aggregates={"n": "count"})
    assert state == "cards_10m_1: 350 bytes of heap for a key, and 16 to 32 for each of its events in 10m"
    assert numbers(cpu)[0] == pytest.approx(1000 / 152, rel=0.05)


def test_sql_takes_more_cpu_and_tells_no_state(minimal: dict[str, Any]) -> None:
    _, native = told(minimal)
    (cpu,) = told(minimal, aggregates={"n": {"count_distinct": "amount"}})
    assert cpu == told({**minimal, "engine": "sql"}, aggregates={"n": "count"})[0]
    assert all(more > less for more, less in zip(numbers(cpu), numbers(native), strict=True))


def test_groups_with_the_same_windows_cost_no_more_cpu(minimal: dict[str, Any]) -> None:
    (group,) = minimal["feature_groups"]
    *_, one = told(minimal)
    minimal["feature_groups"].append({**group, "version": 2})
    *_, same = told(minimal)
    minimal["feature_groups"].append({**group, "version": 3, "window": {"size": "1h"}})
    *_, other = told(minimal)
    assert one == same
    assert numbers(other)[0] > numbers(one)[0]


def test_rows_without_windows_are_read_only(minimal: dict[str, Any]) -> None:
    minimal["feature_groups"] = [{"name": "rows", "key": ["tid"], "features": {"amount": "amount"}}]
    (cpu,) = estimates(Pipeline.parse(minimal))
    assert numbers(cpu) == [0.7, 0.7]
