"""The local Hopsworks as its clients see it: the unmodified SDK, real Kafka, the real online consumer and jobs."""

from __future__ import annotations

import copy
import datetime
import json
import math
import os
import signal
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from deltalake import DeltaTable, QueryBuilder
from hopsworks.client.exceptions import RestAPIError
from hsfs.feature import Feature

from devstack.stack import Stack

UTC = datetime.timezone.utc
NOON = pd.Timestamp("2024-03-31 12:00:00")


def make(fs: Any, name: str, features: list[Feature], **changes: Any) -> Any:
    arguments = {"primary_key": ["id"], "event_time": "ts", "online_enabled": True, "time_travel_format": "HUDI"}
    group = fs.get_or_create_feature_group(name, 1, stream=True, **{**arguments, **changes})
    if group.id is None:
        # Copies: the SDK marks the key in the very objects it is given.
        group.save(copy.deepcopy(features))
    return group


FEATURES = [Feature("id", "bigint"), Feature("ts", "timestamp"), Feature("v", "double")]
QUIET = {"start_offline_materialization": False, "wait_for_online_ingestion": True}


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(columns)


def write(group: Any, data: pd.DataFrame) -> None:
    group.insert(data, write_options=QUIET)
    ingestion = group.get_latest_online_ingestion()
    assert sum(result.rows for result in ingestion.results) == len(data)


def offline(group: Any) -> list[dict[str, Any]]:
    """Rows of the Delta table, without the SDK. (to_pandas would start threads that can abort the interpreter.)"""
    table = DeltaTable(group.location.removeprefix("file://"))
    result = QueryBuilder().register("t", table).execute("SELECT * FROM t ORDER BY 1, 2").read_all()
    return pa.table(result).to_pylist()


def online(group: Any) -> list[dict[str, Any]]:
    return group.read(online=True).sort_values("id").to_dict("records")


def materialize(group: Any, *arguments: str) -> Any:
    job = group.materialization_job
    began = time.monotonic()
    execution = job.run(args=" ".join([job.config["defaultArgs"], *arguments]), await_termination=True)
    # A log that is missing when the final state is reported costs the SDK six minutes.
    assert time.monotonic() - began < 120
    assert execution.success
    return execution


# --- feature groups ---------------------------------------------------------------------------------------------------


def test_get_or_create_twice_gives_one_group_with_topic_schema_and_job(stack: Stack, fs: Any, name: str) -> None:
    first, second = make(fs, name, FEATURES), make(fs, name, FEATURES)
    assert first.id == second.id
    assert second._online_topic_name == "demo_onlinefs"
    topic = (
        AdminClient({"bootstrap.servers": stack.config.kafka_bootstrap}).list_topics(timeout=10).topics["demo_onlinefs"]
    )
    assert len(topic.partitions) == stack.config.online_topic_partitions
    schema = json.loads(second.subject["schema"])
    assert (schema["name"], schema["namespace"]) == (f"{name}_1", "demo_featurestore.db")
    assert second.materialization_job.name == f"{name}_1_offline_fg_materialization"
    assert [feature.name for feature in second.features] == ["id", "ts", "v"]
    assert second.primary_key == ["id"]


def test_refusals_reach_the_client_with_their_codes(fs: Any, project: Any, name: str) -> None:
    group = make(fs, name, FEATURES)
    group._id = None
    with pytest.raises(RestAPIError) as duplicate:
        group.save(copy.deepcopy(FEATURES))
    assert (duplicate.value.response.status_code, duplicate.value.error_code) == (400, 270089)
    with pytest.raises(RestAPIError) as no_key:
        make(fs, f"{name}_b", FEATURES, primary_key=[])
    assert no_key.value.error_code == 270121
    assert project.get_job_api().get_job("nothing") is None
    with pytest.raises(RestAPIError) as unknown_job:
        project.get_job_api().get("nothing")
    assert (unknown_job.value.response.status_code, unknown_job.value.error_code) == (404, 130009)


def test_appended_features_appear_online_and_offline(fs: Any, name: str) -> None:
    group = make(fs, name, FEATURES)
    write(group, frame(id=[1], ts=[NOON], v=[1.0]))
    materialize(group)
    group.append_features([Feature("extra", "double")])
    group = fs.get_feature_group(name, 1)
    write(group, frame(id=[2], ts=[NOON], v=[2.0], extra=[5.5]))
    materialize(group)
    assert [row["extra"] for row in online(group)][1] == 5.5
    assert [row["extra"] for row in offline(group)] == [None, 5.5]


