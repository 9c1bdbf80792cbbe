"""How many rows a bounded SQL job has written, as Flink's figures tell. Pure, no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

# Flink names a Kafka table's operators "cards_1[11]: Writer" and "cards_1[11]: Committer".
_SINK = re.compile(r"(\w+)\[\d+\]: (Writer|Committer)")


def rows_written(vertices: Iterable[Mapping[str, Any]], tables: Iterable[str]) -> dict[str, int | None]:
    """Rows by sink table, out of ``GET /jobs/{id}`` of a finished job.

    A vertex counts what its writer has sent to Kafka together with the few messages it has sent to its committer, which
    counts these as read. Where one vertex writes several tables, the figures are common to them and tell nothing.

    :param tables: names of the sink tables.
    :return: None for a table that Flink's figures do not tell.
    """
    sent: dict[str, int] = {}
    committed: dict[str, int] = {}
    for vertex in vertices:
        metrics = vertex.get("metrics") or {}
        sinks = _SINK.findall(str(vertex.get("name")))
        if len(sinks) != 1:
            continue
        table, part = sinks[0]
        if part == "Writer" and metrics.get("write-records-complete"):
            sent[table] = int(metrics["write-records"])
        elif part == "Committer" and metrics.get("read-records-complete"):
            committed[table] = int(metrics["read-records"])
    return {table: sent[table] - committed[table] if table in sent and table in committed else None for table in tables}
