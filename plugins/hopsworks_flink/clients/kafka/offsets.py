"""Offsets and timestamps of a topic's records, and which of them its settings have kept.

Offsets are those of the log: also of records whose transaction is open or was aborted, and of the markers that end
transactions. What is committed ends at a partition's last stable offset: the first record of its oldest open
transaction, or its end (https://kafka.apache.org/protocol#The_Messages_ListOffsets).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from hopsworks_flink.clients.kafka.client import KafkaClient
from hopsworks_flink.clients.kafka.reading import read_committed
from hopsworks_flink.exceptions import ConfigurationError, KafkaError

if TYPE_CHECKING:
    from hopsworks_flink.pipeline.recompute import PartitionHistory

_SECONDS = 30.0
# Offsets at a partition's end among which the newest record is looked for; as often again where none is committed.
_TAIL = 500
# Offsets behind a marker among which a record of its time is looked for.
_NEAR = 1000
_LOOK_SECONDS = 2.0
log = logging.getLogger(__name__)


def newest_timestamp(conf: Mapping[str, Any], topic: str) -> int | None:
    """Largest timestamp of a topic's committed records, milliseconds since the epoch; None where there is no record.

    :param conf: librdkafka settings that reach the broker.
    :raises ConfigurationError: there is no such topic, or the settings are wrong.
    :raises KafkaError: the broker does not answer, or refuses the connection.
    """
    newest = _newest(conf, topic)
    if newest is None:
        raise ConfigurationError(f"There is no Kafka topic {topic!r}: deploy the pipeline first, it creates it.")
    return max(newest.values(), default=None)


def newest_by_partition(conf: Mapping[str, Any], topic: str) -> dict[int, int]:
    """Partition -> largest timestamp of its committed records, epoch milliseconds; those without a record are left out.

    :param conf: librdkafka settings that reach the broker.
    :raises KafkaError: the broker does not answer, or refuses the connection.
    """
    return _newest(conf, topic) or {}


def _newest(conf: Mapping[str, Any], topic: str) -> dict[int, int] | None:
    """None if the topic does not exist.

    The broker's own answer may be a marker, whose time is the end of its transaction, or a record that does not count.
    Where it is, the newest of the last committed records is taken: by then it is in their order, or nearly.
    """
    from confluent_kafka.admin import OffsetSpec

    deadline = time.monotonic() + _SECONDS
    answers = offsets(conf, topic, OffsetSpec.max_timestamp(), OffsetSpec.earliest())
    if answers[0] is None or answers[1] is None:
        return None
    largest, low, end = answers[0], answers[1], stable_offsets(conf, topic)
    newest: dict[int, int] = {}

    def note(record: Any) -> bool:
        newest[record.partition()] = max(record.timestamp()[1], newest.get(record.partition(), 0))
        return False

    told = {one: answer.offset for one, answer in largest.items() if answer.timestamp > 0}
    read_committed(conf, topic, {one: (at, at + 1) for one, at in told.items() if at < end.get(one, 0)}, note, deadline)
    back = _TAIL
    while rest := {one: (max(low[one].offset, end[one] - back), end[one]) for one in told if one not in newest}:
        read_committed(conf, topic, rest, note, deadline)
        if all(begin == low[one].offset for one, (begin, _) in rest.items()):
            break
        back *= 4
    return newest


def stable_offsets(conf: Mapping[str, Any], topic: str) -> dict[int, int]:
    """Partition -> its last stable offset: before it, every transaction has ended. Empty without the topic.

    :param conf: librdkafka settings that reach the broker.
    :raises KafkaError: the broker does not answer, or refuses the connection.
    """
    from confluent_kafka.admin import OffsetSpec

    (answers,) = offsets(conf, topic, OffsetSpec.latest(), committed=True)
    return {partition: answer.offset for partition, answer in sorted((answers or {}).items())}


def wait_until_stable(conf: Mapping[str, Any], topic: str, ends: Mapping[int, int], seconds: float) -> None:
    """Wait until every transaction that began before these offsets has ended, so that all that counts can be read.

    :param ends: partition -> offset behind the last one that is to be read.
    :raises KafkaError: one is still open; the text says where it begins. Or the broker does not answer.
    """
    deadline, told = time.monotonic() + seconds, False
    while True:
        stable = stable_offsets(conf, topic)
        open_ = [f"{stable[one]} of partition {one}" for one, end in ends.items() if stable.get(one, end) < end]
        if not open_:
            return
        where = f"Topic {topic}: a transaction that began at offset {', '.join(open_)} is open"
        if time.monotonic() >= deadline:
            raise KafkaError(
                f"{where}, and nothing behind it can be read before it ends. Nothing was started. Try again when its "
                "producer has committed or aborted it, at the latest after the producer's transaction.timeout.ms; one "
                "that hangs is ended with `kafka-transactions.sh abort`."
            )
        if not told:
            log.info("%s: waiting for its end.", where)
        told = True
        time.sleep(_LOOK_SECONDS)


def holds_more_than(conf: Mapping[str, Any], topic: str, since: Mapping[int, int], number: int) -> bool:
    """Whether more than ``number`` records have been committed to a topic.

    :param since: partition -> first offset that counts; all of a partition that is not named.
    :raises KafkaError: the broker does not answer in time, or refuses the connection.
    """
    ranges = {one: (since.get(one, 0), end) for one, end in stable_offsets(conf, topic).items()}
    found = 0

    def count(record: Any) -> bool:
        nonlocal found
        found += 1
        return found > number

    if sum(end - begin for begin, end in ranges.values()) > number:
        read_committed(conf, topic, ranges, count, time.monotonic() + _SECONDS)
    return found > number


def end_offsets(conf: Mapping[str, Any], topic: str) -> dict[int, int]:
    """Partition -> the log's end, also behind open transactions; empty if the topic does not exist.

    :param conf: librdkafka settings that reach the broker.
    :raises KafkaError: the broker does not answer, or refuses the connection.
    """
    from confluent_kafka.admin import OffsetSpec

    return _of_each(conf, topic, OffsetSpec.latest())


def first_offsets(conf: Mapping[str, Any], topic: str) -> dict[int, int]:
    """Partition -> offset of the first record that was not deleted; empty if the topic does not exist.

    :param conf: librdkafka settings that reach the broker.
    :raises KafkaError: the broker does not answer, or refuses the connection.
    """
    from confluent_kafka.admin import OffsetSpec

    return _of_each(conf, topic, OffsetSpec.earliest())


def _of_each(conf: Mapping[str, Any], topic: str, spec: Any) -> dict[int, int]:
    (answers,) = offsets(conf, topic, spec)
    return {partition: answer.offset for partition, answer in sorted((answers or {}).items())}


def offsets(conf: Mapping[str, Any], topic: str, *specs: Any, committed: bool = False) -> list[dict[int, Any] | None]:
    """For each spec: partition -> the broker's answer; None if the topic does not exist.

    :param conf: librdkafka settings that reach the broker.
    :param specs: confluent-kafka's ``OffsetSpec``.
    :param committed: whether a log ends at its last stable offset.
    :raises KafkaError: the broker does not answer, or refuses the connection.
    """
    from confluent_kafka import IsolationLevel, KafkaException, TopicPartition

    level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
    client = KafkaClient(conf)
    metadata = client.topics(_SECONDS).get(topic)
    if metadata is None:
        return [None for _ in specs]
    results: list[dict[int, Any] | None] = []
    try:
        for spec in specs:
            wanted = {TopicPartition(topic, partition): spec for partition in metadata.partitions}
            answers = client.admin.list_offsets(wanted, isolation_level=level, request_timeout=_SECONDS)
            results.append({place.partition: answer.result() for place, answer in answers.items()})
    except KafkaException as error:
        raise KafkaError(f"Kafka at {client.servers} does not tell offsets: {error.args[0].str()}") from error
    return results


def partition_histories(
    conf: Mapping[str, Any], topic: str, since: int, until: int | None = None
) -> list[PartitionHistory]:
    """For each partition, by number: what it still holds, and where the records of a time begin and end.

    The first record to read is the first one stamped ``since`` or later, so none of them is missed however the stamps
    are ordered; reading ends before the first one stamped ``until`` or later, or where the partition ends now.

    :param conf: librdkafka settings that reach the broker.
    :param since: Kafka timestamp, milliseconds since the epoch.
    :param until: the same; None: up to the end.
    :raises ConfigurationError: there is no such topic.
    :raises KafkaError: the broker does not answer, or refuses the connection.
    """
    from confluent_kafka.admin import OffsetSpec

    from hopsworks_flink.pipeline.recompute import PartitionHistory

    answers = offsets(
        conf,
        topic,
        OffsetSpec.earliest(),
        OffsetSpec.latest(),
        *(OffsetSpec.for_timestamp(stamp) for stamp in (0, since)),
    )
    if answers[0] is None:
        raise ConfigurationError(f"There is no Kafka topic {topic!r}, so there is no history to recompute.")
    beyond = {} if until is None else _first_since(conf, topic, until)
    histories = []
    for number in sorted(answers[0]):
        low, high, oldest, first = (answer[number] for answer in answers if answer)
        end = beyond.get(number, high.offset)
        # Below zero: no record is that young.
        begin = min(first.offset, end) if first.offset >= 0 else end
        stamp = oldest.timestamp if oldest.offset >= 0 else None
        histories.append(PartitionHistory(number, low.offset, begin, end, stamp))
    return histories


def _first_since(conf: Mapping[str, Any], topic: str, stamp: int) -> dict[int, int]:
    """Partition -> offset of its first committed record of a time or later; those are left out where it is not known.

    The broker answers with markers as well, which are stamped when their transaction ends: behind one of these, older
    records may follow. So it is looked what comes there, not far.
    """
    from confluent_kafka.admin import OffsetSpec

    (answers,) = offsets(conf, topic, OffsetSpec.for_timestamp(stamp))
    stable, found = stable_offsets(conf, topic), dict[int, int]()

    def note(record: Any) -> bool:
        if record.timestamp()[1] >= stamp:
            found[record.partition()] = record.offset()
        return record.partition() in found

    places = {one: answer.offset for one, answer in (answers or {}).items() if answer.offset >= 0}
    ranges = {one: (at, min(at + _NEAR, stable.get(one, 0))) for one, at in places.items()}
    read_committed(conf, topic, ranges, note, time.monotonic() + _SECONDS)
    return found


def kept_since(conf: Mapping[str, Any], topic: str) -> int | None:
    """Kafka timestamp since which a topic keeps every record; None where its settings do not say.

    :raises KafkaError: the broker does not answer, or refuses the connection.
    """
    values = _settings(conf, topic)
    retention = int(values.get("retention.ms") or -1)
    by_time_only = values.get("cleanup.policy") == "delete" and int(values.get("retention.bytes") or -1) < 0
    return int(time.time() * 1000) - retention if by_time_only and retention >= 0 else None


def topic_ids(conf: Mapping[str, Any], names: Iterable[str], seconds: float = _SECONDS) -> dict[str, str]:
    """Topic -> Kafka's id of it, which a topic of the same name that is made anew does not have (KIP-516).

    A topic that does not exist is left out. Empty where the broker does not tell this client, which is logged.

    :param seconds: how long the broker may take.
    :raises KafkaError: the broker does not answer, or refuses the connection.
    """
    from confluent_kafka import KafkaException, TopicCollection

    client = KafkaClient(conf)
    known = client.topics(seconds)
    if not (there := [name for name in names if name in known]):
        return {}
    answers = client.admin.describe_topics(TopicCollection(there), request_timeout=seconds)
    try:
        return {name: id_text(answer.result().topic_id) for name, answer in answers.items()}
    except KafkaException as error:
        log.warning("Kafka at %s does not tell the ids of topics: %s", client.servers, error.args[0].str())
        return {}


def id_text(topic_id: Any) -> str:
    """A topic's id as Kafka's own tools write it, in base64 for URLs; the client's text has ``/`` and ``+``."""
    return str(topic_id).translate(str.maketrans("+/", "-_")).rstrip("=")


