"""Feature groups that grow while events flow, with workers that die on the way: no row is lost in any store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from devstack.kafka.access import client_settings
from hopsworks_flink._compat import AirflowFailException
from hopsworks_flink.clients.flink.jobs import MARK_WATERMARK
from hopsworks_flink.clients.hopsworks.session import HopsworksSession
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.pipeline.resources import source_avro_schema
from tests.support.deaths import Killed, die
from tests.support.live import events as simulated
from tests.support.live.jobs import MINUTE, Live, living
from tests.support.live.platform import eventually, offline_rows, sdk_project
from tests.support.live.served import milliseconds, same

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def live(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with living(Live(stack, tmp_path_factory.mktemp("certificates"), "growing_cards")) as live:
        live.deploy(on_drift="append")
        yield live


class Flow:
    """Events that go on arriving, whatever happens to the job."""

    def __init__(self, live: Live, events: list[simulated.Event]) -> None:
        self.live, self.events = live, events
        self.enough = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        live, pipeline, rest = self.live, self.live.pipeline, self.events
        broker = client_settings(live.stack.config)
        while rest:
            pace = len(rest) if self.enough.is_set() else 25
            part, rest = rest[:pace], rest[pace:]
            simulated._send(broker, pipeline.source.topic, source_avro_schema(pipeline), part)
            live.events += part
            self.enough.wait(0.5)

    def __enter__(self) -> Flow:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Send the rest without pauses."""
        self.enough.set()
        self.thread.join(60)
        assert not self.thread.is_alive()


#: In the order in which they happen; each run gets a step further. tests/operators/flink/test_growth.py: each alone.
DEATHS = {
    "after the stop": (FlinkHook, "stop_with_savepoint", True, 1),
    "between two groups": (HopsworksSession, "append_features", True, 1),
    "before the submission": (FlinkHook, "run_python_job", False, 1),
    "after the submission": (FlinkHook, "run_python_job", True, 1),
}


def test_groups_grow_while_events_flow_and_workers_die(live: Live) -> None:
    begin = live.start
    batch = simulated.transactions(seed=31, start=begin, minutes=120, cards=25, count=6000)
    (old,) = live.running()
    live.produce(batch[:2000])

    def some_windows_are_out() -> None:
        assert live.watermark(old) > begin + 15 * MINUTE

    eventually(some_windows_are_out)
    for group in live.spec["feature_groups"]:
        group["aggregates"]["most_amt_per_10m"] = {"max": "amount"}
    with Flow(live, batch[2000:]):
        assert [one["lacking"] for one in live.register("append_later")] == [["most_amt_per_10m"]] * 2
        for owner, name, after, call in DEATHS.values():
            with pytest.MonkeyPatch.context() as patch:
                die(patch, owner, name, after, call)
                with pytest.raises(Killed):
                    live.deploy(on_drift="append")
        grown = live.deploy(on_drift="append")

    assert set(grown["grown"]) == {f"{live.group}_{version}" for version in (1, 2)}
    for told in grown["grown"].values():
        assert told["features"] == ["most_amt_per_10m"]
        assert told["offsets_verified"]
    assert live.running() == [grown["job_id"]]
    rewarmed_at = int(FlinkHook().job_marks(grown["job_id"])[MARK_WATERMARK])
    assert rewarmed_at > begin + 15 * MINUTE

    live.produce(simulated.flush(31, begin + 120 * MINUTE))
    live.assert_features()
    assert_new_feature(live, rewarmed_at)


def assert_new_feature(live: Live, since: int) -> None:
    """In every window that was not out when the job was stopped; older ones have none."""
    windows = {(w["cc_num"], w["window_end"]): w for w in simulated.expected_windows(live.events)}
    newest = simulated.newest_by_card(windows.values())
    with sdk_project(live.stack, live.certificates) as project:
        store = project.get_feature_store()
        history = offline_rows(store.get_feature_group(live.group, version=2))
        online = store.get_feature_group(live.group, version=1).read(online=True).to_dict("records")
    with_feature = 0
    for row in history:
        if row["cc_num"] != simulated.FLUSH_CARD:
            end = milliseconds(row["window_end"])
            expected = windows[row["cc_num"], end]["most"] if end > since else None
            assert same(row["most_amt_per_10m"], expected), (row, expected)
            with_feature += expected is not None
    assert 0 < with_feature < len(history)
    for row in online:
        if row["cc_num"] != simulated.FLUSH_CARD and newest[row["cc_num"]]["window_end"] > since:
            assert same(row["most_amt_per_10m"], newest[row["cc_num"]]["most"]), row


def test_the_same_again_touches_nothing(live: Live) -> None:
    (job_id,) = live.running()
    again = live.deploy(on_drift="append")
    assert (again["action"], again["job_id"]) == ("none", job_id)
    assert "grown" not in again


def test_what_is_no_growth_is_refused(live: Live) -> None:
    (job_id,) = live.running()
    kept = live.spec["feature_groups"][0]["aggregates"].pop("avg_amt_per_10m")
    with pytest.raises(AirflowFailException, match=r"'avg_amt_per_10m' \(double\) exists there only.*another version"):
        live.register("append_later")
    with pytest.raises(AirflowFailException, match=r"'avg_amt_per_10m' \(double\) exists there only.*another version"):
        live.deploy(on_drift="append")
    live.spec["feature_groups"][0]["aggregates"]["avg_amt_per_10m"] = kept
    assert live.running() == [job_id]
