"""The job that should run, how to get there, and a copy of it that can be kept and brought back. Pure, no I/O."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hopsworks_flink.clients.flink.bundle import Bundle, deployment_hash
from hopsworks_flink.clients.flink.files import Jar, JobJars
from hopsworks_flink.clients.flink.jobs import StatePolicy
from hopsworks_flink.deployment.decision import Start, StartPolicy
from hopsworks_flink.exceptions import FlinkStateError
from hopsworks_flink.health.bounds import Bounds

_FORMAT = 1
#: Flink's defaults that would make a streaming job without a word in its configuration unsafe.
STREAMING_DEFAULTS = {
    "execution.checkpointing.interval": "10 s",
    # A job that has to be cancelled leaves its newest checkpoint behind to start from.
    "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
}


@dataclass(frozen=True)
class DesiredJob:
    """The job that should run.

    :param secret_files: makes the bundle's secret files; called only when the job is really submitted, once for each
        submission.
    :param start_files: the same for programs that have to know what they begin with, with marks of that submission;
        called with that and ``recipe``.
    :param recipe: JSON-safe facts out of which ``start_files`` makes the files; nothing secret.
    :param credentials: fingerprint of the credentials in the secret files, which renewed ones change; None: a job that
        runs is not ended for renewed credentials.
    :param marks: what the job says about itself in Flink, beside who deployed it; no part of its identity.
    :param local_files: names of files in the bundle that were read from the worker: their content is not ours to keep.
    :param from_beginning: whether the job reads its source from the beginning when it starts without state.
    :param check_start: raises FlinkStateError if the source does not hold what the job has to read when it begins so
        (None: with the state that the job before it leaves); asked before the job that runs is touched. With the
        marks of a job that has ended, where it is to go on with what that one left. Returns further marks, of what the
        source is.
    """

    job_name: str
    bundle: Bundle
    jars: JobJars
    arguments: tuple[str, ...] = ()
    parallelism: int = 1
    flink_configuration: Mapping[str, str] = field(default_factory=dict)
    secret_files: Callable[[], Mapping[str, bytes]] = dict
    start_files: Callable[[Start, Mapping[str, Any]], tuple[Mapping[str, bytes], Mapping[str, str]]] | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    credentials: str | None = None
    marks: Mapping[str, str] = field(default_factory=dict)
    local_files: frozenset[str] = frozenset()
    from_beginning: bool = False
    check_start: Callable[[Start | None, Mapping[str, str]], Mapping[str, str]] = lambda start, ended: {}

    @property
    def hash(self) -> str:
        """The deployment's identity, 64 hex digits."""
        return deployment_hash(
            self.bundle,
            arguments=self.arguments,
            parallelism=self.parallelism,
            flink_configuration=self.flink_configuration,
            jar_digests=self.jars.digests,
        )

    def bundle_for(self, start: Start) -> tuple[Bundle, dict[str, str]]:
        """The bundle with its secret files, and the job's marks, for one submission."""
        files, marks = self.start_files(start, self.recipe) if self.start_files else (self.secret_files(), {})
        return self.bundle.with_secret_files(files), {**self.marks, **marks}

    def snapshot(self) -> dict[str, Any]:
        """What is needed to start this very job again later: JSON-safe, without secrets.

        Files that the user named on the worker are kept as digests only: they may hold anything.
        """
        own = {name: data for name, data in self.bundle.files.items() if name not in self.local_files}
        packed = zlib.compress(json.dumps({name: _encode(data) for name, data in own.items()}).encode(), 9)
        return {
            "format": _FORMAT,
            "hash": self.hash,
            "module": self.bundle.module,
            "files": _encode(packed),
            "local_files": {name: _digest(self.bundle.files[name]) for name in sorted(self.local_files)},
            "arguments": list(self.arguments),
            "parallelism": self.parallelism,
            "flink_configuration": dict(self.flink_configuration),
            "jars": [[jar.path.name, jar.sha256] for jar in (self.jars.flink_python, *self.jars.connectors)],
            "recipe": dict(self.recipe),
            "marks": dict(self.marks),
        }

    def previous(self, snapshot: Mapping[str, Any]) -> DesiredJob:
        """The job of an earlier snapshot, with this one's ways to make secret files.

        :raises FlinkStateError: a part of it is unavailable.
        """
        if snapshot.get("format") != _FORMAT:
            raise FlinkStateError("The copy of the previous deployment was kept by another version of this package.")
        packed = json.loads(zlib.decompress(base64.b64decode(snapshot["files"])))
        files = {name: base64.b64decode(data) for name, data in packed.items()}
        for name, digest in snapshot["local_files"].items():
            content = self.bundle.files.get(name)
            if content is None or _digest(content) != digest:
                raise FlinkStateError(f"The previous deployment's file {name!r} is not on this worker any more.")
            files[name] = content
        job = replace(
            self,
            bundle=Bundle(snapshot["module"], files),
            jars=self._jars(snapshot["jars"]),
            arguments=tuple(snapshot["arguments"]),
            parallelism=int(snapshot["parallelism"]),
            flink_configuration=dict(snapshot["flink_configuration"]),
            recipe=dict(snapshot["recipe"]),
            # Copies that were kept before jobs had marks of their own have none.
            marks=dict(snapshot.get("marks", {})),
            local_files=frozenset(snapshot["local_files"]),
        )
        if job.hash != snapshot["hash"]:
            raise FlinkStateError("The copy of the previous deployment is damaged.")
        return job

    def _jars(self, names: list[list[str]]) -> JobJars:
        present = {jar.sha256: jar for jar in (self.jars.flink_python, *self.jars.connectors)}
        folder = self.jars.flink_python.path.parent
        # One that has been replaced on the worker is still on the cluster, under a name that tells its content.
        jars = [present.get(digest) or Jar(folder / "superseded" / name, digest) for name, digest in names]
        return JobJars(jars[0], tuple(jars[1:]), self.jars.launcher)


