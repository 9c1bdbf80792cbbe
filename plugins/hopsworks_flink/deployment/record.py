"""What a task remembers in Airflow: across its tries, and across DAG runs. Nothing secret.

Flink's own answer is always the truth about what runs. The record of a deployment counts where Flink has forgotten, and
for going back:

- between the tries of one task run: the task state store (Airflow 3.3);
- between DAG runs: the asset state store (Airflow 3.3) of the asset that stands for the job among the task's outlets or
  inlets; before 3.3 the extra of that asset's last event, readable if the asset is an inlet as well.

Without an asset, only Flink remembers; and this process, what it has begun itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow.sdk import Variable

from hopsworks_flink._compat import NEVER_EXPIRE
from hopsworks_flink.deployment.decision import KnownDeployment
from hopsworks_flink.deployment.growth import Growth

if TYPE_CHECKING:
    from hopsworks_flink._compat import Context

_EPOCH = "epoch"
_VARIABLES = "hopsworks_flink"
_TRY = "flink_deployment"
_LAST, _HEALTHY, _GROWTH = "last", "healthy", "growth"
_EXTRA = "deployment"
#: In the record of a supervision: when the pipeline was undeployed, ISO 8601; gone once a job runs again.
UNDEPLOYED = "undeployed"


class Record:
    """One small JSON object that Airflow keeps under a key.

    :param store: one of Airflow's state stores; None: nothing is remembered.
    :param epoch: what was written in another epoch is not read; None: everything is.
    """

    def __init__(self, store: Any, key: str, epoch: int | None = None) -> None:
        self._store = store
        self._key = key
        self._epoch = epoch

    @classmethod
    def across_tries(cls, context: Mapping[str, Any], key: str) -> Record:
        """An object for the tries of one task run (since Airflow 3.3; before, nothing is remembered).

        What was written before a clear is not read: a retry keeps the task's ``max_tries``, a clear raises it.
        """
        store = context.get("task_state_store")
        return cls(store, key, context["ti"].max_tries if store is not None else None)

    @classmethod
    def across_runs(cls, what: str, name: str) -> Record:
        """An object in an Airflow Variable, which people can look at, and delete to begin anew.

        Not an XCom of an earlier run: "the newest one" is another one on each database if a run has no logical date.

        :param what: of which kind it is, e.g. ``supervision``.
        :param name: whose it is.
        """
        return cls(_Variables(), f"{_VARIABLES}.{what}.{name}")

    def read(self) -> dict[str, Any] | None:
        """What was written last; None if nothing was, or it is not an object of ours."""
        saved = self._store.get(self._key) if self._store is not None else None
        if not isinstance(saved, dict) or (self._epoch is not None and saved.get(_EPOCH) != self._epoch):
            return None
        return {name: value for name, value in saved.items() if self._epoch is None or name != _EPOCH}

    def write(self, value: Mapping[str, Any]) -> None:
        """Keep the object until it is deleted, however late it is read."""
        if self._store is None:
            return
        if self._epoch is None:
            self._store.set(self._key, dict(value))
        else:
            self._store.set(self._key, {**value, _EPOCH: self._epoch}, retention=NEVER_EXPIRE)

    def delete(self) -> None:
        """The work is done."""
        if self._store is not None:
            self._store.delete(self._key)


class _Variables:
    """Airflow's Variables, as a store."""

    def get(self, key: str) -> Any:
        return Variable.get(key, default=None, deserialize_json=True)

    def set(self, key: str, value: dict[str, Any]) -> None:
        Variable.set(key, value, description="Kept from run to run by a supervision task.", serialize_json=True)


def in_service(job_name: str) -> None:
    """A job was deployed: supervision misses it from now on, also if it is gone before the next look."""
    record = Record.across_runs("supervision", job_name)
    saved = record.read() or {}
    if saved.pop(UNDEPLOYED, None):
        record.write(saved)


@dataclass(frozen=True)
class Attempt:
    """One deployment that has begun to change something.

    :param job_id: the job that it submits; written down before the call.
    :param path: the state that the job before it left; None as long as that is not known, or if there is none.
    :param replaced_job_id: the job that it ended for this, if any.
    :param replaced_hash: the last stable deployment before this one, which left ``path``.
    :param watermark: windows ending by then have been emitted; epoch milliseconds.
    :param checkpoints: the folder in which the cluster keeps a folder of checkpoints for each job, once it is known.
    :param marks: what the job that left ``path`` says about its state, without a path the job itself; None in records
        of older versions.
    :param predecessor: the deployment before this one, from which the job's id follows.
    """

    job_id: str
    path: str | None = None
    replaced_job_id: str | None = None
    replaced_hash: str | None = None
    watermark: int | None = None
    checkpoints: str | None = None
    marks: Mapping[str, str] | None = None
    predecessor: str | None = None

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Attempt:
        """Out of a store; keys of other versions are ignored."""
        return cls(**{name: data.get(name) for name in cls.__dataclass_fields__})  # type: ignore[arg-type]


