"""One login to Hopsworks: feature groups, topics, jobs and ingestions through the SDK."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hopsworks_flink.clients.hopsworks.certificates import keep_in_memory
from hopsworks_flink.clients.hopsworks.connection import HopsworksConnection
from hopsworks_flink.clients.hopsworks.errors import quiet, translated
from hopsworks_flink.clients.hopsworks.event_time import EventTime
from hopsworks_flink.clients.hopsworks.jobs import HopsworksJobs
from hopsworks_flink.clients.hopsworks.shapes import ONLY_THERE, FeatureGroupShape, Words, shape_of, wanted_shape
from hopsworks_flink.clients.hopsworks.topics import HopsworksTopics
from hopsworks_flink.clients.kafka.offsets import end_offsets
from hopsworks_flink.clients.masking import mask_values
from hopsworks_flink.exceptions import (
    HopsworksConflictError,
    HopsworksConnectionError,
    HopsworksError,
    HopsworksNotFoundError,
    KafkaError,
    KafkaSecurityError,
)
from hopsworks_flink.pipeline.times import in_utc

if TYPE_CHECKING:
    from hopsworks_flink.pipeline.plan import FeatureGroupRef

_FEATURE_GROUP_EXISTS = 270089
_INTEGERS = frozenset({"tinyint", "smallint", "int", "bigint"})
_PEM_FILES = {
    "ssl.ca.location": "ssl.ca.pem",
    "ssl.certificate.location": "ssl.certificate.pem",
    "ssl.key.location": "ssl.key.pem",
}


class HopsworksSession:
    """One login to one project; made by :meth:`HopsworksHook.session`.

    :param settings: of the login.
    """

    def __init__(self, project: Any, feature_store: Any, settings: HopsworksConnection) -> None:
        self.project = project
        self.feature_store = feature_store
        self.settings = settings

    @property
    def jobs(self) -> HopsworksJobs:
        """The project's jobs and their executions."""
        return HopsworksJobs(self.project, self.settings)

    @property
    def topics(self) -> HopsworksTopics:
        """The project's Kafka topics and their schemas."""
        return HopsworksTopics(self.project, self.topic_end_offsets)

    def platform_version(self) -> str | None:
        """The platform's own version, such as ``5.2.0``; None if it does not say."""
        from hopsworks_common.core.variable_api import VariableApi

        with translated("read the version of Hopsworks"), quiet():
            return VariableApi()._get_version("hopsworks")

    # --- feature groups --------------------------------------------------------------------------------------------

    def create_feature_group(
        self,
        *,
        name: str,
        version: int,
        features: Sequence[Mapping[str, Any]],
        primary_key: Sequence[str],
        event_time: str | None = None,
        description: str = "",
        online_enabled: bool = True,
        time_travel_format: str | None = None,
        ttl: int | None = None,
        on_drift: str = "fail",
        **settings: Any,
    ) -> tuple[Any, bool]:
        """Get a feature group, or create it.

        :param features: ``name``, ``type`` and optionally ``description`` and ``online_type`` of each feature.
        :param time_travel_format: ``HUDI`` (of a new group, if None), ``DELTA`` or ``NONE``. With ``DELTA`` the SDK
            itself writes the empty table, and needs access to the store's files.
        :param ttl: seconds for which a row counts, from its event time; None: for ever.
        :param on_drift: of an existing group: ``fail``; anything else leaves the differences to the caller.
        :param settings: ``tags``, ``partition_key``, ``topic_name``, ``online_config`` and ``statistics_config`` as the
            SDK takes them, ``parents`` as full names (``orders_1``).
        :return: the SDK's feature group, and whether it is new.
        :raises HopsworksNotFoundError: a parent does not exist.
        :raises HopsworksConflictError: the group exists and differs; the text names every difference.
        """
        from hopsworks.client.exceptions import RestAPIError

        arguments = {
            "name": name,
            "version": version,
            "description": description,
            "primary_key": list(primary_key),
            "event_time": event_time,
            "online_enabled": online_enabled,
            "time_travel_format": time_travel_format,
            "ttl": ttl,
            **settings,
        }
        sent = {**arguments, "time_travel_format": time_travel_format or "HUDI"}
        sent.setdefault("statistics_config", False)
        if parents := settings.get("parents"):
            sent["parents"] = [self._named(parent) for parent in parents]
        if tags := settings.get("tags"):
            sent["tags"] = [{"name": tag, "value": _tag_value(value)} for tag, value in tags.items()]
        with translated(f"create feature group {name!r} version {version}"), quiet():
            group = self.feature_store.get_or_create_feature_group(**sent)
            created = group.id is None
            if created:
                try:
                    group.save([_sdk_feature(feature) for feature in features])
                except RestAPIError as error:
                    # Another task was faster, or the answer to an earlier try was lost.
                    if error.error_code != _FEATURE_GROUP_EXISTS:
                        raise
                    created = False
            # As the server has it, not as this client sent it.
            group = self.feature_store.get_feature_group(name, version)
        if not created and on_drift == "fail":
            self.check_feature_group(group, {**arguments, "features": features})
        return group, created

    def _named(self, full_name: str) -> Any:
        name, _, version = full_name.rpartition("_")
        return self.get_feature_group(name, int(version))

    def _shape(self, group: Any, arguments: Mapping[str, Any]) -> FeatureGroupShape:
        """A registered group's shape, as far as it is asked for."""
        if not arguments.get("parents"):
            return shape_of(group)
        with translated(f"read the parents of feature group {group.name!r}"), quiet():
            links = group.get_parent_feature_groups()
        return shape_of(group, [f"{parent.name}_{parent.version}" for parent in (links.accessible if links else ())])

    def missing_words(self, group: Any, arguments: Mapping[str, Any]) -> Words:
        """Descriptions, tags and statistics that ``arguments`` (those of creation) name and a group lacks."""
        wanted, tags = Words.wanted(arguments), {}
        if wanted.tags:
            with translated(f"read the tags of feature group {group.name!r}"), quiet():
                tags = group.get_tags()
        return wanted.missing_in(Words.of(group, tags))

    def write_words(self, group: Any, words: Words) -> None:
        """Register descriptions, tags and statistics; what is not among them stays."""
        with translated(f"describe feature group {group.name!r} version {group.version}"), quiet():
            if words.description:
                group.update_description(words.description)
            for name, text in words.features.items():
                group.update_feature_description(name, text)
            for name, value in words.tags.items():
                group.add_tag(name, value)
            if words.statistics_config:
                group.statistics_config = dict(words.statistics_config)
                group.update_statistics_config()

    def append_features(self, group: Any, arguments: Mapping[str, Any], again: bool = False) -> tuple[Any, list[str]]:
        """Add the features that a group lacks, nullable and at the end.

        :param arguments: those of creation.
        :param again: also bring the offline table up to date, which an earlier try may not have done.
        :return: the group as Hopsworks has it now, and the names of what was added.
        :raises HopsworksConflictError: it also differs in something else; nothing is changed.
        """
        from hsfs import engine

        names = self.lacking_features(group, arguments)
        # Names as the SDK writes them, like the shape's.
        wanted = [_sdk_feature(feature) for feature in arguments["features"]]
        new = [feature for feature in wanted if feature.name in names]
        with translated(f"append features to feature group {group.name!r} version {group.version}"), quiet():
            if new:
                group.append_features(new)
            elif again:
                engine._get_instance()._update_table_schema(group)
            return self.feature_store.get_feature_group(group.name, group.version), names

    def lacking_features(self, group: Any, arguments: Mapping[str, Any]) -> list[str]:
        """Names of the features that a group lacks, in the order of ``arguments`` (those of creation).

        :raises HopsworksConflictError: it has a difference that appending features would not remove.
        """
        wanted, existing = wanted_shape(arguments), self._shape(group, arguments)
        self._refuse_differences(group.name, group.version, wanted.beyond_appending(existing))
        return wanted.appended(existing)

    @staticmethod
    def _refuse_differences(name: str, version: int, differences: Sequence[str]) -> None:
        if differences:
            wider = " What exists there only, rows of the narrower group would set to null."
            raise HopsworksConflictError(
                f"Feature group {name!r} version {version} exists and differs: {'; '.join(differences)}. "
                "Choose another version, or make the arguments match (on_drift='append' only adds features at the end)."
                f"{wider if any(text.endswith(ONLY_THERE) for text in differences) else ''}"
            )

    def check_feature_group(self, group: Any, arguments: Mapping[str, Any]) -> None:
        """Refuse a registered group that differs from ``arguments`` (those of creation).

        :raises HopsworksConflictError: it differs; the text names every difference.
        """
        self._refuse_differences(arguments["name"], arguments["version"], self.differences(group, arguments))

    def differences(self, group: Any, arguments: Mapping[str, Any]) -> list[str]:
        """How a registered group differs from ``arguments`` (those of creation), one sentence part each."""
        return wanted_shape(arguments).differences(self._shape(group, arguments))

    def get_feature_group(self, name: str, version: int) -> Any:
        """The SDK's feature group.

        :raises HopsworksNotFoundError: there is none of this name and version.
        """
        with translated(f"read feature group {name!r} version {version}"), quiet():
            group = self.feature_store.get_feature_group(name, version)
        if group is None:
            raise HopsworksNotFoundError(
                f"Feature group {name!r} version {version} does not exist in {self.feature_store.name}. "
                "Create it first (HopsworksCreateFeatureGroupOperator)."
            )
        return group

    def delete_feature_group(self, name: str, version: int) -> bool:
        """Delete a feature group with its online rows, its offline table and its topic.

        :return: whether there was one.
        :raises HopsworksError: Hopsworks refused; a feature view that uses the group is a reason.
        """
        with translated(f"delete feature group {name!r} version {version}"), quiet():
            group = self.feature_store.get_feature_group(name, version)
            if group is not None:
                group.delete()
        return group is not None

    def check_complete(self, group: Any) -> None:
        """Make sure that a group is complete: it has a schema, a topic and a materialization job.

        Hopsworks creates a missing schema or topic when the group is updated: an update that changes nothing is tried.

        :raises HopsworksError: something is still missing; the text names it and the remedy.
        """
        if not group.stream:
            # Written directly: it needs neither.
            return
        missing = self._missing_parts(group)
        if "schema" in missing or "topic" in missing:
            with translated(f"complete feature group {group.name!r} version {group.version}"), quiet():
                group.update_description(group.description or "")
            missing = self._missing_parts(group)
        if missing:
            raise HopsworksError(
                f"Feature group {group.name!r} version {group.version} (id {group.id}) is incomplete: it has no "
                f"{' and no '.join(missing)}. If it holds nothing that matters, delete it and run this task again; "
                "otherwise choose another version."
            )

    def _missing_parts(self, group: Any) -> list[str]:
        missing = []
        try:
            self.describe(group)
        except HopsworksNotFoundError:
            missing.append("schema")
        if not self.topic_end_offsets(group._online_topic_name):
            missing.append("topic")
        try:
            self.jobs.materialization(group)
        except HopsworksNotFoundError:
            missing.append("materialization job")
        return missing

    def describe(self, group: Any) -> FeatureGroupRef:
        """The ids, topic and schema that a job needs to write to the group."""
        from hopsworks_flink.pipeline.plan import FeatureGroupRef

        with translated(f"read the schema of feature group {group.name!r}"):
            subject = group.subject
        return FeatureGroupRef(
            project_id=self.feature_store.project_id,
            feature_group_id=group.id,
            name=group.name,
            version=group.version,
            topic=group._online_topic_name,
            subject_id=subject["id"],
            avro_schema=subject["schema"],
            online_types=shape_of(group).online_types,
        )

    def feature_group_url(self, group: Any) -> str:
        """Address of the group in Hopsworks' UI."""
        return f"{self.settings.url}/p/{self.feature_store.project_id}/fs/{self.feature_store.id}/fg/{group.id}"

    def online_event_time(self, group: Any, event_time: EventTime, oldest: float) -> str | None:
        """The event time of an online row that is not older than ``oldest``; None if there is no such row.

        :param oldest: epoch seconds.
        :return: ISO 8601 in UTC; of any such row, not of the newest.
        """
        from sqlalchemy.exc import SQLAlchemyError

        with translated(f"read feature group {group.name!r} online"), quiet():
            young = group.get_feature(event_time.name) >= event_time.at(oldest)
            try:
                rows = group.select([event_time.name]).filter(young).limit(1).read(online=True)
            except SQLAlchemyError as error:
                raise HopsworksConnectionError(f"The online store does not answer: {type(error).__name__}.") from error
        return event_time.read(rows.iloc[0, 0]) if len(rows) else None

    def online_event_time_of(self, group: Any, event_time: EventTime, key: str, value: Any) -> str | None:
        """Event time of the online row of one entity; None if there is no such row.

        :param key: name of the group's only key feature.
        :return: ISO 8601 in UTC.
        """
        from sqlalchemy.exc import SQLAlchemyError

        with translated(f"read feature group {group.name!r} online"), quiet():
            try:
                rows = group.select([event_time.name]).filter(group.get_feature(key) == value).read(online=True)
            except SQLAlchemyError as error:
                raise HopsworksConnectionError(f"The online store does not answer: {type(error).__name__}.") from error
        return event_time.read(rows.iloc[0, 0]) if len(rows) else None

    def online_sample(self, group: Any, rows: int) -> list[dict[str, Any]]:
        """So many online rows, whichever the store gives first: feature -> value, as of `rows_of`."""
        from sqlalchemy.exc import SQLAlchemyError

        with translated(f"read feature group {group.name!r} online"), quiet():
            try:
                found = group.select_all().limit(rows).read(online=True)
            except SQLAlchemyError as error:
                raise HopsworksConnectionError(f"The online store does not answer: {type(error).__name__}.") from error
        return _plain_rows(group, found)

    def rows_of(
        self, group: Any, key: Mapping[str, Any], *, online: bool, within: tuple[EventTime, float, float] | None = None
    ) -> list[dict[str, Any]]:
        """Rows of one key: feature -> value, as Python's own types, timestamps with the zone UTC.

        :param key: key feature -> value.
        :param within: event time, and between which times (epoch seconds, both included); None: whatever it is.
        :raises HopsworksConnectionError: the store does not answer; the offline store is read by Arrow Flight.
        """
        from hopsworks.client.exceptions import FeatureStoreException
        from pyarrow import ArrowException
        from sqlalchemy.exc import SQLAlchemyError

        store = "online" if online else "offline"
        with translated(f"read feature group {group.name!r} {store}"), quiet():
            conditions = [group.get_feature(name) == value for name, value in key.items()]
            if within is not None:
                event_time, first, last = within
                feature = group.get_feature(event_time.name)
                conditions += [feature >= event_time.at(math.floor(first)), feature <= event_time.at(last)]
            query = group.select_all()
            for condition in conditions:
                query = query.filter(condition)
            try:
                found = query.read(online=online)
            except (SQLAlchemyError, ArrowException, FeatureStoreException) as error:
                text = f"The {store} store does not answer: {type(error).__name__}."
                raise HopsworksConnectionError(text) from error
        return _plain_rows(group, found)

    def create_online_ingestion(self, group: Any) -> int:
        """Register an online ingestion of unknown length; the stream's records carry its id."""
        from hsfs.core.online_ingestion import OnlineIngestion
        from hsfs.core.online_ingestion_api import OnlineIngestionApi

        with translated(f"create an online ingestion for feature group {group.name!r}"):
            ingestion = OnlineIngestionApi()._create_online_ingestion(group, OnlineIngestion(num_entries=None))
        return int(ingestion.id)

    def online_results(self, group: Any, ingestion_id: int) -> dict[str, int] | None:
        """What the online store did with the rows of one ingestion: status -> rows; None: the ingestion is forgotten.

        A status is ``UPSERTED``, ``DELETED``, ``IGNORED`` (a newer row was there) or ``FAILED`` (dropped for good).
        """
        with translated(f"read online ingestion {ingestion_id} of feature group {group.name!r}"), quiet():
            ingestion = group.get_online_ingestion(ingestion_id)
        return {result.status: int(result.rows) for result in ingestion.results} if ingestion else None

    # --- Kafka -----------------------------------------------------------------------------------------------------

    def kafka_config(self) -> dict[str, str]:
        """The librdkafka settings of the feature store's Kafka; certificates and keys inline, as PEM."""
        return dict(self._kafka_config)

    @cached_property
    def _kafka_config(self) -> dict[str, str]:
        from hsfs.core.storage_connector_api import StorageConnectorApi

        with translated("read the Kafka connector of the feature store"), quiet():
            connector = StorageConnectorApi()._get_kafka_connector(self.feature_store.id, external=True)
            in_memory = keep_in_memory(connector)
            config = dict(connector.confluent_options())
        for location, inline in _PEM_FILES.items():
            if path := config.pop(location, None):
                config[inline] = in_memory.get(path) or Path(path).read_text()
        config = {key: str(value) for key, value in config.items() if value is not None}
        mask_values(config)
        return config

    def topic_end_offsets(self, topic: str) -> dict[int, int]:
        """Partition -> offset after the last record; empty if the topic does not exist.

        :raises HopsworksConnectionError: the broker does not answer.
        :raises KafkaSecurityError: the broker is not trusted, or does not trust the project's certificate or login.
        """
        try:
            return end_offsets(self.kafka_config(), topic)
        except KafkaSecurityError:
            raise
        except KafkaError as error:
            raise HopsworksConnectionError(f"The broker of topic {topic!r} does not answer: {error}") from error


