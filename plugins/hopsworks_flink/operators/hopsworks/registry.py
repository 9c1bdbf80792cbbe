"""Operators that register feature groups and topics in Hopsworks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import BaseOperator
from hopsworks_flink.deployment.record import Record
from hopsworks_flink.exceptions import ConfigurationError
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.links import FeatureGroupLink
from hopsworks_flink.tasks import lineage
from hopsworks_flink.tasks.arguments import as_bool, as_int, as_text, one_of
from hopsworks_flink.tasks.context import task_errors
from hopsworks_flink.tasks.links import HOPSWORKS_COLOUR

if TYPE_CHECKING:
    from hopsworks_flink._compat import Context
    from hopsworks_flink.clients.hopsworks.session import HopsworksSession

_TIME_TRAVEL_FORMATS = ("HUDI", "DELTA", "NONE")
_ON_DRIFT = ("fail", "append", "append_later", "ignore")
_RECORD = "hopsworks_append"
_FULL_NAME = re.compile(r"[a-z][a-z0-9_]*_[1-9][0-9]*")


class HopsworksCreateFeatureGroupOperator(BaseOperator):
    """Gets or creates a stream feature group.

    A group that exists is success if it has the same features, primary key, event time and online flag, and the online
    types and settings that are named; otherwise ``on_drift`` decides. Descriptions, tags and statistics that are named
    and not registered are written, unless ``on_drift`` is ``ignore``. An answer that got lost while the group was made
    is no harm: the group is found, and completed where Hopsworks can still do so; one that stays incomplete fails the
    task, naming what is missing.

    **Appending features** gives the group's topic a new schema. Materialization leaves out records written with an
    older one: materialize first, append then, and deploy the job that writes the group again (its plan holds the id of
    the schema).

    :param name: name of the feature group (templated).
    :param version: its version, from 1 (templated).
    :param features: a list of ``{"name": …, "type": …, "description": …, "meaning": …, "online_type": …}``; the meaning
        is the description of a new feature that has none; types are Hopsworks'
        (``bigint``, ``double``, ``string``, ``timestamp`` …). The online type, such as ``varchar(500)``, is that of the
        column in the online store; without it, Hopsworks chooses: ``varchar(100)`` for a string, and a row with a
        longer one is dropped there (templated).
    :param primary_key: names of the features that identify a row (templated).
    :param event_time: name of the feature with the event time; without one the offline store keeps one row for each
        key; default: none (templated).
    :param description: free text; default: empty (templated).
    :param online_enabled: whether rows also go to the online store; default: true (templated).
    :param time_travel_format: of the offline table: ``HUDI``, ``DELTA`` or ``NONE``; default: ``HUDI`` for a new group,
        any for one that exists (templated).
    :param ttl: seconds for which a row counts, from its event time; default: for ever (templated).
    :param partition_key: names of the features by which the offline table is partitioned; default: none (templated).
    :param topic_name: topic of the group's own; default: the project's (templated).
    :param online_config: of the online table, as the SDK takes it; default: the platform's (templated).
    :param statistics_config: what is computed about the offline rows, as the SDK takes it; default: nothing
        (templated).
    :param tags: name -> value; default: none (templated).
    :param parents: full names of feature groups that this one is made of (``orders_1``); default: none (templated).
    :param on_drift: what to do about a group that differs. ``fail``: the task fails for good, naming every difference;
        ``append``: features that it lacks are added, nullable and at the end, and any other difference (a type, key or
        event time, a feature that is not wanted any more) fails the task before anything is changed: the way out is
        another version; ``append_later``: the same differences fail the task, but features that it lacks are left
        to the deployment (``FlinkDeployFeaturePipelineOperator(on_drift="append")``), which appends them without losing
        a row; ``ignore``: the group is taken as it is; default: ``fail`` (templated).
    :param hopsworks_conn_id: Airflow connection of type ``hopsworks``; default: ``hopsworks_default`` (templated).
    :return: (XCom) ``feature_group_id``, ``name``, ``version``, ``topic``, ``subject_id`` (of the newest schema),
        ``location``, ``created``, ``appended`` (names of the features that were added), ``lacking`` (with
        ``append_later``: names of those that are to be), ``described`` (what was written about a group that exists) and
        ``url``.
    :raises AirflowFailException: an argument or the connection is wrong, or the group differs.
    :raises HopsworksError: the group is incomplete and cannot be completed, or Hopsworks refused.
    """

    template_fields: Sequence[str] = (
        "name",
        "version",
        "features",
        "primary_key",
        "event_time",
        "description",
        "online_enabled",
        "time_travel_format",
        "ttl",
        "partition_key",
        "topic_name",
        "online_config",
        "statistics_config",
        "tags",
        "parents",
        "on_drift",
        "hopsworks_conn_id",
    )
    operator_extra_links = (FeatureGroupLink(),)
    ui_color = HOPSWORKS_COLOUR

    def __init__(
        self,
        *,
        name: str,
        version: int | str,
        features: Sequence[Mapping[str, Any]],
        primary_key: Sequence[str],
        event_time: str | None = None,
        description: str = "",
        online_enabled: bool | str = True,
        time_travel_format: str | None = None,
        ttl: int | str | None = None,
        partition_key: Sequence[str] | None = None,
        topic_name: str | None = None,
        online_config: Mapping[str, Any] | None = None,
        statistics_config: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        parents: Sequence[str] | None = None,
        on_drift: str = "fail",
        hopsworks_conn_id: str = HopsworksHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.version = version
        self.features = features
        self.primary_key = primary_key
        self.event_time = event_time
        self.description = description
        self.online_enabled = online_enabled
        self.time_travel_format = time_travel_format
        self.ttl = ttl
        self.partition_key = partition_key
        self.topic_name = topic_name
        self.online_config = online_config
        self.statistics_config = statistics_config
        self.tags = tags
        self.parents = parents
        self.on_drift = on_drift
        self.hopsworks_conn_id = hopsworks_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Get or create the group."""
        with task_errors():
            arguments = self._arguments()
            on_drift = one_of(self.on_drift, "on_drift", _ON_DRIFT)
            with HopsworksHook(self.hopsworks_conn_id).session() as session:
                group, created = session.create_feature_group(**arguments, on_drift=on_drift)
                session.check_complete(group)
                appended: list[str] = []
                lacking: list[str] = []
                described: list[str] = []
                if not created and on_drift == "append":
                    group, appended = self._append(context, session, group, arguments)
                elif not created and on_drift == "append_later":
                    lacking = session.lacking_features(group, arguments)
                if not created and on_drift != "ignore":
                    words = session.missing_words(group, arguments)
                    session.write_words(group, words)
                    described = words.told()
                    self.log.info("Written to %s: %s.", self.name, "; ".join(described) or "nothing")
                url = session.feature_group_url(group)
                FeatureGroupLink().persist(context, self, url)
                ref = session.describe(group)
            self.log.info(
                "Feature group %s (id %d) %s: topic %s, schema %d, %s",
                ref.full_name,
                ref.feature_group_id,
                "created" if created else f"lacks {', '.join(lacking)}" if lacking else "exists as wanted",
                ref.topic,
                ref.subject_id,
                url,
            )
            return {
                "feature_group_id": ref.feature_group_id,
                "name": ref.name,
                "version": ref.version,
                "topic": ref.topic,
                "subject_id": ref.subject_id,
                "location": group.location,
                "created": created,
                "appended": appended,
                "lacking": lacking,
                "described": described,
                "url": url,
            }

    def get_openlineage_facets_on_start(self) -> Any:
        """The feature group, with its features."""
        told = [(one["name"], one["type"], one.get("description") or one.get("meaning", "")) for one in self.features]
        return lineage.of_feature_group(self.name, int(self.version), told)

    def _append(
        self, context: Context, session: HopsworksSession, group: Any, arguments: dict[str, Any]
    ) -> tuple[Any, list[str]]:
        """Append the features that the group lacks. Recorded first, so that a retry also updates the offline table."""
        record = Record.across_tries(context, _RECORD)
        recalled = record.read()
        record.write({"appending": True})
        group, names = session.append_features(group, arguments, again=recalled is not None)
        record.delete()
        if names:
            self.log.warning(
                "Appended %s. Records written with the older schema that are not materialized yet will be left out; "
                "the job that writes the group needs the new schema's id.",
                ", ".join(names),
            )
        return group, names

    def _arguments(self) -> dict[str, Any]:
        if not isinstance(self.features, (list, tuple)) or not self.features:
            raise ConfigurationError(f"features must be a list that is not empty, not {self.features!r}.")
        for number, feature in enumerate(self.features):
            if not isinstance(feature, Mapping) or not feature.get("name") or not feature.get("type"):
                raise ConfigurationError(f"features[{number}] must have a name and a type: {feature!r}.")
        if not isinstance(self.primary_key, (list, tuple)) or not self.primary_key:
            raise ConfigurationError(f"primary_key must be a list that is not empty, not {self.primary_key!r}.")
        if self.ttl not in (None, "") and not self.event_time:
            raise ConfigurationError("ttl counts from the event time: give event_time as well.")
        return {
            "name": as_text(self.name, "name"),
            "version": as_int(self.version, "version"),
            "features": list(self.features),
            "primary_key": list(self.primary_key),
            "event_time": self.event_time or None,
            "description": self.description,
            "online_enabled": as_bool(self.online_enabled, "online_enabled"),
            "time_travel_format": self._time_travel_format(),
            "ttl": None if self.ttl in (None, "") else as_int(self.ttl, "ttl"),
            **self._settings(),
        }

    def _time_travel_format(self) -> str | None:
        if not self.time_travel_format:
            return None
        return one_of(self.time_travel_format, "time_travel_format", _TIME_TRAVEL_FORMATS)

    def _settings(self) -> dict[str, Any]:
        """What is passed on as it is, without what is not named."""
        kinds: dict[str, tuple[type, ...]] = {
            "partition_key": (list, tuple),
            "parents": (list, tuple),
            "topic_name": (str,),
            "online_config": (dict,),
            "statistics_config": (dict,),
            "tags": (dict,),
        }
        found = {name: getattr(self, name) for name in kinds if getattr(self, name)}
        for name, value in found.items():
            if not isinstance(value, kinds[name]):
                wanted = "a mapping" if dict in kinds[name] else "a text" if str in kinds[name] else "a list"
                raise ConfigurationError(f"{name} must be {wanted}, not {value!r}.")
        if wrong := [parent for parent in found.get("parents", ()) if not _FULL_NAME.fullmatch(str(parent))]:
            raise ConfigurationError(f"parents must be names with versions, such as orders_1, not {wrong[0]!r}.")
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


