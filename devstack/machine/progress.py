"""Shows that something goes on, and for how long: ``progress.py LABEL COMMAND…`` runs a command.

It runs before any environment exists, on any ``python3``, so it imports the standard library only.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_SECONDS = 1.0


@contextmanager
def going_on(label: str) -> Iterator[None]:
    """One line while the block runs: at a terminal it counts the seconds, elsewhere it stands there once."""
    terminal = sys.stdout.isatty()
    began, over = time.monotonic(), threading.Event()

    def show(end: str) -> None:
        sys.stdout.write(f"\r{label}: {time.monotonic() - began:.0f} s{end}")
        sys.stdout.flush()

    def count() -> None:
        while not over.wait(_SECONDS):
            show("")

    if not terminal:
        sys.stdout.write(f"{label}\n")
        sys.stdout.flush()
        yield
        return
    show("")
    counter = threading.Thread(target=count)
    counter.start()
    try:
        yield
    finally:
        over.set()
        counter.join()
        show("\n")


def main() -> int:
    """Run the command; its output and its exit code are kept."""
    label, *command = sys.argv[1:]
    with going_on(label):
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
