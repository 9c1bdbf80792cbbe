"""Event times of online features: how they are stored, and which are fresh. No I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, datetime, timezone
from typing import Any

from hopsworks_flink.exceptions import ConfigurationError
from hopsworks_flink.pipeline.times import in_utc, parse_time

_FACTORS = {"milliseconds": 1000, "seconds": 1}
_DAY = 86_400


def threshold(newest: float, max_age: float) -> float:
    """The oldest event time that is fresh, epoch seconds.

    :param newest: what the age is measured from, epoch seconds.
    :param max_age: seconds.
    """
    return newest - max_age


@dataclass(frozen=True)
class EventTime:
    """The feature with a group's event time.

    :param kind: ``timestamp``, ``date`` or ``bigint``.
    :param unit: what a ``bigint`` counts: ``milliseconds`` or ``seconds``.
    """

    name: str
    kind: str
    unit: str = "milliseconds"

    @classmethod
    def of(cls, group: Any, unit: str) -> EventTime:
        """The event time of the SDK's feature group.

        :raises ConfigurationError: the group is not online, or has no event time of a type that Hopsworks allows.
        """
        full_name = f"feature group {group.name!r} version {group.version}"
        if not group.online_enabled:
            raise ConfigurationError(f"{full_name} is not online: there is no newest online value.")
        if not group.event_time:
            raise ConfigurationError(f"{full_name} has no event time: the age of its values is not known.")
        types = {feature.name: str(feature.type).lower() for feature in group.columns}
        kind = types.get(group.event_time, "").partition("(")[0]
        if kind not in ("timestamp", "date", "bigint"):
            raise ConfigurationError(f"{full_name}: event time {group.event_time!r} is {kind}, not a time.")
        return cls(group.event_time, kind, unit)

    def at(self, moment: float) -> Any:
        """A time (epoch seconds) as the feature stores it, rounded up to the online store's precision."""
        if self.kind == "bigint":
            return math.ceil(moment * _FACTORS[self.unit])
        if self.kind == "date":
            day = math.ceil(moment / _DAY) * _DAY
            return datetime.fromtimestamp(day, timezone.utc).date().isoformat()
        return datetime.fromtimestamp(math.ceil(moment), timezone.utc).strftime("%Y-%m-%d %H:%M:%S")

    def read(self, value: Any) -> str:
        """A value of the feature, ISO 8601 in UTC."""
        if self.kind == "bigint":
            return datetime.fromtimestamp(int(value) / _FACTORS[self.unit], timezone.utc).isoformat()
        if isinstance(value, str):
            value = parse_time(value)
        if isinstance(value, datetime):
            return in_utc(value).isoformat()
        return value.isoformat() if isinstance(value, date) else str(value)
