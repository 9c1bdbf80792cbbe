"""History through Airflow's scheduler: what a stream has computed, computed again from the same records.

The tests build on each other and run in order.
"""

from __future__ import annotations

import importlib.util
import math
import time
from datetime import datetime, timedelta, timezone

import pytest
import requests
import yaml
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from devstack.airflow_client import AirflowClient, DagRun
from devstack.config import DevstackError
from hopsworks_flink._compat import AirflowFailException
from hopsworks_flink.clients.kafka.offsets import kept_since, partition_histories
from hopsworks_flink.exceptions import ConfigurationError
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.operators.flink import FlinkDeployFeaturePipelineOperator, FlinkRecomputeFeaturesOperator
from hopsworks_flink.operators.hopsworks import HopsworksMaterializeFeatureGroupOperator
from hopsworks_flink.pipeline.resources import feature_group_arguments, source_avro_schema
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support import REPOSITORY
from tests.support.fixtures import set_connection, task_context
from tests.support.live import events as simulated
from tests.support.live.jobs import OFTEN
from tests.support.live.platform import eventually, jobs, offline_rows, sdk_project
from tests.support.live.served import assert_offline, assert_online, assert_row, iso, milliseconds

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("with_airflow")]

MINUTE = simulated.MINUTE
RUN = f"{time.time_ns() // 1_000_000 % 100_000_000}"
NAME = f"history_{RUN}"
# Days are over, and the broker's retention of a week is not.
DAY = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)


class Past:
    """What one test leaves for the next."""

    def __init__(self, stack, certificates):
        self.stack = stack
        self.certificates = certificates
        self.airflow = AirflowClient(stack.config.airflow_url, stack.airflow_credentials)
        self.start = round((DAY + timedelta(hours=10)).timestamp() * 1000)
        self.events = []
        group = {
            "name": NAME,
            "key": ["cc_num"],
            "window": {"size": "10m", "slide": "1m"},
            "aggregates": {
                "num_trans_per_10m": "count",
                "avg_amt_per_10m": {"avg": "amount"},
                "stdev_amt_per_10m": {"stddev_samp": "amount"},
            },
        }
        dated = {**group, "event_time": "window_end"}
        self.spec = {
            "name": NAME,
            "source": {
                "topic": f"{NAME}_events",
                "partitions": 2,
                "schema": {"tid": "string", "datetime": "bigint", "cc_num": "bigint", "amount": "double"},
                "event_time": {"column": "datetime"},
            },
            "feature_groups": [{**group, "version": 1}, {**dated, "version": 2}],
        }
        # Version 3 was added when the events had long been there: no stream has computed it. One feature more gives it
        # windows of its own, and these figures of their own: groups that share theirs are written by one vertex.
        more = {**dated, "version": 3, "aggregates": {**group["aggregates"], "max_amt_per_10m": {"max": "amount"}}}
        self.grown = {**self.spec, "feature_groups": [*self.spec["feature_groups"], more]}
        self.pipeline = Pipeline.parse(self.grown)
        self.topic = self.pipeline.source.topic
        self.broker = {"bootstrap.servers": stack.config.kafka_bootstrap}

    def produce(self, batch):
        simulated.produce(self.stack.config.kafka_bootstrap, self.topic, source_avro_schema(self.pipeline), batch)
        self.events += batch

    def project(self):
        return sdk_project(self.stack, self.certificates)

    def recompute(self, **arguments):
        return FlinkRecomputeFeaturesOperator(task_id="t", pipeline=self.grown, **arguments).execute(task_context())


