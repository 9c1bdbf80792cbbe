"""The documentation as a site: it builds without a warning, and what is made from the code is there."""

import re
import subprocess
import sys

import pytest

from hopsworks_flink import exceptions
from hopsworks_flink.cli import make_parser
from hopsworks_flink.pipeline.spec import FeatureGroup, History, Pipeline, Source, Window
from hopsworks_flink.pipeline.spec.schema import settings
from hopsworks_flink.pipeline.spec.source import Derived, EventTime
from tests.support import REPOSITORY
from tests.support.documents import shown

BUILD = (sys.executable, "-m", "mkdocs", "build", "--strict")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run([*BUILD, "--site-dir", folder], cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.html")}


def test_reference_is_made_from_the_code(site):
    for command in re.findall(r"^    (\w+) ", make_parser().format_help(), re.M):
        assert f'id="{command}"' in site["reference/cli.html"]
    assert "HopsworksCreateFeatureGroupOperator(" in re.sub("<[^>]*>", "", site["reference/operators.html"])
    assert exceptions.FlinkRollbackFailed.__name__ in site["reference/errors.html"]
    assert "hostname_verification" in site["reference/connections.html"]
    assert "__recompute" in site["reference/dags.html"]
    for setting, _, _ in settings():
        assert f"<code>{setting}</code>" in site["reference/settings.html"]


def test_nothing_is_loaded_from_elsewhere(site):
    for page, text in site.items():
        for address in re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', text):
            pytest.fail(f"{page} loads {address}")


@pytest.mark.parametrize("model", [Pipeline, Source, EventTime, Derived, FeatureGroup, Window, History])
def test_every_setting_has_a_line(site, model):
    lines = site["reference/settings.html"]
    for name, field in model.model_fields.items():
        assert re.search(rf"<td><code>[^<]*\b{field.alias or name}</code>", lines), f"{name} is missing"


@pytest.mark.parametrize("page", ["docs/index.md", "docs/hopsworks-tutorial.md", "docs/tutorial.md"])
def test_files_on_pages_can_be_read(page):
    files = shown(page)
    assert files
    for file in files:
        if "feature_groups" in file and "source" in file:
            assert Pipeline.parse(file)


def test_a_link_that_leads_nowhere_fails_the_build(tmp_path):
    """The check above can fail."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("[gone](gone.md)")
    text = (REPOSITORY / "mkdocs.yml").read_text()
    validation = re.search(r"^validation:\n(  .*\n)+", text, re.M)
    assert validation
    (tmp_path / "mkdocs.yml").write_text(f"site_name: x\n{validation[0]}")
    done = subprocess.run(BUILD, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert "gone.md" in done.stderr


def test_the_tutorials_file_computes_what_its_test_says(tmp_path, monkeypatch):
    text = (REPOSITORY / "docs" / "tutorial.md").read_text()
    file, change, repair = re.findall(r"```yaml\n(.*?)```", text, re.S)
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "def test_" in block]
    path = tmp_path / "dags" / "pipelines" / "shop_orders.yaml"
    path.parent.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for changed in (
        file,
        file[: file.index("    aggregates:")] + change,
        file.replace("  max_disorder: 2s\n", repair.partition("\n")[2]),
    ):
        path.write_text(changed)
        names = {}
        exec(code, names)
        names["test_orders_of_five_minutes_are_counted"]()
    assert Pipeline.from_yaml(path).quarantine_topic == "shop_orders_quarantine"
