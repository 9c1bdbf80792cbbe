"""`init`, `jars` and `requirements`: what an installation needs beside the wheel."""

from __future__ import annotations

import importlib.metadata
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hopsworks_flink.cli import main
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support import REPOSITORY
from tests.support.airflow_names import DagBag

SHIPPED = REPOSITORY / "plugins" / "hopsworks_flink" / "requirements"
JARS = REPOSITORY / "flink_jobs" / "connectors" / "jars"
GROUPS = {"flink": "org/apache/flink", "zstd": "com/github/luben", "hadoop": "org/apache/hadoop"}


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A Maven repository over HTTP, with the jars that Maven has fetched; its URL and its folder."""
    root = tmp_path / "repository"
    for jar in [*JARS.glob("*.jar"), *JARS.glob("parquet/*.jar")]:
        found = re.fullmatch(r"(.+?)-(\d.*)", jar.stem)
        assert found is not None
        name, version = found.groups()
        folder = root / GROUPS[name.partition("-")[0]] / name / version
        folder.mkdir(parents=True)
        (folder / jar.name).symlink_to(jar)

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", root
    server.shutdown()
    server.server_close()


def test_all_jars_are_fetched_once(repository: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    url, _ = repository
    target = tmp_path / "jars"
    assert main(["jars", str(target), "--repository", url]) == 0
    there = {str(path.relative_to(target)) for path in target.rglob("*.jar")}
    assert there == {str(path.relative_to(JARS)) for path in JARS.rglob("*.jar")}
    assert len(capsys.readouterr().out.splitlines()) == len(there)
    assert main(["jars", str(target), "--repository", "http://127.0.0.1:1"]) == 0
    assert capsys.readouterr().out == ""


def test_the_jar_of_an_older_version_of_this_package_is_replaced(
    repository: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    url, _ = repository
    assert main(["jars", str(tmp_path / "jars"), "--repository", url]) == 0
    capsys.readouterr()
    (own,) = (tmp_path / "jars" / "java").glob("*.jar")
    own.write_bytes(b"an older one")
    assert main(["jars", str(tmp_path / "jars"), "--repository", url]) == 0
    assert capsys.readouterr().out.splitlines() == [str(own)]
    assert own.read_bytes() == (JARS / "java" / own.name).read_bytes()


def test_another_jar_is_refused(repository: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    url, root = repository
    (jar,) = root.rglob("flink-sql-avro-*.jar")
    jar.unlink()
    jar.write_bytes(b"not this one")
    assert main(["jars", str(tmp_path / "jars"), "--repository", url]) == 1
    assert "flink-sql-avro-2.3.0.jar is not the jar that was tested: its SHA-256 differs" in capsys.readouterr().err
    assert not list((tmp_path / "jars").glob("flink-sql-avro*"))


def test_a_repository_that_does_not_answer(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["jars", str(tmp_path), "--repository", "http://127.0.0.1:1"]) == 1
    assert "cannot be fetched" in capsys.readouterr().err


def test_a_folder_to_begin_with(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    target = tmp_path / "dags"
    assert main(["init", str(target)]) == 0
    written = {Path(line).relative_to(target) for line in capsys.readouterr().out.splitlines()}
    assert written == {path.relative_to(target) for path in target.rglob("*") if path.is_file()}
    for file in (REPOSITORY / "dags").glob("*.py"):
        assert (target / file.name).read_text() == file.read_text()
    # A second time nothing is overwritten, and nothing is half-written beside it.
    (target / "deploy.py").unlink()
    assert main(["init", str(target)]) == 1
    assert "there already; nothing was written" in capsys.readouterr().err
    assert not (target / "deploy.py").exists()


@pytest.mark.parametrize("option", ["--project=demo", "--project-id=0", "--pipeline=mine.yaml"])
def test_options_of_another_kind_of_folder_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture, option: str
) -> None:
    assert main(["init", str(tmp_path / "dags"), option]) == 1
    assert "are for --hopsworks-airflow; add it" in capsys.readouterr().err
    assert not (tmp_path / "dags").exists()


@pytest.mark.parametrize("command", ["init", "jars"])
def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, capsys: pytest.CaptureFixture, command: str) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert main([command, str(file)]) == 1
    assert capsys.readouterr().err == f"error: {file}: File exists.\n"
    assert file.read_text() == "mine"


def test_its_test_passes(tmp_path: Path) -> None:
    assert main(["init", str(tmp_path)]) == 0
    assert pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(tmp_path / "tests")]) == 0


def test_files_for_the_airflow_inside_hopsworks(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """One DAG in each file, under the id that the platform makes of project and file name."""
    arguments = ["init", str(tmp_path), "--hopsworks-airflow"]
    assert main(arguments) == 1
    assert "needs --project and --project-id" in capsys.readouterr().err
    assert main([*arguments, "--project", "Fraud Demo", "--project-id", "119"]) == 0
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files[0] == "card_transactions.yaml"
    bag = DagBag(dag_folder=str(tmp_path))
    assert bag.import_errors == {}
    assert {Path(dag.fileloc).stem: dag_id for dag_id, dag in bag.dags.items()} == {
        name.removesuffix(".py"): f"p_fraud_demo_119__{name.removesuffix('.py')}" for name in files[1:]
    }
    supervise = bag.dags["p_fraud_demo_119__card_transactions__supervise"].task_dict["supervise_job"]
    assert supervise.deploy_dag_id in bag.dags
    # Nothing waits in a triggerer, of which the platform has none.
    assert not [task for dag in bag.dags.values() for task in dag.tasks if getattr(task, "deferrable", False)]


def test_the_descriptor_of_a_pipeline_goes_along(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    example = REPOSITORY / "dags" / "pipelines" / "examples" / "customer_orders.yaml"
    arguments = ["init", str(tmp_path), "--hopsworks-airflow", "--project", "demo", "--project-id", "119"]
    assert main([*arguments, "--pipeline", str(example)]) == 0
    assert str(tmp_path / "protos" / "orders.desc") in capsys.readouterr().out
    assert Pipeline.from_yaml(tmp_path / "customer_orders.yaml") == Pipeline.from_yaml(example)


@pytest.mark.parametrize("airflow", ["3.0.6", "3.1.8", "3.3.2"])
def test_packages_that_were_tested_together(airflow: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["requirements", "--airflow", airflow]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"apache-airflow=={airflow}" in lines
    assert any(line.startswith("hopsworks==") for line in lines)
    assert all("==" in line for line in lines)


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.txt")), ids=lambda file: file.stem)
def test_they_are_those_of_the_locks(file: Path) -> None:
    """Otherwise: make requirements."""
    airflow = file.stem.removeprefix("airflow-")
    lock = REPOSITORY / "tests" / "airflow" / f"requirements-{airflow}.txt"
    if lock.is_file():
        pinned = {line for line in lock.read_text().splitlines() if "==" in line}
    else:
        text = (REPOSITORY / "uv.lock").read_text()
        pinned = {"==".join(found) for found in re.findall(r'^name = "(.+)"\nversion = "(.+)"$', text, re.M)}
    shown = {line for line in file.read_text().splitlines() if "==" in line}
    assert {line if lock.is_file() else line.partition(" ;")[0] for line in shown} <= pinned


def test_what_is_installed_is_left_alone(capsys: pytest.CaptureFixture) -> None:
    assert main(["requirements", "--missing"]) == 0
    shown = capsys.readouterr().out
    assert "apache-airflow==" not in shown
    assert "hopsworks==" not in shown
    installed = importlib.metadata.version("apache-airflow")
    assert main(["requirements"]) == 0
    assert f"apache-airflow=={installed}" in capsys.readouterr().out


def test_an_airflow_that_was_not_tested(capsys: pytest.CaptureFixture) -> None:
    assert main(["requirements", "--airflow", "3.3.9"]) == 0
    assert "apache-airflow==3.3.2" in capsys.readouterr().out
    assert main(["requirements", "--airflow", "2.10.0"]) == 1
    assert "No tested versions for Airflow 2.10.0; there are some for 3.0.6, 3.1.8, 3.3.2" in capsys.readouterr().err
