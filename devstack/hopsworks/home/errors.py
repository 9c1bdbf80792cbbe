"""Errors in the shape and with the codes of the Hopsworks REST API.

A :class:`Fault` is one row of Hopsworks' table of error codes; calling it with a detail makes the exception.
The Kafka schema registry part of the API has another shape (:class:`SchemaRegistryError`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class HopsworksError(Exception):
    """One refused request: HTTP status, Hopsworks' code and general text, and the specific ``detail``."""

    def __init__(self, status: int, code: int, message: str, detail: str | None = None) -> None:
        super().__init__(f"{code}: {message} {detail or ''}".rstrip())
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail

    def body(self) -> dict[str, Any]:
        return {"errorCode": self.code, "errorMsg": self.message, "usrMsg": self.detail}


class SchemaRegistryError(Exception):
    """A refusal of the schema registry; the SDK shows these with an empty ``error_code``."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Fault:
    """A row of Hopsworks' error table."""

    code: int
    status: int
    message: str

    def __call__(self, detail: str | None = None) -> HopsworksError:
        return HopsworksError(self.status, self.code, self.message, detail)


ILLEGAL_ARGUMENT = Fault(120001, 422, "Illegal argument.")
UNKNOWN_ROUTE = Fault(120004, 404, "Web application exception occurred.")
INTERNAL_ERROR = Fault(120000, 500, "A generic error occurred.")
VARIABLE_NOT_FOUND = Fault(100046, 404, "Requested variable not found.")

NO_AUTHENTICATION = Fault(200003, 401, "Authentication not found or not supported.")
API_KEY_INVALID = Fault(320012, 401, "API key is invalid.")
API_KEY_UNKNOWN = Fault(320013, 401, "API key not found in the database.")

PROJECT_UNKNOWN_NAME = Fault(150004, 400, "Project wasn't found.")
PROJECT_UNKNOWN_ID = Fault(150004, 404, "Project wasn't found.")

FEATURE_STORE_NOT_FOUND = Fault(270008, 404, "Featurestore wasn't found.")
FEATURE_GROUP_NOT_FOUND = Fault(270009, 404, "Featuregroup wasn't found.")
CONNECTOR_NOT_FOUND = Fault(270042, 404, "Storage connector wasn't found.")
COMMIT_NOT_FOUND = Fault(270227, 400, "Feature group commit not found.")
EXPECTATION_SUITE_NOT_FOUND = Fault(270209, 404, "Expectation suite wasn't found.")
EXPECTATION_NOT_FOUND = Fault(270210, 404, "Expectation wasn't found.")
FEATURE_GROUP_EXISTS = Fault(270089, 400, "The provided feature group name and version already exists.")
DUPLICATE_FEATURE = Fault(270224, 400, "A feature is listed twice.")
ILLEGAL_ENTITY_NAME = Fault(270091, 400, "Illegal feature store entity name.")
ILLEGAL_ENTITY_DESCRIPTION = Fault(270092, 400, "Illegal feature store entity description.")
ILLEGAL_FEATURE_NAME = Fault(270040, 400, "Illegal feature name.")
ILLEGAL_FEATURE_DESCRIPTION = Fault(270041, 400, "Illegal feature description.")
OFFLINE_TYPE_MISSING = Fault(270212, 400, "Offline type of a feature is missing.")
EVENT_TIME_NOT_FOUND = Fault(270172, 400, "Event time feature wasn't found among the features.")
EVENT_TIME_TYPE = Fault(270171, 400, "Event time feature has an illegal type.")
VERSION_INVALID = Fault(270059, 400, "The version of a feature group must be a positive integer.")
STATISTICS_COLUMN = Fault(270108, 400, "A statistics column is not a feature of the feature group.")
DEFAULT_VALUE = Fault(270132, 400, "Default values are only allowed for features that are appended later.")
PRIMARY_KEY_REQUIRED = Fault(270121, 400, "A primary key is required for this feature group.")
ILLEGAL_FEATURE_CHANGE = Fault(270114, 400, "Existing features cannot be changed, only new ones can be appended.")
AVRO_UNKNOWN_PRIMITIVE = Fault(270151, 400, "Avro schema could not be created: unknown primitive type.")
AVRO_MAP_KEY = Fault(270152, 400, "Avro schema could not be created: map keys must be strings.")
AVRO_MALFORMED = Fault(270153, 500, "Avro schema could not be created: malformed type.")

TAG_NOT_FOUND = Fault(370002, 404, "Tag wasn't found.")

TOPIC_NOT_FOUND = Fault(190000, 404, "Topic wasn't found.")
TOPIC_EXISTS = Fault(190002, 409, "Kafka topic already exists in database. Pick a different topic name.")
TOPIC_EXISTS_IN_KAFKA = Fault(190003, 409, "Kafka topic already exists in Kafka but not in the platform.")
REPLICATION_TOO_HIGH = Fault(190005, 400, "Topic replication factor exceeds the number of brokers.")
TOPIC_SCHEMA_MISSING = Fault(190006, 404, "Schema of the topic wasn't found.")
SCHEMA_IN_USE = Fault(190014, 412, "Schema is used by a topic.")
SUBJECT_RESERVED = Fault(190016, 405, "The subject name is reserved.")
KAFKA_UNAVAILABLE = Fault(190021, 503, "Kafka is temporarily unavailable. Try again.")
TOPIC_CREATION_FAILED = Fault(190024, 500, "Topic could not be created.")

JOB_NOT_FOUND = Fault(130009, 404, "Job not found.")
JOB_NAME = Fault(130006, 400, "Job name is invalid.")
JOB_START_FAILED = Fault(130000, 400, "An error occurred while starting the job.")
EXECUTION_NOT_FOUND = Fault(130007, 404, "Execution not found.")
EXECUTION_OF_OTHER_JOB = Fault(130026, 403, "The execution belongs to another job.")
EXECUTION_RUNNING = Fault(130010, 400, "The job execution has not finished yet.")
EXECUTION_LIMIT = Fault(130040, 400, "The limit of parallel executions of this job is reached.")
SCHEDULE_NOT_FOUND = Fault(130042, 404, "The job has no schedule.")

DATASET_NOT_FOUND = Fault(110011, 400, "Dataset not found.")
FILE_NOT_FOUND = Fault(110018, 400, "File not found.")
PATH_REFUSED = Fault(110005, 400, "Path is not valid.")
DESTINATION_EXISTS = Fault(110012, 400, "The destination exists already.")
FOLDER_EXISTS = Fault(110047, 400, "The folder exists already.")
UPLOAD_REFUSED = Fault(110056, 422, "The upload is not valid.")
