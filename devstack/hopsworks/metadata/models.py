"""What clients send and what is stored: feature groups, jobs, executions, in Hopsworks' JSON names."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from devstack.hopsworks.home.times import iso, utc_now

STREAM, CACHED = "streamFeatureGroupDTO", "cachedFeaturegroupDTO"
MATERIALIZATION_SUFFIX = "_offline_fg_materialization"
UNDEFINED = "UNDEFINED"


class Wire(BaseModel):
    """Camel case outside, snake case inside; unknown keys of newer clients are ignored, as the platform does."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")

    def wire(self) -> dict[str, Any]:
        return self.model_dump(by_alias=True, mode="json")


class Feature(Wire):
    name: str
    type: str | None = None
    description: str | None = None
    primary: bool | None = False
    foreign: bool | None = False
    partition: bool | None = False
    hudi_precombine_key: bool | None = False
    online_type: str | None = None
    default_value: str | None = None
    feature_group_id: int | None = None
    on_demand: bool | None = False
    offline_only: bool | None = False
    column_name: str | None = None


class StatisticsConfig(Wire):
    enabled: bool = False
    correlations: bool = False
    histograms: bool = False
    exact_uniqueness: bool = False
    columns: list[str] = Field(default_factory=list)


class Expectation(Wire):
    id: int | None = None
    expectation_type: str
    arguments: str = Field("{}", alias="kwargs")
    meta: str | None = "{}"


class ExpectationSuite(Wire):
    """Expectations of Great Expectations, which clients validate."""

    id: int | None = None
    expectation_suite_name: str
    expectations: list[Expectation] = Field(default_factory=list)
    meta: str | None = "{}"
    ge_cloud_id: str | None = None
    data_asset_type: str | None = None
    run_validation: bool = True
    validation_ingestion_policy: str = "ALWAYS"


class Option(Wire):
    name: str
    value: Any = None


class MaterializationConf(Wire):
    """Configuration of the job that materializes a group."""

    write_options: list[Option] | None = None
    spark_job_configuration: dict[str, Any] | None = None


class OnlineConfig(Wire):
    """Of the online table. It is kept for clients; SQLite knows none of it."""

    online_comments: list[str] | None = None
    table_space: str | None = None
    primary_key_index_type: str | None = None


class Tag(Wire):
    name: str
    value: Any = None


class Tags(Wire):
    items: list[Tag] = Field(default_factory=list)


class Parent(Wire):
    """A feature group that another one is made of; clients send all of it."""

    id: int


class FeatureGroupRequest(Wire):
    """Body of POST and PUT ``featuregroups``."""

    type: str = CACHED
    name: str = ""
    version: int | None = None
    description: str | None = None
    online_enabled: bool | None = False
    time_travel_format: str | None = None
    features: list[Feature] = Field(default_factory=list)
    event_time: str | None = None
    statistics_config: StatisticsConfig | None = None
    topic_name: str | None = None
    notification_topic_name: str | None = None
    deprecated: bool | None = False
    ttl: int | None = None
    ttl_enabled: bool | None = False
    delta_streamer_job_conf: MaterializationConf | None = None
    embedding_index: dict[str, Any] | None = None
    transformation_functions: list[dict[str, Any]] | None = None
    expectation_suite: ExpectationSuite | None = None
    online_config: OnlineConfig | None = None
    tags: Tags | None = None
    parents: list[Parent] | None = None


class FeatureGroup(Wire):
    """A stored feature group; ``features`` are in the group's own order, never the order of a later body."""

    id: int = 0
    type: str
    name: str
    version: int
    description: str = ""
    online_enabled: bool = False
    time_travel_format: str
    features: list[Feature]
    event_time: str | None = None
    statistics_config: StatisticsConfig = Field(default_factory=StatisticsConfig)
    topic_name: str | None = None
    online_topic_name: str | None = None
    notification_topic_name: str | None = None
    deprecated: bool = False
    ttl: int | None = None
    ttl_enabled: bool = False
    location: str
    created: str
    online_config: OnlineConfig | None = None
    parent_ids: list[int] = Field(default_factory=list)

    @property
    def full_name(self) -> str:
        """Name of the Avro subject, the online table and the folder of the offline table: ``name_version``."""
        return f"{self.name}_{self.version}"

    @property
    def job_name(self) -> str:
        return self.full_name + MATERIALIZATION_SUFFIX

    @property
    def primary_key(self) -> list[str]:
        return [feature.name for feature in self.features if feature.primary]

    @property
    def offline_key(self) -> list[str]:
        """Columns that identify a row of the offline table: primary key, event time, partition key."""
        keys = [*self.primary_key, *([self.event_time] if self.event_time else [])]
        return keys + [f.name for f in self.features if f.partition and f.name not in keys]

    @property
    def online_features(self) -> list[Feature]:
        return [feature for feature in self.features if not feature.offline_only]

    def feature(self, name: str) -> Feature | None:
        return next((feature for feature in self.features if feature.name == name), None)


class Job(Wire):
    id: int
    name: str
    job_type: str
    config: dict[str, Any]
    creation_time: str
    job_schedule: dict[str, Any] | None = None


class Execution(Wire):
    id: int
    job_id: int
    state: str
    final_status: str
    submission_time: str
    args: str
    app_id: str
    stdout_path: str
    stderr_path: str
    duration: int = 0
    progress: float = 0.0
    env_vars: dict[str, str] = Field(default_factory=dict)
    pid: int | None = None
    stop_requested: bool = False

    @property
    def finished(self) -> bool:
        return self.final_status != UNDEFINED


def new_commit(rows_inserted: int, rows_updated: int, table_size: int) -> dict[str, Any]:
    """The commit document of a materialization that ended now."""
    now = utc_now()
    milliseconds = int(now.timestamp() * 1000)
    return {
        "commitID": milliseconds,
        "commitTime": milliseconds,
        "commitDateString": iso(now),
        "rowsInserted": rows_inserted,
        "rowsUpdated": rows_updated,
        "rowsDeleted": 0,
        "archived": False,
        "lastActiveCommitTime": 0,
        "tableSize": table_size,
    }
