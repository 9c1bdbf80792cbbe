"""Jobs and their executions in the metadata database."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from devstack.hopsworks.home.times import iso, utc_now
from devstack.hopsworks.metadata.db import Database
from devstack.hopsworks.metadata.models import UNDEFINED, Execution, Job


class JobStore:
    """Reads and writes jobs and executions. A final state is written once and never changed."""

    def __init__(self, db: Database) -> None:
        self.db = db

    def job(self, name: str) -> Job | None:
        rows = self.db.connection.execute("SELECT * FROM job WHERE name = ?", (name,)).fetchall()
        return _job(rows[0]) if rows else None

    def job_by_id(self, job_id: int) -> Job | None:
        rows = self.db.connection.execute("SELECT * FROM job WHERE id = ?", (job_id,)).fetchall()
        return _job(rows[0]) if rows else None

    def jobs(self) -> list[Job]:
        return [_job(row) for row in self.db.connection.execute("SELECT * FROM job ORDER BY id")]

    def put_job(self, name: str, job_type: str, config: dict[str, Any]) -> tuple[Job, bool]:
        """Create or replace a job; the flag tells whether it is new."""
        with self.db.transaction() as tx:
            existing = tx.execute("SELECT 1 FROM job WHERE name = ?", (name,)).fetchone()
            tx.execute(
                """INSERT INTO job (name, type, config, creation_time) VALUES (?, ?, ?, ?)
                   ON CONFLICT (name) DO UPDATE SET type = excluded.type, config = excluded.config""",
                (name, job_type, json.dumps(config), iso(utc_now())),
            )
        job = self.job(name)
        assert job is not None
        return job, existing is None

    def delete_job(self, job: Job) -> None:
        with self.db.transaction() as tx:
            tx.execute("DELETE FROM tag WHERE owner = ?", (f"job/{job.id}",))
            tx.execute("DELETE FROM job WHERE id = ?", (job.id,))

    def put_schedule(self, job: Job, schedule: dict[str, Any] | None) -> None:
        text = None if schedule is None else json.dumps(schedule)
        with self.db.transaction() as tx:
            tx.execute("UPDATE job SET schedule = ? WHERE id = ?", (text, job.id))

    def new_execution(self, job: Job, args: str, env_vars: dict[str, str], log_folder: str) -> Execution | None:
        """Start the record of an execution (INITIALIZING); None while another one of the job is unfinished."""
        now = utc_now()
        with self.db.transaction() as tx:
            busy = tx.execute(
                "SELECT 1 FROM execution WHERE job_id = ? AND final_status = ?", (job.id, UNDEFINED)
            ).fetchone()
            if busy:
                return None
            cursor = tx.execute(
                """INSERT INTO execution (job_id, state, final_status, submission_time, args, app_id, stdout_path,
                                          stderr_path, env_vars)
                   VALUES (?, 'INITIALIZING', ?, ?, ?, '', '', '', ?)""",
                (job.id, UNDEFINED, iso(now), args, json.dumps(env_vars)),
            )
            number = int(cursor.lastrowid or 0)
            app_id = f"application_{int(now.timestamp() * 1000)}_{number:04d}"
            folder = f"{log_folder}/{app_id}"
            tx.execute(
                "UPDATE execution SET app_id = ?, stdout_path = ?, stderr_path = ? WHERE id = ?",
                (app_id, f"{folder}/stdout.log", f"{folder}/stderr.log", number),
            )
        return self.execution(number)

    def execution(self, execution_id: int) -> Execution | None:
        rows = self.db.connection.execute("SELECT * FROM execution WHERE id = ?", (execution_id,)).fetchall()
        return _execution(rows[0]) if rows else None

    def executions(self, job: Job) -> list[Execution]:
        """Executions of a job, newest first."""
        sql = "SELECT * FROM execution WHERE job_id = ? ORDER BY id DESC"
        return [_execution(row) for row in self.db.connection.execute(sql, (job.id,))]

    def latest_executions(self, most: int) -> list[tuple[Job, Execution]]:
        """The newest executions of all jobs."""
        found = []
        for row in self.db.connection.execute("SELECT * FROM execution ORDER BY id DESC LIMIT ?", (most,)).fetchall():
            job = self.job_by_id(row["job_id"])
            if job is not None:
                found.append((job, _execution(row)))
        return found

    def last_execution(self, job: Job) -> tuple[int, Execution | None]:
        """How many executions a job has, and the newest of them."""
        sql = "SELECT *, count(*) OVER () AS total FROM execution WHERE job_id = ? ORDER BY id DESC LIMIT 1"
        row = self.db.connection.execute(sql, (job.id,)).fetchone()
        return (row["total"], _execution(row)) if row else (0, None)

    def unfinished(self, clusters: bool = False) -> list[Execution]:
        """Executions without a final state: those that are processes of this server, or those that are clusters."""
        sql = """SELECT execution.* FROM execution JOIN job ON job.id = execution.job_id
                 WHERE final_status = ? AND (job.type = 'FLINK') = ?"""
        return [_execution(row) for row in self.db.connection.execute(sql, (UNDEFINED, clusters))]

    def set_pid(self, execution_id: int, pid: int) -> None:
        with self.db.transaction() as tx:
            tx.execute("UPDATE execution SET pid = ? WHERE id = ?", (pid, execution_id))

    def request_stop(self, execution_id: int) -> None:
        with self.db.transaction() as tx:
            tx.execute("UPDATE execution SET stop_requested = 1 WHERE id = ?", (execution_id,))

    def mark_running(self, execution_id: int) -> None:
        with self.db.transaction() as tx:
            tx.execute(
                "UPDATE execution SET state = 'RUNNING' WHERE id = ? AND final_status = ?", (execution_id, UNDEFINED)
            )

    def finish(self, execution_id: int, state: str, final_status: str) -> bool:
        """Write the final state, both fields at once; False when the execution had one already."""
        execution = self.execution(execution_id)
        if execution is None:
            return False
        submitted = execution.submission_time.replace("Z", "+00:00")
        with self.db.transaction() as tx:
            cursor = tx.execute(
                """UPDATE execution SET state = ?, final_status = ?, progress = ?,
                          duration = max(0, CAST((julianday(?) - julianday(?)) * 86400000 AS INTEGER))
                   WHERE id = ? AND final_status = ?""",
                (
                    state,
                    final_status,
                    1.0 if final_status == "SUCCEEDED" else 0.0,
                    iso(utc_now()),
                    submitted,
                    execution_id,
                    UNDEFINED,
                ),
            )
        return cursor.rowcount == 1

    def delete_execution(self, execution_id: int) -> None:
        with self.db.transaction() as tx:
            tx.execute("DELETE FROM execution WHERE id = ?", (execution_id,))


def _job(row: sqlite3.Row) -> Job:
    return Job(
        id=row["id"],
        name=row["name"],
        job_type=row["type"],
        config=json.loads(row["config"]),
        creation_time=row["creation_time"],
        job_schedule=json.loads(row["schedule"]) if row["schedule"] else None,
    )


def _execution(row: sqlite3.Row) -> Execution:
    return Execution(**{**dict(row), "env_vars": json.loads(row["env_vars"])})
