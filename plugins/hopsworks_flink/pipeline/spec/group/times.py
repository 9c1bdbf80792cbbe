"""Features that hold a time of the row: ``event_time: {feature: timestamp, is: window_end, type: bigint}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_serializer, model_validator

from hopsworks_flink.pipeline.spec.base import Model, Name
from hopsworks_flink.pipeline.types import BIGINT, TIMESTAMP, FeatureType

# Name of the feature, for each time.
NAMES = {"window_end": "window_end", "event": "event_time", "window_start": "window_start"}


class _TimeFeature(Model):
    """A feature with a time of the row.

    :param feature: its name.
    :param type: ``timestamp``, or ``bigint``, milliseconds since the epoch.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    feature: Name
    type: Literal["timestamp", "bigint"] = "timestamp"

    @property
    def kind(self) -> FeatureType:
        """Type of the feature."""
        return TIMESTAMP if self.type == "timestamp" else BIGINT

    @property
    def per_millisecond(self) -> int:
        """What the feature counts in a millisecond; a timestamp is microseconds."""
        return 1000 if self.type == "timestamp" else 1


class EventTimeFeature(_TimeFeature):
    """The event time of a group: ``window_end``, ``event``, or one of them with a name and a type.

    :param is_: (``is`` in the file) ``window_end``, or for rows of events ``event``, the event's own time.
    """

    is_: Literal["window_end", "event"] = Field(alias="is")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        if isinstance(data, str):
            if data not in ("window_end", "event"):
                raise ValueError("must be window_end or event, or {feature: …, is: window_end, type: bigint}")
            return {"is": data, "feature": NAMES[data]}
        if isinstance(data, Mapping) and isinstance(named := data.get("is"), str):
            return {"feature": NAMES.get(named, named), **data}
        return data

    @model_serializer
    def _as_written(self) -> str | dict[str, str]:
        return _written(self, self.is_, {"is": self.is_})


class WindowStart(_TimeFeature):
    """The start of the window as a feature: ``true``, or with a name and a type."""

    feature: Name = NAMES["window_start"]

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        if data is True:
            return {}
        if data is False:
            raise ValueError("write true, {feature: …, type: …}, or leave it out")
        return data

    @model_serializer
    def _as_written(self) -> bool | dict[str, str]:
        return _written(self, True, {})


def _written(time: _TimeFeature, short: Any, base: dict[str, str]) -> Any:
    name = NAMES[base.get("is", "window_start")]
    settings = {} if time.feature == name else {"feature": time.feature}
    settings |= base
    settings |= {"type": time.type} if time.type != "timestamp" else {}
    return settings if settings != base else short
