"""What a feature group's topic holds of some keys: their rows, who wrote them, and how far they are offline."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from hopsworks_flink.clients.kafka.span import Span, read_span
from hopsworks_flink.exceptions import HopsworksNotFoundError
from hopsworks_flink.health.explanation import JOB, RECOMPUTE, STRANGER, Row, Written
from hopsworks_flink.pipeline.plan import is_row_of

if TYPE_CHECKING:
    from hopsworks_flink.clients.hopsworks.session import HopsworksSession
    from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline

Key = tuple[Any, ...]
#: A key, and the time of its row, epoch milliseconds; None: the group's rows have none.
Place = tuple[Key, int | None]
# What Avro's reader makes of bytes of another schema.
_UNREADABLE = (EOFError, IndexError, ArithmeticError, ValueError)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Rows:
    """What was read.

    :param found: of each place its rows, in the order in which they were written.
    """

    span: Span
    found: Mapping[Place, list[Written]]


def read_rows(
    session: HopsworksSession,
    group: FeatureGroup,
    registered: Any,
    places: Collection[Place],
    since: int,
    ingestions: frozenset[int] | None,
    *,
    seconds: float | None = None,
) -> Rows:
    """Read the rows of some places that were written since a time.

    :param registered: the SDK's feature group.
    :param since: Kafka timestamp, epoch milliseconds.
    :param ingestions: ingestion ids of the pipeline's own jobs; None: nobody says, and every id may be one.
    :raises HopsworksFlinkError: Hopsworks or the broker does not answer.
    """
    ref = session.describe(registered)
    decode = _decoding(ref.avro_schema)
    found: dict[Place, list[Written]] = {}

    def take(record: Any) -> None:
        headers = dict(record.headers() or ())
        if record.value() is None or not is_row_of(headers, ref.feature_group_id):
            return
        row = row_of(group, decode(record.value()))
        place = (tuple(row.values.get(name) for name in group.key), row.time)
        if place in places:
            found.setdefault(place, []).append(_written(record, row, headers, ingestions, group))

    span = read_span(session.kafka_config(), ref.topic, since, None, take, seconds=seconds)
    for rows in found.values():
        rows.sort(key=lambda one: (one.timestamp, one.partition, one.offset))
    return Rows(span, found)


def materialized(session: HopsworksSession, registered: Any) -> Mapping[int, int] | None:
    """Partition of the group's topic -> everything before this offset is offline; None: nobody says.

    :raises HopsworksFlinkError: Hopsworks does not answer.
    """
    try:
        job = session.jobs.materialization(registered)
    except HopsworksNotFoundError:
        return None
    executions = session.jobs.executions(job)
    progress, _ = session.jobs.progress(job, executions, registered._online_topic_name)
    if progress is not None:
        return progress.offsets
    # One that never ran has brought nothing.
    return None if executions else {}


def late_events(pipeline: Pipeline, conf: Mapping[str, Any], since: int) -> dict[tuple[int, int], int]:
    """Partition and offset of the events that the job found late -> how far behind the watermark, milliseconds.

    Empty for a pipeline that has no topic for them. Those of a file with other columns are passed over, if it
    did not just lack the last ones.

    :param conf: librdkafka settings of the feature store's broker.
    :param since: Kafka timestamp of the first event that matters, epoch milliseconds: none is written earlier.
    :raises KafkaError: the broker does not answer.
    """
    if pipeline.late_topic is None:
        return {}
    from hopsworks_flink.pipeline.sql.late import late_avro_schema

    decode, found = _decoding(json.dumps(late_avro_schema(pipeline))), dict[tuple[int, int], int]()

    def take(record: Any) -> None:
        row = decode(record.value() or b"")
        if "kafka_offset" in row:
            found[row["kafka_partition"], row["kafka_offset"]] = row["lateness_ms"]

    read_span(conf, pipeline.late_topic, since, None, take)
    return found


def row_of(group: FeatureGroup, values: Mapping[str, Any]) -> Row:
    """A stored or written row, with its time."""
    if group.event_time is None:
        return Row(None, values)
    value = values.get(group.event_time.feature)
    if isinstance(value, str):
        value = datetime.fromisoformat(value.replace("Z", "+00:00"))
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        return Row((moment - _EPOCH) // timedelta(milliseconds=1), values)
    return Row(None if value is None else int(value), values)


def array_of(value: Any, schema: Any) -> Any:
    """An array out of its bytes, as rows and the online store have it; what is something else as it is.

    :param schema: Avro's, of the feature.
    """
    import fastavro

    if not isinstance(value, bytes):
        return value
    try:
        return fastavro.schemaless_reader(io.BytesIO(value), fastavro.parse_schema(schema), None)
    except _UNREADABLE:
        return value


def _is_array(schema: Any) -> bool:
    return isinstance(schema, list) and any(isinstance(one, dict) and one.get("type") == "array" for one in schema)


def _written(
    record: Any, row: Row, headers: Mapping[str, bytes], ingestions: frozenset[int] | None, group: FeatureGroup
) -> Written:
    text, storage = headers.get("onlineIngestionId"), headers.get("storage")
    number = int(text) if text is not None and text.isdigit() else None
    writer = STRANGER
    if number is None and storage == b"offline":
        # What a job writes of a group that is offline only looks like what a recompute writes.
        writer = RECOMPUTE if group.online else JOB
    elif number is not None and (ingestions is None or number in ingestions):
        writer = JOB
    place = (record.partition(), record.offset(), record.timestamp()[1])
    return Written(*place, writer, row, number, storage != b"offline", storage != b"online")


def _decoding(text: str) -> Callable[[bytes], dict[str, Any]]:
    """Decodes rows of a schema, and of an older one that lacked its last fields; empty for what is neither."""
    import fastavro

    data = json.loads(text)
    arrays = {field["name"]: field["type"] for field in data["fields"] if _is_array(field["type"])}
    # In rows they are bytes, which the registered schema does not say.
    fields = [{**field, "type": ["null", "bytes"]} if field["name"] in arrays else field for field in data["fields"]]
    schemas = [
        fastavro.parse_schema({**data, "name": f"{data['name']}_{length}", "fields": fields[:length]})
        for length in range(len(fields), 0, -1)
    ]

    def decode(value: bytes) -> dict[str, Any]:
        row = next((row for schema in schemas if (row := _exactly(value, schema))), {})
        return {name: array_of(one, arrays[name]) if name in arrays else one for name, one in row.items()}

    return decode


def _exactly(value: bytes, schema: Any) -> dict[str, Any] | None:
    """A record that is of this schema to its last byte; None for any other."""
    import fastavro

    buffer = io.BytesIO(value)
    try:
        row: Any = fastavro.schemaless_reader(buffer, schema, None)
    except _UNREADABLE:
        return None
    return row if buffer.tell() == len(value) else None
