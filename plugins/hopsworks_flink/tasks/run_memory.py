"""What a task remembers from one DAG run to the next, on all supported versions of Airflow."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Variable

_PREFIX = "hopsworks_flink"


class RunMemory:
    """One small JSON object in an Airflow Variable, which people can look at, and delete to begin anew.

    Not an XCom of an earlier run: "the newest one" is another one on each database if a run has no logical date.

    :param what: of which kind it is, e.g. ``supervision``.
    :param name: whose it is.
    """

    def __init__(self, what: str, name: str) -> None:
        self.key = f"{_PREFIX}.{what}.{name}"

    def recall(self) -> dict[str, Any]:
        """What was remembered last; empty if nothing was, or somebody wrote something else there."""
        saved = Variable.get(self.key, default=None, deserialize_json=True)
        return saved if isinstance(saved, dict) else {}

    def remember(self, value: dict[str, Any]) -> None:
        """Keep it until the next time."""
        Variable.set(self.key, value, description="Kept from run to run by a supervision task.", serialize_json=True)
