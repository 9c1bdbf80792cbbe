"""Links that log a browser in once: made by who may write the server's folder, used up by the server.

A link is a file, named by the hash of its secret: whoever lists the folder cannot log in with it, and a file is removed
once, however many ask for it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode

from devstack.config import HOST, DevstackConfig, DevstackError
from devstack.hopsworks.home.layout import Layout

LINK_SECONDS = 3600.0


def make_link(config: DevstackConfig, path: str = "/") -> str:
    """An address that logs a browser in and leads to ``path``: good once, within an hour.

    :raises DevstackError: the server was never started.
    """
    folder = Layout(config).login_links
    if not folder.parent.is_dir():
        raise DevstackError(f"There is no local Hopsworks in {folder.parent}: run `make up` first.")
    folder.mkdir(mode=0o700, exist_ok=True)
    for old in folder.iterdir():
        # Somebody may just use it.
        with suppress(FileNotFoundError):
            if _age(old) > LINK_SECONDS:
                old.unlink()
    secret = secrets.token_urlsafe(24)
    os.close(os.open(folder / _name(secret), os.O_CREAT | os.O_EXCL, 0o600))
    query = {"link": secret, **({"next": path} if path != "/" else {})}
    # Browsers do not know the hosts of containers, whose ports are published on this one.
    return f"https://{HOST}:{config.hopsworks_port}/login?{urlencode(query)}"


def redeem(layout: Layout, secret: str) -> bool:
    """Use a link up; False for one that is unknown, used, or too old."""
    file = layout.login_links / _name(secret)
    try:
        age = _age(file)
        file.unlink()
    except FileNotFoundError:
        return False
    return age <= LINK_SECONDS


def _name(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _age(file: Path) -> float:
    return time.time() - file.stat().st_mtime
