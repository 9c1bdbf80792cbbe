"""Jobs as Flink shows them, their ids, and the state that they leave: pure functions over value objects, no I/O."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

#: What is told as the state of a job that Flink does not know (any more).
NOT_FOUND = "NOT_FOUND"
#: Flink is done with jobs in these states; their ids are never used again.
TERMINAL_STATES = frozenset({"FINISHED", "CANCELED", "FAILED"})
#: Not terminal yet, but on the way out: wait for the end before anything is decided.
ENDING_STATES = frozenset({"FAILING", "CANCELLING"})

#: States from which a job may recover by itself, but in which it cannot take a savepoint.
UNWELL_STATES = frozenset({"INITIALIZING", "CREATED", "RESTARTING", "SUSPENDED", "RECONCILING"})

StatePolicy = Literal["auto", "restore", "rewarm", "fresh"]
STATE_POLICIES: tuple[StatePolicy, ...] = ("auto", "restore", "rewarm", "fresh")

#: Keys in a job's ``pipeline.global-job-parameters`` by which a deployment recognises its jobs.
MARK_HASH = "deployment_hash"
MARK_OWNER = "deployed_by"
#: Hash of the SQL of a feature pipeline's job.
MARK_PLAN = "plan_hash"
#: The state policy that the job was started with.
MARK_STATE = "state_policy"
#: Epoch milliseconds: an earlier job has emitted the windows ending by then, and this one does not.
MARK_WATERMARK = "rewarmed_at"
#: Tells whether the job was given the credentials that a deployment would give it now; holds no secret.
MARK_CREDENTIALS = "credentials"
# With a feature group's name behind it: the number under which Hopsworks counts the job's rows for it.
_MARK_INGESTION = "online_ingestion."
# With a topic's name behind it: Kafka's id of it, which a topic of the same name that is made anew does not have.
_MARK_TOPIC = "topic_id."
_MARK_CLUSTER = "source_cluster"
OWNER = "airflow-provider-hopsworks-flink"
# A vertex is called after its chained operators, with arrows between; a feature group's are "cards v1: Writer" and
# "cards v1: Committer".
_SINK = re.compile(r"(\w+) v(\d+): (Writer|Committer)")
# What `drained_directory` makes of a path.
_DRAINED = re.compile(r"/drained(?:-at-(\d+))?/")
#: The task run that a bounded job belongs to, and which of its clears.
MARK_RUN = "run"
MARK_EPOCH = "epoch"
#: The id under which a job was submitted; the launcher inside Flink gives it, so no other program's job has it.
MARK_SUBMITTED_AS = "submitted_as"
#: So many ids in a row that foreign jobs have used up are no accident.
MAX_IDS = 5
# By these a job is told from all others.
_IDENTIFYING = (MARK_HASH, MARK_RUN, MARK_EPOCH)


@dataclass(frozen=True)
class FlinkJob:
    """One job as Flink shows it.

    :param start_time: epoch milliseconds.
    :param end_time: epoch milliseconds; -1 while it has not ended.
    :param deployment_hash: what the job was started with; None for jobs that another tool started.
    :param credentials: fingerprint of the credentials that it was given; empty for none.
    :param marks: all that it says about itself; empty if nobody has asked.
    """

    job_id: str
    name: str
    state: str
    start_time: int = 0
    end_time: int = -1
    deployment_hash: str | None = None
    credentials: str = ""
    marks: Mapping[str, str] = field(default_factory=dict, compare=False)

    @classmethod
    def from_rest(cls, entry: Mapping[str, Any]) -> FlinkJob:
        """One entry of ``GET /jobs/overview``, which does not tell the marks."""
        return cls(entry["jid"], entry["name"], entry["state"], entry["start-time"], entry.get("end-time") or -1)

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended for good."""
        return self.state in TERMINAL_STATES

    def with_marks(self, marks: Mapping[str, str]) -> FlinkJob:
        """The same job, with what its marks say."""
        credentials = marks.get(MARK_CREDENTIALS, "")
        return replace(self, deployment_hash=marks.get(MARK_HASH), credentials=credentials, marks=dict(marks))


@dataclass(frozen=True)
class RestorePoint:
    """State that a job left behind.

    :param path: what Flink takes as ``savepointPath``; None if there is nothing to restore.
    :param lost: True if the job had durable state that is gone.
    :param origin: words for logs.
    :param watermark: epoch milliseconds; a job that starts from this state does not emit windows ending by then.
    :param marks: of the job that left it.
    """

    path: str | None
    origin: str
    lost: bool = False
    watermark: int | None = None
    marks: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def drained(self) -> bool:
        """Whether open windows were emitted as if they were complete, and are no longer in this state."""
        return _DRAINED.search(self.path or "") is not None

    @property
    def complete(self) -> int | None:
        """The windows of a drained job that end by then are complete; epoch milliseconds; None: not known."""
        found = _DRAINED.search(self.path or "")
        times = [int(found[1]) if found and found[1] else None, self.watermark]
        return max((time for time in times if time is not None), default=None)


