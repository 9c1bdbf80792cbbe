"""A pipeline under supervision, and the task that looks at it, run after run."""

from __future__ import annotations

from tests.support.fixtures import TaskInstance

PIPELINE = {
    "name": "cards",
    "source": {
        "topic": "cards",
        "schema": {"cc": "bigint", "at": "bigint"},
        "event_time": {"column": "at"},
    },
    "feature_groups": [{"name": "g", "key": ["cc"], "window": {"size": "1m"}, "aggregates": {"n": "count"}}],
}


class Runs(TaskInstance):
    """The task in one DAG run after the other, and how many deployments are at work."""

    def __init__(self) -> None:
        super().__init__()
        self.deploying = 0
        self.asked: list[tuple[str, list[str]]] = []

    def get_dr_count(self, *, dag_id: str, states: list[str]) -> int:
        self.asked.append((dag_id, states))
        return self.deploying
