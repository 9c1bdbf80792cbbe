"""A topic's records in large blocks, as the broker stores them: for runs that have much to read.

librdkafka makes a Python object of each record and header, which costs more than processing them. This client leaves
them in the bytes of the broker's answer. It handles the plain case only; the caller continues with the other reader
where this one stops.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Generator, Iterator
from typing import Any

from devstack.config import DevstackConfig
from devstack.hopsworks.offline.recordbatches import Block, OddRecordsError, blocks
from devstack.kafka.access import client_settings

# Records decoded at once: a call of the decoder costs a millisecond, a larger table falls out of the caches.
_BLOCK_RECORDS = 65_536
_PARTITION_BYTES = 8 * 1024 * 1024
_ANSWER_BYTES = 16 * 1024 * 1024
_WAIT_MS = 100
_SILENCE_SECONDS = 5.0
_READ_COMMITTED = 1


class BlockReader:
    """Reads a topic's partitions from ``start`` up to, not including, ``end``; then it is exhausted.

    Records of aborted transactions are left out. ``end`` lies before every transaction that is open.

    Raises :class:`OddRecordsError` when it cannot continue, for any reason.
    """

    def __init__(self, config: DevstackConfig, topic: str, start: dict[int, int], end: dict[int, int]) -> None:
        self._config, self._topic, self._end = config, topic, end
        self._positions = {partition: start[partition] for partition in start if start[partition] < end[partition]}

    def __iter__(self) -> Generator[Block, None, None]:
        from aiokafka.errors import KafkaError

        loop = asyncio.new_event_loop()
        client = None
        try:
            client = loop.run_until_complete(self._connect())
            yield from self._read(loop, client)
        # After any of its errors the other reader takes over.
        except (KafkaError, OSError, asyncio.TimeoutError) as error:
            raise OddRecordsError(f"{type(error).__name__}: {error}") from error
        finally:
            if client is not None:
                loop.run_until_complete(client.close())
            loop.close()

    async def _connect(self) -> Any:
        from aiokafka.client import AIOKafkaClient

        client = AIOKafkaClient(**_settings(self._config))
        await client.bootstrap()
        await client.set_topics([self._topic])
        return client

    def _read(self, loop: asyncio.AbstractEventLoop, client: Any) -> Iterator[Block]:
        """Requests the next answers before the blocks at hand are processed."""
        silent_since = time.monotonic()
        pending = self._ask(loop, client)
        try:
            while pending:
                answers = loop.run_until_complete(asyncio.gather(*pending))
                found = [block for answer in answers for block in self._blocks(answer)]
                if any(block.count for block in found):
                    silent_since = time.monotonic()
                elif time.monotonic() - silent_since > _SILENCE_SECONDS:
                    raise OddRecordsError(f"nothing arrived for {_SILENCE_SECONDS:.0f} s")
                pending = self._ask(loop, client)
                yield from found
        finally:
            for task in pending:
                task.cancel()

    def _ask(self, loop: asyncio.AbstractEventLoop, client: Any) -> list[asyncio.Task[Any]]:
        """One request to each broker that leads partitions which have not been read to their end."""
        from aiokafka.protocol.fetch import FetchRequest
        from aiokafka.structs import TopicPartition

        wanted: dict[int, list[tuple[int, int, int]]] = {}
        for partition, position in self._positions.items():
            if position < self._end[partition]:
                leader = client.cluster.leader_for_partition(TopicPartition(self._topic, partition))
                if leader is None or leader < 0:
                    raise OddRecordsError(f"partition {partition} has no leader")
                wanted.setdefault(leader, []).append((partition, position, _PARTITION_BYTES))
        tasks = []
        for leader, partitions in wanted.items():
            # The partition asked for first gets most of an answer: the one with the most left to read.
            partitions.sort(key=lambda asked: asked[1] - self._end[asked[0]])
            request = FetchRequest(_WAIT_MS, 1, _ANSWER_BYTES, _READ_COMMITTED, [(self._topic, partitions)])
            tasks.append(loop.create_task(client.send(leader, request)))
        return tasks

    def _blocks(self, answer: Any) -> Iterator[Block]:
        for _, partitions in answer.topics:
            for partition, error, *rest, data in partitions:
                if error:
                    raise OddRecordsError(f"partition {partition}: error {error} of the broker")
                wanted = (self._positions[partition], self._end[partition])
                # The only list in there, wherever a version of the protocol has it.
                aborted = next((part for part in rest if isinstance(part, list)), [])
                for block in blocks(partition, data or b"", wanted, _BLOCK_RECORDS, aborted):
                    self._positions[partition] = block.next_offset
                    yield block


def _settings(config: DevstackConfig) -> dict[str, Any]:
    """librdkafka's settings as this client's arguments."""
    known = client_settings(config)
    settings: dict[str, Any] = {"bootstrap_servers": known["bootstrap.servers"]}
    if "security.protocol" in known:
        context = ssl.create_default_context(cafile=known["ssl.ca.location"])
        if "ssl.certificate.location" in known:
            context.load_cert_chain(known["ssl.certificate.location"], known["ssl.key.location"])
        settings |= {"security_protocol": known["security.protocol"], "ssl_context": context}
    if "sasl.mechanism" in known:
        settings |= {
            "sasl_mechanism": known["sasl.mechanism"],
            "sasl_plain_username": known["sasl.username"],
            "sasl_plain_password": known["sasl.password"],
        }
    return settings
