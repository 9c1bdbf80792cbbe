"""The Hopsworks hook and operators against the local server, through the unmodified SDK."""

from __future__ import annotations

import glob
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import fastavro
import pandas as pd
import pytest
from confluent_kafka.admin import AdminClient

from devstack.stack import Stack
from hopsworks_flink._compat import AirflowFailException
from hopsworks_flink.exceptions import (
    ConfigurationError,
    HopsworksConflictError,
    HopsworksConnectionError,
    HopsworksFlinkError,
    HopsworksNotFoundError,
)
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.operators.hopsworks import (
    HopsworksCreateFeatureGroupOperator,
    HopsworksCreateTopicOperator,
    HopsworksMaterializeFeatureGroupOperator,
)
from tests.support.fixtures import set_connection, task_context

# Names that no other test of the session's stack uses, and no earlier run of a stack that was kept.
RUN = f"{time.time_ns() // 1_000_000 % 100_000_000}"
FEATURES = [{"name": "card", "type": "bigint"}, {"name": "amount", "type": "double", "description": "money"}]
SCHEMA = {"type": "record", "name": "event", "fields": [{"name": "a", "type": ["null", "long"]}]}


@pytest.fixture
def connection(stack: Stack) -> dict[str, Any]:
    return stack.airflow_connections()["hopsworks_default"]


