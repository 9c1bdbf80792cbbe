"""What an installation needs beside the wheel: packages, jars, and a folder of DAGs to begin with."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from pathlib import Path

import hopsworks_flink
from hopsworks_flink.exceptions import ConfigurationError

MAVEN_CENTRAL = "https://repo1.maven.org/maven2"
_PACKAGE = Path(hopsworks_flink.__file__).resolve().parent
_REQUIREMENTS = _PACKAGE / "requirements"
_SECONDS = 60
_EXAMPLE = "card_transactions.yaml"
_SCHEMA = "pipeline.schema.json"
#: Tells an editor with the YAML language server where the schema is: beside the file.
SCHEMA_LINE = f"# yaml-language-server: $schema={_SCHEMA}"
_FLAT_DAG = '''"""The DAG of Airflow that the platform finds by this file's name."""

from pathlib import Path

from hopsworks_flink.dags import {verb}_dag
from hopsworks_flink.pipeline.spec import Pipeline

{verb}_dag(Pipeline.from_yaml(Path(__file__).parent / "{name}.yaml"), {arguments})
'''
_STARTER_TEST = '''"""Features of the example for a handful of events: pip install duckdb pytest."""

from pathlib import Path

from hopsworks_flink.testing import evaluate

PIPELINE = Path(__file__).parent.parent / "pipelines" / "card_transactions.yaml"
NOON = 1_735_732_800_000  # milliseconds since the epoch


def purchase(seconds, amount, card=7):
    return {"tid": "t", "datetime": NOON + seconds * 1000, "cc_num": card, "amount": amount}


def test_two_purchases_within_ten_minutes():
    features = evaluate(PIPELINE, [purchase(0, 10.0), purchase(30, 14.0)])
    first = features["card_transactions_10m_agg_2"][0]
    assert first["num_trans_per_10m"] == 2
    assert first["avg_amt_per_10m"] == 12.0
