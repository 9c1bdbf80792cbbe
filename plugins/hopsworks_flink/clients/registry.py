"""A schema registry: how it is reached, and the schemas that it has. Its API is that of Confluent's and of others."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hopsworks_flink.clients.addresses import service_url
from hopsworks_flink.clients.tls import reason_of
from hopsworks_flink.exceptions import ConfigurationError, KafkaError

_SECONDS = 10.0


@dataclass(frozen=True)
class RegistryConnection:
    """Where a registry is and what it needs.

    :param url: of its API, without a slash at the end.
    :param authorization: header of each request; None: none.
    :param ca_path: PEM file of those who vouch for its certificate; None: the well-known CAs.
    :param user: whose authorization that is; None: a token's, or nobody's.
    """

    url: str
    authorization: str | None = field(default=None, repr=False)
    ca_path: str | None = None
    user: str | None = None

    @classmethod
    def from_airflow(cls, connection: Any) -> RegistryConnection:
        """Read Airflow's connection (of type ``http``): host, port, schema, login and password; extra: token, ca_path.

        :raises ConfigurationError: a field is missing or wrong; the text names it.
        """
        where = f"connection {connection.conn_id!r}"
        url = service_url(connection, where, "the URL of the schema registry's API, e.g. https://registry:8081")
        extra = connection.extra_dejson
        for name in ("token", "ca_path"):
            if not isinstance(extra.get(name) or "", str):
                raise ConfigurationError(f"{where}: extra {name!r} must be a text.")
        if connection.login and extra.get("token"):
            raise ConfigurationError(f"{where}: has a login, and a token in the extra; leave one of them empty.")
        return cls(url, _authorization(connection, extra), extra.get("ca_path") or None, connection.login or None)

    def options(self) -> dict[str, str]:
        """What a job needs to reach it.

        :raises ConfigurationError: the CA's certificate cannot be read.
        """
        found = {"url": self.url}
        if self.authorization:
            found["authorization"] = self.authorization
        if self.ca_path:
            try:
                found["ca"] = Path(self.ca_path).read_text(encoding="ascii")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError(f"The registry's ca_path {self.ca_path} cannot be read: {error}") from None
        return found

    def public(self) -> list[str]:
        """What a job was given by which it could tell another registry or user; no secret, nor a trace of one.

        :raises ConfigurationError: as `options`.
        """
        found = self.options()
        return [found["url"], found.get("ca", ""), found.get("authorization", "").partition(" ")[0], self.user or ""]


def _authorization(connection: Any, extra: dict[str, Any]) -> str | None:
    if token := extra.get("token"):
        return f"Bearer {token}"
    if not connection.login:
        return None
    pair = f"{connection.login}:{connection.password or ''}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def schema_of(registry: RegistryConnection, number: int) -> Any:
    """The schema of an id (JSON data); None if there is none.

    :raises ValueError: it is none that a record is read with; the text goes on behind its name, as those of
        `hopsworks_flink.pipeline.spec.source.avro.parse_schema`, and is that of the job.
    :raises KafkaError: the registry does not answer, or refuses the request.
    """
    import requests

    def sign(request: Any) -> Any:
        if registry.authorization:
            request.headers["Authorization"] = registry.authorization
        return request

    try:
        # Not as a header, in whose place requests puts what a ~/.netrc has for the host.
        answer = requests.get(
            f"{registry.url}/schemas/ids/{number}", auth=sign, verify=registry.ca_path or True, timeout=_SECONDS
        )
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        found = answer.json()
    except (requests.RequestException, ValueError) as error:
        raise KafkaError(f"The schema registry {registry.url} cannot be read: {reason_of(error)}") from None
    return _schema(found if isinstance(found, dict) else {})


def _schema(found: Mapping[str, Any]) -> Any:
    # A stray producer's schema is a fault of its records: an error of the registry would stop all that reads the topic.
    kind = found.get("schemaType")
    if kind not in (None, "AVRO"):
        raise ValueError(f"is of {kind}, not of Avro")
    if found.get("references"):
        raise ValueError("refers to others, which is not read")
    try:
        return json.loads(found["schema"])
    except (ValueError, KeyError, TypeError):
        raise ValueError("is no schema of Avro") from None
