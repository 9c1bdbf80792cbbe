"""First start: folders, certificate authority, server and client certificates, the API key. Idempotent."""

from __future__ import annotations

import base64
import secrets
import string
from dataclasses import dataclass

from devstack.config import HOST, DevstackConfig
from devstack.hopsworks.home.certificates import write_certificates, write_private
from devstack.hopsworks.home.keystores import java_key_stores
from devstack.hopsworks.home.layout import DOMAIN, Layout

# Of the public prefix and of the secret part.
KEY_LENGTHS = (16, 64)
DEFAULT_DATASETS = ("Logs", "Resources", "Jupyter", "DataValidation", "Statistics", "Airflow")


def initialise(config: DevstackConfig) -> None:
    """Create what the server needs before its first start; what exists is kept."""
    layout = Layout(config)
    for folder in (layout.home, layout.certs, layout.uploads, layout.locks, layout.warehouse):
        folder.mkdir(parents=True, exist_ok=True)
    for name in DEFAULT_DATASETS:
        (layout.datasets / name).mkdir(parents=True, exist_ok=True)
    if not config.hopsworks_api_key_file.exists():
        write_private(config.hopsworks_api_key_file, generate_api_key().encode())
    if not (layout.certs / "broker.pem").exists():
        here = ["localhost", HOST, "::1"]
        addresses = (config.kafka_bootstrap, config.kafka_ssl_bootstrap, config.kafka_sasl_bootstrap)
        brokers = [server.rpartition(":")[0] for address in addresses for server in address.split(",")]
        write_certificates(
            layout.certs,
            config.user,
            server_names=[*here, f"flyingduck.service.{DOMAIN}", config.host("hopsworks")],
            broker_names=[*here, *brokers],
        )
    for name in ("material_passwd", "kafka_passwd"):
        if not (layout.certs / name).exists():
            write_private(layout.certs / name, secrets.token_hex(24).encode())


def generate_api_key() -> str:
    """A new random key in Hopsworks' format."""
    alphabet = string.ascii_letters + string.digits
    return ".".join("".join(secrets.choice(alphabet) for _ in range(length)) for length in KEY_LENGTHS)


def read_api_key(config: DevstackConfig) -> str:
    """The key that the server accepts. Raises FileNotFoundError before :func:`initialise`."""
    return config.hopsworks_api_key_file.read_text().strip()


@dataclass(frozen=True)
class Credentials:
    """What ``GET project/{id}/credentials`` hands to a client: PEM texts and Java key stores (base64).

    They are read when they are asked for: a renewed certificate takes effect at once.
    """

    ca_pem: str
    client_pem: str
    client_key_pem: str
    key_store: str
    trust_store: str
    password: str


def load_credentials(config: DevstackConfig) -> Credentials:
    """Read the client's certificates and wrap them into Java key stores. Raises DevstackError without a JDK."""
    certs = Layout(config).certs
    password = (certs / "material_passwd").read_text()
    client, key, ca = ((certs / name).read_bytes() for name in ("client.pem", "client.key", "ca.pem"))
    key_store, trust_store = java_key_stores(config.user, client, key, ca, password)
    return Credentials(
        ca_pem=ca.decode(),
        client_pem=client.decode(),
        client_key_pem=key.decode(),
        key_store=base64.b64encode(key_store).decode(),
        trust_store=base64.b64encode(trust_store).decode(),
        password=password,
    )
