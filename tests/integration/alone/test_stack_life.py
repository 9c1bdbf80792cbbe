"""Life of a stack of one part: a busy port, its start, its death, a part that cannot run, and that nothing is left."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from devstack import processes
from devstack.config import HOST, DevstackConfig, DevstackError
from devstack.stack import Stack
from devstack.supervision import Supervisor
from tests.support.live.stack import HOME, JAVA_OPTIONS, PORT_BASE


@pytest.fixture
def stack() -> Iterator[Stack]:
    """A second stack for what must not be done to the common one."""
    home = HOME.with_name(f"{HOME.name}-light")
    stack = Stack(DevstackConfig(home=home, port_base=PORT_BASE + 400, java_options=JAVA_OPTIONS))
    stack.down(wipe=True)
    try:
        yield stack
    finally:
        stack.down()


def healthy(stack: Stack) -> set[str]:
    return {part.name for part in stack.status() if part.healthy}


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.3)


def test_a_busy_port_is_named_with_its_setting_and_its_holder(stack: Stack) -> None:
    with socket.create_server((HOST, stack.config.kafka_port)), pytest.raises(DevstackError) as caught:
        stack.up(["kafka"])
    text = str(caught.value)
    assert f"Port {stack.config.kafka_port} (kafka_port) is taken by" in text
    assert f"(pid {os.getpid()})" in text
    assert "DEVSTACK_KAFKA_PORT" in text
    assert processes.belonging_to(stack.config.home) == []


def test_one_part_alone_its_death_its_end_and_what_keeps_it_from_running(stack: Stack) -> None:
    stack.up(["kafka"])
    assert healthy(stack) == {"kafka"}

    supervisor = Supervisor(stack.config)
    supervisord = supervisor.pid()
    assert supervisord is not None
    # The worst: its keeper is killed and the broker goes on alone, in the way of the next one.
    os.kill(supervisord, signal.SIGKILL)
    wait_for(lambda: supervisor.pid() is None)
    assert processes.belonging_to(stack.config.home) != []
    stack.up(["kafka"])
    assert healthy(stack) == {"kafka"}

    stack.down()
    assert processes.belonging_to(stack.config.home) == []
    assert {part.state for part in stack.status()} == {"stopped"}

    # A broker refuses a folder that was formatted for another cluster node.
    meta = stack.config.home / "kafka" / "data" / "meta.properties"
    meta.write_text(meta.read_text().replace("node.id=1", "node.id=7"))
    with pytest.raises(DevstackError) as caught:
        stack.up(["kafka"])
    text = str(caught.value)
    assert text.startswith("kafka ended (")
    assert "End of its log" in text
    assert "node.id" in text or "node id" in text
    stack.down(wipe=True)
    assert not stack.config.home.exists()