@pytest.fixture
def hook(connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> HopsworksHook:
    set_connection(monkeypatch, "hopsworks_default", **connection)
    return HopsworksHook()


def altered(connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch, **changes: Any) -> HopsworksHook:
    extra = {**connection["extra"], **changes.pop("extra", {})}
    set_connection(monkeypatch, "hopsworks_default", **{**connection, **changes, "extra": extra})
    return HopsworksHook()


@pytest.fixture(autouse=True)
def temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes have sessions too."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def certificate_folders() -> set[str]:
    return set(glob.glob(os.path.join(tempfile.gettempdir(), "hopsworks-session-*")))


def group_arguments(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": f"{name}_{RUN}",
        "version": 1,
        "features": FEATURES,
        "primary_key": ["card"],
        **changes,
    }


# --- login ----------------------------------------------------------------------------------------------------------


def test_session_leaves_nothing_behind(hook: HopsworksHook) -> None:
    before = certificate_folders()
    with hook.session() as session:
        assert session.project.name == "demo"
        assert len(certificate_folders() - before) == 1
    assert certificate_folders() == before
    assert hook.test_connection() == (True, "Logged in to project 'demo' (id 119)")


def test_session_ends_with_an_error_inside(hook: HopsworksHook) -> None:
    before = certificate_folders()
    with pytest.raises(RuntimeError, match="mine"), hook.session():
        raise RuntimeError("mine")
    assert certificate_folders() == before


def refusal(hook: HopsworksHook) -> str:
    """Why a session cannot be had: no retry would change it."""
    with pytest.raises(HopsworksFlinkError) as caught, hook.session():
        pass
    assert caught.value.permanent
    return str(caught.value)


def test_wrong_key(connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    hook = altered(connection, monkeypatch, password="wrong.key-that-is-nobodys")
    text = refusal(hook)
    assert "refused the API key" in text
    assert "nobodys" not in text


def test_unknown_project(connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    hook = altered(connection, monkeypatch, extra={"project": "nowhere"})
    assert "has no project 'nowhere'" in refusal(hook)


def test_certificate_of_an_unknown_authority(connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    hook = altered(connection, monkeypatch, extra={"trust_store_path": None})
    assert "its certificate is not accepted" in refusal(hook)


def test_environment_does_not_switch_verification_off(
    connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOPSWORKS_HOSTNAME_VERIFICATION", "False")
    monkeypatch.setenv("HOPSWORKS_PORT", "1")
    hook = altered(connection, monkeypatch, extra={"trust_store_path": None})
    assert "its certificate is not accepted" in refusal(hook)
    assert os.environ["HOPSWORKS_HOSTNAME_VERIFICATION"] == "False"


def test_verification_can_be_switched_off(connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    hook = altered(connection, monkeypatch, extra={"trust_store_path": None, "hostname_verification": False})
    with hook.session() as session:
        assert session.project.name == "demo"


def test_missing_ca_file(connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    hook = altered(connection, monkeypatch, extra={"trust_store_path": "/no/ca.pem"})
    assert "'/no/ca.pem' (trust_store_path) is not there" in refusal(hook)


def test_unreachable(connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    hook = altered(connection, monkeypatch, port=1)
    refused = pytest.raises(HopsworksConnectionError, match=r"at https://127\.0\.0\.1:1 cannot be reached: .*refused")
    with refused, hook.session():
        pass


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"password": ""}, "the API key is missing"),
        ({"host": ""}, "host is empty"),
        ({"host": "http://x"}, "must be a name or an https URL"),
        ({"extra": {"project": ""}}, "extra 'project' is missing"),
        ({"extra": {"hostname_verification": "perhaps"}}, "expected true or false"),
    ],
)
def test_bad_connection(
    connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], text: str
) -> None:
    monkeypatch.delenv("HOPSWORKS_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match=text):
        _ = altered(connection, monkeypatch, **changes).settings


# --- feature groups -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("hook")
def test_feature_group_is_created_once() -> None:
    def create() -> tuple[dict[str, Any], dict[str, Any]]:
        context = task_context()
        operator = HopsworksCreateFeatureGroupOperator(task_id="t", **group_arguments("once", version="1"))
        return operator.execute(context), context["ti"].pushed

    (first, links), (second, _) = create(), create()
    assert first["created"]
    assert not second["created"]
    assert {**first, "created": None} == {**second, "created": None}
    assert first["subject_id"] > 0
    assert links == {"feature_group_url": first["url"]}
    assert first["url"].endswith(f"/p/119/fs/67/fg/{first['feature_group_id']}")


@pytest.mark.usefixtures("hook")
def test_drift_names_every_difference() -> None:
    HopsworksCreateFeatureGroupOperator(task_id="t", **group_arguments("drift")).execute(task_context())
    other = group_arguments(
        "drift",
        features=[{"name": "card", "type": "string"}, {"name": "new", "type": "timestamp"}],
        primary_key=["card", "new"],
        event_time="new",
        online_enabled=False,
    )
    with pytest.raises(AirflowFailException) as caught:
        HopsworksCreateFeatureGroupOperator(task_id="t", **other).execute(task_context())
    for part in (
        "feature 'card' is bigint, wanted string",
        "feature 'new' (timestamp) is missing there",
        "feature 'amount' (double) exists there only",
        "the primary key is ['card'], wanted ['card', 'new']",
        "the event time is None, wanted 'new'",
        "online_enabled is True, wanted False",
    ):
        assert part in str(caught.value)


def test_creation_whose_answer_was_lost(hook: HopsworksHook) -> None:
    """The SDK has looked and found nothing; before it creates the group, another task does."""
    arguments = group_arguments("race")
    with hook.session() as session:
        store = session.feature_store
        look_up = store.get_or_create_feature_group
        created = []

        def late(**kwargs: Any) -> Any:
            found = look_up(**kwargs)
            if not created:
                created.append(True)
                session.create_feature_group(**arguments)
            return found

        store.get_or_create_feature_group = late
        _, new = session.create_feature_group(**arguments)
    assert not new


def test_description_has_what_a_job_needs(hook: HopsworksHook) -> None:
    with hook.session() as session:
        group, _ = session.create_feature_group(**group_arguments("described"))
        ref = session.describe(group)
        ingestions = {session.create_online_ingestion(group) for _ in range(2)}
    assert (ref.project_id, ref.topic) == (119, "demo_onlinefs")
    fields = [field["name"] for field in fastavro.parse_schema(json.loads(ref.avro_schema))["fields"]]
    assert fields == ["card", "amount"]
    assert len(ingestions) == 2


def test_unknown_feature_group(hook: HopsworksHook) -> None:
    with hook.session() as session, pytest.raises(HopsworksNotFoundError, match="Create it first"):
        session.get_feature_group("nothing_there", 1)


@pytest.mark.usefixtures("hook")
@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"version": "one"}, "version must be a whole number"),
        ({"version": 0}, "version must be at least 1"),
        ({"features": []}, "features must be a list that is not empty"),
        ({"features": [{"name": "a"}]}, r"features\[0\] must have a name and a type"),
        ({"primary_key": "card"}, "primary_key must be a list"),
        ({"time_travel_format": "PARQUET"}, "time_travel_format must be one of HUDI, DELTA, NONE"),
    ],
)
def test_bad_feature_group(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(AirflowFailException, match=text):
        HopsworksCreateFeatureGroupOperator(task_id="t", **group_arguments("bad", **changes)).execute(task_context())


# --- topics ---------------------------------------------------------------------------------------------------------


def create_topic(**changes: Any) -> dict[str, Any]:
    arguments = {"topic": f"events_{RUN}", "schema": SCHEMA, "partitions": 2, **changes}
    return HopsworksCreateTopicOperator(task_id="t", **arguments).execute(task_context())


@pytest.mark.usefixtures("hook")
def test_topic_is_created_once() -> None:
    first = create_topic(partitions="2")
    assert first["created"]
    second = create_topic(schema='{"name":"event", "type":"record", "fields":[{"type":["null","long"],"name":"a"}]}')
    assert second == {**first, "created": False}


@pytest.mark.usefixtures("hook")
def test_topic_drift_is_refused_and_changes_nothing() -> None:
    first = create_topic(topic=f"drift_{RUN}")
    other = {**SCHEMA, "fields": [{"name": "b", "type": "string"}]}
    with pytest.raises(AirflowFailException, match=r"exists \(version 1\) and differs"):
        create_topic(topic=f"drift_{RUN}", schema=other)
    with pytest.raises(AirflowFailException, match=r"exists with 2 partition\(s\), wanted 3"):
        create_topic(topic=f"drift_{RUN}", partitions=3)
    assert create_topic(topic=f"drift_{RUN}") == {**first, "created": False}


def test_topic_that_the_broker_has_lost_is_made_anew(hook: HopsworksHook, stack: Stack) -> None:
    topic = f"lost_{RUN}"
    first = create_topic(topic=topic)
    admin = AdminClient({"bootstrap.servers": stack.config.kafka_bootstrap})
    with hook.session() as session:
        assert session.topics.differences(topic, SCHEMA, partitions=2) == ([], [])
        admin.delete_topics([topic], operation_timeout=30)[topic].result(30)
        assert session.topics.differences(topic, SCHEMA, partitions=2) is None
    assert create_topic(topic=topic) == first
    with hook.session() as session:
        assert session.topic_end_offsets(topic) == {0: 0, 1: 0}


def test_kafka_of_the_feature_store(hook: HopsworksHook, stack: Stack) -> None:
    create_topic()
    with hook.session() as session:
        assert session.kafka_config()["bootstrap.servers"] == stack.config.kafka_bootstrap
        assert session.topic_end_offsets(f"events_{RUN}") == {0: 0, 1: 0}
        assert session.topic_end_offsets("no_such_topic") == {}


# --- materialization ------------------------------------------------------------------------------------------------


@pytest.fixture
def written(hook: HopsworksHook) -> dict[str, Any]:
    """A group with three rows on its topic, two of them of one key."""
    arguments = group_arguments("rows")
    with hook.session() as session:
        group, _ = session.create_feature_group(**arguments)
        rows = pd.DataFrame({"card": [1, 2, 2], "amount": [1.0, 2.0, 3.0]})
        group.insert(rows, write_options={"start_offline_materialization": False})
    return arguments


def materialize(arguments: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return HopsworksMaterializeFeatureGroupOperator(
        task_id="t", name=arguments["name"], version=1, poll_interval=0.5, timeout=120, **changes
    ).execute(task_context())


def test_materialization_follows_its_own_execution(written: dict[str, Any]) -> None:
    # Does not wait: the next one has to, and must not mistake this execution for its own.
    first = materialize(written, wait_for_completion=False)
    second = materialize(written)
    # What the first one brings is all there is: none of its own is needed.
    assert (second["execution_id"], second["executions"]) == (first["execution_id"], [])
    assert second["state"] == "FINISHED"
    assert second["final_status"] == "SUCCEEDED"
    assert sum(second["end_offsets"].values()) >= 3
    assert "rows_inserted" not in first
    third = materialize(written)
    assert (third["rows_inserted"], third["rows_updated"]) == (0, 0)


@pytest.mark.usefixtures("hook")
def test_materialization_of_an_unknown_group() -> None:
    with pytest.raises(AirflowFailException, match="does not exist"):
        materialize({"name": "nothing_there"})


def test_conflict_is_permanent() -> None:
    assert HopsworksConflictError.permanent
    assert not HopsworksConnectionError.permanent