def newest(jobs: Iterable[FlinkJob]) -> FlinkJob | None:
    """The job that was started last; None without jobs."""
    return max(jobs, key=lambda job: (job.start_time, job.job_id), default=None)


def derive_job_id(job_name: str, deployment_hash: str, predecessor_id: str | None) -> str:
    """The id under which a deployment submits: 32 hex digits.

    The same observation gives the same id, so that a retry finds the job of an earlier try without any memory, and
    of two deployments that race Flink accepts only one.
    """
    text = "\n".join((job_name, deployment_hash, predecessor_id or "none"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def next_job_id(job_id: str) -> str:
    """The id to try after one that a foreign job has used up; the same for everybody who asks."""
    return hashlib.sha256(f"after {job_id}".encode()).hexdigest()[:32]


def identity_marks(job_id: str, marks: Mapping[str, str] | None = None) -> dict[str, str]:
    """The marks that a job must show under an id to be the one that was submitted with ``marks``."""
    return {MARK_SUBMITTED_AS: job_id, **{key: value for key, value in (marks or {}).items() if key in _IDENTIFYING}}


def restore_point(job_id: str, checkpoints: Mapping[str, Any] | None) -> RestorePoint:
    """The newest state of an ended job, out of ``GET /jobs/{id}/checkpoints``.

    A savepoint or checkpoint that is still there wins by age. A job that kept none of its own leaves what it was
    started from. ``checkpoints`` is None when Flink no longer has the statistics.
    """
    if checkpoints is None:
        return RestorePoint(None, f"Flink no longer has the checkpoint history of job {job_id}", lost=True)
    latest = checkpoints.get("latest") or {}
    candidates = [
        entry
        for entry in (latest.get("savepoint"), latest.get("completed"), *(checkpoints.get("history") or ()))
        if entry and entry.get("external_path") and entry.get("status", "COMPLETED") == "COMPLETED"
    ]
    kept = [entry for entry in candidates if not entry.get("discarded")]
    if kept:
        best = max(kept, key=lambda entry: (entry.get("trigger_timestamp") or 0, entry.get("id") or 0))
        kind = "savepoint" if best.get("is_savepoint") else "checkpoint"
        return RestorePoint(best["external_path"], f"{kind} {best.get('id')} of job {job_id}")
    restored = latest.get("restored") or {}
    if restored.get("external_path"):
        return RestorePoint(
            restored["external_path"], f"the state that job {job_id} itself was started from (it kept none of its own)"
        )
    if (checkpoints.get("counts") or {}).get("completed", 0):
        return RestorePoint(None, f"job {job_id} completed checkpoints, but Flink has discarded them", lost=True)
    return RestorePoint(None, f"job {job_id} ended before its first checkpoint")


def state_directories(settings: Mapping[str, str]) -> tuple[str, str]:
    """Where a cluster puts savepoints and checkpoints, out of ``GET /jobmanager/config``; empty: nowhere is said."""

    def folder(name: str, older: str) -> str:
        return settings.get(f"execution.checkpointing.{name}") or settings.get(f"state.{older}") or ""

    return folder("savepoint-dir", "savepoints.dir"), folder("dir", "checkpoints.dir")


def drained_directory(directory: str, watermark: int | None) -> str:
    """Where the savepoint of a job goes that is drained; else nothing would tell it from another one later.

    :param watermark: the windows that end by then are complete; epoch milliseconds; None: not known.
    """
    return f"{directory.rstrip('/')}/drained" + ("" if watermark is None else f"-at-{watermark}")


def checkpoint_directory(job_id: str, checkpoints: Mapping[str, Any]) -> str | None:
    """The folder in which the cluster keeps a folder of checkpoints for each job.

    Out of ``GET /jobs/{id}/checkpoints``; None as long as the job has completed none, or if it lies elsewhere than
    Flink's layout ``<directory>/<job id>/chk-<number>`` says.
    """
    completed = (checkpoints.get("latest") or {}).get("completed") or {}
    directory, found, _ = str(completed.get("external_path") or "").rpartition(f"/{job_id}/chk-")
    return directory if found else None


def find_restore_point(left: Iterable[tuple[RestorePoint, Mapping[str, str]]]) -> RestorePoint:
    """What a new job starts from, given what its predecessors left, the last one first.

    A job that never ran (Flink keeps neither its marks nor what it was to be restored from) is passed over. One that
    left the state before it behind (``fresh``, ``rewarm``) ends the search: that state is of another lineage. It is
    told all the same, as its successor has to begin where it began.

    :param left: each ended job's restore point and marks; read lazily, no further than needed.
    """
    passed = []
    for point, marks in left:
        if point.path or point.lost:
            return replace(point, watermark=watermark_of(marks), marks=dict(marks))
        passed.append(point.origin)
        if marks.get(MARK_STATE) in ("fresh", "rewarm"):
            return RestorePoint(None, "; ".join(passed), watermark=watermark_of(marks), marks=dict(marks))
    return RestorePoint(None, "; ".join(passed) or "no earlier job is known")


def ingestion_marks(ids: Mapping[str, int]) -> dict[str, str]:
    """Marks that say under which number Hopsworks counts the job's rows for each feature group."""
    return {f"{_MARK_INGESTION}{name}": str(number) for name, number in ids.items()}


def ingestion_ids(marks: Mapping[str, str]) -> dict[str, int]:
    """The reverse of `ingestion_marks`; empty for a job of an earlier version of this package."""
    found = {key.removeprefix(_MARK_INGESTION): text for key, text in marks.items() if key.startswith(_MARK_INGESTION)}
    return {name: int(text) for name, text in found.items() if text.isdigit()}


def topic_marks(ids: Mapping[str, str], cluster: str | None = None) -> dict[str, str]:
    """Marks that say which topics the job's offsets are of, and in which Kafka cluster the source's topic is."""
    return {
        **{f"{_MARK_TOPIC}{name}": topic_id for name, topic_id in ids.items()},
        **({_MARK_CLUSTER: cluster} if cluster else {}),
    }


def topic_marks_of(marks: Mapping[str, str]) -> dict[str, str]:
    """Those among a job's marks."""
    return {**cluster_mark_of(marks), **{key: one for key, one in marks.items() if key.startswith(_MARK_TOPIC)}}


def cluster_mark_of(marks: Mapping[str, str]) -> dict[str, str]:
    """The one that says in which cluster the source's topic is; topics that were made anew are of the same."""
    return {key: cluster for key, cluster in marks.items() if key == _MARK_CLUSTER}


def is_of_another_cluster(marks: Mapping[str, str], cluster: str | None) -> bool:
    """Whether the job with these marks read the source's topic in another cluster, as far as is known.

    :param cluster: the one that the next job reads.
    """
    return bool(cluster) and marks.get(_MARK_CLUSTER, cluster) != cluster


def topics_made_anew(marks: Mapping[str, str], ids: Mapping[str, str]) -> list[str]:
    """Topics that have another id now than when the job with these marks was started.

    :param ids: those of now; a topic whose id is not known then or now is taken for the same.
    """
    return [name for name, topic_id in ids.items() if marks.get(f"{_MARK_TOPIC}{name}", topic_id) != topic_id]


def watermark_of(marks: Mapping[str, str]) -> int | None:
    """What a job's marks say about windows that it leaves out; epoch milliseconds."""
    text = marks.get(MARK_WATERMARK, "")
    return int(text) if text.isdigit() else None


def lowest_watermark(vertices: Iterable[Sequence[Mapping[str, Any]]]) -> int | None:
    """How far event time has come in all of a job, out of ``GET /jobs/{id}/vertices/{v}/watermarks`` of each vertex.

    :return: epoch milliseconds; None while a part of the job has seen no watermark. Flink refreshes these figures
        every few seconds: the truth is never behind them.
    """
    values = [int(entry["value"]) for vertex in vertices for entry in vertex if entry.get("value") is not None]
    lowest = min(values, default=-1)
    return lowest if lowest > 0 else None


def rows_written(vertices: Iterable[Mapping[str, Any]], tables: Iterable[str]) -> dict[str, int | None]:
    """Rows by feature group, out of ``GET /jobs/{id}`` of a finished job.

    A vertex counts what its writer has sent to Kafka together with the few messages it has sent to its committer, which
    counts these as read. Where one vertex writes several tables, the figures are common to them and tell nothing.

    :param tables: their full names.
    :return: None for one that Flink's figures do not tell.
    """
    sent: dict[str, int] = {}
    committed: dict[str, int] = {}
    for vertex in vertices:
        metrics = vertex.get("metrics") or {}
        sinks = _SINK.findall(str(vertex.get("name")))
        if len(sinks) != 1:
            continue
        name, version, part = sinks[0]
        table = f"{name}_{version}"
        if part == "Writer" and metrics.get("write-records-complete"):
            sent[table] = int(metrics["write-records"])
        elif part == "Committer" and metrics.get("read-records-complete"):
            committed[table] = int(metrics["read-records"])
    return {table: sent[table] - committed[table] if table in sent and table in committed else None for table in tables}