def test_delete(fs: Any, name: str) -> None:
    group = make(fs, name, FEATURES)
    group.delete()
    assert fs.get_feature_group(name, 1) is None


# --- writing and reading ----------------------------------------------------------------------------------------------


def test_rows_written_by_the_sdk_are_read_online_with_nulls_and_in_utc(fs: Any, name: str) -> None:
    features = [*FEATURES, Feature("s", "string"), Feature("b", "boolean"), Feature("d", "date")]
    group = make(fs, name, features)
    berlin = NOON.tz_localize("Europe/Berlin")
    write(
        group,
        frame(
            id=[1, 2],
            ts=pd.to_datetime([berlin, berlin + pd.Timedelta(hours=1)], utc=True),
            v=[0.5, None],
            s=["grün", None],
            b=[True, False],
            d=[datetime.date(2024, 2, 29), datetime.date(1969, 12, 31)],
        ),
    )
    first, second = online(group)
    assert (first["ts"], first["v"], first["s"], first["b"]) == (pd.Timestamp("2024-03-31 10:00:00"), 0.5, "grün", 1)
    assert first["d"] == datetime.date(2024, 2, 29)
    assert second["s"] is None
    assert pd.isna(second["v"])
    materialize(group)
    rows = offline(group)
    assert rows[0]["ts"] == datetime.datetime(2024, 3, 31, 10, tzinfo=UTC)
    assert (rows[0]["b"], rows[1]["b"], rows[1]["d"]) == (True, False, datetime.date(1969, 12, 31))
    assert rows[1]["s"] is None
    # A column of floats knows no null: the SDK sends NaN, and NaN it is.
    assert math.isnan(rows[1]["v"])


def test_the_latest_of_a_key_is_online_and_its_history_is_offline(fs: Any, name: str) -> None:
    group = make(fs, name, FEATURES)
    hour = pd.Timedelta(hours=1)
    write(group, frame(id=[1, 1, 2], ts=[NOON, NOON + hour, NOON], v=[1.0, 2.0, 3.0]))
    assert [row["v"] for row in online(group)] == [2.0, 3.0]
    materialize(group)
    assert [row["v"] for row in offline(group)] == [1.0, 2.0, 3.0]
    filtered = group.select(["id", "v"]).filter(group.v > 2.5).read(online=True)
    assert filtered.to_dict("records") == [{"id": 2, "v": 3.0}]


def test_nested_and_decimal_features(fs: Any, name: str) -> None:
    features = [*FEATURES, Feature("a", "array<double>"), Feature("n", "decimal(3,2)")]
    group = make(fs, name, features)
    write(group, frame(id=[1], ts=[NOON], v=[1.0], a=[[1.5, 2.5]], n=[Decimal("1.10")]))
    materialize(group)
    assert offline(group)[0]["a"] == [1.5, 2.5]
    assert offline(group)[0]["n"] == Decimal("1.10")
    assert Decimal(str(online(group)[0]["n"])) == Decimal("1.10")


def test_a_broken_record_neither_blocks_the_topic_nor_the_job(stack: Stack, fs: Any, name: str) -> None:
    group = make(fs, name, FEATURES)
    producer = Producer({"bootstrap.servers": stack.config.kafka_bootstrap})
    headers = {"projectId": 119, "featureGroupId": group.id, "subjectId": group.subject["id"]}
    for partition in range(stack.config.online_topic_partitions):
        for value, sent in ((b"\xff\xff", headers), (None, headers), (b"x", {}), (b"x", {"featureGroupId": "no"})):
            wire = [(key, str(item).encode()) for key, item in sent.items()]
            producer.produce("demo_onlinefs", value, headers=wire, partition=partition)
    producer.flush(10)
    write(group, frame(id=[1], ts=[NOON], v=[1.0]))
    materialize(group)
    assert len(offline(group)) == 1


def test_a_delta_group_is_written_by_the_sdk_and_materialized_as_well(fs: Any, name: str) -> None:
    group = make(fs, name, FEATURES, time_travel_format="DELTA")
    write(group, frame(id=[1, 2], ts=[NOON, NOON], v=[1.0, 2.0]))
    materialize(group)
    assert [row["v"] for row in offline(group)] == [1.0, 2.0]


