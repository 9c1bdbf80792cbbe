"""What differs between two topics, and what can be done about it: a table, no broker."""

from __future__ import annotations

from typing import Any

import pytest

from hopsworks_flink.clients.kafka.topics import Topic, TopicChanges, compare

EXISTING = Topic("t", 2, 1, {"retention.ms": "1000", "cleanup.policy": "delete"})


@pytest.mark.parametrize(
    ("wanted", "partitions", "config", "impossible", "differences"),
    [
        (Topic("t", 2), None, {}, 0, 0),
        (Topic("t", 2, 1, {"retention.ms": "1000"}), None, {}, 0, 0),
        (Topic("t", 3), 3, {}, 0, 1),
        (Topic("t", 1), None, {}, 1, 1),
        (Topic("t", 2, 3), None, {}, 1, 1),
        (Topic("t", 2, 1, {"retention.ms": "5", "x": "y"}), None, {"retention.ms": "5", "x": "y"}, 0, 2),
        (Topic("t", 1, 3, {"retention.ms": "5"}), None, {"retention.ms": "5"}, 2, 3),
    ],
)
def test_compare(wanted: Topic, partitions: Any, config: dict[str, str], impossible: int, differences: int) -> None:
    changes: TopicChanges = compare(wanted, EXISTING)
    assert (changes.partitions, dict(changes.config)) == (partitions, config)
    assert (len(changes.impossible), len(changes.differences)) == (impossible, differences)
