"""Operator that deletes feature groups and topics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import AirflowSkipException, BaseOperator
from hopsworks_flink.exceptions import ConfigurationError
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.tasks.context import task_errors
from hopsworks_flink.tasks.links import HOPSWORKS_COLOUR

if TYPE_CHECKING:
    from hopsworks_flink._compat import Context


class HopsworksDeleteOperator(BaseOperator):
    """Deletes feature groups and topics that are named, and nothing else.

    A feature group goes with its online rows, its offline table and its topic; a topic with its records and the schema
    of the same name. What does not exist (any more) is passed over, so a repeated task completes what an earlier try
    has begun. Every name is checked before the first thing is deleted.

    :param feature_groups: names with version, e.g. ``cards_1``; default: none (templated).
    :param topics: names of topics; default: none (templated).
    :param hopsworks_conn_id: Airflow connection of type ``hopsworks``; default: ``hopsworks_default`` (templated).
    :return: (XCom) ``feature_groups`` and ``topics``: names of what was deleted.
    :raises AirflowSkipException: nothing is named.
    :raises AirflowFailException: a name is wrong, or Hopsworks refuses.
    """

    template_fields: Sequence[str] = ("feature_groups", "topics", "hopsworks_conn_id")
    ui_color = HOPSWORKS_COLOUR

    def __init__(
        self,
        *,
        feature_groups: Sequence[str] | str | None = None,
        topics: Sequence[str] | str | None = None,
        hopsworks_conn_id: str = HopsworksHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.feature_groups = feature_groups
        self.topics = topics
        self.hopsworks_conn_id = hopsworks_conn_id

    def execute(self, context: Context) -> dict[str, list[str]]:
        """Delete what is named."""
        with task_errors():
            groups = [_parts(name) for name in _names(self.feature_groups, "feature_groups")]
            topics = _names(self.topics, "topics")
            if not groups and not topics:
                raise AirflowSkipException("Nothing is to be deleted.")
            deleted: dict[str, list[str]] = {"feature_groups": [], "topics": []}
            with HopsworksHook(self.hopsworks_conn_id).session() as session:
                for name, version in groups:
                    if session.delete_feature_group(name, version):
                        self.log.info("Deleted feature group %s version %d with its rows.", name, version)
                        deleted["feature_groups"].append(f"{name}_{version}")
                for topic in topics:
                    if session.topics.delete(topic):
                        self.log.info("Deleted topic %s with its records and its schema.", topic)
                        deleted["topics"].append(topic)
        return deleted


def _names(value: Any, argument: str) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str) or not all(isinstance(name, str) and name for name in value):
        raise ConfigurationError(f"{argument} must be a list of names, not {value!r}.")
    return list(value)


def _parts(name: str) -> tuple[str, int]:
    """Name and version."""
    base, _, version = name.rpartition("_")
    if not base or not version.isdecimal():
        raise ConfigurationError(f"feature_groups: {name!r} must be a name with a version, e.g. cards_1.")
    return base, int(version)
