"""Avro subjects and topics of the project, by the rules of the Hopsworks Kafka API."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import avro.schema
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

from devstack.hopsworks.featurestore.broker import Broker
from devstack.hopsworks.home.errors import (
    SCHEMA_IN_USE,
    SUBJECT_RESERVED,
    TOPIC_EXISTS,
    TOPIC_EXISTS_IN_KAFKA,
    TOPIC_NOT_FOUND,
    TOPIC_SCHEMA_MISSING,
    SchemaRegistryError,
)
from devstack.hopsworks.metadata.featuretypes import canonical_text
from devstack.hopsworks.metadata.store import MetadataStore, SubjectVersion, Topic

RESERVED_SUBJECTS = frozenset({"inferenceschema", "projectcompatibility"})


def unknown_subject(subject: str) -> SchemaRegistryError:
    return SchemaRegistryError(404, 40401, f"Subject '{subject}' not found.")


def unknown_version(subject: str, version: int | str) -> SchemaRegistryError:
    return SchemaRegistryError(404, 40402, f"Version {version} of subject '{subject}' not found.")


def parse_schema(text: str) -> Any:
    """The schema as JSON, after Avro's own parser has accepted it."""
    try:
        document = json.loads(text)
        avro.schema.parse(text)
    except Exception as error:  # the parser fails in many ways, deep nesting among them
        raise SchemaRegistryError(422, 42201, f"Input schema is an invalid Avro schema: {error}") from error
    return document


def incompatibilities(new_text: str, old_text: str) -> list[str]:
    """Why readers with the new schema could not read data of the old one (BACKWARD); empty when they can."""
    checker = ReaderWriterCompatibilityChecker()
    result = checker.get_compatibility(avro.schema.parse(new_text), avro.schema.parse(old_text))
    if result.compatibility is SchemaCompatibilityType.compatible:
        return []
    return sorted(result.messages) or ["incompatible"]


class Registry:
    """Subjects and topics; one lock, so that two requests cannot create the same thing twice."""

    def __init__(self, store: MetadataStore, broker: Broker) -> None:
        self.store = store
        self.broker = broker
        self._lock = threading.RLock()

    # --- subjects -------------------------------------------------------------------------------------------

    def register(self, subject: str, text: str) -> SubjectVersion:
        """A user's schema: valid Avro, backward compatible with the subject's latest version."""
        if subject.lower() in RESERVED_SUBJECTS:
            raise SUBJECT_RESERVED(f"{subject!r}; choose another name than {', '.join(sorted(RESERVED_SUBJECTS))}.")
        canonical = canonical_text(parse_schema(text))
        with self._lock:
            versions = self.store.subject_versions(subject)
            known = any(version.schema == canonical for version in versions)
            if versions and not known and not self._is_feature_group(subject):
                problems = incompatibilities(canonical, versions[-1].schema)
                if problems:
                    reason = "; ".join(problems)
                    raise SchemaRegistryError(
                        409, 40901, f"Schema being registered is incompatible with an earlier schema: {reason}"
                    )
            return self.store.register_schema(subject, canonical)

    def register_feature_group(self, subject: str, schema: dict[str, Any]) -> SubjectVersion:
        """The schema of a feature group: compatibility NONE."""
        text = canonical_text(schema)
        parse_schema(text)
        with self._lock:
            return self.store.register_schema(subject, text)

    def versions(self, subject: str) -> list[SubjectVersion]:
        versions = self.store.subject_versions(subject)
        if not versions:
            raise unknown_subject(subject)
        return versions

    def version(self, subject: str, version: str) -> SubjectVersion:
        """One version by number or ``latest``."""
        versions = self.versions(subject)
        if version == "latest":
            return versions[-1]
        number = int(version) if re.fullmatch("[0-9]{1,9}", version) else 0
        if number < 1:
            message = f"The specified version '{version}' is not a valid version id: a positive integer or 'latest'."
            raise SchemaRegistryError(422, 42202, message)
        found = next((v for v in versions if v.version == number), None)
        if found is None:
            raise unknown_version(subject, version)
        return found

    def delete_version(self, subject: str, version: str) -> int:
        with self._lock:
            found = self.version(subject, version)
            used = [
                t.name for t in self.store.topics() if (t.schema_name, t.schema_version) == (subject, found.version)
            ]
            if used:
                raise SCHEMA_IN_USE(
                    f"{subject} version {found.version} belongs to {', '.join(used)}; delete that first."
                )
            self.store.delete_subject_version(subject, found.version)
        return found.version

    def _is_feature_group(self, subject: str) -> bool:
        return any(group.full_name == subject for group in self.store.feature_groups())

    # --- topics ---------------------------------------------------------------------------------------------

    def create_topic(self, topic: Topic) -> Topic:
        """A user's topic: its schema must exist, its name must be new to the platform and to the broker."""
        with self._lock:
            if self.store.topic(topic.name):
                raise TOPIC_EXISTS(f"topic {topic.name!r}")
            known = {v.version for v in self.store.subject_versions(topic.schema_name or "")}
            if topic.schema_version not in known:
                raise TOPIC_SCHEMA_MISSING(f"subject {topic.schema_name!r} has no version {topic.schema_version}.")
            self._create_new(topic)
        return topic

    def ensure_topic(self, name: str, partitions: int, subject: SubjectVersion) -> None:
        """The topic of feature groups: made with the first of them, shared by all later ones."""
        with self._lock:
            if self.store.topic(name) is None:
                self._create_new(Topic(name, partitions, 1, subject.subject, subject.version))
            else:
                # Create it again if the broker lost it: only its state may have been wiped.
                self.broker.create_topic(name, partitions, 1)

    def delete_topic(self, name: str) -> None:
        """Delete from broker and platform; an unknown topic is no error."""
        with self._lock:
            if self.store.topic(name):
                self.broker.delete_topic(name)
                self.store.delete_topic(name)

    def topic(self, name: str) -> Topic:
        topic = self.store.topic(name)
        if topic is None:
            raise TOPIC_NOT_FOUND(f"topic {name!r}")
        return topic

    def _create_new(self, topic: Topic) -> None:
        if topic.name in self.broker.topic_names():
            raise TOPIC_EXISTS_IN_KAFKA(f"topic {topic.name!r}; delete it on the broker or choose another name.")
        # The row first: if the server dies in between, the next attempt finds the row and creates the topic again.
        # With the topic first, its name would be refused for ever.
        self.store.add_topic(topic)
        try:
            self.broker.create_topic(topic.name, topic.partitions, topic.replicas)
        except Exception:
            self.store.delete_topic(topic.name)
            raise
