"""Logging of the local Hopsworks processes: standard output, UTC, one line per event."""

from __future__ import annotations

import logging
import sys
import time

ROOT = "devstack.hopsworks"


def get_logger(part: str) -> logging.Logger:
    """Logger of one part of the server, e.g. ``onlinefs``."""
    return logging.getLogger(f"{ROOT}.{part}")


def configure_logging() -> None:
    """Send the records of these processes to standard output. Request headers are never among them."""
    handler = logging.StreamHandler(sys.stdout)
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
