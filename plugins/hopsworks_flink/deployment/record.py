"""What a deployment remembers outside Flink: across tries of a task, and across DAG runs.

Flink's own answer is always the truth about what runs. Memory counts where Flink has forgotten, and for going back:

- between tries of one task run: the task state store (Airflow 3.3). An entry counts on a retry only; after a clear,
  which raises ``max_tries``, it is another deployment's.
- between DAG runs: the asset state store (Airflow 3.3) of the asset that stands for the job among the task's outlets
  or inlets; before 3.3 the extra of that asset's last event, readable if the asset is an inlet as well.

Nothing secret is remembered. Without an asset, only Flink remembers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import NEVER_EXPIRE
from hopsworks_flink.deployment.decision import KnownDeployment
from hopsworks_flink.deployment.growth import Growth

if TYPE_CHECKING:
    from hopsworks_flink._compat import Context

log = logging.getLogger(__name__)

_TASK_KEY = "flink_deployment"
_LAST = "last"
_HEALTHY = "healthy"
_GROWTH = "growth"
_EXTRA = "deployment"


@dataclass(frozen=True)
class Attempt:
    """One deployment that has begun to change something.

    :param job_id: the job that it submits; written down before the call.
    :param path: the state that the job before it left; None as long as that is not known, or if there is none.
    :param replaced_job_id: the job that it ended for this, if any.
    :param replaced_hash: the last healthy deployment before this one, which left ``path``.
    :param watermark: windows that ended until then are out; epoch milliseconds.
    :param checkpoints: the folder in which the cluster keeps a folder of checkpoints for each job, once it is known.
    """

    job_id: str
    path: str | None = None
    replaced_job_id: str | None = None
    replaced_hash: str | None = None
    watermark: int | None = None
    checkpoints: str | None = None

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Attempt:
        """Out of a store; keys of other versions are passed over."""
        return cls(**{name: data.get(name) for name in cls.__dataclass_fields__})  # type: ignore[arg-type]


class DeploymentMemory:
    """The memory of one named job.

    :param job_name: keys carry it, so that jobs may share an asset.
    :param context: of the task that deploys; None: nothing is remembered.
    :param assets: the task's outlets and inlets; the one named after the job counts, or the only one.
    """

    def __init__(self, job_name: str, context: Context | None = None, assets: Iterable[Any] = ()) -> None:
        self._job_name = job_name
        self._context: Mapping[str, Any] = context or {}
        self._asset = _asset_of(job_name, assets)
        self._store = self._asset_store()
        self._event = {} if self._store is not None else self._last_event()
        #: What this object has begun.
        self.attempt_begun: Attempt | None = None

    # --- this task run ---------------------------------------------------------------------------------------------

    def attempt(self) -> Attempt | None:
        """What an earlier try of this very task run began; None on a first try and after a clear."""
        store = self._context.get("task_state_store")
        saved = store.get(_TASK_KEY) if store is not None else None
        if not saved or saved.get("epoch") != self._context["ti"].max_tries:
            return None
        return Attempt.read(saved)

    def begin(self, attempt: Attempt) -> None:
        """Write down what is about to be done; called again when more is known."""
        attempt = self._with_checkpoints(attempt)
        self.attempt_begun = attempt
        store: Any = self._context.get("task_state_store")
        if store is not None:
            store.set(_TASK_KEY, {**asdict(attempt), "epoch": self._context["ti"].max_tries}, retention=NEVER_EXPIRE)
        if attempt.path or not attempt.replaced_job_id:
            # Not earlier: until the old job has left its state, what is known of that job must stay.
            self._set(_LAST, {**asdict(attempt), "proven": False})

    # --- all runs --------------------------------------------------------------------------------------------------

    def known(self) -> KnownDeployment | None:
        """The last deployment of the job, as far as anything remembers it."""
        attempt = self.attempt()
        last = self._get(_LAST)
        if attempt and (attempt.path or not last):
            return KnownDeployment(attempt.job_id, False, attempt.path, attempt.watermark, attempt.checkpoints)
        if not last:
            return None
        read = Attempt.read(last)
        return KnownDeployment(read.job_id, bool(last.get("proven")), read.path, read.watermark, read.checkpoints)

    def unfinished(self) -> Attempt | None:
        """A deployment of this or an earlier task run that was never seen to its end."""
        attempt = self.attempt()
        if attempt:
            return attempt
        last = self._get(_LAST)
        return Attempt.read(last) if last and not last.get("proven") else None

    def healthy(self) -> dict[str, Any] | None:
        """The snapshot of the last deployment that was seen healthy."""
        return self._get(_HEALTHY)

    def prove(self, attempt: Attempt, snapshot: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """The job of ``attempt`` is healthy: this is what a later deployment goes back to.

        :param facts: for the asset's event.
        """
        last = {**asdict(self._with_checkpoints(attempt)), "proven": True}
        self._set(_LAST, last)
        self._set(_HEALTHY, dict(snapshot))
        store = self._context.get("task_state_store")
        if store is not None:
            store.delete(_TASK_KEY)
        events = self._context.get("outlet_events")
        if self._asset is None or events is None:
            return
        try:
            event = events[self._asset]
        except KeyError:
            return  # an inlet only: it gets no event
        kept = {_EXTRA: {_LAST: last, _HEALTHY: dict(snapshot)}} if self._store is None else {}
        event.extra = {**(event.extra or {}), **facts, **kept}

    # --- feature groups that grow ----------------------------------------------------------------------------------

    def growth(self) -> Growth | None:
        """Growth that was begun and not seen to its end, by this or an earlier run (without an asset store: try)."""
        saved = self._growth_store.get(self._growth_key) if self._growth_store is not None else None
        return Growth.read(saved) if saved else None

    def grow(self, growth: Growth) -> None:
        """Write down what is about to be done; called again when more is done."""
        if self._growth_store is not None:
            self._growth_store.set(self._growth_key, growth.to_json())

    def grown(self) -> None:
        """All of it is done."""
        if self._growth_store is not None:
            self._growth_store.delete(self._growth_key)

    @property
    def _growth_store(self) -> Any:
        return self._store if self._store is not None else self._context.get("task_state_store")

    @property
    def _growth_key(self) -> str:
        return f"{self._job_name}.{_GROWTH}"

    # --- stores ----------------------------------------------------------------------------------------------------

    def _asset_store(self) -> Any:
        stores = self._context.get("asset_state_store")
        if stores is None or self._asset is None:
            return None
        try:
            return stores[self._asset]
        except KeyError:
            return None

    def _last_event(self) -> dict[str, Any]:
        events = self._context.get("inlet_events")
        if events is None or self._asset is None:
            return {}
        try:
            return dict((events[self._asset][-1].extra or {}).get(_EXTRA) or {})
        except (KeyError, IndexError):
            return {}

    def _with_checkpoints(self, attempt: Attempt) -> Attempt:
        """The folder of all checkpoints is the cluster's, and outlives each job."""
        known = (self._get(_LAST) or {}).get("checkpoints")
        return attempt if attempt.checkpoints or not known else replace(attempt, checkpoints=known)

    def _get(self, key: str) -> dict[str, Any] | None:
        if self._store is None:
            return self._event.get(key)
        return self._store.get(f"{self._job_name}.{key}")

    def _set(self, key: str, value: dict[str, Any]) -> None:
        if self._store is not None:
            self._store.set(f"{self._job_name}.{key}", value)


def _asset_of(job_name: str, assets: Iterable[Any]) -> Any:
    """The asset that stands for the job: by its name or the end of its URI; else the only one there is."""
    candidates = {str(asset.name): asset for asset in assets if getattr(asset, "name", None) and hasattr(asset, "uri")}
    for asset in candidates.values():
        if job_name in (asset.name.rpartition("/")[2], asset.name.rpartition(".")[2], asset.uri.rpartition("/")[2]):
            return asset
    return next(iter(candidates.values())) if len(candidates) == 1 else None
