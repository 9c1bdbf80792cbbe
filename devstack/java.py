"""Which Java the stack runs on: ``JAVA_HOME``'s if that is set, the one on the PATH otherwise."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from devstack.errors import DevstackError


def executable() -> str:
    """Path of the ``java`` command.

    :raises DevstackError: when there is none.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    found = found or shutil.which("java")
    if found is None:
        raise DevstackError("No Java found: install a JDK 17, e.g. `apt-get install openjdk-17-jdk-headless`.")
    return found