@dataclass(frozen=True)
class DeploymentPolicy:
    """How to get there.

    :param state: ``auto``, ``restore``, ``rewarm`` or ``fresh``.
    :param savepoint_path: start from this state instead of the one that the last job left.
    :param rewarm_from: rewarm as if the previous job had emitted the windows ending by then; epoch milliseconds.
    :param patience: seconds in which a restarting job may recover by itself.
    :param timeout: seconds for all of it; a roll-back gets as much again.
    :param poll_interval: seconds.
    """

    state: StatePolicy = "auto"
    savepoint_path: str | None = None
    savepoint_directory: str | None = None
    allow_non_restored_state: bool = False
    rewarm_from: int | None = None
    health: Bounds = field(default_factory=Bounds)
    patience: float = 30.0
    timeout: float = 600.0
    poll_interval: float = 2.0

    @property
    def start(self) -> StartPolicy:
        """The part that decisions depend on."""
        return StartPolicy(self.state, self.savepoint_path, self.rewarm_from, self.patience)


@dataclass(frozen=True)
class DeploymentResult:
    """What happened.

    :param action: ``none``, ``submitted``, ``replaced`` or ``recovered``.
    :param savepoint_path: the state that the job was started from in this deployment, if any.
    :param replaced_job_id: the job that was ended for it, if any.
    :param state: what the job began with: ``restore``, ``rewarm``, ``fresh`` (no state), None if nothing was started.
    :param rewarmed_at: windows ending by then are not emitted; epoch milliseconds.
    :param replaced_hash: the deployment to go back to if this one is not healthy.
    :param kept_state: the state that it left.
    :param own: whether this deployment (one of this task run's tries) started the job.
    """

    job_id: str
    job_name: str
    action: str
    deployment_hash: str
    savepoint_path: str | None
    replaced_job_id: str | None
    reason: str
    state: str | None = None
    rewarmed_at: int | None = None
    replaced_hash: str | None = None
    kept_state: str | None = None
    own: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return asdict(self)


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
