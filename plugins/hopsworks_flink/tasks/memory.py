"""What a task remembers across its tries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import NEVER_EXPIRE

if TYPE_CHECKING:
    from hopsworks_flink._compat import Context

_EPOCH = "epoch"


class TaskMemory:
    """One small JSON object in Airflow's store for a task's state (since 3.3; before, nothing is remembered).

    What was written before a clear is not recalled: a retry keeps the task's ``max_tries``, a clear raises it.

    :param key: name of the object within the task.
    """

    def __init__(self, context: Context, key: str) -> None:
        self._store: Any = context.get("task_state_store")
        self._epoch = context["ti"].max_tries
        self._key = key

    def remember(self, value: Mapping[str, Any]) -> None:
        """Keep the object until it is forgotten, however late the next try comes."""
        if self._store is not None:
            self._store.set(self._key, {**value, _EPOCH: self._epoch}, retention=NEVER_EXPIRE)

    def recall(self) -> dict[str, Any] | None:
        """What an earlier try remembered; None if there was none, or the task was cleared since."""
        saved = self._store.get(self._key) if self._store is not None else None
        if not isinstance(saved, dict) or saved.get(_EPOCH) != self._epoch:
            return None
        return {key: value for key, value in saved.items() if key != _EPOCH}

    def forget(self) -> None:
        """The work is done."""
        if self._store is not None:
            self._store.delete(self._key)