class DeploymentRecord:
    """What is remembered of the deployments of one job.

    :param job_name: keys carry it, so that jobs may share an asset.
    :param context: of the task that deploys; None: nothing is remembered.
    :param assets: the task's outlets and inlets; the one named after the job counts, or the only one.
    """

    def __init__(self, job_name: str, context: Context | None = None, assets: Iterable[Any] = ()) -> None:
        self._context: Mapping[str, Any] = context or {}
        self._asset = _asset_of(job_name, assets)
        store = self._of_asset("asset_state_store")
        self._in_events = store is None
        self._try = Record.across_tries(self._context, _TRY)
        store = _Event(job_name, self._of_asset("inlet_events")) if self._in_events else store
        self._last, self._healthy = Record(store, f"{job_name}.{_LAST}"), Record(store, f"{job_name}.{_HEALTHY}")
        of_task = self._context.get("task_state_store")
        growth_store = (_Here() if of_task is None else of_task) if self._in_events else store
        self._growth = Record(growth_store, f"{job_name}.{_GROWTH}")
        #: Growth whose job this object has seen healthy.
        self.completed: Growth | None = None
        #: What this object has begun, until it is stable.
        self.attempt_begun: Attempt | None = None

    # --- this task run ---------------------------------------------------------------------------------------------

    def attempt(self) -> Attempt | None:
        """What an earlier try of this very task run began; None on a first try and after a clear."""
        saved = self._try.read()
        return Attempt.read(saved) if saved else None

    def begin(self, attempt: Attempt) -> None:
        """Write down what is about to be done; called again when more is known."""
        attempt = self._with_checkpoints(attempt)
        self.attempt_begun = attempt
        self._try.write(asdict(attempt))
        if attempt.path or not attempt.replaced_job_id:
            # Not earlier: until the old job has left its state, what is known of that job must stay.
            self._last.write({**asdict(attempt), "stable": False})

    # --- all runs --------------------------------------------------------------------------------------------------

    def known(self) -> KnownDeployment | None:
        """The last deployment of the job, as far as anything remembers it."""
        attempt, last = self.attempt(), self._last.read()
        if attempt and (attempt.path or not last):
            return _known(attempt, False)
        if not last:
            return None
        return _known(Attempt.read(last), bool(last.get("stable")))

    def unfinished(self) -> Attempt | None:
        """A deployment of this or an earlier task run whose job was never stable."""
        attempt = self.attempt() or self.attempt_begun
        if attempt:
            return attempt
        last = self._last.read()
        return Attempt.read(last) if last and not last.get("stable") else None

    def healthy(self) -> dict[str, Any] | None:
        """The snapshot of the last deployment whose job was stable."""
        return self._healthy.read()

    def mark_stable(self, attempt: Attempt, snapshot: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """The job of ``attempt`` is stable: this is what a later deployment goes back to.

        :param facts: for the asset's event.
        """
        last = {**asdict(self._with_checkpoints(attempt)), "stable": True}
        self._last.write(last)
        self._healthy.write(snapshot)
        self._try.delete()
        self.attempt_begun = None
        event = self._of_asset("outlet_events")
        if event is not None:
            kept = {_EXTRA: {_LAST: last, _HEALTHY: dict(snapshot)}} if self._in_events else {}
            event.extra = {**(event.extra or {}), **facts, **kept}

    # --- feature groups that grow ----------------------------------------------------------------------------------

    def growth(self) -> Growth | None:
        """Growth that was begun and not completed, by this or an earlier run (without its store: this try)."""
        saved = self._growth.read()
        return Growth.read(saved) if saved else None

    def grow(self, growth: Growth) -> None:
        """Write down what is about to be done; called again when more is done."""
        self._growth.write(growth.to_json())

    def grown(self) -> None:
        """All of it is done, or nothing of it is wanted any more."""
        self._growth.delete()

    def complete(self) -> None:
        """The job that the groups grew for is healthy."""
        self.completed = self.growth()
        if self.completed is not None:
            self.grown()

    def _of_asset(self, accessor: str) -> Any:
        """What Airflow's accessor of this name has for the asset; None if it has nothing."""
        accessors = self._context.get(accessor)
        if accessors is None or self._asset is None:
            return None
        try:
            return accessors[self._asset]
        except KeyError:
            return None

    def _with_checkpoints(self, attempt: Attempt) -> Attempt:
        """The folder of all checkpoints is the cluster's, and outlives each job."""
        known = (self._last.read() or {}).get("checkpoints")
        return attempt if attempt.checkpoints or not known else replace(attempt, checkpoints=known)


def _known(attempt: Attempt, stable: bool) -> KnownDeployment:
    parts = (attempt.path, attempt.watermark, attempt.checkpoints, attempt.marks)
    return KnownDeployment(attempt.job_id, stable, *parts)


class _Here:
    """A store that lasts as long as the object: one deployment has steps that need what another has found out."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        return self._values.get(key)

    def set(self, key: str, value: dict[str, Any]) -> None:
        self._values[key] = value

    def delete(self, key: str) -> None:
        self._values.pop(key, None)


class _Event:
    """An asset's last event as a store: it is read here, and written by :meth:`DeploymentRecord.mark_stable`."""

    def __init__(self, job_name: str, events: Any) -> None:
        try:
            extra = events[-1].extra if events is not None else None
        except (KeyError, IndexError):
            extra = None
        self._values = {f"{job_name}.{name}": value for name, value in ((extra or {}).get(_EXTRA) or {}).items()}

    def get(self, key: str) -> Any:
        return self._values.get(key)

    def set(self, key: str, value: dict[str, Any]) -> None:
        """The event is written once, at the end."""


def _asset_of(job_name: str, assets: Iterable[Any]) -> Any:
    """The asset that stands for the job: by its name or the end of its URI; else the only one there is."""
    candidates = {str(asset.name): asset for asset in assets if getattr(asset, "name", None) and hasattr(asset, "uri")}
    for asset in candidates.values():
        if job_name in (asset.name.rpartition("/")[2], asset.name.rpartition(".")[2], asset.uri.rpartition("/")[2]):
            return asset
    return next(iter(candidates.values())) if len(candidates) == 1 else None
