"""Files as the past of a pipeline: the source's table over them in place of the topic's."""

from __future__ import annotations

import re

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.spec.paths import split_pattern
from hopsworks_flink.pipeline.spec.source import Column
from hopsworks_flink.pipeline.spec.source.writing import parse_path
from hopsworks_flink.pipeline.sql import events as views
from hopsworks_flink.pipeline.sql import names
from hopsworks_flink.pipeline.sql.features import column_options
from hopsworks_flink.pipeline.types import sql_identifier, sql_literal

_KAFKA_TIMESTAMP = sql_identifier(views.KAFKA_TIMESTAMP)
# What the topic's table takes from a record beside its value, and where its expressions read that.
_METADATA = re.compile(rf"(`\w+`) \w+(?:\(\d\))? METADATA FROM '(\w+)' VIRTUAL|{_KAFKA_TIMESTAMP}")
# Of this package's Java classes: Flink's own know no header line, guess at values, and misread other types.
_FORMAT = "hopsworks-files"


def readable(pipeline: Pipeline) -> Pipeline:
    """The pipeline as its statements over files are compiled from.

    :raises PipelineError: the pipeline cannot be computed from files.
    """
    if pipeline.source.event_time.is_kafka_timestamp:
        raise PipelineError(
            f"pipeline {pipeline.name}: files have no Kafka timestamp, so a history of files needs a column or an "
            "expression as source.event_time"
        )
    # What cannot be read in a file fails the job. An event in a file is as old as it is: there is no time of arrival.
    # Nor is there a framing or an envelope.
    changes: dict[str, str | None] = {
        "framing": None,
        "registry": None,
        "unwrap": None,
        "on_decode_error": "fail",
        "refused": "drop",
        "max_past": None,
    }
    source = pipeline.source.model_copy(update=changes)
    # What stood beside a record, or in the envelope around the row, is a column of a file.
    columns = {name: Column(type=c.type) if c.is_beside else c for name, c in source.declared.items()}
    if pipeline.source.unwrap is not None:
        outside = {name for name, c in columns.items() if parse_path(c.path or name)[0] == "$"}
        columns |= {name: columns[name].model_copy(update={"path": None}) for name in outside}
    return pipeline.model_copy(update={"source": source.model_copy(update={"declared": columns})})


def source_tables(pipeline: Pipeline, topic_table: str, first: int, end: int) -> list[str]:
    """The source over files: a table with the columns and guards of the topic's, and a view with its name.

    An event in a file has no Kafka timestamp. Its place takes ``end``: an event later than that does not belong to what
    is computed, and the other guards hold as for the topic.

    :param topic_table: DDL of the source topic.
    :param first: events before that are not needed, epoch milliseconds.
    :param end: nor are events after it, epoch milliseconds; one at the very end may prolong a session.
    """
    assert pipeline.history is not None
    body, separator, _ = topic_table.partition("\n) WITH (\n")
    if not separator or not _METADATA.search(body):
        raise ValueError("the source table is not the one that history knows")
    stand_ins = {"timestamp": f"TO_TIMESTAMP_LTZ({end}, 3)", "partition": "0", "offset": "CAST(0 AS BIGINT)"}
    # A computed column cannot read another one.
    body = _METADATA.sub(
        lambda found: f"{found[1]} AS {stand_ins[found[2]]}" if found[1] else stand_ins["timestamp"], body
    )
    topic, files = (sql_identifier(make(pipeline.source)) for make in (names.source_table, names.files_table))
    body = body.replace(topic, files, 1)
    folder, pattern = split_pattern(pipeline.history.path)
    options = {
        "connector": "filesystem",
        "path": folder,
        "format": _FORMAT,
        f"{_FORMAT}.encoding": pipeline.history.format,
        **column_options(_FORMAT, pipeline.source),
    }
    if pipeline.history.header:
        options[f"{_FORMAT}.header"] = "true"
    if pattern is not None:
        options["source.path.regex-pattern"] = pattern
    settings = ",\n  ".join(f"{sql_literal(key)} = {sql_literal(value)}" for key, value in options.items())
    event_time = sql_identifier(views.EVENT_TIME)
    # Before events are spread over their windows, of which a sliding window has many.
    view = (
        f"CREATE TEMPORARY VIEW {topic} AS\nSELECT * FROM {files}\n"
        f"WHERE {event_time} >= TO_TIMESTAMP_LTZ({max(0, first)}, 3) AND {event_time} <= TO_TIMESTAMP_LTZ({end}, 3)"
    )
    return [body + separator + "  " + settings.replace("$", "$$") + "\n)", view]