'''


def requirements(airflow: str | None, missing: bool) -> list[str]:
    """Lines for ``pip install --no-deps -r``: versions that were tested together.

    The Hopsworks SDK and Airflow 3.2 or newer each declare a SQLAlchemy that the other does not take, though they work
    together: no resolver installs both.

    :param airflow: which Airflow; None: the one that is installed.
    :param missing: leave out what is installed, in whatever version.
    :raises ConfigurationError: there are no tested versions for this Airflow.
    """
    known = {path.stem.removeprefix("airflow-"): path for path in _REQUIREMENTS.glob("airflow-*.txt")}
    listed = ", ".join(sorted(known))
    if airflow is None:
        try:
            airflow = importlib.metadata.version("apache-airflow")
        except importlib.metadata.PackageNotFoundError:
            raise ConfigurationError(f"Airflow is not installed here: name one with --airflow, of {listed}.") from None
    # Releases of one minor version take the same packages.
    found = known.get(airflow) or next((known[at] for at in known if _minor(at) == _minor(airflow)), None)
    if found is None:
        raise ConfigurationError(f"No tested versions for Airflow {airflow}; there are some for {listed}.")
    lines = [line for line in found.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return [line for line in lines if not missing or _is_missing(line)]


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def _is_missing(line: str) -> bool:
    from packaging.requirements import Requirement

    requirement = Requirement(line)
    if requirement.marker is not None and not requirement.marker.evaluate():
        return False
    try:
        importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return True
    return False


def fetch_jars(folder: str, repository: str) -> Iterator[str]:
    """Bring the jars that jobs take along into a folder, and name each one that was not there, or was another one.

    :param repository: URL of a Maven repository.
    :raises ConfigurationError: a jar cannot be fetched, or is not the one that was tested.
    """
    from hopsworks_flink.clients.flink.files import OWN_JARS, programs_folder

    target, connectors = Path(folder), programs_folder() / "connectors"
    sums = (line.split() for line in (connectors / "SHA256SUMS").read_text(encoding="utf-8").splitlines())
    digests = {name: digest for digest, name in sums}
    for part in (connectors, connectors / "parquet"):
        place = target / part.relative_to(connectors)
        place.mkdir(parents=True, exist_ok=True)
        for path in _artifacts(part / "pom.xml"):
            name = path.rpartition("/")[2]
            if not (place / name).is_file() or _digest((place / name).read_bytes()) != digests[name]:
                _write(place / name, _download(f"{repository.rstrip('/')}/{path}", digests[name]))
                yield str(place / name)
    (target / OWN_JARS).mkdir(exist_ok=True)
    own = sorted((connectors / "jars" / OWN_JARS).glob("*.jar"))
    if not own:
        pom = programs_folder() / "java" / "pom.xml"
        raise ConfigurationError(f"This package's own jar is not built: mvn -f {pom} package (a wheel has it).")
    for jar in own:
        # Its name is the same in each version of the package.
        copy = target / OWN_JARS / jar.name
        if not copy.is_file() or copy.read_bytes() != jar.read_bytes():
            _write(copy, jar.read_bytes())
            yield str(copy)


def _artifacts(pom: Path) -> Iterator[str]:
    """Paths in a Maven repository of a pom's dependencies."""
    names = {"m": "http://maven.apache.org/POM/4.0.0"}
    root = ElementTree.parse(pom).getroot()  # noqa: S314 - a file of this package
    properties = {item.tag.rpartition("}")[2]: item.text or "" for item in root.iterfind("m:properties/*", names)}
    for dependency in root.iterfind("m:dependencies/m:dependency", names):
        group, artifact, version = (dependency.findtext(f"m:{part}", "", names) for part in _COORDINATES)
        version = re.sub(r"\$\{(.+?)\}", lambda match: properties[match[1]], version)
        yield f"{group.replace('.', '/')}/{artifact}/{version}/{artifact}-{version}.jar"


_COORDINATES = ("groupId", "artifactId", "version")


def _download(url: str, sha256: str) -> bytes:
    import requests

    try:
        answer = requests.get(url, timeout=_SECONDS)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise ConfigurationError(f"{url} cannot be fetched: {error}. Another repository: --repository URL.") from error
    if _digest(answer.content) != sha256:
        raise ConfigurationError(f"{url} is not the jar that was tested: its SHA-256 differs.")
    return answer.content


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(path: Path, content: bytes) -> None:
    # A jar is never half there.
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.replace(path)


def init(folder: str) -> list[str]:
    """Make a DAG folder to begin with: DAG files, an example of a pipeline file, a test of its features.

    :return: the files that were written.
    :raises ConfigurationError: one of them is there already; nothing is written then.
    """
    shipped = _dags()
    contents: dict[str, str | bytes] = {p.name: p.read_text(encoding="utf-8") for p in sorted(shipped.glob("*.py"))}
    example = (shipped / "pipelines" / _EXAMPLE).read_text(encoding="utf-8")
    contents[f"pipelines/{_EXAMPLE}"] = f"{SCHEMA_LINE}\n{example}"
    contents[f"pipelines/{_SCHEMA}"] = schema_text()
    contents["tests/test_features.py"] = _STARTER_TEST
    # Airflow reads every Python file of the folder that speaks of it.
    contents[".airflowignore"] = "tests/\n"
    return _write_new(Path(folder), contents)


def init_for_hopsworks(folder: str, project: str, project_id: int, file: str | None) -> list[str]:
    """Make DAG files for the Airflow inside Hopsworks: flat, one DAG each, under the ids that it looks for.

    The platform makes the id ``p_<project>_<project id>__<name>`` of the file's name, and shows no other DAG of a file.

    :param file: the pipeline file; None: the example.
    :return: the files that were written.
    :raises PipelineError: the pipeline file is wrong.
    :raises ConfigurationError: a file is there already; nothing is written then.
    """
    from hopsworks_flink.pipeline.spec import Pipeline
    from hopsworks_flink.pipeline.spec.loading import load_yaml
    from hopsworks_flink.pipeline.spec.source import protobuf

    path = Path(file) if file else _dags() / "pipelines" / _EXAMPLE
    pipeline = Pipeline.from_yaml(path)
    ids = f"p_{re.sub('[^a-z0-9]+', '_', project.lower())}_{project_id}__{pipeline.name}"
    text = path.read_text(encoding="utf-8")
    contents: dict[str, str | bytes] = {f"{pipeline.name}.yaml": text}
    events = load_yaml(text).data["source"]
    for records in (events, *(events.get("join") or {}).values()):
        # What has been read holds the content; the file beside the DAGs names another one again.
        named = records.get("descriptor")
        if named is not None and not named.startswith(protobuf.CONTENT):
            contents[named] = (path.parent / named).read_bytes()
    for verb in sorted(source.stem for source in _dags().glob("*.py") if source.stem != "pipeline_errors"):
        more = f', deploy_dag_id="{ids}__deploy"' if verb in ("audit", "supervise", "undeploy") else ""
        contents[f"{pipeline.name}__{verb}.py"] = _FLAT_DAG.format(
            verb=verb, name=pipeline.name, arguments=f'dag_id="{ids}__{verb}"{more}'
        )
    return _write_new(Path(folder), contents)


def schema_text() -> str:
    """JSON Schema of the pipeline file."""
    from hopsworks_flink.pipeline.spec.schema import json_schema

    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def _write_new(target: Path, contents: Mapping[str, str | bytes]) -> list[str]:
    if there := [str(target / name) for name in contents if (target / name).exists()]:
        raise ConfigurationError(f"{', '.join(there)}: there already; nothing was written.")
    for name, content in contents.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return [str(target / name) for name in contents]


def _dags() -> Path:
    """``dags`` of a checkout, else the copy that the wheel carries."""
    checkout = _PACKAGE.parents[1] / "dags"
    return checkout if (checkout / "deploy.py").is_file() else _PACKAGE / "starter"
