"""Operator that deletes feature groups and topics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import AirflowSkipException, BaseOperator
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.tasks.context import task_errors
from hopsworks_flink.tasks.deleting import as_groups, as_names, delete
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
            groups = as_groups(self.feature_groups, "feature_groups")
            topics = as_names(self.topics, "topics")
            if not groups and not topics:
                raise AirflowSkipException("Nothing is to be deleted.")
            deleted: dict[str, list[str]] = {"feature_groups": [], "topics": []}
            with HopsworksHook(self.hopsworks_conn_id).session() as session:
                for kind, name in delete(session, groups, topics):
                    self.log.info(_TOLD[kind], name)
                    deleted[kind].append(name)
        return deleted


_TOLD = {
    "feature_groups": "Deleted feature group %s with its rows.",
    "topics": "Deleted topic %s with its records and its schema.",
}
