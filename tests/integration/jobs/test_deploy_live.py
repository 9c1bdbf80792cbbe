"""Deployments on a real Flink that begin anew without losing a value, and a state that is forgotten.

The operators run here, without Airflow's scheduler; airflow/test_feature_path.py has a deployment that must be undone.
The tests build on each other, as the days of a pipeline do.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hopsworks_flink._compat import AirflowFailException
from hopsworks_flink.deployment.decision import DRAINED
from hopsworks_flink.operators.flink import FlinkStopJobOperator
from hopsworks_flink.tasks.planning import Deployment, compare
from tests.support.live import events as simulated
from tests.support.live.faults import lose_the_jobmanager
from tests.support.live.jobs import Live, living
from tests.support.live.platform import eventually, jobs, records

pytestmark = pytest.mark.timeout(600)

MINUTE = simulated.MINUTE


@pytest.fixture(scope="module")
def live(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with living(Live(stack, tmp_path_factory.mktemp("certificates"), "live_cards")) as live:
        live.deploy()
        yield live


def test_rewarmed_job_gives_the_values_of_an_uninterrupted_one(live: Live) -> None:
    begin = live.start + 100 * MINUTE
    batch = simulated.transactions(seed=22, start=begin, minutes=60, cards=25, count=4000)
    third = len(batch) // 3
    (old,) = live.running()
    live.produce(batch[:third])

    def some_windows_are_out() -> None:
        assert live.watermark(old) > begin + 15 * MINUTE

    eventually(some_windows_are_out)
    live.spec["source"]["max_disorder"] = "7s"
    rewarmed = live.deploy(state="rewarm")
    assert (rewarmed["action"], rewarmed["state"], rewarmed["replaced_job_id"]) == ("replaced", "rewarm", old)
    assert begin + 15 * MINUTE < rewarmed["rewarmed_at"] <= begin + 20 * MINUTE
    assert rewarmed["savepoint_path"] is None
    assert live.flink(f"/jobs/{rewarmed['job_id']}/checkpoints")["counts"]["restored"] == 0

    # The very next deployment takes over state that still has windows which are not to be emitted.
    live.produce(batch[third : 2 * third])
    live.spec["source"]["max_disorder"] = "8s"
    restored = live.deploy()
    assert (restored["state"], restored["rewarmed_at"]) == ("restore", rewarmed["rewarmed_at"])
    assert live.running() == [restored["job_id"]]

    live.produce(batch[2 * third :] + simulated.flush(22, begin + 60 * MINUTE))
    live.assert_features()


def test_a_drained_job_emits_its_open_windows_however_long_its_topic_was_silent(stack: Any, tmp_path: Path) -> None:
    """Those of Flink's SQL as well. The last watermark of a source that is idle was dropped (FLINK-40499)."""
    drained = Live(stack, tmp_path, "live_drained")
    # Longer than the pause after the events that wake both partitions: behind an idle one its events would be late.
    drained.spec["source"]["idle_timeout"] = "8s"
    native, sql = drained.spec["feature_groups"]
    sql["aggregates"] = {**native["aggregates"], "amounts": {"count_distinct": "amount"}}
    assert list(drained.pipeline.left_to_sql) == [f"{drained.group}_2"]
    topic = f"{stack.config.project}_onlinefs"
    with living(drained):
        ids = [str(group["feature_group_id"]).encode() for group in drained.register()]
        flush = str(simulated.FLUSH_CARD).encode()

        def rows() -> list[int]:
            written = (one for one in records(stack.config.kafka_bootstrap, topic) if one.key() != flush)
            found = Counter(dict(record.headers() or ()).get("featureGroupId") for record in written)
            return [found[one] for one in ids]

        job_id = drained.deploy()["job_id"]
        drained.produce(simulated.transactions(seed=3, start=drained.start, minutes=3, cards=5, count=100))
        windows = len(simulated.expected_windows(drained.events))

        def all_is_read() -> None:
            assert drained.watermark(job_id) > drained.start + 2 * MINUTE

        eventually(all_is_read)
        time.sleep(10)
        assert max(rows()) < windows
        FlinkStopJobOperator(task_id="stop", job_name=drained.job_name, mode="drain").execute(drained.memory.context())
        assert jobs(stack, drained.job_name) == {job_id: "FINISHED"}
        assert rows() == [windows, windows]

        # Some of them will have more events: they are computed again.
        found = compare(drained.spec, Deployment())
        assert (found.state, found.state_reasons) == ("rewarms", [DRAINED])
        again = drained.deploy()
        assert again["state"] == "rewarm"
        assert again["rewarmed_at"] <= drained.start + 3 * MINUTE
        batch = simulated.transactions(seed=4, start=drained.start + 3 * MINUTE, minutes=3, cards=5, count=100)
        drained.produce(batch + simulated.flush(4, drained.start + 6 * MINUTE))
        drained.assert_features()


def test_state_left_behind_stays_behind(live: Live) -> None:
    """Checkpoints are numbered for each job: the older one's, from before ``fresh``, has the higher number.

    The JobManager is lost while the TaskManager lives on, and each deployment comes through at its first try.
    """
    (old,) = live.running()
    eventually(lambda: _has_checkpoints(live, old, 4), 60)
    lose_the_jobmanager(live)
    fresh = live.deploy(state="fresh", grace_period=1.0)
    assert (fresh["savepoint_path"], fresh["state"]) == (None, "fresh")
    lose_the_jobmanager(live)
    restored = live.deploy(state="restore")
    assert f"/{fresh['job_id']}/chk-" in restored["savepoint_path"]
    assert len({old, fresh["job_id"], restored["job_id"]}) == 3


def _has_checkpoints(live: Live, job_id: str, number: int) -> None:
    assert live.flink(f"/jobs/{job_id}/checkpoints")["counts"]["completed"] >= number


def test_forgotten_state_is_refused(live: Live) -> None:
    """A JobManager that lost its memory looks like one that never had the job; Airflow remembers."""
    (job_id,) = live.running()
    name, live.spec["name"] = live.spec["name"], "live_forgotten"
    other = f"{live.spec['name']}__features"
    live.memory.of_asset.set(f"{other}.last", {**live.memory.of_asset.get(f"{live.job_name}.last"), "job_id": "0" * 32})
    with pytest.raises(AirflowFailException, match=r"Flink has forgotten it.*savepoint_path=….*state='fresh'"):
        live.deploy()
    live.spec["name"] = name
    assert live.running() == [job_id]
    assert jobs(live.stack, other) == {}
