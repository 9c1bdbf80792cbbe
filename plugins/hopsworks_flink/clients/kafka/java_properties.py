"""Kafka client settings: from librdkafka's vocabulary (confluent-kafka, Airflow's connection) to the Java client's."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hopsworks_flink.exceptions import PipelineError

# Flink's SQL connector carries the Kafka client under a package of its own, and JAAS names classes.
_SHADED = "org.apache.flink.kafka.shaded.org.apache.kafka.common.security"
_LOGIN_MODULES = {
    "PLAIN": f"{_SHADED}.plain.PlainLoginModule",
    "SCRAM-SHA-256": f"{_SHADED}.scram.ScramLoginModule",
    "SCRAM-SHA-512": f"{_SHADED}.scram.ScramLoginModule",
}
_OAUTH = "OAUTHBEARER"
_PEM = {
    "ssl.ca": "ssl.truststore.certificates",
    "ssl.certificate": "ssl.keystore.certificate.chain",
    "ssl.key": "ssl.keystore.key",
}
_CERTIFICATES = ("ssl.truststore.certificates", "ssl.keystore.certificate.chain")
# Of a login what is no secret.
_WHO = (
    "sasl.username",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.extensions",
)
_SAME = ("bootstrap.servers", "client.id", "ssl.endpoint.identification.algorithm")


def java_client_properties(conf: Mapping[str, Any]) -> dict[str, str]:
    """Java client properties for the broker that a librdkafka configuration reaches.

    Certificates and keys become PEM text, so that they travel inside the job's bundle and no file has to exist on
    the cluster. Settings of librdkafka alone (``group.id``, callbacks, timeouts …) are left out: they tune one client,
    they do not say how to reach the broker.

    :raises PipelineError: no brokers, a protocol, mechanism or kind of key that the Java client does not take, a file
        that cannot be read.
    """
    if not conf.get("bootstrap.servers"):
        raise PipelineError("Kafka configuration has no bootstrap.servers; set it in the connection, e.g. broker:9092")
    protocol = str(conf.get("security.protocol", "PLAINTEXT")).upper()
    if protocol not in ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"):
        raise PipelineError(
            f"Kafka security.protocol {protocol!r} is unknown; use PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
        )
    result = {name: str(conf[name]) for name in _SAME if conf.get(name) is not None}
    result["security.protocol"] = protocol
    if result.get("ssl.endpoint.identification.algorithm", "").lower() == "none":
        # The Java client takes an empty text for librdkafka's "none".
        result["ssl.endpoint.identification.algorithm"] = ""
    if protocol.endswith("SSL"):
        result.update(_pem_stores(conf))
    if protocol.startswith("SASL"):
        result.update(_sasl(conf))
    return result


def credentials_fingerprint(*confs: Mapping[str, Any], others: Sequence[str] = ()) -> str:
    """A fingerprint of credentials that holds no secret: 16 hex digits.

    Certificates, user names, protocols, mechanisms and where tokens come from count; keys and passwords do not. Empty
    where nothing is secured, and there is nothing else.

    :param confs: librdkafka configurations.
    :param others: what else a job that runs would not notice, and may be shown: a registry's user, a broker's address.
    :raises PipelineError: as :func:`java_client_properties`.
    """
    shown = [list(others)] if others else []
    for conf in confs:
        properties = java_client_properties(conf)
        if properties["security.protocol"] != "PLAINTEXT":
            public = [properties.get(name, "") for name in ("security.protocol", "sasl.mechanism", *_CERTIFICATES)]
            shown.append([*public, *(str(conf.get(name) or "") for name in _WHO)])
    return hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:16] if shown else ""


def _pem_stores(conf: Mapping[str, Any]) -> dict[str, str]:
    if conf.get("ssl.keystore.location"):
        raise PipelineError(
            "Kafka ssl.keystore.location cannot travel to Flink; give certificate and key as PEM "
            "(ssl.certificate.location, ssl.key.location)"
        )
    if str(conf.get("enable.ssl.certificate.verification", "true")).lower() in ("false", "f", "0"):
        raise PipelineError(
            "Kafka enable.ssl.certificate.verification=false has no counterpart in Flink's client; give the CA's "
            "certificate (ssl.ca.location)"
        )
    result: dict[str, str] = {}
    for name, target in _PEM.items():
        text = conf.get(f"{name}.pem") or _read(conf, f"{name}.location")
        if text:
            result[target] = text
    if ("ssl.keystore.key" in result) != ("ssl.keystore.certificate.chain" in result):
        raise PipelineError("Kafka ssl.certificate.* and ssl.key.* belong together; give both, or none of them")
    if re.search(r"-----BEGIN (RSA|EC|DSA) PRIVATE KEY-----", result.get("ssl.keystore.key", "")):
        raise PipelineError(
            "Kafka ssl.key is not a PKCS#8 key, which Flink's client insists on; convert it with "
            "`openssl pkcs8 -topk8 -in old.key -out new.key`"
        )
    if "ssl.truststore.certificates" in result:
        result["ssl.truststore.type"] = "PEM"
    if "ssl.keystore.key" in result:
        result["ssl.keystore.type"] = "PEM"
    if conf.get("ssl.key.password"):
        result["ssl.key.password"] = str(conf["ssl.key.password"])
    return result


def _read(conf: Mapping[str, Any], setting: str) -> str | None:
    path = conf.get(setting)
    if not path or (setting, path) == ("ssl.ca.location", "probe"):
        # "probe": the well-known authorities, as without one.
        return None
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"Kafka {setting} {path} cannot be read: {error}") from None


def _sasl(conf: Mapping[str, Any]) -> dict[str, str]:
    mechanism = str(conf.get("sasl.mechanism") or conf.get("sasl.mechanisms") or "").upper()
    if mechanism == _OAUTH:
        return _oauth(conf)
    if mechanism not in _LOGIN_MODULES:
        raise PipelineError(
            f"Kafka sasl.mechanism {mechanism!r} is not supported; use one of {', '.join([*_LOGIN_MODULES, _OAUTH])}"
        )
    username, password = conf.get("sasl.username"), conf.get("sasl.password")
    if not username or not password:
        raise PipelineError("Kafka sasl.username and sasl.password are both needed for SASL")
    if not (str(username).isprintable() and str(password).isprintable()):
        raise PipelineError("Kafka sasl.username and sasl.password must not hold line breaks or control characters")
    login = f"{_LOGIN_MODULES[mechanism]} required username={_quoted(username)} password={_quoted(password)};"
    return {"sasl.mechanism": mechanism, "sasl.jaas.config": login}


def _oauth(conf: Mapping[str, Any]) -> dict[str, str]:
    """Tokens that Flink's client asks an OpenID Connect provider for; https://kafka.apache.org/documentation/#security_sasl_oauthbearer_clientconfig."""
    prefix = "sasl.oauthbearer"
    if str(conf.get(f"{prefix}.method") or "").lower() != "oidc":
        raise PipelineError(
            f"Kafka {prefix}.method must be oidc: a job asks for its tokens itself, and a function that gives them to "
            "this worker cannot travel to Flink"
        )
    needed = {name: conf.get(f"{prefix}.{name}") for name in ("client.id", "client.secret", "token.endpoint.url")}
    if missing := [f"{prefix}.{name}" for name, value in needed.items() if not value]:
        raise PipelineError(f"Kafka {', '.join(missing)} is needed for OAUTHBEARER")
    options = {"clientId": needed["client.id"], "clientSecret": needed["client.secret"]}
    if scope := conf.get(f"{prefix}.scope"):
        options["scope"] = scope
    for pair in filter(None, str(conf.get(f"{prefix}.extensions") or "").split(",")):
        name, is_pair, value = pair.partition("=")
        if not is_pair or not re.fullmatch(r"[A-Za-z]+", name.strip()):
            raise PipelineError(f"Kafka {prefix}.extensions {pair!r} must be name=value, with letters in the name")
        options[f"extension_{name.strip()}"] = value.strip()
    if not all(str(value).isprintable() for value in options.values()):
        raise PipelineError(f"Kafka {prefix}.* must not hold line breaks or control characters")
    written = " ".join(f"{name}={_quoted(value)}" for name, value in options.items())
    return {
        "sasl.mechanism": _OAUTH,
        "sasl.jaas.config": f"{_SHADED}.oauthbearer.OAuthBearerLoginModule required {written};",
        "sasl.login.callback.handler.class": f"{_SHADED}.oauthbearer.OAuthBearerLoginCallbackHandler",
        f"{prefix}.token.endpoint.url": str(needed["token.endpoint.url"]),
    }


def _quoted(value: Any) -> str:
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
