"""Client settings for the stack's broker: listener and credentials."""

from __future__ import annotations

from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from devstack.config import DevstackConfig
from devstack.kafka import SCRAM_MECHANISMS

_ITERATIONS = 4096
_TIMEOUT_SECONDS = 10.0


def scram_user(config: DevstackConfig) -> str:
    """The project's user, in the platform's form."""
    return f"{config.project}__{config.user}"


def client_settings(config: DevstackConfig, security: str | None = None) -> dict[str, str]:
    """librdkafka's settings for a listener of the broker; keys and certificates by their paths.

    :param security: ``PLAINTEXT``, ``SSL`` or ``SASL_SSL``; None: the one that the platform uses.
    """
    security = security or config.kafka_security
    if security == "PLAINTEXT":
        return {"bootstrap.servers": config.kafka_bootstrap}
    tls = {"security.protocol": security, "ssl.ca.location": str(config.hopsworks_ca)}
    if security == "SSL":
        return {
            "bootstrap.servers": config.kafka_ssl_bootstrap,
            **tls,
            "ssl.certificate.location": str(config.certificates / "client.pem"),
            "ssl.key.location": str(config.certificates / "client.key"),
        }
    return {
        "bootstrap.servers": config.kafka_sasl_bootstrap,
        **tls,
        "sasl.mechanism": SCRAM_MECHANISMS[-1],
        "sasl.username": scram_user(config),
        "sasl.password": _password(config),
    }


def consumer_settings(config: DevstackConfig, group: str) -> dict[str, object]:
    """Settings of a consumer that keeps its offsets itself: nothing is committed to Kafka."""
    return {
        **client_settings(config),
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        # Stricter than the platform, whose consumers do not set it: rows of an aborted transaction never count here.
        "isolation.level": "read_committed",
        "fetch.wait.max.ms": 100,
        "queued.max.messages.kbytes": 32768,
        "log_level": 4,
    }


def java_sasl_options(config: DevstackConfig) -> list[dict[str, str]]:
    """Options of the Kafka connector with which the platform's clients log in."""
    login = (
        "org.apache.kafka.common.security.scram.ScramLoginModule required "
        f'username="{scram_user(config)}" password="{_password(config)}";'
    )
    # In this order: the SDK derives SCRAM-SHA-256 from the login whatever the mechanism is, and the last option wins.
    return [
        {"name": "sasl.jaas.config", "value": login},
        {"name": "sasl.mechanism", "value": SCRAM_MECHANISMS[-1]},
    ]


def ensure_scram_user(config: DevstackConfig) -> None:
    """Register the password of the project's user at the broker, over the mTLS listener.

    :raises KafkaException: the broker does not answer.
    """
    admin = AdminClient({**client_settings(config, "SSL"), "log_level": 3})
    # One at a time: a request may name a user only once.
    for name in SCRAM_MECHANISMS:
        mechanism = ScramCredentialInfo(getattr(ScramMechanism, name.replace("-", "_")), _ITERATIONS)
        update = UserScramCredentialUpsertion(scram_user(config), mechanism, _password(config).encode())
        for future in admin.alter_user_scram_credentials([update], request_timeout=_TIMEOUT_SECONDS).values():
            future.result(_TIMEOUT_SECONDS + 1)


def _password(config: DevstackConfig) -> str:
    return (config.certificates / "kafka_passwd").read_text()
