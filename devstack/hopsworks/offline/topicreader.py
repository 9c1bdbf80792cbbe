"""The records of a topic from start to end offsets, in chunks whose columns are taken without a loop in Python."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from devstack.hopsworks.metadata.wire import HeaderError, parse_headers

# Larger chunks fall out of the processor's caches before they are processed: half the speed.
CHUNK = 2_000
CHUNK_BYTES = 32 * 1024 * 1024
SILENCE_SECONDS = 60.0
# Small queues for the same reason, and to bound the memory of open fetches.
FETCH_SETTINGS = {
    "enable.partition.eof": True,
    "queued.min.messages": 50_000,
    "queued.max.messages.kbytes": 16_384,
    "fetch.message.max.bytes": 4 * 1024 * 1024,
    "fetch.queue.backoff.ms": 5,
}

KEPT, OTHER_GROUP, OTHER_SUBJECT, ONLINE_ONLY, DELETES, NO_HEADERS = range(6)
CODE_NAMES = ("kept", "other_group", "other_subject", "online_only", "deletes", "no_headers")


class TopicError(Exception):
    """The topic cannot be read; the text says why."""


class RouteCodes(dict[tuple[Any, ...], int]):
    """Code of a record by its headers, cached: a topic has few distinct headers and millions of records."""

    def __init__(self, feature_group_id: int, subject_id: int, limit: int = 10_000) -> None:
        super().__init__()
        self._feature_group_id, self._subject_id, self._limit = feature_group_id, subject_id, limit

    def __missing__(self, headers: tuple[Any, ...]) -> int:
        if len(self) >= self._limit:
            self.clear()
        self[headers] = code = self._code(headers)
        return code

    def _code(self, headers: tuple[Any, ...]) -> int:
        try:
            route = parse_headers(headers)
        except HeaderError:
            return NO_HEADERS
        if route.feature_group_id != self._feature_group_id:
            return OTHER_GROUP
        if route.subject_id != self._subject_id:
            return OTHER_SUBJECT
        if route.delete:
            return DELETES
        return KEPT if route.offline else ONLINE_ONLY

    def of(self, messages: list[Message]) -> np.ndarray:
        """The code of each message."""
        try:
            # As one stream: lists of all headers would not fit into the processor's caches.
            keys = map(tuple, map(Message.headers, messages))  # type: ignore[arg-type]
            return np.fromiter(map(self.__getitem__, keys), np.int8, len(messages))
        except TypeError:  # None, for a record without any
            codes = (self[tuple(message.headers() or ())] for message in messages)
            return np.fromiter(codes, np.int8, len(messages))


@dataclass
class Chunk:
    """Records in the order of reading, and the ends of partitions that were reached."""

    messages: list[Message]
    ends: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        number = len(self.messages)
        self.partitions = np.fromiter(map(Message.partition, self.messages), np.int32, number)
        self.offsets = np.fromiter(map(Message.offset, self.messages), np.int64, number)

    def where(self, mask: np.ndarray) -> Chunk:
        """The records for which ``mask`` is true."""
        if mask.all():
            return self
        return Chunk(list(compress(self.messages, mask)), self.ends)

    def first(self, number: int) -> Chunk:
        """Its first records, without the ends of partitions."""
        return Chunk(self.messages[:number])

    def values(self) -> list[bytes]:
        """The raw values."""
        return list(map(Message.value, self.messages))  # type: ignore[arg-type]

    def next_offsets(self) -> dict[int, int]:
        """The offset behind the last record, per partition."""
        after = {}
        for partition in np.unique(self.partitions).tolist():
            after[partition] = int(self.offsets[self.partitions == partition][-1]) + 1
        # Offsets without a record (markers of transactions) may stand before an end.
        return {**after, **self.ends}


class TopicReader:
    """Reads a topic's partitions from ``start`` up to, not including, ``end``; then it is exhausted."""

    def __init__(self, consumer: Consumer, topic: str, start: dict[int, int], end: dict[int, int]) -> None:
        self._consumer, self._topic, self._end = consumer, topic, end
        self._open = {partition for partition in start if start[partition] < end[partition]}
        self._size = 100
        consumer.assign([TopicPartition(topic, partition, start[partition]) for partition in sorted(self._open)])

    def __iter__(self) -> Iterator[Chunk]:
        silent_since = time.monotonic()
        while self._open:
            # consume() alone would sit out its timeout for a full chunk.
            first = self._consumer.poll(0.5)
            if first is None:
                if time.monotonic() - silent_since > SILENCE_SECONDS:
                    raise TopicError(f"topic {self._topic}: nothing arrived for {SILENCE_SECONDS:.0f} s.")
                continue
            silent_since = time.monotonic()
            chunk = self._chunk([first, *self._consumer.consume(self._size - 1, 0.05)])
            self._adapt(chunk)
            yield chunk

    def _chunk(self, received: list[Message]) -> Chunk:
        ends: dict[int, int] = {}
        events = list(compress(received, map(Message.error, received)))
        for event in events:
            error, partition, offset = event.error(), event.partition(), event.offset()
            if error is None or error.code() != KafkaError._PARTITION_EOF or partition is None or offset is None:
                raise KafkaException(error)
            if partition in self._open:
                ends[partition] = min(offset, self._end[partition])
        if events:
            received = [message for message in received if message.error() is None]
        chunk = Chunk(received, ends)
        wanted = np.zeros(len(received), bool)
        for partition in np.unique(chunk.partitions).tolist():
            if partition not in self._open:
                continue
            here, end = chunk.partitions == partition, self._end[partition]
            wanted |= here & (chunk.offsets < end)
            if chunk.offsets[here][-1] + 1 >= end:
                ends[partition] = end
        self._open -= ends.keys()
        return chunk.where(wanted)

    def _adapt(self, chunk: Chunk) -> None:
        """Chunks of large records are shorter, so that no chunk takes much memory."""
        number = len(chunk.messages)
        if number:
            size = sum(map(len, chunk.messages)) // number + 1
            self._size = max(1, min(CHUNK, CHUNK_BYTES // size))
