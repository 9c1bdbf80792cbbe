"""What differs between two topics, and what can be done about it: a table, no broker."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import Uuid

from hopsworks_flink.clients.flink.jobs import topic_marks
from hopsworks_flink.clients.flink.submission import job_configuration
from hopsworks_flink.clients.kafka.offsets import id_text
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


def test_the_id_of_a_topic_can_be_a_mark_of_a_job() -> None:
    """Whatever its bits are."""
    ids = [id_text(Uuid(*bits)) for bits in ((-1, -1), (-262145, -5), (-1025, 7), (0, 0))]
    assert len(set(ids)) == 4
    for text in ids:
        (made,) = job_configuration("j", {}, topic_marks({"orders": text})).items() - {("pipeline.name", "j")}
        assert made[1] == f"topic_id.orders:{text}"


@pytest.mark.parametrize(
    ("name", "asked", "kept", "same"),
    [
        # As a broker shows what it was given so.
        ("cleanup.policy", "compact, delete", "compact,delete", True),
        ("cleanup.policy", "delete,compact", "compact,delete", True),
        ("cleanup.policy", "delete", "compact,delete", False),
        ("min.cleanable.dirty.ratio", "0.50", "0.5", True),
        ("min.cleanable.dirty.ratio", "0.50", "0.05", False),
        ("unclean.leader.election.enable", "True", "true", True),
        ("retention.ms", "0600000", "600000", True),
        ("retention.ms", "9007199254740993", "9007199254740992", False),
        ("retention.ms", "600000", "6000000", False),
    ],
)
def test_a_setting_in_another_spelling_is_no_difference(name: str, asked: str, kept: str, same: bool) -> None:
    found = compare(Topic("t", 1, None, {name: asked}), Topic("t", 1, 1, {name: kept}))
    assert (found.config, found.differences == ()) == ({} if same else {name: asked}, same)
