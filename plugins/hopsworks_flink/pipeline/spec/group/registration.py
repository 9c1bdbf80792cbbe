"""How a feature group is registered, beyond its features: names and meanings are those of the SDK's arguments."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from hopsworks_flink.pipeline.spec.base import Model


class OnlineConfig(Model):
    """The group's table in the online store; fixed once the group is made.

    :param online_comments: directives for RonDB, such as ``NDB_TABLE=READ_BACKUP=1``.
    :param table_space: where its columns lie on disk; without it they are in memory.
    :param primary_key_index_type: ``HASH``, for reads by the whole key only, or ``ORDERED``.
    """

    online_comments: list[str] | None = None
    table_space: str | None = Field(default=None, min_length=1)
    primary_key_index_type: Literal["HASH", "ORDERED"] | None = None


class StatisticsConfig(Model):
    """What Hopsworks computes about the offline rows; ``true`` for descriptive statistics, ``false`` for none.

    :param enabled: whether statistics are computed.
    :param histograms: how often values are.
    :param correlations: of each two features.
    :param exact_uniqueness: uniqueness, distinctness and entropy.
    :param columns: features that it is about; none: all.
    """

    enabled: bool = True
    histograms: bool = False
    correlations: bool = False
    exact_uniqueness: bool = False
    columns: list[str] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        return {"enabled": data} if isinstance(data, bool) else data