@pytest.fixture(scope="module")
def past(stack, tmp_path_factory):
    past = Past(stack, tmp_path_factory.mktemp("certificates"))
    file = stack.config.dags_folder / "pipelines" / f"{NAME}.yaml"
    file.write_text(yaml.safe_dump(past.grown, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("hopsworks_default", "flink_default"):
            set_connection(patch, name, **stack.airflow_connections()[name])
        with HopsworksHook().session() as session:
            session.topics.create(past.topic, source_avro_schema(past.pipeline), partitions=2, replication=1)
            for group in past.pipeline.feature_groups:
                session.create_feature_group(**feature_group_arguments(past.pipeline, group))
        yield past
    file.unlink()
    for job in jobs(stack, past.pipeline.job_name):
        requests.patch(f"{stack.config.flink_url}/jobs/{job}", timeout=30)


def windows_of(rows):
    """By card and end of the window, without those that only wake partitions."""
    found = {}
    for row in rows:
        if row["cc_num"] != simulated.FLUSH_CARD:
            key = (row["cc_num"], milliseconds(row["window_end"]))
            assert key not in found, f"{key} stands twice"
            found[key] = row
    return found


def assert_windows(rows, expected):
    found = windows_of(rows)
    assert set(found) == {(window["cc_num"], window["window_end"]) for window in expected}
    for window in expected:
        assert_row(found[window["cc_num"], window["window_end"]], window)


def online(store, version):
    frame = store.get_feature_group(NAME, version=version).read(online=True)
    return sorted(frame.astype(str).to_dict("records"), key=str)


def offline(store, version):
    return sorted(offline_rows(store.get_feature_group(NAME, version=version)), key=str)


def materialize(version):
    operator = HopsworksMaterializeFeatureGroupOperator(task_id="t", name=NAME, version=version, poll_interval=0.5)
    operator.execute(task_context())


def test_a_stream_has_computed_the_past(past):
    deployed = FlinkDeployFeaturePipelineOperator(
        task_id="t", pipeline=past.spec, grace_period=1, flink_configuration=OFTEN
    ).execute(task_context())
    assert deployed["action"] == "submitted"
    batch = simulated.transactions(seed=7, start=past.start, minutes=60, cards=25, count=4000)
    past.produce(batch + simulated.flush(7, past.start + 60 * MINUTE))
    windows = simulated.expected_windows(past.events)
    with past.project() as project:
        store = project.get_feature_store()
        eventually(lambda: assert_online(store, simulated.newest_by_card(windows), NAME))
    for version in (1, 2):
        materialize(version)
    with past.project() as project:
        assert_offline(project.get_feature_store(), windows, NAME)


def test_a_backfill_computes_the_same_rows_and_leaves_serving_alone(past):
    windows = simulated.expected_windows(past.events)
    with past.project() as project:
        store = project.get_feature_store()
        served, undated, streamed = [online(store, v) for v in (1, 2)], offline(store, 1), offline(store, 2)
    dag = f"{NAME}__recompute"
    past.airflow.wait_for_dags({dag})
    past.airflow.unpause(dag)
    run = backfill(past.airflow, dag)
    result = past.airflow.xcom(run, "recompute")
    assert result["interval"] == [DAY.isoformat(), (DAY + timedelta(days=1)).isoformat()]
    assert result["feature_groups"] == [f"{NAME}_2", f"{NAME}_3"]
    assert result["job_name"].startswith(f"{dag}__{DAY:%Y%m%dT%H%M%SZ}__")
    assert jobs(past.stack, result["job_name"]) == {result["job_id"]: "FINISHED"}
    ends = {str(one.partition): one.end for one in partition_histories(past.broker, past.topic, 0, 2**53)}
    assert result["offsets"] == {partition: [0, end] for partition, end in ends.items()}
    assert result["records_read"] == sum(ends.values()) == len(past.events) + 2
    with past.project() as project:
        store = project.get_feature_store()
        assert [online(store, v) for v in (1, 2)] == served
        assert online(store, 3) == []
        assert offline(store, 1) == undated
        assert_windows(offline(store, 2), windows)
        assert windows_of(offline(store, 2)).keys() == windows_of(streamed).keys()
        assert_windows(offline(store, 3), windows)
        # Every window of the day is there, those of the cards that only wake partitions as well.
        assert result["rows"] == {f"{NAME}_{v}": len(offline(store, v)) for v in (2, 3)}


def backfill(airflow, dag):
    """A backfill of the day, as the form in Airflow's UI starts it; its only run, successful."""
    day = DAY.isoformat()
    request = {"dag_id": dag, "from_date": day, "to_date": day, "reprocess_behavior": "completed"}

    def begun():
        # Airflow on SQLite refuses one while something else writes, and makes none.
        try:
            airflow.call("POST", "/backfills", json=request)
        except DevstackError as error:
            if "Database is locked" in str(error):
                raise AssertionError(str(error)) from error
            raise

    eventually(begun, 60)
    (run,) = airflow.call("GET", f"/dags/{dag}/dagRuns", params={"run_type": "backfill"})["dag_runs"]
    ended = airflow.wait(DagRun(dag, run["dag_run_id"], run["state"]), timeout=300)
    assert ended.state == "success", airflow.failure(ended)
    return ended


def test_a_late_event_counts_in_a_recompute_of_its_part(past):
    """With an interval of its own: rows outside of it stay as they are, to the bit.

    How the form of the DAG reaches the operator: tests/dags/test_dags.py.
    """
    at = past.start + 25 * MINUTE + 7
    late = simulated.Event("late", at, 3, 1000.0, past.start + 91 * MINUTE, 1)
    before = simulated.expected_windows(past.events)
    past.produce([late])
    with past.project() as project:
        rows_before = {v: offline(project.get_feature_store(), v) for v in (2, 3)}
        served = [online(project.get_feature_store(), v) for v in (1, 2)]
    form = {"start": iso(at - 5 * MINUTE), "end": iso(at + 10 * MINUTE)}
    result = past.recompute(**form)
    for version in (2, 3):
        materialize(version)
    assert result["interval"] == [form["start"], form["end"]]
    windows = simulated.expected_windows(past.events)
    assert sum(window not in before for window in windows) == 10
    inside = [w for w in windows if at - 5 * MINUTE < w["window_end"] <= at + 10 * MINUTE]
    assert len(inside) < len(windows)
    with past.project() as project:
        store = project.get_feature_store()
        for version in (2, 3):
            rows = offline(store, version)
            assert_windows(rows, windows)
            assert result["rows"][f"{NAME}_{version}"] == len(inside)
            changed = [row for row in rows if row not in rows_before[version]]
            # The interval's rows were written again, and sums of floats may differ in their last bit.
            assert {milliseconds(row["window_end"]) for row in changed} <= {w["window_end"] for w in inside}
            assert len(changed) >= 10
        # Nothing is served that the stream had not computed.
        assert [online(store, v) for v in (1, 2)] == served


def test_a_model_is_trained_on_the_offline_rows(past):
    """The documentation's example, on these rows: it finds the plane on which they would lie best."""
    spec = importlib.util.spec_from_file_location("train", REPOSITORY / "docs" / "examples" / "train_on_new_rows.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.GROUP, example.VERSION = NAME, 2
    model = example.dag.task_dict["train"].execute(task_context())
    with past.project() as project:
        rows = [row for row in offline(project.get_feature_store(), 2) if row["stdev_amt_per_10m"] is not None]
    rows = [row for row in rows if not math.isnan(row["stdev_amt_per_10m"])]
    assert model["rows"] == len(rows) > 100
    assert len(model["weights"]) == 3
    amounts = [row["avg_amt_per_10m"] for row in rows]
    assert 0 < model["error"] < max(amounts) - min(amounts)


def test_an_interval_without_records_starts_no_job(past):
    result = past.recompute(
        start=(DAY + timedelta(days=1)).isoformat(), end=datetime.now(timezone.utc) - timedelta(hours=2)
    )
    assert (result["job_id"], result["records_read"]) == (None, 0)
    assert result["rows"] == {f"{NAME}_2": 0, f"{NAME}_3": 0}


def test_deleted_records_are_refused_with_the_earliest_start(past):
    whole = {"start": DAY.isoformat(), "end": (DAY + timedelta(days=1)).isoformat()}
    admin = AdminClient(past.broker)
    (deleted,) = admin.delete_records([TopicPartition(past.topic, 0, 500)]).values()
    assert deleted.result(30).low_watermark == 500
    first, other = partition_histories(past.broker, past.topic, 0, 2**53)
    assert (first.low, first.first, other.low) == (500, 500, 0)
    earliest = datetime.fromtimestamp(first.oldest / 1000, timezone.utc) + timedelta(minutes=70)
    with pytest.raises(
        AirflowFailException, match=f"The earliest start possible is {earliest.isoformat()}".replace("+", r"\+")
    ):
        past.recompute(**whole)
    # A partition that is emptied tells nothing; the topic's retention, counted from now, neither.
    (emptied,) = admin.delete_records([TopicPartition(past.topic, 1, -1)]).values()
    emptied.result(30)
    kept = kept_since(past.broker, past.topic)
    assert kept is not None
    assert partition_histories(past.broker, past.topic, 0, 2**53)[1].oldest is None
    assert kept < past.start
    assert not any(name for name in jobs(past.stack, f"{NAME}__recompute") if name)


def test_a_topic_that_is_not_there(past):
    with pytest.raises(ConfigurationError, match="There is no Kafka topic 'nowhere_to_be_found'"):
        partition_histories(past.broker, "nowhere_to_be_found", 0, 1)
