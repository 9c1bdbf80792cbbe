"""The client of a schema registry, and the connection that leads to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hopsworks_flink.clients.kafka.java_properties import credentials_fingerprint
from hopsworks_flink.clients.registry import RegistryConnection, schema_of
from hopsworks_flink.exceptions import ConfigurationError, KafkaError, PipelineError
from hopsworks_flink.hooks.registry_connection import registries, registries_shown, schemas_of
from hopsworks_flink.pipeline.plan import bindings, compile_plan
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support.fixtures import set_connection
from tests.support.pipelines import PLAIN, registered
from tests.support.registry_stub import RegistryStub, registry_stub

SCHEMA = {"type": "record", "name": "r", "fields": [{"name": "k", "type": "long"}]}
SPEC = {
    "name": "p",
    "source": {
        "topic": "t",
        "framing": "confluent",
        "registry": "readings",
        "schema": {"k": {"type": "bigint", "path": "a.k"}},
        "event_time": "kafka_timestamp",
    },
    "feature_groups": [{"name": "g", "key": ["k"], "window": {"size": "1m"}, "aggregates": {"n": "count"}}],
}


@pytest.fixture
def registry() -> Iterator[RegistryStub]:
    with registry_stub() as stub:
        stub.schemas = {3: SCHEMA}
        yield stub


@pytest.mark.airflow
def test_schemas_of_a_connection(registry: RegistryStub, monkeypatch: pytest.MonkeyPatch) -> None:
    set_connection(monkeypatch, "readings", conn_type="http", host=f"{registry.url}/", login="me", password="pass:wörd")
    schemas = schemas_of(Pipeline.parse(SPEC).source)
    assert schemas is not None
    assert schemas(3) == SCHEMA
    assert schemas(4) is None
    assert registry.requests[0] == ("/schemas/ids/3", "Basic bWU6cGFzczp3w7ZyZA==")


@pytest.mark.airflow
def test_the_hosts_entry_in_a_netrc_is_not_the_connections(
    registry: RegistryStub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for extra, sent in ({"token": "t0ken"}, "Bearer t0ken"), ({}, None):
        set_connection(monkeypatch, "readings", conn_type="http", host=registry.url, extra=extra)
        schemas = schemas_of(Pipeline.parse(SPEC).source)
        assert schemas is not None
        assert schemas(3) == SCHEMA
        assert registry.requests[-1][1] == sent


@pytest.mark.airflow
def test_what_a_job_gets(registry: RegistryStub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("-----BEGIN CERTIFICATE-----\n")
    extra = {"token": "t0ken's", "ca_path": str(ca)}
    set_connection(
        monkeypatch, "readings", conn_type="http", host="registry/apis", schema="https", port=81, extra=extra
    )
    pipeline = Pipeline.parse(SPEC)
    made = bindings(
        pipeline,
        source_kafka=PLAIN,
        sink_kafka=PLAIN,
        ingestion_ids={"g_1": 1},
        registries=registries(pipeline),
    )
    assert made["values"]["source_registry"].splitlines() == [
        "'hopsworks-events.registry.authorization' = 'Bearer t0ken''s',",
        "  'hopsworks-events.registry.ca' = '-----BEGIN CERTIFICATE-----",
        "',",
        "  'hopsworks-events.registry.url' = 'https://registry:81/apis'",
    ]
    assert "Bearer t0ken's" in made["secrets"]
    source = compile_plan(pipeline, registered(pipeline)).statements[0]
    assert isinstance(source, str)
    assert "${source_registry}" in source
    assert "'hopsworks-events.framing' = 'confluent'" in source
    with pytest.raises(PipelineError, match="no address of the registry 'readings'"):
        bindings(pipeline, source_kafka=PLAIN, sink_kafka=PLAIN, ingestion_ids={"g_1": 1})


@pytest.mark.airflow
@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "host is empty; give the URL of the schema registry's API"),
        ({"host": "http://me:secret@registry"}, "without user and password"),
        ({"host": "registry", "extra": {"token": 3}}, "extra 'token' must be a text"),
        ({"host": "registry", "login": "me", "extra": {"token": "x"}}, "leave one of them empty"),
        ({"host": "registry", "extra": {"ca_path": "/none/ca.pem"}}, "ca_path /none/ca.pem cannot be read"),
    ],
)
def test_connections_that_are_wrong(fields: dict[str, Any], problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_connection(monkeypatch, "readings", conn_type="http", **fields)
    with pytest.raises(ConfigurationError, match=problem):
        registries(Pipeline.parse(SPEC))


@pytest.mark.airflow
def test_a_connection_that_is_not_there() -> None:
    with pytest.raises(
        ConfigurationError, match=r"'readings', which the pipeline names as a registry\. Create one of type 'http'"
    ):
        registries(Pipeline.parse(SPEC))


def test_a_registry_that_does_not_answer(registry: RegistryStub) -> None:
    connection = RegistryConnection(registry.url)
    registry.failures = [401]
    with pytest.raises(KafkaError, match="cannot be read: 401 Client Error"):
        schema_of(connection, 3)
    with registry_stub() as elsewhere:
        gone = RegistryConnection(elsewhere.url)
    with pytest.raises(KafkaError, match="cannot be read"):
        schema_of(gone, 3)
    assert "secret" not in repr(RegistryConnection("http://x", "Basic secret"))


@pytest.mark.airflow
def test_a_renewed_user_of_the_registry_is_told_and_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("-----BEGIN CERTIFICATE-----\n")

    def fingerprint(**fields: Any) -> str:
        set_connection(monkeypatch, "readings", conn_type="http", **{"host": "https://registry", **fields})
        return credentials_fingerprint(PLAIN, others=registries_shown(Pipeline.parse(SPEC)))

    first = fingerprint(login="me", password="one")
    assert fingerprint(login="me", password="two") == first
    others = [
        fingerprint(login="you", password="one"),
        fingerprint(extra={"token": "one"}),
        fingerprint(host="https://other", login="me", password="one"),
        fingerprint(login="me", password="one", extra={"ca_path": str(ca)}),
        fingerprint(),
        credentials_fingerprint(PLAIN),
    ]
    assert len({first, *others}) == 7
    assert fingerprint(extra={"token": "two"}) == others[1]
    plain = {**SPEC["source"], "registry": None, "framing": None, "format": "json"}
    assert registries_shown(Pipeline.parse({**SPEC, "source": plain})) == []


@pytest.mark.airflow
def test_each_topic_has_its_own_registry(registry: RegistryStub, monkeypatch: pytest.MonkeyPatch) -> None:
    set_connection(monkeypatch, "readings", conn_type="http", host=registry.url)
    set_connection(
        monkeypatch, "plants", conn_type="http", host="http://plants", login="me", password="Secret of plants"
    )

    def join(topic: str, **more: Any) -> dict[str, Any]:
        return {"topic": topic, "schema": {"of": "bigint", topic: "string"}, "by": {"k": "of"}, **more}

    joins = {
        "plant": join("plant", framing="confluent", registry="plants"),
        "room": join("room", framing="confluent", registry="readings"),
        "roof": join("roof"),
    }
    pipeline = Pipeline.parse({**SPEC, "source": {**SPEC["source"], "join": joins}})
    assert pipeline.source.registries == ["readings", "plants"]
    made = bindings(
        pipeline, source_kafka=PLAIN, sink_kafka=PLAIN, ingestion_ids={"g_1": 1}, registries=registries(pipeline)
    )
    assert "'http://plants'" in made["values"]["join_plant_registry"]
    assert made["values"]["join_room_registry"] == made["values"]["source_registry"]
    assert "join_roof_registry" not in made["values"]
    (secret,) = (value for value in made["secrets"] if value.startswith("Basic "))
    assert secret in made["values"]["join_plant_registry"]
    sql = [step for step in compile_plan(pipeline, registered(pipeline)).statements if isinstance(step, str)]
    (plant,) = (step for step in sql if "'topic' = 'plant'" in step)
    assert "${join_plant_registry}" in plant
    assert "${source_registry}" not in plant
    told = registries_shown(pipeline)
    assert {registry.url, "http://plants", "me"} < set(told)
    assert not any("Secret" in fact for fact in told)
    with pytest.raises(PipelineError, match="no address of the registry 'plants'"):
        bindings(
            pipeline,
            source_kafka=PLAIN,
            sink_kafka=PLAIN,
            ingestion_ids={"g_1": 1},
            registries={"readings": {"url": registry.url}},
        )
