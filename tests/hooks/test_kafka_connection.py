"""Airflow's Kafka connections, as Airflow's own provider takes them as well."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer

from hopsworks_flink.clients.kafka.client import KafkaClient, produce
from hopsworks_flink.clients.kafka.reading import read_committed
from hopsworks_flink.exceptions import ConfigurationError, KafkaError
from hopsworks_flink.hooks.kafka_connection import kafka_connection
from tests.support.fixtures import set_connection

pytestmark = pytest.mark.airflow
CONF = {"bootstrap.servers": "127.0.0.1:1", "group.id": "cards"}


def test_functions_for_the_providers_own_operators_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("error_cb", "throttle_cb", "stats_cb", "log_cb", "on_commit")
    extra = {**CONF, **dict.fromkeys(names, "my_company.kafka.tell")}
    set_connection(monkeypatch, "events", conn_type="kafka", extra=extra)
    found = kafka_connection("events")
    assert found == CONF
    with pytest.raises(KafkaError, match="does not answer"):
        KafkaClient(found).topics(0.2)
    with pytest.raises(KafkaError):
        read_committed(found, "events", {0: (0, 1)}, lambda record: False, 0.0)


def test_a_function_for_tokens_is_refused_with_words(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {**CONF, "sasl.mechanism": "OAUTHBEARER", "oauth_cb": "my_company.kafka.token"}
    set_connection(monkeypatch, "events", conn_type="kafka", extra=extra)
    with pytest.raises(ConfigurationError, match=r"connection 'events': oauth_cb .* sasl\.oauthbearer\.method=oidc"):
        kafka_connection("events")


def test_a_single_record_is_no_part_of_the_connections_transactions() -> None:
    broker = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    (address,) = broker.list_topics(timeout=10).brokers.values()
    conf = {**CONF, "bootstrap.servers": f"{address.host}:{address.port}", "transactional.id": "cards"}
    assert produce(conf, "events", 0, b"event", 1_740_830_400_000) == 0
