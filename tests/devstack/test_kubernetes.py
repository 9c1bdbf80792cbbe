"""The manifests of docs/kubernetes: against the schema of the operator, the options of Flink, and what is tested."""

from __future__ import annotations

import copy
import json
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from devstack import flink
from devstack.config import REPOSITORY, DevstackConfig

FOLDER = REPOSITORY / "docs" / "kubernetes"
DEPLOYMENT: dict[str, Any] = yaml.safe_load((FOLDER / "flink-session.yaml").read_text())
POLICY: dict[str, Any] = yaml.safe_load((FOLDER / "network-policy.yaml").read_text())
#: From the operator's public repository: the file says which version, and under which licence.
SCHEMA = json.loads((REPOSITORY / "tests" / "support" / "kubernetes" / "flinkdeployment.json").read_text())
#: What is Kubernetes' own, or a matter of size.
NOT_LOCAL = {
    "high-availability.type",
    "kubernetes.rest-service.exposed.type",
    "resourcemanager.taskmanager-timeout",
    "execution.checkpointing.interval",
    "execution.checkpointing.timeout",
    "python.executable",
    "python.client.executable",
}


def strict(schema: Any) -> Any:
    """The same schema, refusing fields that it does not know: Kubernetes would drop them in silence."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    if isinstance(found.get("properties"), dict) and found.get("type") == "object":
        found.setdefault("additionalProperties", found.get("x-kubernetes-preserve-unknown-fields", False))
    return found


def problems(deployment: dict[str, Any]) -> list[str]:
    # Kubernetes' own part of an object is not in the schema.
    own = {key: value for key, value in deployment.items() if key not in ("apiVersion", "kind", "metadata")}
    return [error.json_path for error in Draft202012Validator(strict(SCHEMA)).iter_errors(own)]


def test_the_session_cluster_fits_the_operator_s_schema() -> None:
    assert (DEPLOYMENT["apiVersion"], DEPLOYMENT["kind"]) == ("flink.apache.org/v1beta1", "FlinkDeployment")
    assert problems(DEPLOYMENT) == []
    # Session mode: jobs come through the REST API.
    assert "job" not in DEPLOYMENT["spec"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("flinkVersion", "2.3"),
        ("jobManager.replica", 2),
        ("taskManager.resource.cpu", "four"),
        ("podTemplate.spec.containers", {"name": "one"}),
        ("podTemplate.spec.securityContext.runAsRoot", False),
    ],
)
def test_the_schema_would_find_a_mistake(path: str, value: Any) -> None:
    wrong = copy.deepcopy(DEPLOYMENT)
    *parents, last = path.split(".")
    at = wrong["spec"]
    for parent in parents:
        at = at[parent]
    at[last] = value
    assert problems(wrong)


def options_of_flink() -> Iterator[bytes]:
    """The classes in which Flink declares its options."""
    home = flink.distribution()
    for jar in (*home.glob("lib/flink-dist-*.jar"), *home.glob("opt/flink-python-*.jar")):
        with zipfile.ZipFile(jar) as archive:
            for name in archive.namelist():
                if re.fullmatch(r"org/apache/flink/.*(Options|Options\$\w+|OptionsInternal)\.class", name):
                    yield archive.read(name)


def test_every_option_is_one_of_this_flink() -> None:
    """A misspelt one would be ignored in silence."""
    declared = b"\0".join(options_of_flink())
    given = DEPLOYMENT["spec"]["flinkConfiguration"]
    assert [name for name in given if name.encode() not in declared] == []


def test_what_jobs_rely_on_is_as_in_the_cluster_that_is_tested() -> None:
    """`make cluster` runs with an object store and high availability."""
    given = DEPLOYMENT["spec"]["flinkConfiguration"]
    store = given["execution.checkpointing.dir"].removesuffix("/checkpoints")
    assert store.startswith("s3://")
    tested = flink.settings(DevstackConfig(flink_state=store, flink_high_availability=True))
    different = {
        name: (value, tested.get(name))
        for name, value in given.items()
        if name not in NOT_LOCAL and str(value).lower() != str(tested.get(name)).lower()
    }
    assert different == {}
    assert {"high-availability.storageDir", "execution.checkpointing.externalized-checkpoint-retention"} <= set(given)


def test_image_and_plugin_have_the_version_of_the_jobs() -> None:
    (version,) = re.findall(r'"apache-flink==([\d.]+)"', (REPOSITORY / "flink_jobs" / "pyproject.toml").read_text())
    docker = (FOLDER / "Dockerfile").read_text()
    assert f"FROM flink:{version}-" in docker
    assert f"apache-flink=={version}\n" in docker
    assert DEPLOYMENT["spec"]["image"].endswith(f":{version}")
    assert DEPLOYMENT["spec"]["flinkVersion"] == "v" + "_".join(version.split(".")[:2])
    (container,) = DEPLOYMENT["spec"]["podTemplate"]["spec"]["containers"]
    assert container["env"] == [{"name": "ENABLE_BUILT_IN_PLUGINS", "value": f"flink-s3-fs-hadoop-{version}.jar"}]
    assert DEPLOYMENT["spec"]["flinkConfiguration"]["python.executable"].startswith("/opt/pyflink/")
    assert "/opt/pyflink" in docker
    assert f"<flink.version>{version}</flink.version>" in (REPOSITORY / "devstack/flink/s3/pom.xml").read_text()


def test_the_policy_is_about_the_cluster_s_pods() -> None:
    name = DEPLOYMENT["metadata"]["name"]
    assert POLICY["metadata"]["namespace"] == DEPLOYMENT["metadata"]["namespace"]
    # The operator's native mode labels them so.
    assert POLICY["spec"]["podSelector"]["matchLabels"] == {"app": name}
    within, others = POLICY["spec"]["ingress"]
    assert within["from"] == [{"podSelector": {"matchLabels": {"app": name}}}]
    assert [port["port"] for port in others["ports"]] == [8081]