def compaction(conf: Mapping[str, Any], topic: str, seconds: float = _SECONDS) -> str | None:
    """A topic's ``cleanup.policy`` if it lets the broker remove records of which there is a newer one; else None.

    :param seconds: how long the broker may take.
    :raises KafkaError: the broker does not answer, or refuses the connection.
    """
    policy = _settings(conf, topic, seconds).get("cleanup.policy") or ""
    return policy if "compact" in policy.split(",") else None


def replaced_since(conf: Mapping[str, Any], topic: str, seconds: float = _SECONDS) -> int | None:
    """Kafka timestamp since which a compacted topic keeps records also where there are newer ones; None: it keeps all.

    :raises KafkaError: the broker does not answer, or refuses the connection.
    """
    values = _settings(conf, topic, seconds)
    if "compact" not in (values.get("cleanup.policy") or "").split(","):
        return None
    return max(0, int(time.time() * 1000) - int(values.get("min.compaction.lag.ms") or 0))


def deletes(conf: Mapping[str, Any], topic: str, seconds: float = _SECONDS) -> bool:
    """Whether the broker removes a topic's records also where there are no newer ones, or does not say.

    :raises KafkaError: the broker does not answer, or refuses the connection.
    """
    return _settings(conf, topic, seconds).get("cleanup.policy") != "compact"


def _settings(conf: Mapping[str, Any], topic: str, seconds: float = _SECONDS) -> dict[str, str | None]:
    """Empty without the topic, and where the broker does not tell this client, which is logged."""
    from confluent_kafka import KafkaError as Code
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import ConfigResource, ResourceType

    client = KafkaClient(conf)
    if topic not in client.topics(seconds):
        return {}
    try:
        resource = ConfigResource(ResourceType.TOPIC, topic)
        settings = client.admin.describe_configs([resource], request_timeout=seconds)[resource].result()
    except KafkaException as error:
        inner = error.args[0]
        text = f"Kafka at {client.servers} does not tell the settings of topic {topic}: {inner.str()}"
        if inner.code() in (Code.TOPIC_AUTHORIZATION_FAILED, Code._UNSUPPORTED_FEATURE):
            log.warning("%s. Whether it is compacted, and has lost events, is not known.", text)
            return {}
        raise KafkaError(text) from error
    return {name: entry.value for name, entry in settings.items()}
