"""Faults of the parts of a feature pipeline, done to a real stack. Each one is over when its function returns."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil
import pytest
import requests
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from hopsworks_flink.exceptions import HopsworksJobFailed
from tests.support.live.jobs import Live
from tests.support.live.platform import ends, eventually

#: How long what is down or cut off stays so, in seconds: short enough for every day.
PAUSE = float(os.environ.get("FAULTS_PAUSE", "12"))


@dataclass(frozen=True)
class Fault:
    """Something that happens to a platform, while events go on to arrive.

    :param happens: does it, given the pipeline and the call that makes the next events arrive.
    :param short: whether it belongs to the form of every day.
    """

    name: str
    happens: Callable[[Live, Callable[[], None]], None]
    short: bool = True


def _processes(live: Live, part: str) -> list[psutil.Process]:
    (status,) = [status for status in live.stack.status() if status.name == part]
    found = [process for pid in status.pids for process in (psutil.Process(pid), *psutil.Process(pid).children(True))]
    assert found, f"{part} does not run"
    return found


def _kill(part: str) -> Callable[[Live, Callable[[], None]], None]:
    def happens(live: Live, arrive: Callable[[], None]) -> None:
        victims = _processes(live, part)
        for process in victims:
            process.send_signal(signal.SIGKILL)
        psutil.wait_procs(victims, timeout=10)
        arrive()

    return happens


def lose_the_jobmanager(live: Live) -> None:
    """With it go all jobs; another one comes in its place, and the TaskManager stays."""
    _kill("flink-jobmanager")(live, lambda: None)

    def forgotten() -> None:
        try:
            running = live.running()
        except requests.ConnectionError as error:
            raise AssertionError("no JobManager answers") from error
        assert running == []

    eventually(forgotten, 60)


def _freeze(part: str) -> Callable[[Live, Callable[[], None]], None]:
    """Connections stay open and nobody answers, as behind a network that is cut off."""

    def happens(live: Live, arrive: Callable[[], None]) -> None:
        frozen = _processes(live, part)
        for process in frozen:
            process.suspend()
        try:
            arriving = threading.Thread(target=arrive)
            arriving.start()
            time.sleep(PAUSE)
        finally:
            for process in frozen:
                process.resume()
        arriving.join(120)
        assert not arriving.is_alive()

    return happens


def _cancelled(live: Live, arrive: Callable[[], None]) -> None:
    (job_id,) = live.running()
    requests.patch(f"{live.stack.config.flink_url}/jobs/{job_id}?mode=cancel", timeout=30).raise_for_status()
    arrive()


def _full_disk(live: Live, arrive: Callable[[], None]) -> None:
    """Nobody who writes checkpoints can write any more: files may not grow."""
    writers = [*_processes(live, "flink-jobmanager"), *_processes(live, "flink-taskmanager")]
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    for process in writers:
        process.rlimit(psutil.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        arrive()
        time.sleep(PAUSE)
    finally:
        for process in writers:
            process.rlimit(psutil.RLIMIT_FSIZE, unlimited)


def _materialization_killed(live: Live, arrive: Callable[[], None]) -> None:
    arrive()
    killed = threading.Event()

    def kill() -> None:
        deadline = time.monotonic() + 60
        while not killed.is_set() and time.monotonic() < deadline:
            for process in _processes(live, "hopsworks"):
                with suppress(psutil.NoSuchProcess):
                    if "materialize" in process.cmdline():
                        process.send_signal(signal.SIGKILL)
                        killed.set()
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with pytest.raises(HopsworksJobFailed, match=r"FAILED|KILLED"):
            live.materialize(2)
    finally:
        killer.join()
    assert killed.is_set()


def _burst(live: Live, arrive: Callable[[], None]) -> None:
    for _ in range(10):
        arrive()


def _topic_deleted(live: Live, arrive: Callable[[], None]) -> None:
    """By mistake, after all its events were computed; the deployment makes it anew."""
    topic = live.pipeline.source.topic
    eventually(lambda: _assert_computed(live, topic))
    admin = AdminClient({"bootstrap.servers": live.stack.config.kafka_bootstrap})
    admin.delete_topics([topic], operation_timeout=30)[topic].result(30)
    eventually(lambda: _assert_absent(admin, topic))
    live.register()
    arrive()


def _assert_computed(live: Live, topic: str) -> None:
    """A checkpoint has everything that is in the topic: Flink commits its offsets with it."""
    settings = {"bootstrap.servers": live.stack.config.kafka_bootstrap, "group.id": f"flink-{live.pipeline.name}"}
    consumer = Consumer(settings)
    try:
        there = ends(settings["bootstrap.servers"], topic)
        committed = consumer.committed([TopicPartition(topic, one) for one in there], timeout=10)
        assert {one.partition: one.offset for one in committed} == there
    finally:
        consumer.close()


def _assert_absent(admin: AdminClient, topic: str) -> None:
    assert topic not in admin.list_topics(timeout=10).topics


FAULTS = (
    Fault("a TaskManager is killed", _kill("flink-taskmanager")),
    Fault("the JobManager is killed", _kill("flink-jobmanager")),
    Fault("the job is cancelled by hand", _cancelled),
    Fault("the broker is killed", _kill("kafka")),
    Fault("the broker does not answer", _freeze("kafka"), short=False),
    Fault("the Hopsworks server is killed", _kill("hopsworks"), short=False),
    Fault("the Hopsworks server does not answer", _freeze("hopsworks"), short=False),
    Fault("the online store's consumer is killed", _kill("hopsworks-onlinefs")),
    Fault("a materialization is killed", _materialization_killed),
    Fault("checkpoints cannot be written", _full_disk, short=False),
    Fault("ten times the events at once", _burst, short=False),
    Fault("the source topic is deleted", _topic_deleted, short=False),
)