class HopsworksCreateTopicOperator(BaseOperator):
    """Makes sure that a Kafka topic with an Avro schema exists in the project.

    Topic and schema that exist and are the same are success; a difference fails the task for good and changes nothing.
    One that was deleted on the broker alone is made anew.

    :param topic: name of the topic (templated).
    :param schema: Avro schema as a mapping or as JSON text (templated).
    :param partitions: of the topic; default: 1 (templated).
    :param replication: copies of each partition; default: 1 (templated).
    :param subject: name of the schema; default: the topic's (templated).
    :param on_drift: what to do where the schema that exists lacks fields that this one has at its end. ``fail``: the
        task fails for good; ``append``: they become a new version of it, nullable; where the schema gives some fields
        a default of null, no others do. Right for JSON records, in which a missing field is null, and for plain Avro
        if every reader knows that older records end earlier (``source.appended`` of a pipeline); default: ``fail``
        (templated).
    :param hopsworks_conn_id: Airflow connection of type ``hopsworks``; default: ``hopsworks_default`` (templated).
    :return: (XCom) ``topic``, ``subject``, ``schema_id``, ``schema_version``, ``created``.
    :raises AirflowFailException: an argument or the connection is wrong, or topic or schema differ.
    :raises HopsworksConnectionError: Hopsworks or its broker stayed away.
    """

    template_fields: Sequence[str] = (
        "topic",
        "schema",
        "partitions",
        "replication",
        "subject",
        "on_drift",
        "hopsworks_conn_id",
    )
    ui_color = HOPSWORKS_COLOUR

    def __init__(
        self,
        *,
        topic: str,
        schema: Mapping[str, Any] | str,
        partitions: int | str = 1,
        replication: int | str = 1,
        subject: str | None = None,
        on_drift: str = "fail",
        hopsworks_conn_id: str = HopsworksHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.topic = topic
        self.on_drift = on_drift
        self.schema = schema
        self.partitions = partitions
        self.replication = replication
        self.subject = subject
        self.hopsworks_conn_id = hopsworks_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Create what is missing."""
        with task_errors():
            topic = as_text(self.topic, "topic")
            schema = self._schema()
            partitions = as_int(self.partitions, "partitions")
            replication = as_int(self.replication, "replication")
            append = one_of(self.on_drift, "on_drift", ("fail", "append")) == "append"
            with HopsworksHook(self.hopsworks_conn_id).session() as session:
                result = session.topics.create(
                    topic,
                    schema,
                    partitions=partitions,
                    replication=replication,
                    subject=self.subject or None,
                    append=append,
                )
            self.log.info(
                "Topic %s %s; schema %s version %s (id %s).",
                topic,
                "created" if result["created"] else "exists as wanted",
                result["subject"],
                result["schema_version"],
                result["schema_id"],
            )
            return result

    def get_openlineage_facets_on_start(self) -> Any:
        """The topic, with its columns."""
        return lineage.of_topic(self.topic, lineage.avro_columns(self.schema))

    def _schema(self) -> dict[str, Any]:
        schema: Any = self.schema
        if isinstance(schema, str):
            try:
                schema = json.loads(schema)
            except ValueError as error:
                raise ConfigurationError(f"schema is not JSON: {error}.") from error
        if not isinstance(schema, Mapping) or schema.get("type") != "record":
            raise ConfigurationError(f"schema must be an Avro record, not {str(self.schema)[:120]!r}.")
        return dict(schema)
