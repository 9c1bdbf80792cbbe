"""Workers that die at a chosen call."""

from __future__ import annotations

from typing import Any

import pytest


class Killed(BaseException):
    """Stands for a SIGKILL of the worker: nothing of the package's own runs after it."""


def die(patch: pytest.MonkeyPatch, owner: Any, name: str, after: bool, call: int = 1) -> None:
    """Die before or after a call of a function, the first one or a later one."""
    original, calls = getattr(owner, name), []

    def dying(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        if len(calls) < call:
            return original(*args, **kwargs)
        if after:
            original(*args, **kwargs)
        raise Killed

    patch.setattr(owner, name, dying)
