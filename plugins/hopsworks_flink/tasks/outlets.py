"""What a task's asset events carry."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hopsworks_flink._compat import BaseOperator, Context


def data_interval(context: Context) -> list[str] | None:
    """Begin and end of the run's data interval, ISO 8601; None for a run without one (triggered by hand or asset)."""
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if not isinstance(start, datetime) or not isinstance(end, datetime):
        return None
    return [start.isoformat(), end.isoformat()]


def emit(context: Context, operator: BaseOperator, facts: Mapping[str, Any]) -> None:
    """Add facts to the events of the task's outlets; Airflow publishes them when the task succeeds.

    :param facts: JSON; a ``window`` with the run's data interval is added.
    """
    events = context.get("outlet_events")
    if events is None:
        return
    for outlet in operator.outlets or ():
        extra: dict[str, Any] = {**facts, "window": data_interval(context)}
        events[outlet].extra.update(extra)
