"""Make Airflow's database and its connections: ``python -m devstack.airflow.initialise < connections.json``.

A process of its own because Airflow reads its configuration when it is imported.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def main() -> None:
    connections = json.load(sys.stdin)
    from airflow.utils import db

    db.initdb()
    let_readers_read()
    save(connections)


def let_readers_read() -> None:
    """Have SQLite keep a write-ahead log, so that whoever reads does not wait for a process that writes."""
    from airflow.utils.session import create_session
    from sqlalchemy import text

    with create_session() as session:
        # Stays with the file.
        session.execute(text("PRAGMA journal_mode=WAL"))


def save(connections: dict[str, dict[str, Any]]) -> None:
    """Create or replace the connections; others, made by hand in the UI, stay."""
    from airflow.models import Connection
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    with create_session() as session:
        session.execute(delete(Connection).where(Connection.conn_id.in_(connections)))
        session.flush()
        for conn_id, fields in connections.items():
            extra = fields.get("extra")
            text = extra if isinstance(extra, str) or extra is None else json.dumps(extra)
            session.add(Connection(conn_id=conn_id, **{**fields, "extra": text}))


if __name__ == "__main__":
    main()
