"""Certificates and what the server hands out of them, for each protocol of the broker."""

from __future__ import annotations

import base64
import stat
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from fastapi.testclient import TestClient

from devstack.config import DevstackConfig
from devstack.hopsworks.home.certificates import renew_client, write_certificates
from devstack.hopsworks.home.setup import load_credentials, read_api_key
from devstack.hopsworks.server import create_app
from devstack.kafka.access import client_settings
from tests.devstack.hopsworks.samples import opened
from tests.support.hopsworks_fixtures import FS


def certificate(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificates(pem)[0]


def test_everything_is_signed_by_the_one_authority_and_only_its_certificate_is_public(tmp_path):
    write_certificates(tmp_path, "demo", ["localhost", "platform"], ["127.0.0.1", "broker"])
    authority = certificate((tmp_path / "ca.pem").read_bytes())
    for name in ("server.pem", "broker.pem", "client.pem"):
        certificate((tmp_path / name).read_bytes()).verify_directly_issued_by(authority)
    names = certificate((tmp_path / "broker.pem").read_bytes()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == ["broker"]
    assert [str(address) for address in names.value.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    public = {path.name for path in tmp_path.iterdir() if stat.S_IMODE(path.stat().st_mode) != 0o600}
    assert public == {"ca.pem"}


def test_a_renewed_client_certificate_is_handed_out_at_once(config, client):
    before = client.get("project/119/credentials").json()
    authority = (config.certificates / "ca.pem").read_bytes()
    renew_client(config.certificates, config.user)
    after = client.get("project/119/credentials").json()
    assert after["clientCert"] != before["clientCert"]
    assert after["clientKey"] != before["clientKey"]
    assert after["caChain"] == before["caChain"] == authority.decode()
    renewed = certificate(after["clientCert"].encode())
    renewed.verify_directly_issued_by(certificate(authority))
    key = serialization.load_pem_private_key(after["clientKey"].encode(), None)
    assert renewed.public_key() == key.public_key()
    store = opened(base64.b64decode(after["kStore"]), after["password"])
    assert store.cert is not None
    assert store.cert.certificate == renewed


def connector(config: DevstackConfig, security: str) -> dict[str, Any]:
    secured = config.model_copy(update={"kafka_security": security})
    with TestClient(create_app(secured), base_url="https://testserver/hopsworks-api/api") as client:
        client.headers["Authorization"] = f"ApiKey {read_api_key(config)}"
        brokers = client.get("project/119/kafka/clusterinfo").json()["brokers"]
        found: dict[str, Any] = client.get(f"{FS}/storageconnectors/kafka_connector/byok").json()
    assert brokers == [found["bootstrapServers"]]
    return found


def test_the_connector_names_the_listener_and_how_to_come_in(config):
    plain, tls, sasl = (connector(config, security) for security in ("PLAINTEXT", "SSL", "SASL_SSL"))
    assert [one["securityProtocol"] for one in (plain, tls, sasl)] == ["PLAINTEXT", "SSL", "SASL_SSL"]
    assert [one["externalKafka"] for one in (plain, tls, sasl)] == [True, False, False]
    assert [one["sslEndpointIdentificationAlgorithm"] for one in (plain, tls, sasl)] == ["", "https", "https"]
    assert len({one["bootstrapServers"] for one in (plain, tls, sasl)}) == 3
    assert plain["options"] == tls["options"] == []
    password = client_settings(config, "SASL_SSL")["sasl.password"]
    assert f'password="{password}"' in next(o["value"] for o in sasl["options"] if o["name"] == "sasl.jaas.config")


@pytest.mark.parametrize("security", ["PLAINTEXT", "SSL", "SASL_SSL"])
def test_the_platform_s_own_clients_use_the_same_listener(config, security):
    secured = config.model_copy(update={"kafka_security": security})
    settings = client_settings(secured)
    assert settings["bootstrap.servers"] == connector(config, security)["bootstrapServers"]
    assert settings.get("security.protocol", "PLAINTEXT") == security
    assert load_credentials(config).password not in str(settings)