# --- materialization --------------------------------------------------------------------------------------------------


def test_each_run_takes_what_is_new_and_registers_a_commit(fs: Any, name: str) -> None:
    group = make(fs, name, FEATURES)
    write(group, frame(id=[1, 2], ts=[NOON, NOON], v=[1.0, 2.0]))
    materialize(group)
    write(group, frame(id=[2, 3], ts=[NOON, NOON], v=[2.5, 3.0]))
    materialize(group)
    assert [row["v"] for row in offline(group)] == [1.0, 2.5, 3.0]
    materialize(group)
    newest, oldest = group.commit_details().values()
    assert (oldest["rowsInserted"], oldest["rowsUpdated"]) == (2, 0)
    assert (newest["rowsInserted"], newest["rowsUpdated"]) == (1, 1)


def test_reading_again_from_a_checkpoint_changes_no_value(stack: Stack, fs: Any, name: str) -> None:
    group = make(fs, name, FEATURES)
    write(group, frame(id=[1, 2], ts=[NOON, NOON], v=[1.0, 2.0]))
    materialize(group)
    before = offline(group)
    again = ",".join(f"{partition}:0" for partition in range(stack.config.online_topic_partitions))
    materialize(group, "-initialCheckPointString", f"demo_onlinefs,{again}")
    assert offline(group) == before


def test_logs_tell_offsets_and_rows_and_can_be_downloaded(fs: Any, name: str, tmp_path: Path) -> None:
    group = make(fs, name, FEATURES)
    write(group, frame(id=[1], ts=[NOON], v=[1.0]))
    out, _err = materialize(group).download_logs(str(tmp_path))
    text = Path(out).read_text()
    for expected in ("start offsets: demo_onlinefs,0:", "end offsets: demo_onlinefs,0:", "rows inserted: 1"):
        assert expected in text


def test_a_run_with_wrong_arguments_fails_and_says_why(stack: Stack, fs: Any, name: str) -> None:
    group = make(fs, name, FEATURES)
    execution = group.materialization_job.run(args="-op nonsense", await_termination=False)
    execution = _wait(group.materialization_job, execution.id)
    assert (execution.state, execution.final_status) == ("FAILED", "FAILED")
    log = stack.config.hopsworks_home / "datasets" / execution.stderr_path.removeprefix("/Projects/demo/")
    assert "nonsense" in log.read_text()


def test_an_execution_is_one_process_at_a_time_and_can_be_stopped(fs: Any, name: str) -> None:
    group = make(fs, name, FEATURES)
    job = group.materialization_job
    execution = _start(job)
    with pytest.raises(RestAPIError) as busy:
        _start(job)
    assert busy.value.error_code == 130040
    execution.stop()
    assert _wait(job, execution.id).final_status == "KILLED"
    materialize(group)


def _start(job: Any) -> Any:
    # Not job.run: it looks for an unfinished execution itself and would only warn.
    from hopsworks_common.core.execution_api import ExecutionApi

    return ExecutionApi()._start(job)


def _wait(job: Any, execution_id: int) -> Any:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = next(e for e in job.get_executions() if e.id == execution_id)
        if found.final_status != "UNDEFINED":
            return found
        time.sleep(0.2)
    raise AssertionError("the execution did not end")


# --- restarts ---------------------------------------------------------------------------------------------------------


def test_a_killed_server_and_a_killed_consumer_lose_nothing(stack: Stack, login: Any, fs: Any, name: str) -> None:
    group = make(fs, name, FEATURES)
    write(group, frame(id=[1], ts=[NOON], v=[1.0]))
    unfinished = _start(group.materialization_job)
    for part in ("hopsworks-onlinefs", "hopsworks"):
        _kill_and_wait(stack, part)
    stored = fs.get_feature_group(name, 1)
    assert (stored.id, stored.location) == (group.id, group.location)
    # The run outlived its server, or is known to be lost; in no case does it stay unfinished.
    assert _wait(stored.materialization_job, unfinished.id).final_status in ("SUCCEEDED", "FAILED")
    write(stored, frame(id=[2], ts=[NOON], v=[2.0]))
    assert [row["v"] for row in online(stored)] == [1.0, 2.0]
    materialize(stored)
    assert [row["v"] for row in offline(stored)] == [1.0, 2.0]


