import yaml

from hopsworks_flink.pipeline.catalog import load_pipelines
from tests.support import REPOSITORY


def test_a_broken_file_does_not_take_the_others_with_it(tmp_path, minimal):
    (tmp_path / "good.yaml").write_text(yaml.safe_dump(minimal))
    (tmp_path / "bad.yml").write_text("name: 5")
    (tmp_path / "notes.txt").write_text("not a pipeline")
    catalog = load_pipelines(tmp_path)
    assert [pipeline.name for pipeline in catalog.pipelines] == ["cards"]
    assert list(catalog.errors) == [tmp_path / "bad.yml"]
    assert "name: " in str(catalog.errors[tmp_path / "bad.yml"])


def test_a_name_or_a_feature_group_belongs_to_one_file(tmp_path, minimal):
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(minimal))
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(minimal))
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**minimal, "name": "other"}))
    errors = load_pipelines(tmp_path).errors
    assert "another file of the folder is named 'cards'" in str(errors[tmp_path / "b.yaml"])
    assert "cards_10m_1 is written by pipeline 'cards'" in str(errors[tmp_path / "c.yaml"])


def test_examples_are_no_pipelines_of_the_installation():
    folder = REPOSITORY / "dags" / "pipelines"
    assert [pipeline.name for pipeline in load_pipelines(folder).pipelines] == ["card_transactions"]
    examples = load_pipelines(folder / "examples")
    assert not examples.errors
    assert {pipeline.name for pipeline in examples.pipelines} >= {"ticker_prices", "clean_transactions"}
