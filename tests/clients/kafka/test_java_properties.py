import re

import pytest

from hopsworks_flink.clients.kafka.java_properties import credentials_fingerprint, java_client_properties
from hopsworks_flink.exceptions import PipelineError

TLS = {
    "bootstrap.servers": "a:1",
    "security.protocol": "SSL",
    "ssl.ca.pem": "-----BEGIN ca-----\n",
    "ssl.certificate.pem": "-----BEGIN cert-----\n",
    "ssl.key.pem": "-----BEGIN PRIVATE KEY-----\nsecret-key\n",
}
SASL = {
    "bootstrap.servers": "a:1",
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "SCRAM-SHA-512",
    "sasl.username": "me",
    "sasl.password": "secret-password",
}


def test_plaintext_leaves_settings_of_librdkafka_out():
    conf = {"bootstrap.servers": "a:1,b:2", "group.id": "g", "socket.timeout.ms": 100}
    assert java_client_properties(conf) == {"bootstrap.servers": "a:1,b:2", "security.protocol": "PLAINTEXT"}


def test_certificates_travel_as_text(tmp_path):
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text(f"-----BEGIN {name}-----\n")
    conf = {
        "bootstrap.servers": "a:1",
        "security.protocol": "ssl",
        "ssl.ca.location": tmp_path / "ca",
        "ssl.certificate.location": tmp_path / "cert",
        "ssl.key.pem": "-----BEGIN inline-----\n",
        "ssl.endpoint.identification.algorithm": "none",
    }
    assert java_client_properties(conf) == {
        "bootstrap.servers": "a:1",
        "security.protocol": "SSL",
        "ssl.endpoint.identification.algorithm": "",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.certificates": "-----BEGIN ca-----\n",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.certificate.chain": "-----BEGIN cert-----\n",
        "ssl.keystore.key": "-----BEGIN inline-----\n",
    }


def test_sasl_names_the_login_module_that_flinks_connector_carries():
    conf = {
        "bootstrap.servers": "a:1",
        "security.protocol": "SASL_SSL",
        "sasl.mechanisms": "SCRAM-SHA-512",
        "sasl.username": "me",
        "sasl.password": 'a"b\\c',
    }
    properties = java_client_properties(conf)
    assert properties["sasl.mechanism"] == "SCRAM-SHA-512"
    assert properties["sasl.jaas.config"] == (
        "org.apache.flink.kafka.shaded.org.apache.kafka.common.security.scram.ScramLoginModule required "
        'username="me" password="a\\"b\\\\c";'
    )


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({}, "no bootstrap.servers"),
        ({"bootstrap.servers": "a:1", "security.protocol": "TLS"}, "security.protocol 'TLS' is unknown"),
        ({"bootstrap.servers": "a:1", "security.protocol": "SASL_SSL"}, "sasl.mechanism '' is not supported"),
        (
            {"bootstrap.servers": "a:1", "security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"},
            "sasl.username and sasl.password are both needed",
        ),
        (
            {"bootstrap.servers": "a:1", "security.protocol": "SSL", "ssl.ca.location": "/nope.pem"},
            r"ssl\.ca\.location /nope\.pem cannot be read",
        ),
        ({**TLS, "ssl.key.pem": None}, r"ssl\.certificate\.\* and ssl\.key\.\* belong together"),
        ({**TLS, "ssl.certificate.pem": None}, r"ssl\.certificate\.\* and ssl\.key\.\* belong together"),
        ({**TLS, "ssl.key.pem": "-----BEGIN RSA PRIVATE KEY-----"}, "openssl pkcs8 -topk8"),
        ({**TLS, "ssl.keystore.location": "/keys.p12"}, r"ssl\.keystore\.location cannot travel"),
        ({**TLS, "enable.ssl.certificate.verification": "false"}, "give the CA's certificate"),
        ({**TLS, "enable.ssl.certificate.verification": "f"}, "give the CA's certificate"),
        ({**TLS, "enable.ssl.certificate.verification": 0}, "give the CA's certificate"),
        ({**SASL, "sasl.password": 'x"\n; evil="'}, "must not hold line breaks"),
        ({**SASL, "sasl.username": "me\0"}, "must not hold line breaks"),
    ],
)
def test_what_cannot_be_translated_is_refused(conf, message):
    with pytest.raises(PipelineError, match=message):
        java_client_properties(conf)


@pytest.mark.parametrize(
    ("conf", "changes", "differs"),
    [
        (TLS, {"ssl.certificate.pem": "-----BEGIN renewed-----\n"}, True),
        (TLS, {"ssl.ca.pem": "-----BEGIN renewed-----\n"}, True),
        (TLS, {"ssl.key.pem": "-----BEGIN PRIVATE KEY-----\nother\n"}, False),
        (TLS, {"bootstrap.servers": "b:1"}, False),
        (TLS, {"security.protocol": "PLAINTEXT"}, True),
        (SASL, {"sasl.username": "you"}, True),
        (SASL, {"sasl.mechanism": "PLAIN"}, True),
        # Nothing may be told about a password, not even that it is another one.
        (SASL, {"sasl.password": "other"}, False),
    ],
)
def test_the_fingerprint_tells_renewed_credentials_and_no_secret(conf, changes, differs):
    before, after = credentials_fingerprint(conf), credentials_fingerprint({**conf, **changes})
    assert (before != after) is differs
    assert re.fullmatch("[0-9a-f]{16}", before)


def test_without_credentials_there_is_no_fingerprint():
    assert credentials_fingerprint({"bootstrap.servers": "a:1"}, {"bootstrap.servers": "b:1"}) == ""
    assert credentials_fingerprint({"bootstrap.servers": "a:1"}, TLS) == credentials_fingerprint(TLS)


def test_the_well_known_authorities_may_be_named() -> None:
    # To librdkafka no path, but: look where systems have theirs. Flink's client has those of its JVM.
    conf = {"bootstrap.servers": "k:9093", "security.protocol": "SSL", "ssl.ca.location": "probe"}
    assert java_client_properties(conf) == {"bootstrap.servers": "k:9093", "security.protocol": "SSL"}


@pytest.mark.parametrize("word", ["none", "NONE"])
def test_names_that_are_not_checked(word: str) -> None:
    # In librdkafka's words letters of any size count; Java knows an empty text, and fails for all it does not know.
    conf = {"bootstrap.servers": "k:9093", "security.protocol": "SSL", "ssl.endpoint.identification.algorithm": word}
    assert java_client_properties(conf)["ssl.endpoint.identification.algorithm"] == ""
