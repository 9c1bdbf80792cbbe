"""The whole path over TLS, with client certificates and with SCRAM, and no secret left anywhere.

Flink is reached through Hopsworks, as a cluster that it manages. A small stack of its own, without Airflow's
processes: the operators run here. The tests build on each other.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests
from confluent_kafka import Producer

from devstack import health, processes
from devstack.config import PYTHON, REPOSITORY, DevstackConfig
from devstack.hopsworks.home.certificates import renew_client
from devstack.kafka.access import client_settings
from devstack.stack import Stack
from hopsworks_flink._compat import AirflowFailException
from hopsworks_flink.clients.kafka.topics import KafkaTopics, Topic
from hopsworks_flink.exceptions import FlinkSubmissionError
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.operators.flink import (
    FlinkDeployFeaturePipelineOperator,
    FlinkRecomputeFeaturesOperator,
    FlinkStopJobOperator,
    FlinkSuperviseJobOperator,
)
from hopsworks_flink.operators.hopsworks import HopsworksMaterializeFeatureGroupOperator
from hopsworks_flink.operators.kafka import KafkaCreateTopicOperator
from hopsworks_flink.operators.simulate import FlinkSimulateEventsOperator
from hopsworks_flink.sensors.flink import FlinkJobHealthSensor
from tests.support.fixtures import set_connection, task_context, variables
from tests.support.live import events as simulated
from tests.support.live.jobs import Live
from tests.support.live.leaks import Marker, Recorder, files_with, flink_pages, planted
from tests.support.live.platform import eventually, forwarder, sdk_project, sent_rows
from tests.support.live.stack import stack_beside

__all__ = ["variables"]
pytestmark = pytest.mark.timeout(400)

MINUTE = simulated.MINUTE
FLINK_PASSWORD = "marker-of-the-flink-connection-5512"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A platform that hands out certificates. Flink, the broker and all of Hopsworks, no Airflow."""
    with stack_beside("tls", kafka_security="SSL", kafka_heap="256m") as stack:
        yield stack


@pytest.fixture(scope="module")
def recorder(stack: Stack) -> Iterator[Recorder]:
    """Everything that is logged here, unmasked, and every command line on this machine."""
    with Recorder(*(stack.config.home / "flink" / folder for folder in ("upload", "tmp"))) as recorder:
        yield recorder


@pytest.fixture(scope="module")
def connections(stack: Stack) -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        for conn_id, fields in stack.airflow_connections().items():
            set_connection(patch, conn_id, **fields)
        flink = stack.airflow_connections()["flink_default"]
        set_connection(patch, "flink_direct", **flink, login="airflow", password=FLINK_PASSWORD)
        # Everything else goes through Hopsworks, as to a cluster that it manages.
        managed = {**flink["extra"], "hopsworks_conn_id": "hopsworks_default"}
        set_connection(patch, "flink_default", conn_type="flink", extra=managed)
        start_cluster(stack)
        set_connection(patch, "kafka_scram", conn_type="kafka", extra=client_settings(stack.config, "SASL_SSL"))
        yield patch


def start_cluster(stack: Stack) -> None:
    """Run the job that stands for the Flink cluster in Hopsworks."""
    api = f"{stack.config.hopsworks_url}/hopsworks-api/api/project/119/jobs/flink"
    session = requests.Session()
    # A CA bundle in the environment would win over the session's own.
    session.trust_env = False
    session.headers["Authorization"] = f"ApiKey {stack.api_key}"
    session.verify = str(stack.config.hopsworks_ca)
    session.put(api, json={"type": "flinkJobConfiguration", "appPath": "unused"}, timeout=30).raise_for_status()
    session.post(f"{api}/executions", timeout=30).raise_for_status()


@pytest.fixture(scope="module")
def live(stack: Stack, recorder: Recorder, connections: object, tmp_path_factory: pytest.TempPathFactory) -> Live:
    live = Live(stack, tmp_path_factory.mktemp("certificates"), "tls_cards")
    live.register()
    return live