def _plain_rows(group: Any, found: Any) -> list[dict[str, Any]]:
    rows = [{name: plain_value(value) for name, value in row.items()} for row in found.to_dict("records")]
    for feature in group.columns:
        if str(feature.type).lower() in _INTEGERS:
            for row in rows:
                # Of a column with nulls pandas makes doubles.
                if isinstance(value := row.get(feature.name), float):
                    row[feature.name] = int(value)
    return rows


def plain_value(value: Any) -> Any:
    """A value of pandas or NumPy as Python's own; NaN and NaT are None."""
    if hasattr(value, "to_pydatetime"):
        value = value.to_pydatetime()
    elif hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [plain_value(one) for one in value]
    if isinstance(value, datetime):
        # NaT is a datetime that is not equal to itself.
        return in_utc(value) if value == value else None
    return None if isinstance(value, float) and math.isnan(value) else value


def _tag_value(value: Any) -> Any:
    """As the SDK sends it with a new group: it makes JSON of mappings only, and texts are read as JSON."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return value
    return value if isinstance(value, dict) else json.dumps(value)


def _sdk_feature(feature: Mapping[str, Any]) -> Any:
    from hsfs.feature import Feature

    online_type, description = feature.get("online_type"), feature.get("description") or feature.get("meaning") or ""
    return Feature(feature["name"], feature["type"], description=description, online_type=online_type)
