"""Keeps keys and passwords that the Hopsworks SDK writes to files in memory: a killed process leaves none behind."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

# What the SDK writes at its login, and reads again while it works.
_FILES = ("keyStore.jks", "trustStore.jks", "material_passwd", "ca_chain.pem", "client_cert.pem", "client_key.pem")
_STORES = ("keystore", "truststore")


@contextmanager
def certificate_folder() -> Iterator[str]:
    """A folder for the SDK's login whose files lie in the memory of this process.

    The names in it are links to anonymous files, which end with the process, whatever ends it. Where the system has
    none (only Linux does) they are files on disk, removed at the end of the block.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="hopsworks-session-", ignore_cleanup_errors=True)
        )
        for name in _FILES if hasattr(os, "memfd_create") else ():
            file = os.memfd_create(name)
            stack.callback(os.close, file)
            os.symlink(f"/proc/self/fd/{file}", Path(folder, name))
        yield folder


def keep_in_memory(connector: Any) -> Mapping[str, str]:
    """Have the SDK's Kafka connector unpack its key stores into a mapping: path -> PEM text.

    By itself it writes the key to a file in /tmp that outlives the process, under a name that two platforms share.
    """
    from hopsworks_common import client

    written: dict[str, str] = {}

    def create_pem_files(options: Mapping[str, Any]) -> None:
        stores = [options[f"ssl.{store}.{what}"] for store in _STORES for what in ("location", "password")]
        writer = copy.copy(client._get_instance())
        writer._replace_file = written.__setitem__
        paths = writer._write_pem(*stores, "in-memory")
        connector.ca_chain_path, connector.client_cert_path, connector.client_key_path = paths

    connector.create_pem_files = create_pem_files
    return written
