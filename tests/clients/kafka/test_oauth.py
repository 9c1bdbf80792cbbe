"""OAUTHBEARER: the settings of managed Kafkas, as Flink's client takes them."""

from __future__ import annotations

import socket
import zipfile
from typing import Any

import pytest

from devstack.jars import CONNECTOR_JARS
from hopsworks_flink.clients.kafka.client import KafkaClient
from hopsworks_flink.clients.kafka.java_properties import credentials_fingerprint, java_client_properties
from hopsworks_flink.exceptions import KafkaSecurityError, PipelineError
from hopsworks_flink.pipeline.plan import secret_values

CONF = {
    "bootstrap.servers": "pkc.example:9092",
    "security.protocol": "SASL_SSL",
    "sasl.mechanisms": "OAUTHBEARER",
    "sasl.oauthbearer.method": "OIDC",
    "sasl.oauthbearer.client.id": "features",
    "sasl.oauthbearer.client.secret": 'c0"mplex',
    "sasl.oauthbearer.scope": "kafka",
    "sasl.oauthbearer.extensions": "logicalCluster=lkc-1,identityPoolId=pool-a",
    "sasl.oauthbearer.token.endpoint.url": "https://login.example/token",
}


def test_the_client_asks_for_its_tokens() -> None:
    found = java_client_properties(CONF)
    assert found["sasl.jaas.config"] == (
        "org.apache.flink.kafka.shaded.org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
        'clientId="features" clientSecret="c0\\"mplex" scope="kafka" '
        'extension_logicalCluster="lkc-1" extension_identityPoolId="pool-a";'
    )
    assert found["sasl.mechanism"] == "OAUTHBEARER"
    assert found["sasl.oauthbearer.token.endpoint.url"] == "https://login.example/token"


def test_the_classes_are_in_the_connector() -> None:
    (jar,) = CONNECTOR_JARS.glob("flink-sql-connector-kafka-*.jar")
    names = set(zipfile.ZipFile(jar).namelist())
    found = java_client_properties(CONF)
    for name in (found["sasl.jaas.config"].partition(" ")[0], found["sasl.login.callback.handler.class"]):
        assert f"{name.replace('.', '/')}.class" in names


def test_its_secret_is_cut_out_of_errors() -> None:
    found = java_client_properties({**CONF, "sasl.oauthbearer.client.secret": "very-secret"})
    hidden = secret_values([found])
    assert "very-secret" in hidden
    assert "https://login.example/token" not in hidden
    for changed in ("client.id", "scope", "extensions", "token.endpoint.url"):
        name = f"sasl.oauthbearer.{changed}"
        assert credentials_fingerprint({**CONF, name: f"{CONF[name]}a"}) != credentials_fingerprint(CONF)
    renewed = {**CONF, "sasl.oauthbearer.client.secret": "another"}
    assert credentials_fingerprint(renewed) == credentials_fingerprint(CONF)


def test_a_provider_that_gives_no_token_is_not_a_broker_that_refuses_the_login() -> None:
    with socket.socket() as broker:
        broker.bind(("127.0.0.1", 0))
        broker.listen()
        where = {"bootstrap.servers": f"127.0.0.1:{broker.getsockname()[1]}", "security.protocol": "SASL_PLAINTEXT"}
        client = KafkaClient({**CONF, **where, "sasl.oauthbearer.token.endpoint.url": "http://127.0.0.1:1/token"})
        with pytest.raises(
            KafkaSecurityError, match=r"no token to log in with: Failed to connect to .*\. Check"
        ) as caught:
            client.topics(1.5)
    # The provider may be back in a moment.
    assert not caught.value.permanent


def test_who_is_refused_is_the_client_of_the_provider() -> None:
    client = KafkaClient(CONF)
    client._reasons.append('SASL authentication error: {"status":"invalid_token"}')
    with pytest.raises(KafkaSecurityError, match=r"the login of 'features' with OAUTHBEARER\. Check sasl\.oauthbearer"):
        client._raise_if_distrusted()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"sasl.oauthbearer.method": None}, "method must be oidc: a job asks for its tokens itself"),
        ({"sasl.oauthbearer.client.secret": ""}, r"sasl\.oauthbearer\.client\.secret is needed"),
        ({"sasl.oauthbearer.extensions": "a b=c"}, "must be name=value"),
        ({"sasl.oauthbearer.scope": "a\nb"}, "must not hold line breaks"),
        ({"sasl.mechanisms": "GSSAPI"}, "use one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(PipelineError, match=problem):
        java_client_properties({**CONF, **changes})