@pytest.fixture(scope="module")
def scram(stack: Stack) -> Iterator[Stack]:
    """The same platform, handing out a user and a password: another server process on the same state."""
    config = stack.config.model_copy(
        update={
            "kafka_security": "SASL_SSL",
            # Behind both ports of the first server, which are neighbours.
            "hopsworks_port": stack.config.hopsworks_port + 2,
            "hopsworks_query_port": stack.config.hopsworks_query_port + 2,
        }
    )
    server = subprocess.Popen(
        [PYTHON, "-m", "devstack.hopsworks", "serve"],
        cwd=REPOSITORY,
        env={**processes.clean_environment(), **config.environment()},
        stdout=(stack.config.logs / "hopsworks-scram.log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    try:
        eventually(lambda: _healthy(config))
        yield Stack(config)
    finally:
        server.terminate()
        server.wait(20)


def _healthy(config: DevstackConfig) -> None:
    assert health.hopsworks(config, 0) is None


def with_connections_of(stack: Stack) -> pytest.MonkeyPatch:
    patch = pytest.MonkeyPatch()
    set_connection(patch, "hopsworks_default", **stack.airflow_connections()["hopsworks_default"])
    return patch


def deploy(live: Live, recorder: Recorder, **changes: Any) -> dict[str, Any]:
    result = live.deploy(**changes)
    recorder.results.append(result)
    return result


def hour(live: Live, number: int) -> None:
    """Events of the next hour, and what closes its windows."""
    start = live.start + number * 60 * MINUTE
    batch = simulated.transactions(seed=number, start=start, minutes=20, cards=10, count=800)
    live.produce(batch + simulated.flush(number, start + 20 * MINUTE))


def test_features_are_right_over_mtls(live: Live, recorder: Recorder) -> None:
    assert deploy(live, recorder)["action"] == "submitted"
    hour(live, 0)
    live.assert_features()


@pytest.mark.usefixtures("variables")
def test_the_job_is_watched_through_hopsworks(live: Live, recorder: Recorder) -> None:
    application = FlinkHook().settings.url.rpartition("/")[2]
    assert application.startswith("application_")
    assert live.running()
    assert FlinkJobHealthSensor(task_id="healthy", job_name=live.job_name).poke(task_context())
    verdict = recorder.run(FlinkSuperviseJobOperator(task_id="supervise_job", pipeline=live.spec))
    # Whatever the machine is busy with: a job that runs and was found is one of these.
    assert verdict["verdict"] in ("healthy", "degraded"), verdict
    assert [verdict["facts"]["job_id"]] == live.running()


def listeners(stack: Stack) -> list[set[str]]:
    """Of each process of the stack but the broker: the listeners that it is connected to."""
    config = stack.config
    names = {config.kafka_port: "PLAINTEXT", config.kafka_ssl_port: "SSL", config.kafka_sasl_port: "SASL_SSL"}
    broker = {pid for part in stack.status() if part.name == "kafka" for pid in part.pids}
    connections = [
        [one for one in process.net_connections("tcp") if one.status == "ESTABLISHED"]
        for process in processes.belonging_to(config.home)
        if process.pid not in broker
    ]
    return [{names[one.raddr.port] for one in process if one.raddr.port in names} for process in connections]


def test_nobody_speaks_plaintext(stack: Stack) -> None:
    """Flink, the server and the online consumer are all connected to the broker, over TLS only."""
    used = listeners(stack)
    assert sum("SSL" in one for one in used) >= 3
    assert not any({"PLAINTEXT", "SASL_SSL"} & one for one in used)


def test_renewed_certificates_take_effect_by_a_deployment(live: Live, recorder: Recorder, stack: Stack) -> None:
    (first,) = live.running()
    assert deploy(live, recorder, grace_period=0.1)["action"] == "none"
    renew_client(stack.config.certificates, stack.config.user)
    renewed = deploy(live, recorder)
    assert (renewed["action"], renewed["replaced_job_id"]) == ("replaced", first)
    assert renewed["savepoint_path"]
    assert deploy(live, recorder, grace_period=0.1)["action"] == "none"


def test_the_sdk_s_own_writer(live: Live, stack: Stack, scram: Stack) -> None:
    for platform, name in ((stack, "written_mtls"), (scram, "written_scram")):
        with sdk_project(platform, live.certificates) as project:
            group = project.get_feature_store().get_or_create_feature_group(
                name, version=1, primary_key=["id"], online_enabled=True, time_travel_format="HUDI", stream=True
            )
            group.insert(pd.DataFrame({"id": [1, 2], "x": [0.5, 1.5]}), storage="online")

            def arrived(group: Any = group) -> None:
                assert sorted(group.read(online=True)["x"]) == [0.5, 1.5]

            eventually(arrived)
    # Where the SDK unpacks keys when it is not told otherwise.
    for file in Path("/tmp").glob("kafka_sc_119_-1_*.pem"):
        file.unlink()


def test_the_same_pipeline_over_scram(live: Live, recorder: Recorder, scram: Stack) -> None:
    patch = with_connections_of(scram)
    try:
        with HopsworksHook().session() as session:
            settings = session.kafka_config()
        assert (settings["security.protocol"], settings["sasl.mechanism"]) == ("SASL_SSL", "SCRAM-SHA-512")
        assert settings["bootstrap.servers"] == scram.config.kafka_sasl_bootstrap
        # A user instead of a certificate: the job is given the credentials that it would get now.
        assert deploy(live, recorder)["action"] == "replaced"
        simulate(live, recorder)
        materialized = HopsworksMaterializeFeatureGroupOperator(
            task_id="materialize", name=live.group, version=2, poll_interval=0.5
        )
        assert recorder.run(materialized)["rows_inserted"] > 20
    finally:
        patch.undo()


def simulate(live: Live, recorder: Recorder) -> None:
    """Events by the simulator, which is given the user by a connection, and the features of its cards."""
    operator = FlinkSimulateEventsOperator(
        task_id="simulate",
        pipeline=live.spec,
        events=1500,
        rate=1500,
        cards=5,
        start=simulated_time(live.start + 60 * MINUTE),
        source_kafka_conn_id="kafka_scram",
        flink_conn_id="flink_direct",
        poll_interval=0.5,
    )
    recorder.run(operator)

    def arrived() -> None:
        with sdk_project(live.stack, live.certificates) as project:
            frame = project.get_feature_store().get_feature_group(live.group, version=2).read(online=True)
        assert sum(frame["cc_num"] > 4_000_000_000_000_000) == 5

    eventually(arrived)


def simulated_time(stamp: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(stamp / 1000))


def limit_at(card: int, minute: float) -> float | None:
    """Of a card, minutes after the start; the third has none."""
    return {1: 250.0 if minute >= 3 else 100.0, 2: 50.0 if minute >= 1 else None}.get(card)


def rate_at(minute: float) -> float:
    return 2.0 if minute >= 7.5 else 0.5


def priced(live: Live) -> Live:
    """Payments with the limits of their cards, which are where the payments are, and with rates, which are where the
    features go."""
    name = "tls_priced"
    limits = {"topic": f"{name}_limits", "schema": {"card": "bigint", "most": "double"}, "by": "card"}
    rates = {"topic": f"{name}_rates", "schema": {"currency": "string", "rate": "double"}, "by": "currency"}
    made = Live(live.stack, live.certificates, name)
    made.spec = {
        "name": name,
        "source": {
            "topic": f"{name}_payments",
            "format": "json",
            "schema": {"card": "bigint", "currency": "string"},
            "event_time": "kafka_timestamp",
            "join": {
                "limits": {**limits, "format": "json"},
                "rates": {**rates, "format": "json", "broker": "feature_store"},
            },
        },
        "feature_groups": [
            {
                "name": name,
                "topic_name": f"{name}_onlinefs",
                "key": ["card"],
                "event_time": "window_end",
                "window": {"size": "1m"},
                "aggregates": {"n": "count", "most": {"max": "most"}, "rate": {"max": "rate"}},
            }
        ],
    }
    return made


def test_joined_topics_of_either_broker(
    live: Live, recorder: Recorder, stack: Stack, connections: pytest.MonkeyPatch
) -> None:
    """Payments and limits in plaintext beside rates over mTLS, then over SCRAM; and recomputed so."""
    pipe, name = priced(live), "tls_priced"
    set_connection(connections, "kafka_plain", conn_type="kafka", extra=client_settings(stack.config, "PLAINTEXT"))
    producer = Producer(client_settings(stack.config, "PLAINTEXT"))
    topics = KafkaTopics(client_settings(stack.config))

    def write(topic: str, minute: float, **values: Any) -> None:
        stamp = int(pipe.start + minute * MINUTE)
        producer.produce(f"{name}_{topic}", json.dumps(values), partition=0, timestamp=stamp)

    def pay(minutes: range) -> None:
        """Two events of each card and minute, and one that closes their windows."""
        for minute in (at + half for at in minutes for half in (0.25, 0.75)):
            for card in (1, 2, 3):
                write("payments", minute, card=card, currency="SEK")
        write("payments", minutes.stop + 0.1, card=9, currency="none")
        assert producer.flush(30) == 0

    def assert_rows(minutes: int, storage: str | None = None) -> None:
        rows = sent_rows(stack.config.kafka_bootstrap, name, storage=storage)
        found = {
            (row["card"], row["window_end"].timestamp() * 1000): (row["n"], row["most"], row["rate"])
            for row in rows
            if row["card"] != 9
        }
        assert found == {
            (card, pipe.start + (minute + 1) * MINUTE): (2, limit_at(card, minute + 0.75), rate_at(minute + 0.75))
            for minute in range(minutes)
            for card in (1, 2, 3)
        }

    pipe.register()
    for topic in ("limits", "rates"):
        topics.create(Topic(f"{name}_{topic}", 1, 1))
    for card, minute in ((1, -5), (1, 3), (2, 1)):
        write("limits", minute, card=card, most=limit_at(card, minute))
    for minute in (-5, 7.5):
        write("rates", minute, currency="SEK", rate=rate_at(minute))
    pay(range(5))
    assert deploy(pipe, recorder, source_kafka_conn_id="kafka_plain")["action"] == "submitted"
    eventually(lambda: assert_rows(5))
    # Jobs of the tests before may run in the same process.
    assert any({"PLAINTEXT", "SSL"} <= one for one in listeners(stack))
    assert deploy(pipe, recorder, source_kafka_conn_id="kafka_scram")["action"] == "replaced"
    pay(range(5, 10))
    eventually(lambda: assert_rows(10))
    assert any({"SSL", "SASL_SSL"} <= one for one in listeners(stack))
    assert not any("PLAINTEXT" in one for one in listeners(stack))
    start, end = (simulated_time(pipe.start + minute * MINUTE) for minute in (0, 10))
    again = FlinkRecomputeFeaturesOperator(
        task_id="recompute",
        pipeline=pipe.spec,
        start=start,
        end=end,
        source_kafka_conn_id="kafka_scram",
        poll_interval=0.5,
    )
    recorder.run(again)
    assert_rows(10, "offline")
    recorder.run(FlinkStopJobOperator(task_id="stop", job_name=pipe.job_name, poll_interval=0.5))


def _wrong_host(settings: dict[str, str], stack: Stack) -> dict[str, str]:
    # 127.0.0.2 leads to the broker, but is not in its certificate.
    return {**settings, "bootstrap.servers": forwarder("127.0.0.2", stack.config.kafka_ssl_port)}


@pytest.mark.parametrize(
    ("security", "change", "sentence"),
    [
        (
            "SSL",
            lambda settings, stack: {**settings, "ssl.ca.location": str(stack.config.certificates / "client.pem")},
            r"its certificate is not accepted \(self-signed certificate in certificate chain\)\. Give the certificate",
        ),
        ("SSL", _wrong_host, r"not accepted \(IP address mismatch, certificate is not valid for '127\.0\.0\.2'\)"),
        (
            "SSL",
            lambda settings, _: {k: v for k, v in settings.items() if "certificate" not in k and "key" not in k},
            r"refuses the client's certificate \(bad certificate\)",
        ),
        (
            "SASL_SSL",
            lambda settings, _: {**settings, "sasl.password": "marker-wrong-password-77"},
            r"refuses the login of 'demo__demo' with SCRAM-SHA-512\. Check sasl\.username, sasl\.password",
        ),
        (
            "SSL",
            lambda settings, stack: {**settings, "bootstrap.servers": stack.config.kafka_bootstrap},
            r"does not speak TLS there: check the port and security\.protocol",
        ),
    ],
    ids=["authority", "host", "no-certificate", "password", "port"],
)
def test_what_is_not_trusted_is_refused_before_the_job_is_touched(
    live: Live,
    recorder: Recorder,
    stack: Stack,
    connections: pytest.MonkeyPatch,
    security: str,
    change: Callable[[dict[str, str], Stack], dict[str, str]],
    sentence: str,
) -> None:
    running = live.running()
    extra = change(client_settings(stack.config, security), stack)
    set_connection(connections, "kafka_wrong", conn_type="kafka", extra=extra)
    began = time.monotonic()
    for operator in (
        KafkaCreateTopicOperator(task_id="topic", topic="refused", kafka_conn_id="kafka_wrong"),
        FlinkDeployFeaturePipelineOperator(task_id="deploy", pipeline=live.spec, source_kafka_conn_id="kafka_wrong"),
    ):
        with pytest.raises(AirflowFailException, match=sentence):
            recorder.run(operator)
    assert time.monotonic() - began < 20
    assert live.running() == running


def test_a_job_that_does_not_start_keeps_its_keys_to_itself(live: Live, recorder: Recorder, stack: Stack) -> None:
    """Without the Avro jar the planner refuses the table and repeats all its options, the key among them."""
    jars = Path(stack.airflow_connections()["flink_default"]["extra"]["jars_dir"])
    operator = FlinkSimulateEventsOperator(
        task_id="simulate", pipeline=live.spec, jars=[next(jars.glob("flink-sql-connector-kafka-*.jar")).name]
    )
    with pytest.raises((FlinkSubmissionError, AirflowFailException), match="avro"):
        recorder.run(operator)


def test_bundles_on_the_cluster_are_their_owners_alone_and_then_gone(recorder: Recorder, stack: Stack) -> None:
    names = set(recorder.bundles)
    assert "bindings.json" in names
    assert any(name.endswith(".jar") and "_feature_pipeline-" in name for name in names)
    assert {name: oct(mode) for name, mode in recorder.bundles.items() if mode & 0o077} == {}
    left = requests.get(f"{stack.config.flink_url}/jars", timeout=30).json()["files"]
    assert [
        jar["name"] for jar in left if not jar["name"].startswith(("flink-", "hopsworks-flink-java-", "zstd-"))
    ] == []


def test_no_secret_is_anywhere(live: Live, recorder: Recorder, stack: Stack) -> None:
    config = stack.config
    markers = [
        Marker("API key", stack.api_key.split(".")[-1]),
        Marker("Flink password", FLINK_PASSWORD),
        Marker("SCRAM password", client_settings(config, "SASL_SSL")["sasl.password"]),
        Marker("wrong SCRAM password", "marker-wrong-password-77"),
        Marker("key store password", (config.certificates / "material_passwd").read_text()),
        *(Marker.of_key(name, config.certificates / name) for name in ("client.key", "server.key", "broker.pem")),
    ]
    recorder.run(FlinkStopJobOperator(task_id="stop", job_name=live.job_name, poll_interval=0.5))
    assert live.running() == []
    # They lie where they belong: looking for them is not in vain.
    assert planted(markers, config) == {marker.name for marker in markers} - {"Flink password", "wrong SCRAM password"}

    assert recorder.found(markers) == []
    pages = list(flink_pages(config.flink_url))
    assert [marker.name for marker in markers for page in pages if marker.text in page] == []
    kept = {config.certificates, config.hopsworks_api_key_file}
    assert files_with(markers, [config.home], since=0, kept=kept) == []
    assert files_with(markers, [Path("/tmp")], since=recorder.began, kept={*kept, live.certificates}) == []
