"""A worker's connection to a Kafka cluster; a failure is one sentence with cause and remedy."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any

from hopsworks_flink.exceptions import ConfigurationError, KafkaError, KafkaSecurityError

_STEP_SECONDS = 1.0
_DIAGNOSIS_SECONDS = 5.0
_PRODUCE_SECONDS = 30.0
_VERIFICATION_FAILED = "certificate verify failed"
_NO_TOKEN = "Failed to acquire SASL OAUTHBEARER token"  # noqa: S105 - words of librdkafka


class KafkaClient:
    """An admin client of one cluster that records why its connections failed.

    :param conf: librdkafka settings that reach the broker.
    :raises ConfigurationError: librdkafka does not accept them.
    """

    def __init__(self, conf: Mapping[str, Any]) -> None:
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        self.servers = conf.get("bootstrap.servers")
        self._conf = dict(conf)
        self._reasons: list[str] = []
        try:
            # Failures become exceptions; librdkafka would print each attempt to connect.
            settings: dict[str, Any] = {"log_level": 0, **conf, "error_cb": self._note}
            self.admin = AdminClient(settings)
        except KafkaException as error:
            raise ConfigurationError(
                f"The settings for Kafka at {self.servers} are not accepted: {error.args[0].str()}."
            ) from None

    def topics(self, timeout: float = 30.0) -> dict[str, Any]:
        """All topics by name, as librdkafka describes them.

        :param timeout: seconds; a refused certificate or password ends the wait at once.
        :raises KafkaSecurityError: broker and client do not trust each other.
        :raises KafkaError: the broker does not answer.
        """
        return dict(self._metadata(timeout).topics)

    def cluster_id(self, timeout: float = 30.0) -> str | None:
        """The cluster's id (KIP-78); None where it has none. Parameter and errors as of `topics`."""
        found = self._metadata(timeout).cluster_id
        return str(found) if found else None

    def _metadata(self, timeout: float) -> Any:
        """Of all topics, because a request for one by name could create it on a broker with automatic creation."""
        from confluent_kafka import KafkaException

        deadline = time.monotonic() + timeout
        while True:
            step = max(0.1, min(_STEP_SECONDS, deadline - time.monotonic()))
            try:
                return self.admin.list_topics(timeout=step)
            except KafkaException as error:
                # Serves the callback that tells why.
                self.admin.poll(0)
                self._raise_if_distrusted()
                if time.monotonic() >= deadline:
                    raise KafkaError(
                        f"Kafka at {self.servers} does not answer: {self._last_reason(error.args[0].str())}"
                    ) from error

    def _note(self, error: Any) -> None:
        from confluent_kafka import KafkaError as Code

        if error.code() != Code._ALL_BROKERS_DOWN:
            self._reasons.append(str(error.str()))

    def _last_reason(self, default: str) -> str:
        return self._reasons[-1] if self._reasons else default

    def _raise_if_distrusted(self) -> None:
        at = f"Kafka at {self.servers}"
        for reason in self._reasons:
            if _VERIFICATION_FAILED in reason:
                raise KafkaSecurityError(
                    f"{at}: its certificate is not accepted ({self._diagnosis(reason)}). Give the certificate of the "
                    "CA that signed it (ssl.ca.location or ssl.ca.pem), and address the broker by a name in its "
                    "certificate."
                )
            if "tls alert" in reason:
                raise KafkaSecurityError(
                    f"{at} refuses the client's certificate ({_alert(reason)}). Give one that its CA has signed, with "
                    "its key (ssl.certificate.location or .pem, ssl.key.location or .pem)."
                )
            if _NO_TOKEN in reason:
                # The broker was not even asked. The provider may answer in a moment.
                error = KafkaSecurityError(
                    f"{at}: there is no token to log in with: {reason.partition(_NO_TOKEN)[2].strip(': ')}. Check "
                    "sasl.oauthbearer.*, and whether the provider at its token.endpoint.url can be reached."
                )
                error.permanent = False
                raise error
            if "SASL" in reason:
                conf = self._conf
                mechanism = str(conf.get("sasl.mechanism") or conf.get("sasl.mechanisms"))
                by_token = mechanism.upper() == "OAUTHBEARER"
                user = conf.get("sasl.oauthbearer.client.id" if by_token else "sasl.username")
                settings = "sasl.oauthbearer.*" if by_token else "sasl.username, sasl.password"
                raise KafkaSecurityError(
                    f"{at} refuses the login of {user!r} with {mechanism}. Check {settings} and sasl.mechanism."
                )
            if "connecting to a PLAINTEXT broker listener" in reason:
                raise KafkaSecurityError(f"{at} does not speak TLS there: check the port and security.protocol.")

    def _diagnosis(self, reason: str) -> str:
        """OpenSSL's verdict on the certificate, which librdkafka does not report."""
        address = reason.partition("://")[2].partition("/")[0]
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        try:
            context = ssl.create_default_context(cadata=self._conf.get("ssl.ca.pem"), cafile=self._ca_file())
            with (
                socket.create_connection((host, int(port)), timeout=_DIAGNOSIS_SECONDS) as plain,
                context.wrap_socket(plain, server_hostname=host),
            ):
                return "librdkafka refuses it"
        except ssl.SSLCertVerificationError as error:
            return str(error.verify_message).rstrip(".")
        except (OSError, ValueError) as error:
            return str(error)

    def _ca_file(self) -> str | None:
        path = self._conf.get("ssl.ca.location")
        return os.fspath(path) if path and os.path.isfile(path) else None


def _alert(reason: str) -> str:
    return reason.partition("tls alert ")[2].partition(":")[0]


def produce(conf: Mapping[str, Any], topic: str, partition: int, value: bytes, timestamp: int) -> int:
    """Write one record and wait until the broker has it.

    :param conf: librdkafka settings that reach the broker.
    :param timestamp: Kafka's, milliseconds since the epoch.
    :return: its offset.
    :raises KafkaError: the broker did not take it in time.
    """
    from confluent_kafka import Producer

    answers: list[tuple[Any, Any]] = []
    # The last one would want a transaction, and end those of the producer whose id it is.
    left_out = ("group.id", "auto.offset.reset", "transactional.id")
    settings = {key: value for key, value in conf.items() if key not in left_out}
    producer = Producer({"log_level": 0, **settings, "acks": "all", "message.timeout.ms": int(_PRODUCE_SECONDS * 1000)})
    producer.produce(
        topic,
        value,
        partition=partition,
        timestamp=timestamp,
        on_delivery=lambda error, record: answers.append((error, record)),
    )
    producer.flush(_PRODUCE_SECONDS + 1)
    if not answers:
        raise KafkaError(f"Kafka at {conf.get('bootstrap.servers')} did not take a record for topic {topic} in time.")
    error, record = answers[0]
    if error is not None:
        raise KafkaError(f"Kafka at {conf.get('bootstrap.servers')} refused a record for topic {topic}: {error.str()}")
    return int(record.offset())
