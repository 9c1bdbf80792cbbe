"""Debian's Chromium, driven by Playwright; a test that needs it is skipped where one of the two is missing."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def missing() -> str | None:
    """What a browser test lacks here; None: nothing."""
    if importlib.util.find_spec("playwright") is None:
        return "Playwright is not installed: uv sync --group browser"
    if executable() is None:
        return f"no browser is installed (one of {', '.join(_NAMES)}): apt-get install chromium"
    return None


def executable() -> str | None:
    """Path of a Chromium."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


@contextmanager
def browser() -> Iterator[Any]:
    """A browser without a window."""
    if reason := missing():
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # The sandbox needs rights that a container does not give.
        chromium = playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        try:
            yield chromium
        finally:
            chromium.close()