def _kill_and_wait(stack: Stack, name: str) -> None:
    def part() -> Any:
        return next(status for status in stack.status() if status.name == name)

    (victim,) = part().pids[:1]
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while victim in part().pids or not part().healthy:
        assert time.monotonic() < deadline, f"{name} did not come back"
        time.sleep(0.3)


def test_offsets_are_stored_with_the_rows(stack: Stack, fs: Any, name: str) -> None:
    import sqlite3

    write(make(fs, name, FEATURES), frame(id=[1], ts=[NOON], v=[1.0]))
    with sqlite3.connect(stack.config.hopsworks_home / "online.db") as database:
        stored = dict(
            database.execute('SELECT "partition", "offset" FROM kafka_offsets WHERE topic = \'demo_onlinefs\'')
        )
    consumer = Consumer({"bootstrap.servers": stack.config.kafka_bootstrap, "group.id": "test"})
    for partition in stored:
        _, high = consumer.get_watermark_offsets(TopicPartition("demo_onlinefs", partition), timeout=10)
        assert stored[partition] == high
    consumer.close()


# --- offline reads ---------------------------------------------------------------------------------------------------


def test_the_offline_store_is_read_by_the_sdk(fs: Any, name: str) -> None:
    features = [
        *FEATURES,
        *(Feature("s", "string"), Feature("b", "boolean"), Feature("d", "date"), Feature("n", "decimal(38,10)")),
        Feature("a", "array<double>"),
    ]
    group = make(fs, name, features)
    assert len(group.read()) == 0
    big = Decimal("9" * 28 + ".0123456789")
    data = frame(
        id=[1, 1, 2],
        ts=[NOON, NOON + pd.Timedelta(hours=1), NOON],
        v=[1.0, 2.0, 3.0],
        s=["it's", "b", None],
        b=[True, False, None],
        d=[datetime.date(2024, 2, 29)] * 3,
        n=[big, -big, None],
        a=[[1.5], [], None],
    )
    write(group, data)
    group.materialization_job.run(await_termination=True)
    rows = group.read().sort_values(["id", "ts"]).reset_index(drop=True)
    assert rows["v"].tolist() == [1.0, 2.0, 3.0]
    assert rows["n"].tolist()[:2] == [big, -big]
    assert rows["s"].tolist()[:2] == ["it's", "b"]
    assert list(rows["a"][0]) == [1.5]
    assert rows["ts"][1] == (NOON + pd.Timedelta(hours=1)).tz_localize("UTC")
    assert rows["d"][0] == datetime.date(2024, 2, 29)
    # Online there is the newest row of each key.
    assert len(group.read(online=True)) == 2
    for condition, ids in (
        (group["s"] == "it's", [1]),
        (group["b"] == True, [1]),  # noqa: E712
        (group["ts"] > "2024-03-31 12:30:00", [1]),
        ((group["v"] >= 2) & (group["id"] == 2), [2]),
        (group["id"].isin([2, 3]), [2]),
    ):
        assert group.filter(condition).read()["id"].tolist() == ids
    assert group.select(["v"]).read().columns.tolist() == ["v"]
    assert len(group.read(dataframe_type="polars")) == 3


def test_groups_are_joined_offline_and_appended_features_are_null(fs: Any, name: str) -> None:
    left, right = (make(fs, f"{name}_{side}", FEATURES) for side in ("left", "right"))
    for group, ids in ((left, [1, 2]), (right, [2, 3])):
        write(group, frame(id=ids, ts=[NOON, NOON], v=[float(one) for one in ids]))
        group.materialization_job.run(await_termination=True)
    right.append_features([Feature("extra", "double")])
    right = fs.get_feature_group(f"{name}_right", 1)
    query = left.select(["id", "v"]).join(right.select(["v", "extra"]), on=["id"], join_type="left", prefix="r_")
    rows = query.read().sort_values("id")
    assert rows["id"].tolist() == [1, 2]
    assert rows["r_v"].tolist()[1] == 2.0
    assert rows["r_extra"].isna().all()


def test_an_offline_query_that_cannot_be_answered_says_why(fs: Any, name: str) -> None:
    group = make(fs, name, FEATURES)
    with pytest.raises(RestAPIError, match="as_of"):
        group.select_all().as_of("2024-01-01").read()


def test_the_queries_that_are_shown_name_database_and_table(fs: Any, name: str) -> None:
    text = make(fs, name, FEATURES).select_all().to_string()
    assert f"FROM `demo_featurestore`.`{name}_1`" in " ".join(text.split())
