"""One bad file in a folder of pipelines is one error, whatever is bad about it."""

import os
import re

import pytest
import yaml

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.catalog import load_pipelines
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support import bad_files

CASES = {name: word for name, (_, word) in {**bad_files.TEXTS, **bad_files.KINDS}.items()}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "pipelines"
    folder.mkdir()
    (folder / "card_transactions.yaml").write_text(bad_files.GOOD)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_a_bad_file_is_one_error_and_the_pipelines_beside_it_stay(folder, name):
    path = bad_files.put(name, folder, 1)
    catalog = load_pipelines(folder)
    assert [pipeline.name for pipeline in catalog.pipelines] == ["card_transactions"]
    assert list(catalog.errors) == [path]
    message = str(catalog.errors[path])
    assert re.search(CASES[name], message), message
    assert str(path) in message
    assert len(message) < 60_000
    assert message.replace("\n", "").isprintable()
    assert bad_files.SECRET not in message


def test_a_fault_of_this_package_is_an_error_of_the_file_too(folder, monkeypatch):
    def fail(value):
        raise ZeroDivisionError("division by zero")

    (folder / "other.yaml").write_text(bad_files.GOOD.replace("card_transactions", "other") + "freshness: 5m\n")
    monkeypatch.setattr(Pipeline, "canary_groups", property(fail))
    catalog = load_pipelines(folder)
    assert [pipeline.name for pipeline in catalog.pipelines] == ["card_transactions"]
    assert "cannot be compiled: ZeroDivisionError: division by zero" in str(catalog.errors[folder / "other.yaml"])


def test_links_within_the_folder_are_read(tmp_path):
    """As Kubernetes puts a ConfigMap into a folder, and git-sync a repository: the folder's own name is a link too."""
    real = tmp_path / "real"
    (real / "..data_1").mkdir(parents=True)
    (real / "..data_1" / "cards.yaml").write_text(bad_files.GOOD)
    (real / "..data").symlink_to("..data_1")
    (real / "cards.yaml").symlink_to("..data/cards.yaml")
    (tmp_path / "pipelines").symlink_to(real)
    catalog = load_pipelines(tmp_path / "pipelines")
    assert [pipeline.name for pipeline in catalog.pipelines] == ["card_transactions"]
    assert catalog.errors == {}


def test_hidden_files_are_no_pipelines(folder):
    (folder / "._card_transactions.yaml").write_bytes(b"\0\5\x16\7")
    (folder / ".#card_transactions.yaml").symlink_to("someone@laptop.4711")
    assert load_pipelines(folder).errors == {}


def test_a_file_that_is_named_may_be_a_link(tmp_path):
    (tmp_path / "real.yaml").write_text(bad_files.GOOD)
    (tmp_path / "link.yaml").symlink_to(tmp_path / "real.yaml")
    assert Pipeline.parse(tmp_path / "link.yaml").name == "card_transactions"


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + bad_files.GOOD.encode())
    assert Pipeline.from_yaml(tmp_path / "a.yaml").name == "card_transactions"


def test_names_of_files_that_are_no_text_can_be_shown(tmp_path):
    for name in (b"a\xff.yaml", b"b\n.yaml", b"c\x1b[31m.yaml"):
        with open(os.path.join(os.fsencode(tmp_path), name), "w") as file:
            file.write("name: 5")
    errors = load_pipelines(tmp_path).errors.values()
    assert len(errors) == 3
    for error in errors:
        str(error).encode()
        assert str(error).replace("\n", "").isprintable()
    assert r"a\xff.yaml has 3 problems" in str(next(iter(errors)))


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, ""])
def test_a_path_that_cannot_be_is_refused(path):
    with pytest.raises(PipelineError, match="cannot be read"):
        Pipeline.from_yaml(path)


def test_five_hundred_files(tmp_path, minimal):
    for number in range(500):
        groups = [{**minimal["feature_groups"][0], "name": f"group_{number}"}]
        data = {**minimal, "name": f"pipeline_{number}", "feature_groups": groups}
        (tmp_path / f"{number}.yaml").write_text(yaml.safe_dump(data))
    catalog = load_pipelines(tmp_path)
    assert (len(catalog.pipelines), catalog.errors) == (500, {})
