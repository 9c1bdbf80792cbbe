"""What a measurement of freshness leads to; the measurement itself is tested on the real stack."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Producer

from hopsworks_flink._compat import AirflowFailException, AirflowSkipException
from hopsworks_flink.health.facts import JobFacts
from hopsworks_flink.operators import freshness as module
from hopsworks_flink.operators.freshness import MeasureFreshnessOperator
from hopsworks_flink.pipeline.canary import Canary
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support.supervising import PIPELINE, Runs

GROUP = {**PIPELINE["feature_groups"][0], "event_time": "window_end"}  # type: ignore[index]
pytestmark = [pytest.mark.airflow, pytest.mark.usefixtures("variables")]
FRESH: dict[str, Any] = {**PIPELINE, "feature_groups": [GROUP], "freshness": "60s"}


@pytest.fixture
def runs() -> Runs:
    return Runs()


def judge(seconds: float | None, window: float = 3600.0) -> dict[str, Any]:
    operator = MeasureFreshnessOperator(task_id="measure_freshness", pipeline=FRESH)
    return operator._judge(Pipeline.parse(FRESH), seconds, 60.0, window)


def test_percentiles_over_the_runs_so_far() -> None:
    for seconds in (1.0, 3.0, 2.0):
        result = judge(seconds)
    assert result == {"seconds": 2.0, "p50": 2.0, "p99": 3.0, "measured": 3, "missed": 0}


def test_too_late_fails_with_the_figures_and_counts() -> None:
    judge(4.0)
    with pytest.raises(AirflowFailException) as raised:
        judge(None)
    assert "could not be read online 60 s after it was written; freshness of cards allows 60 s" in str(raised.value)
    assert "p50 4.0 s, p99 60.0 s of 2 canaries, 1 of them not in time" in str(raised.value)
    assert judge(1.0)["missed"] == 1


def test_old_samples_do_not_count(variables: dict[str, str]) -> None:
    old = {"at": time.time() - 100, "seconds": 50.0, "missed": False}
    variables["hopsworks_flink.freshness.cards__features"] = json.dumps({"samples": [old]})
    assert judge(1.0, window=90.0)["measured"] == 1


def test_nothing_is_measured_while_a_deployment_is_at_work(runs: Runs) -> None:
    runs.deploying = 1
    operator = MeasureFreshnessOperator(task_id="measure_freshness", pipeline=FRESH, deploy_dag_id="cards__deploy")
    with pytest.raises(AirflowSkipException, match="cards__deploy"):
        operator.execute({"ti": runs})  # type: ignore[arg-type, typeddict-item]


def test_a_pipeline_without_a_bound_is_refused(runs: Runs) -> None:
    operator = MeasureFreshnessOperator(task_id="measure_freshness", pipeline=PIPELINE)
    with pytest.raises(AirflowFailException, match="has no freshness to measure: add freshness: 5m"):
        operator.execute({"ti": runs})  # type: ignore[arg-type, typeddict-item]


def test_without_a_canary_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of single events do not wait for the watermark: it stands where it stood, and the earlier row is there."""
    rows = {"name": "rows", "key": ["cc"], "event_time": "event", "features": {"came": "at"}}
    pipeline = Pipeline.parse({**PIPELINE, "feature_groups": [rows], "freshness": "60s"})
    broker = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    (address,) = broker.list_topics(timeout=10).brokers.values()

    def event() -> None:
        broker.produce(pipeline.source.topic, b"event", partition=0)
        assert broker.flush(10) == 0

    def facts(*_: Any, **__: Any) -> JobFacts:
        event()
        return JobFacts(0.0, ("a",), "a", "RUNNING", watermark=1_700_000_000_000)

    canary = Canary.of(pipeline)
    seen = datetime.fromtimestamp(canary.event_time(1_700_000_000_000) // 1000, timezone.utc).isoformat()
    column = SimpleNamespace(name="event_time", type="timestamp")
    group = SimpleNamespace(name="rows", version=1, online_enabled=True, event_time="event_time", columns=[column])
    session: Any = SimpleNamespace(get_feature_group=lambda *_: group, online_event_time_of=lambda *_: seen)
    hook: Any = SimpleNamespace(facts=facts)
    # librdkafka's broker for tests does not tell it.
    monkeypatch.setattr(module, "newest_by_partition", lambda *_: {0: time.time() * 1000})
    run = module._Run(canary, hook, session, {"bootstrap.servers": f"{address.host}:{address.port}"})
    with pytest.raises(AirflowSkipException, match="no canary could be written"):
        run.measure(0.5, 0.1)


def test_the_metric_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, float] = {}

    class Stats:
        @staticmethod
        def gauge(name: str, value: float) -> None:
            told[name] = value

    monkeypatch.setattr(module, "get_stats", lambda: Stats)
    judge(7.0)
    assert told == {"hopsworks_flink.cards__features.freshness": 7.0}
