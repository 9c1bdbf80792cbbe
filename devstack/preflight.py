"""What can be known before anything is started: whether the ports are free."""

from __future__ import annotations

from collections.abc import Iterable

from devstack import processes
from devstack.config import DevstackConfig
from devstack.errors import DevstackError
from devstack.parts import Part


def check_ports(config: DevstackConfig, parts: Iterable[Part]) -> None:
    """Refuse to start parts whose ports are taken.

    :raises DevstackError: naming each busy port, its setting, and the process that holds it if that can be seen.
    """
    busy = [
        _sentence(setting, config.ports[setting])
        for part in parts
        for setting in part.port_settings
        if not processes.is_port_free(config.bind_host, config.ports[setting])
    ]
    if busy:
        raise DevstackError("\n".join(busy))


def _sentence(setting: str, port: int) -> str:
    holder = processes.port_holder(port)
    return (
        f"Port {port} ({setting}) is taken by {holder or 'another process'}: end it, or choose another port with "
        f"DEVSTACK_{setting.upper()} (DEVSTACK_PORT_BASE moves the whole stack)."
    )
