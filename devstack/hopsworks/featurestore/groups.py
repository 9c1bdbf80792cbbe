"""Feature groups with their subject, topic, job, online table and offline location."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from devstack.hopsworks.featurestore.groupcheck import appended_features, check_description, check_new, check_topic
from devstack.hopsworks.featurestore.registry import Registry
from devstack.hopsworks.home import errors
from devstack.hopsworks.home.layout import FEATURE_STORE_ID, HOPSWORKS_VERSION, Layout
from devstack.hopsworks.home.log import get_logger
from devstack.hopsworks.home.times import iso, utc_now
from devstack.hopsworks.jobs.store import JobStore
from devstack.hopsworks.metadata.db import Database
from devstack.hopsworks.metadata.featuretypes import avro_schema, online_type
from devstack.hopsworks.metadata.models import (
    STREAM,
    Feature,
    FeatureGroup,
    FeatureGroupRequest,
    MaterializationConf,
    StatisticsConfig,
)
from devstack.hopsworks.metadata.store import MetadataStore, SubjectVersion
from devstack.hopsworks.online.store import columns_of, create_table_statements, quote, sqlite_type

log = get_logger("groups")


class FeatureGroups:
    """Creates, changes and removes feature groups; one at a time."""

    def __init__(self, layout: Layout, store: MetadataStore, jobs: JobStore, online: Database, registry: Registry):
        self.layout = layout
        self.store = store
        self.jobs = jobs
        self.online = online
        self.registry = registry
        self._lock = threading.RLock()

    # --- reading --------------------------------------------------------------------------------------------

    def get(self, feature_group_id: int) -> FeatureGroup:
        group = self.store.feature_group(feature_group_id)
        if group is None:
            raise errors.FEATURE_GROUP_NOT_FOUND(f"feature group id {feature_group_id}")
        return group

    def named(self, name: str, version: int | None) -> list[FeatureGroup]:
        """One version, or all of them. Raises 270009 when there is none."""
        found = [g for g in self.store.feature_groups(name) if version is None or g.version == version]
        if not found:
            which = f"version {version}" if version is not None else "any version"
            raise errors.FEATURE_GROUP_NOT_FOUND(f"feature group {name!r}, {which}")
        return found

    # --- creation -------------------------------------------------------------------------------------------

    def create(self, request: FeatureGroupRequest) -> FeatureGroup:
        """Check, then make subject, topic, online table, the group itself and its job."""
        with self._lock:
            versions = {group.version for group in self.store.feature_groups(request.name)}
            if request.version in versions:
                raise errors.FEATURE_GROUP_EXISTS(f"feature group {request.name!r}, version {request.version}")
            check_new(request)
            parents = [self.get(parent.id).id for parent in request.parents or []]
            group = self._build(request, request.version or max(versions, default=0) + 1)
            group.parent_ids = parents
            if group.type == STREAM or group.online_enabled:
                self._make_topic_and_schema(group)
            if group.online_enabled:
                self._make_online_table(group)
            # The SDK may write the Delta table itself and expects its parent folder.
            self.layout.warehouse.mkdir(parents=True, exist_ok=True)
            stored = self.store.insert_feature_group(group)
            if stored.type == STREAM:
                self._make_job(stored, request.delta_streamer_job_conf or MaterializationConf())
        log.info("feature group %s made: id %d, topic %s", stored.full_name, stored.id, stored.online_topic_name)
        return stored

    def _build(self, request: FeatureGroupRequest, version: int) -> FeatureGroup:
        features = [_completed(feature) for feature in request.features]
        time_travel = request.time_travel_format or "DELTA"
        if time_travel == "HUDI" and not any(f.hudi_precombine_key for f in features):
            next(f for f in features if f.primary).hudi_precombine_key = True
        online = bool(request.online_enabled)
        topic = request.topic_name or self.layout.project + ("_onlinefs" if online else "")
        return FeatureGroup(
            type=request.type,
            name=request.name,
            version=version,
            description=request.description or "",
            online_enabled=online,
            time_travel_format=time_travel,
            features=features,
            event_time=request.event_time,
            statistics_config=request.statistics_config or StatisticsConfig(),
            topic_name=request.topic_name,
            online_topic_name=topic if (online or request.type == STREAM) else None,
            notification_topic_name=request.notification_topic_name,
            ttl=request.ttl,
            ttl_enabled=bool(request.ttl_enabled),
            location=(self.layout.warehouse / f"{request.name}_{version}").as_uri(),
            created=iso(utc_now()),
            online_config=request.online_config if online else None,
        )

    def _make_topic_and_schema(self, group: FeatureGroup) -> None:
        known = self.store.subject_versions(group.full_name)
        subject = self._register(group)
        assert group.online_topic_name is not None
        try:
            self.registry.ensure_topic(group.online_topic_name, self.layout.config.online_topic_partitions, subject)
        except errors.HopsworksError:
            # The group stays as it was. Beside a newer schema, the records of its own would be passed over.
            if subject not in known:
                self.store.delete_subject_version(subject.subject, subject.version)
            raise

    def _register(self, group: FeatureGroup) -> SubjectVersion:
        features = [(feature.name, feature.type or "") for feature in group.features]
        schema = avro_schema(group.full_name, self.layout.avro_namespace, features)
        return self.registry.register_feature_group(group.full_name, schema)

    def _make_online_table(self, group: FeatureGroup) -> None:
        with self.online.transaction() as tx:
            for statement in create_table_statements(group):
                tx.execute(statement)

    def _make_job(self, group: FeatureGroup, conf: MaterializationConf) -> None:
        options = {option.name: option.value for option in conf.write_options or []}
        folder = f"Resources/jobs/{group.job_name}"
        file_name = f"config_{int(time.time() * 1000)}"
        target = self.layout.datasets / folder / file_name
        target.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "feature_store": self.layout.feature_store_name,
            "name": group.name,
            "version": str(group.version),
            "write_options": options,
        }
        target.write_text(json.dumps(document))
        path = f"hdfs://{self.layout.project_path}/{folder}/{file_name}"
        config = {
            "type": "sparkJobConfiguration",
            "appName": group.job_name,
            "mainClass": "com.logicalclocks.utils.MainClass",
            "appPath": f"hdfs:///user/spark/hsfs-utils-{HOPSWORKS_VERSION}.jar",
            "defaultArgs": f"-op offline_fg_materialization -path {path}",
            **(conf.spark_job_configuration or {}),
        }
        self.jobs.put_job(group.job_name, "SPARK", config)

    # --- change ---------------------------------------------------------------------------------------------

    def update_metadata(self, group: FeatureGroup, request: FeatureGroupRequest) -> FeatureGroup:
        """Descriptions, topic, time to live, and new features at the end of the list."""
        check_description(request.description)
        check_topic(request.topic_name)
        with self._lock:
            # As it is now: another request may have changed it since this one looked.
            group = self.get(group.id)
            new = [_completed(feature) for feature in appended_features(group, request.features)]
            descriptions = {feature.name: feature.description for feature in request.features}
            features = [f.model_copy(update={"description": descriptions[f.name]}) for f in group.features]
            for feature in new:
                feature.feature_group_id = group.id
            changes = {
                "description": request.description or "",
                "features": [*features, *new],
                "topic_name": request.topic_name,
                "notification_topic_name": request.notification_topic_name,
                "ttl": request.ttl,
                "ttl_enabled": bool(request.ttl_enabled),
            }
            if request.topic_name and request.topic_name != group.topic_name:
                changes["online_topic_name"] = request.topic_name
            changed = group.model_copy(update=changes)
            if changed.online_topic_name:
                self._make_topic_and_schema(changed)
            if new and changed.online_enabled:
                self._add_online_columns(changed, new)
            self.store.update_feature_group(changed)
        return changed

    def _add_online_columns(self, group: FeatureGroup, new: list[Feature]) -> None:
        existing = columns_of(self.online.connection, group.full_name)
        with self.online.transaction() as tx:
            for feature in new:
                if feature.name not in existing and not feature.offline_only:
                    column = f"{quote(feature.name)} {sqlite_type(feature)}"
                    tx.execute(f"ALTER TABLE {quote(group.full_name)} ADD COLUMN {column}")

    def update_fields(self, group: FeatureGroup, **changes: Any) -> FeatureGroup:
        with self._lock:
            changed = self.get(group.id).model_copy(update=changes)
            self.store.update_feature_group(changed)
        return changed

    # --- removal --------------------------------------------------------------------------------------------

    def delete(self, group: FeatureGroup) -> None:
        """Remove the group, its jobs, subject, online table and offline files; a topic that others use stays."""
        with self._lock:
            group = self.get(group.id)
            self.store.delete_feature_group(group)
            with self.online.transaction() as tx:
                tx.execute(f"DROP TABLE IF EXISTS {quote(group.full_name)}")
            shutil.rmtree(Path(self.layout.warehouse / group.full_name), ignore_errors=True)
            shutil.rmtree(self.layout.datasets / "Resources" / "jobs" / group.job_name, ignore_errors=True)
            used = {other.online_topic_name for other in self.store.feature_groups()}
            if not group.online_enabled and group.topic_name and group.topic_name not in used:
                self.registry.delete_topic(group.topic_name)
        log.info("feature group %s (id %d) deleted", group.full_name, group.id)

    def clear(self, group: FeatureGroup) -> FeatureGroup:
        """Delete and create again: the group gets a new id, a new job and has no rows."""
        with self._lock:
            request = FeatureGroupRequest.model_validate(self.get(group.id).model_dump())
            if group.online_topic_name:
                # Without a broker the group could not be made again: refused while it is there.
                self.registry.broker.topic_names()
            self.delete(group)
            return self.create(request)

    # --- what the SDK reads ---------------------------------------------------------------------------------

    def response(self, group: FeatureGroup) -> dict[str, Any]:
        """The feature group in the platform's JSON."""
        body = group.wire()
        del body["parentIds"]
        body |= {
            "featurestoreId": FEATURE_STORE_ID,
            "featurestoreName": self.layout.feature_store_name,
            "creator": self.layout.creator,
            "parents": [],
        }
        if group.time_travel_format == "DELTA":
            # With a connector that is not HopsFS the SDK writes Delta to the location as it stands.
            body["dataSource"] = {
                "storageConnector": {
                    "type": "featurestoreS3ConnectorDTO",
                    "id": 9,
                    "name": "local",
                    "featurestoreId": FEATURE_STORE_ID,
                    "storageConnectorType": "S3",
                    "bucket": "local",
                },
                "path": group.location,
            }
        return body


def _completed(feature: Feature) -> Feature:
    return feature.model_copy(update={"online_type": feature.online_type or online_type(feature.type or "")})
