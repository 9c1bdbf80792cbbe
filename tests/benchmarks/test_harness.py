"""The benchmarks' arithmetic: what is compared, and what the report says of it."""

from __future__ import annotations

import pytest

from tests.benchmarks.profile import shares
from tests.benchmarks.report import markdown, replaced
from tests.benchmarks.results import MIB, Measurement, percentile, summarize, verdicts
from tests.benchmarks.throughput import assert_same, by_names, collect
from tests.benchmarks.variants import VARIANTS


def runs(variant, *cpu, warm=True, memory=1000 * MIB):
    return [Measurement(variant, warm, 1_000_000, 10.0, seconds + 1, 1.0, memory) for seconds in cpu]


def test_a_verdict_is_about_the_medians_of_warm_runs():
    measurements = [
        *runs("pipeline", 3.0, 2.0, 50.0),
        *runs("pipeline", 1.0, warm=False),
        *runs("java_tutorial", 12.5),
        *runs("java_fair", 7.4),
        *runs("floor", 2.0),
        *runs("1m", 5.0, memory=4097 * MIB),
        *runs("one_slot", 3.0),
        *runs("two_slots", 3.1),
    ]
    warm = summarize(measurements, warm=True)
    assert warm["pipeline"].per_cpu_second == pytest.approx(1_000_000 / 3)
    assert (warm["pipeline"].smallest, warm["pipeline"].largest) == (20_000, 500_000)
    others = {"latency": {"on_event_into_the_topic": {"p99_ms": 301.0}}, "parsing": {"import_seconds": 0.1}}
    found = {one.goal: one for one in verdicts(warm, others)}
    met = {goal: one.met for goal, one in found.items() if one.met is not None}
    assert met == {
        "4 x the tutorial's Java job, in events per CPU second": True,
        "2.5 x the fair Java job": False,
        "at most 1.4 x the CPU of reading and decoding alone": False,
        "1,000,000 cards, hashmap: resident memory: at most 4096 MiB": False,
        "two slots give 1.8 x one, 4 partitions": False,
        "event to topic of features, p99, on_event, 10,000 events/s: at most 300 ms": False,
        "import of the provider over Airflow's: at most 0.1 s": True,
    }
    shown = [one.found for one in found.values() if one.met is not None]
    assert shown[0] == "4.17 x (3.38 x with compilation)"
    assert shown[2] == "1.50 x (1.33 x with compilation)"
    assert shown[3] == "4097 MiB"
    assert shown[4] == "1.00 x; 0.97 x the events per CPU second"


def test_the_report_shows_every_variant_and_replaces_only_its_own_part():
    measurements = [*runs("floor", 2.0), *runs("floor", 4.0, warm=False)]
    cold, warm = summarize(measurements, warm=False), summarize(measurements, warm=True)
    growth = {"cards": [{"cards": 1000, "events": 2_000_000, "rows": 500_000, "cpu_seconds": 5.0}]}
    others = {"latency": {"on_event": {"p99_ms": 123.4}}, "growth": growth}
    run = {"events": 1_000_000, "memory": "1g", "load": 0.5, "failed": {"parsing": "RuntimeError: no"}}
    text = markdown({"floor": "Floor"}, cold, warm, others, run)
    assert "| Floor | **500** (500-500) | 333 | 200 | 100 | 1000 | |" in text.replace("|  |", "| |")
    assert "| on event, p99 ms | 123 |" in text
    assert "| 1,000 | 2,000,000 | 500,000 | 5.0 | 2.00 |" in text
    assert "1,000,000 events, rounds: 1, parallelism 1" in text
    assert "**Parsing failed:** RuntimeError: no" in text
    page = "before\n<!-- results -->\nold\n<!-- end of results -->\nafter\n"
    assert replaced(page, "new") == "before\n<!-- results -->\nnew\n<!-- end of results -->\nafter\n"
    with pytest.raises(ValueError, match="<!-- results -->"):
        replaced("no marks", "new")


def test_results_must_agree_to_the_rounding_of_a_sum():
    assert_same("a", {"rows": 3, "sum": 1e9 + 1e-3}, {"rows": 3, "sum": 1e9})
    with pytest.raises(AssertionError, match="rows is 4, not 3"):
        assert_same("a", {"rows": 4}, {"rows": 3})
    with pytest.raises(AssertionError, match="sum is"):
        assert_same("a", {"sum": 1.0001}, {"sum": 1.0})


def test_a_percentile_is_a_value_that_occurred():
    assert percentile([5.0, 1.0, 3.0, 2.0, 4.0], 50) == 3.0
    assert percentile(list(range(1, 1001)), 99) == 990
    assert percentile([7.0], 99) == 7.0


def test_variants_are_chosen_by_name():
    assert [one.name for one in by_names(VARIANTS, ["java_fair", "floor"])] == ["floor", "java_fair"]
    assert by_names(VARIANTS, []) == list(VARIANTS)
    with pytest.raises(ValueError, match="no variant nonsense"):
        by_names(VARIANTS, ["nonsense"])


def test_a_run_that_breaks_keeps_what_it_has_but_not_when_results_differ():
    def broken(problem):
        yield from runs("floor", 2.0)
        raise problem

    found = []
    with pytest.raises(RuntimeError):
        collect(broken(RuntimeError("no answer")), found)
    assert [one.variant for one in found] == ["floor"]
    with pytest.raises(AssertionError):
        collect(broken(AssertionError("rows is 4, not 3")), found)
    assert found == []


def test_a_sample_counts_for_its_innermost_known_frame():
    chain = "[Source: source (1/1)#0 tid=7];a/KafkaRecordEmitter.emit;StreamExecCalc$5.processElement"
    found = shares(
        [
            f"{chain} 3",
            f"{chain};hopsworksflink/window/Combiner.processElement;java/util/HashMap.get 4",
            "[GC Thread#0 tid=9];[unknown] 2",
            "[main tid=1];java/lang/Object.wait 1",
        ]
    )
    assert found == {
        "the combiner, before the exchange, %": 40.0,
        "filters and projections, %": 30.0,
        "JVM: garbage collection, %": 20.0,
        "the rest of the TaskManager, %": 10.0,
    }
