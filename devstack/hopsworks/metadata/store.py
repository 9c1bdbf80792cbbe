"""The metadata database: feature groups with their tags, commits and ingestions, Avro subjects, topics."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, NamedTuple

from devstack.hopsworks.home.layout import Layout
from devstack.hopsworks.metadata.db import Database
from devstack.hopsworks.metadata.models import FeatureGroup

# AUTOINCREMENT: an id is never given twice, so that records of a deleted group can never reach its successor.
SCHEMA = """
CREATE TABLE IF NOT EXISTS feature_group (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, version INTEGER NOT NULL, document TEXT NOT NULL,
  UNIQUE (name, version));
CREATE TABLE IF NOT EXISTS tag (
  owner TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (owner, name));
CREATE TABLE IF NOT EXISTS feature_group_commit (
  feature_group_id INTEGER NOT NULL REFERENCES feature_group ON DELETE CASCADE,
  commit_id INTEGER NOT NULL, document TEXT NOT NULL, PRIMARY KEY (feature_group_id, commit_id));
CREATE TABLE IF NOT EXISTS online_ingestion (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  feature_group_id INTEGER NOT NULL REFERENCES feature_group ON DELETE CASCADE, num_entries INTEGER);
CREATE TABLE IF NOT EXISTS attachment (
  id INTEGER PRIMARY KEY AUTOINCREMENT, feature_group_id INTEGER NOT NULL REFERENCES feature_group ON DELETE CASCADE,
  kind TEXT NOT NULL, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS avro_schema (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS subject_version (
  subject TEXT NOT NULL, version INTEGER NOT NULL, schema_id INTEGER NOT NULL REFERENCES avro_schema,
  PRIMARY KEY (subject, version));
CREATE TABLE IF NOT EXISTS topic (
  name TEXT PRIMARY KEY, partitions INTEGER NOT NULL, replicas INTEGER NOT NULL,
  schema_name TEXT, schema_version INTEGER);
CREATE TABLE IF NOT EXISTS job (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, type TEXT NOT NULL, config TEXT NOT NULL,
  creation_time TEXT NOT NULL, schedule TEXT);
CREATE TABLE IF NOT EXISTS execution (
  id INTEGER PRIMARY KEY AUTOINCREMENT, job_id INTEGER NOT NULL REFERENCES job ON DELETE CASCADE,
  state TEXT NOT NULL, final_status TEXT NOT NULL, submission_time TEXT NOT NULL, args TEXT NOT NULL,
  app_id TEXT NOT NULL, stdout_path TEXT NOT NULL, stderr_path TEXT NOT NULL, duration INTEGER NOT NULL DEFAULT 0,
  progress REAL NOT NULL DEFAULT 0, env_vars TEXT NOT NULL DEFAULT '{}', pid INTEGER,
  stop_requested INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS execution_of_job ON execution (job_id, id);
"""


class SubjectVersion(NamedTuple):
    """One version of an Avro subject; ``id`` is that of the schema text, shared by equal texts."""

    id: int
    subject: str
    version: int
    schema: str


class Topic(NamedTuple):
    name: str
    partitions: int
    replicas: int
    schema_name: str | None
    schema_version: int | None


class MetadataStore:
    """Reads and writes the metadata; every method is one statement or one transaction."""

    def __init__(self, layout: Layout) -> None:
        self.db = Database(layout.metadata_db, SCHEMA)

    def change_counter(self) -> int:
        """A number that changes whenever another connection has changed the metadata: for caches."""
        return int(self.db.connection.execute("PRAGMA data_version").fetchone()[0])

    # --- feature groups -------------------------------------------------------------------------------------

    def feature_group(self, feature_group_id: int) -> FeatureGroup | None:
        rows = self._query("SELECT id, document FROM feature_group WHERE id = ?", feature_group_id)
        return _feature_group(rows[0]) if rows else None

    def feature_groups(self, name: str | None = None) -> list[FeatureGroup]:
        """All groups, or all versions of one, by name and version."""
        sql = "SELECT id, document FROM feature_group WHERE ?1 IS NULL OR name = ?1 ORDER BY name, version"
        return [_feature_group(row) for row in self._query(sql, name)]

    def insert_feature_group(self, group: FeatureGroup) -> FeatureGroup:
        """Store a new group and give it its id. Raises sqlite3.IntegrityError when name and version exist."""
        with self.db.transaction() as tx:
            cursor = tx.execute(
                "INSERT INTO feature_group (name, version, document) VALUES (?, ?, ?)",
                (group.name, group.version, group.model_dump_json()),
            )
        stored = group.model_copy(update={"id": int(cursor.lastrowid or 0)})
        for feature in stored.features:
            feature.feature_group_id = stored.id
        self.update_feature_group(stored)
        return stored

    def update_feature_group(self, group: FeatureGroup) -> None:
        with self.db.transaction() as tx:
            tx.execute("UPDATE feature_group SET document = ? WHERE id = ?", (group.model_dump_json(), group.id))

    def delete_feature_group(self, group: FeatureGroup) -> None:
        """Remove the group, its subject, tags, and the jobs named after it, in one transaction."""
        suffixes = (
            "insert_fg",
            "compute_stats",
            "offline_fg_materialization",
            "ge_validate",
            "import_fg",
            "run_feature_monitoring",
        )
        with self.db.transaction() as tx:
            for suffix in suffixes:
                tx.execute("DELETE FROM job WHERE name GLOB ?", (f"{group.full_name}_{suffix}*",))
            tx.execute("DELETE FROM subject_version WHERE subject = ?", (group.full_name,))
            tx.execute("DELETE FROM tag WHERE owner = ?", (f"featuregroup/{group.id}",))
            tx.execute("DELETE FROM feature_group WHERE id = ?", (group.id,))

    # --- tags -----------------------------------------------------------------------------------------------

    def tags(self, owner: str, name: str | None = None) -> list[dict[str, str]]:
        sql = "SELECT name, value FROM tag WHERE owner = ?1 AND (?2 IS NULL OR name = ?2) ORDER BY name"
        return [dict(row) for row in self._query(sql, owner, name)]

    def put_tag(self, owner: str, name: str, value: str) -> None:
        sql = "INSERT INTO tag VALUES (?, ?, ?) ON CONFLICT (owner, name) DO UPDATE SET value = excluded.value"
        self._write(sql, owner, name, value)

    def delete_tag(self, owner: str, name: str) -> None:
        self._write("DELETE FROM tag WHERE owner = ? AND name = ?", owner, name)

    # --- commits and ingestions -----------------------------------------------------------------------------

    def add_commit(self, feature_group_id: int, commit: dict[str, Any]) -> dict[str, Any]:
        """Store one commit under its ``commitID``; a commit of the same millisecond gets the next free number."""
        with self.db.transaction() as tx:
            taken = tx.execute(
                "SELECT max(commit_id) FROM feature_group_commit WHERE feature_group_id = ?", (feature_group_id,)
            ).fetchone()[0]
            commit_id = max(int(commit["commitID"]), (taken or 0) + 1)
            stored = {**commit, "commitID": commit_id}
            tx.execute(
                "INSERT INTO feature_group_commit VALUES (?, ?, ?)", (feature_group_id, commit_id, json.dumps(stored))
            )
        return stored

    def commits(self, feature_group_id: int, until: int | None = None) -> list[dict[str, Any]]:
        """Commits of a group, newest first; ``until`` (epoch milliseconds) leaves out later ones."""
        sql = """SELECT document FROM feature_group_commit
                 WHERE feature_group_id = ?1 AND (?2 IS NULL OR commit_id <= ?2) ORDER BY commit_id DESC"""
        return [json.loads(row["document"]) for row in self._query(sql, feature_group_id, until)]

    def last_commit(self, feature_group_id: int) -> dict[str, Any] | None:
        sql = "SELECT document FROM feature_group_commit WHERE feature_group_id = ? ORDER BY commit_id DESC LIMIT 1"
        rows = self._query(sql, feature_group_id)
        return json.loads(rows[0]["document"]) if rows else None

    def add_online_ingestion(self, feature_group_id: int, num_entries: int | None) -> int:
        sql = "INSERT INTO online_ingestion (feature_group_id, num_entries) VALUES (?, ?)"
        return int(self._write(sql, feature_group_id, num_entries).lastrowid or 0)

    def online_ingestions(self, feature_group_id: int) -> list[sqlite3.Row]:
        """Rows (id, num_entries) of a group, newest first."""
        sql = "SELECT id, num_entries FROM online_ingestion WHERE feature_group_id = ? ORDER BY id DESC"
        return self._query(sql, feature_group_id)

    # --- attachments: what clients store with a group -------------------------------------------------------

    def add_document(self, feature_group_id: int, kind: str, document: dict[str, Any]) -> int:
        sql = "INSERT INTO attachment (feature_group_id, kind, document) VALUES (?, ?, ?)"
        return int(self._write(sql, feature_group_id, kind, json.dumps(document)).lastrowid or 0)

    def documents(self, feature_group_id: int, kind: str) -> list[tuple[int, dict[str, Any]]]:
        """(id, document) of a kind, oldest first."""
        sql = "SELECT id, document FROM attachment WHERE feature_group_id = ? AND kind = ? ORDER BY id"
        return [(row["id"], json.loads(row["document"])) for row in self._query(sql, feature_group_id, kind)]

    def put_document(self, document_id: int, document: dict[str, Any]) -> None:
        self._write("UPDATE attachment SET document = ? WHERE id = ?", json.dumps(document), document_id)

    def delete_documents(self, feature_group_id: int, kind: str) -> None:
        self._write("DELETE FROM attachment WHERE feature_group_id = ? AND kind = ?", feature_group_id, kind)

    # --- Avro subjects --------------------------------------------------------------------------------------

    def register_schema(self, subject: str, text: str) -> SubjectVersion:
        """Add ``text`` as the next version of ``subject``; a text the subject has already keeps its version."""
        with self.db.transaction() as tx:
            tx.execute("INSERT INTO avro_schema (text) VALUES (?) ON CONFLICT DO NOTHING", (text,))
            schema_id = tx.execute("SELECT id FROM avro_schema WHERE text = ?", (text,)).fetchone()[0]
            known = tx.execute(
                "SELECT version FROM subject_version WHERE subject = ? AND schema_id = ?", (subject, schema_id)
            ).fetchone()
            if known:
                return SubjectVersion(schema_id, subject, known[0], text)
            latest = tx.execute("SELECT max(version) FROM subject_version WHERE subject = ?", (subject,)).fetchone()[0]
            version = (latest or 0) + 1
            tx.execute("INSERT INTO subject_version VALUES (?, ?, ?)", (subject, version, schema_id))
        return SubjectVersion(schema_id, subject, version, text)

    def subject_versions(self, subject: str) -> list[SubjectVersion]:
        """All versions of a subject, oldest first; empty for an unknown one."""
        sql = """SELECT s.id, v.subject, v.version, s.text FROM subject_version v
                 JOIN avro_schema s ON s.id = v.schema_id WHERE v.subject = ? ORDER BY v.version"""
        return [SubjectVersion(*row) for row in self._query(sql, subject)]

    def subjects(self) -> list[str]:
        return [row[0] for row in self._query("SELECT DISTINCT subject FROM subject_version ORDER BY subject")]

    def schema_text(self, schema_id: int) -> str | None:
        rows = self._query("SELECT text FROM avro_schema WHERE id = ?", schema_id)
        return rows[0]["text"] if rows else None

    def delete_subject_version(self, subject: str, version: int) -> None:
        self._write("DELETE FROM subject_version WHERE subject = ? AND version = ?", subject, version)

    # --- topics ---------------------------------------------------------------------------------------------

    def topics(self) -> list[Topic]:
        return [Topic(*row) for row in self._query("SELECT * FROM topic ORDER BY name")]

    def topic(self, name: str) -> Topic | None:
        rows = self._query("SELECT * FROM topic WHERE name = ?", name)
        return Topic(*rows[0]) if rows else None

    def add_topic(self, topic: Topic) -> None:
        self._write("INSERT INTO topic VALUES (?, ?, ?, ?, ?)", *topic)

    def delete_topic(self, name: str) -> None:
        self._write("DELETE FROM topic WHERE name = ?", name)

    # --- helpers --------------------------------------------------------------------------------------------

    def _query(self, sql: str, *parameters: Any) -> list[sqlite3.Row]:
        return self.db.connection.execute(sql, parameters).fetchall()

    def _write(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        with self.db.transaction() as tx:
            return tx.execute(sql, parameters)


def _feature_group(row: sqlite3.Row) -> FeatureGroup:
    group = FeatureGroup.model_validate_json(row["document"])
    group.id = row["id"]
    return group
