"""Operator that creates Kafka topics on any broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import BaseOperator
from hopsworks_flink.clients.kafka.topics import KafkaTopics, Topic, compare
from hopsworks_flink.exceptions import KafkaConflictError
from hopsworks_flink.hooks.kafka_connection import kafka_connection
from hopsworks_flink.tasks import lineage
from hopsworks_flink.tasks.arguments import as_int, as_strings, as_text, one_of
from hopsworks_flink.tasks.context import task_errors
from hopsworks_flink.tasks.links import KAFKA_COLOUR

if TYPE_CHECKING:
    from hopsworks_flink._compat import Context

_ON_DRIFT = ("fail", "alter", "ignore")


class KafkaCreateTopicOperator(BaseOperator):
    """Makes sure that one topic exists with these partitions and settings.

    A topic that exists as wanted is success. For several topics, expand the operator; with
    ``map_index_template="{{ task.topic }}"`` the tasks carry the topics' names.

    :param topic: name of the topic (templated).
    :param partitions: how many; default: 1 (templated).
    :param replication: copies of each partition; None: the broker's default, and not compared (templated).
    :param config: topic settings by Kafka's names, e.g. ``{"retention.ms": 86400000}``; only these are compared and
        altered; default: none (templated).
    :param on_drift: what to do about a topic that differs. ``fail``: the task fails for good, naming every difference;
        ``alter``: partitions are added and settings changed one by one, but partitions are never taken away and the
        replication is not changed: that fails before anything is; ``ignore``: the topic is taken as it is; default:
        ``fail`` (templated).
    :param kafka_conn_id: Airflow connection of type ``kafka``, the official provider's; default: ``kafka_default``
        (templated).
    :return: (XCom) ``topic``, ``partitions``, ``replication``, ``created``, ``altered`` (names of settings, and
        ``partitions``), ``differences`` (what was ignored).
    :raises AirflowFailException: an argument or the connection is wrong, the broker refuses it, or the topic differs.
    :raises KafkaError: the broker does not answer.
    """

    template_fields: Sequence[str] = ("topic", "partitions", "replication", "config", "on_drift", "kafka_conn_id")
    ui_color = KAFKA_COLOUR

    def __init__(
        self,
        *,
        topic: str,
        partitions: int | str = 1,
        replication: int | str | None = None,
        config: Mapping[str, Any] | None = None,
        on_drift: str = "fail",
        kafka_conn_id: str = "kafka_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.topic = topic
        self.partitions = partitions
        self.replication = replication
        self.config = config
        self.on_drift = on_drift
        self.kafka_conn_id = kafka_conn_id

    def get_openlineage_facets_on_start(self) -> Any:
        """The topic."""
        return lineage.of_topic(self.topic)

    def execute(self, context: Context) -> dict[str, Any]:
        """Create the topic, or alter it as wanted."""
        with task_errors():
            wanted = Topic(
                as_text(self.topic, "topic"),
                as_int(self.partitions, "partitions"),
                None if self.replication in (None, "", "None") else as_int(self.replication, "replication"),
                as_strings(self.config, "config"),
            )
            on_drift = one_of(self.on_drift, "on_drift", _ON_DRIFT)
            topics = KafkaTopics(kafka_connection(self.kafka_conn_id))
            existing = topics.find(wanted.name)
            if existing is None and topics.create(wanted):
                self.log.info("Topic %s created with %d partition(s).", wanted.name, wanted.partitions)
                return self._result(wanted, created=True)
            # Another task may have been faster.
            existing = existing or topics.find(wanted.name)
            if existing is None:
                raise KafkaConflictError(f"Topic {wanted.name!r} is being deleted: try another name.")
            return self._converge(topics, wanted, existing, on_drift)

    def _converge(self, topics: KafkaTopics, wanted: Topic, existing: Topic, on_drift: str) -> dict[str, Any]:
        changes = compare(wanted, existing)
        if not changes.differences:
            self.log.info("Topic %s exists as wanted.", wanted.name)
            return self._result(existing)
        listed = "; ".join(changes.differences)
        if on_drift == "ignore":
            self.log.warning("Topic %s differs, and is taken as it is: %s.", wanted.name, listed)
            return self._result(existing, differences=list(changes.differences))
        if on_drift == "fail":
            raise KafkaConflictError(
                f"Topic {wanted.name!r} differs: {listed}. Make the arguments match, or use on_drift='alter'."
            )
        if changes.impossible:
            raise KafkaConflictError(
                f"Topic {wanted.name!r} cannot be altered: {'; '.join(changes.impossible)}. Choose another topic."
            )
        topics.alter(wanted.name, changes)
        self.log.info("Topic %s altered: %s.", wanted.name, listed)
        altered = [*sorted(changes.config), *(["partitions"] if changes.partitions else [])]
        return self._result(Topic(wanted.name, wanted.partitions, existing.replication), altered=altered)

    @staticmethod
    def _result(
        topic: Topic, created: bool = False, altered: Sequence[str] = (), differences: Sequence[str] = ()
    ) -> dict[str, Any]:
        return {
            "topic": topic.name,
            "partitions": topic.partitions,
            "replication": topic.replication,
            "created": created,
            "altered": list(altered),
            "differences": list(differences),
        }
