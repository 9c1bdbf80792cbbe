"""Metadata: what Airflow reads about the provider, and what its loaders do with our folders."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest

from hopsworks_flink.get_provider_info import connection_type, get_provider_info
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.hooks.hopsworks import HopsworksHook

pytestmark = pytest.mark.airflow

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
INFO = get_provider_info()
KINDS = ("hooks", "operators", "sensors", "triggers")


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_matches_airflows_schema() -> None:
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(INFO, schema)


def test_every_module_named_can_be_imported() -> None:
    modules = [name for kind in KINDS for entry in INFO[kind] for name in entry["python-modules"]]
    assert len(modules) >= 4
    for name in modules:
        importlib.import_module(name)


def test_every_extra_link_is_listed() -> None:
    from hopsworks_flink import links

    own = {f"{links.__name__}.{name}" for name in vars(links) if name.endswith("Link") and not name.startswith("_")}
    assert set(INFO["extra-links"]) == own - {f"{links.__name__}.BaseOperatorLink"}


def test_every_integration_named_is_declared() -> None:
    declared = {entry["integration-name"] for entry in INFO["integrations"]}
    assert {entry["integration-name"] for kind in KINDS for entry in INFO[kind]} <= declared


@pytest.mark.parametrize("hook", [FlinkHook, HopsworksHook])
def test_hook_and_metadata_agree(hook: Any) -> None:
    metadata = connection_type(hook.conn_type)
    assert metadata["hook-class-name"] == f"{hook.__module__}.{hook.__name__}"
    assert metadata["hook-name"] == hook.hook_name
    assert "__" not in hook.conn_type
    behaviour = hook.get_ui_field_behaviour()
    assert behaviour["hidden_fields"] == metadata["ui-field-behaviour"]["hidden-fields"]
    assert hook(**{hook.conn_name_attr: "other"})


def test_airflow_shows_our_connection_forms() -> None:
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    shown = {meta.connection_type: meta for meta in HookMetaService.hook_meta_data()}
    assert set(shown["flink"].extra_fields or {}) == set(connection_type("flink")["conn-fields"])
    assert set(shown["hopsworks"].extra_fields or {}) == set(connection_type("hopsworks")["conn-fields"])
    assert shown["hopsworks"].hook_name == "Hopsworks"


def test_every_documented_extra_is_read() -> None:
    for name in ("flink", "hopsworks"):
        source = (PLUGINS / "hopsworks_flink" / "clients" / name / "connection.py").read_text()
        for extra in connection_type(name)["conn-fields"]:
            assert f'"{extra}"' in source


def test_metadata_loads_no_airflow() -> None:
    """Airflow asks for it while its own configuration is still being read."""
    code = f"import sys; sys.path.insert(0, {str(PLUGINS)!r}); before = set(sys.modules)\n"
    code += "from hopsworks_flink.get_provider_info import get_provider_info; get_provider_info()\n"
    code += "print([name for name in set(sys.modules) - before if name.startswith('airflow')])"
    assert run(code).strip().splitlines()[-1] == "[]"


def test_pipeline_and_exceptions_load_no_airflow() -> None:
    code = f"import sys; sys.path.insert(0, {str(PLUGINS)!r})\n"
    code += "import hopsworks_flink.exceptions, hopsworks_flink.pipeline.plan, hopsworks_flink.clients.flink.jobs\n"
    code += "print(sorted(name for name in sys.modules if name.startswith('airflow.')))"
    assert run(code).strip().splitlines()[-1] == "[]"


def test_plugin_loader_touches_nothing(tmp_path: Path) -> None:
    """The loader executes every module it finds under its bare name; .airflowignore keeps it off ours."""
    code = f"""
import os, sys
os.environ.update(AIRFLOW_HOME={str(tmp_path)!r}, AIRFLOW__CORE__PLUGINS_FOLDER={str(PLUGINS)!r})
import json as before
import airflow.settings
from airflow import plugins_manager
if hasattr(plugins_manager, "_get_plugins"):
    plugins, errors = plugins_manager._get_plugins()
else:  # before 3.2
    plugins_manager.ensure_plugins_loaded()
    errors = plugins_manager.import_errors
assert not [name for name in errors if "hopsworks" in name.lower()], errors
assert sys.modules["json"] is before
clobbered = [name for name in ("flink", "kafka", "hooks", "operators", "links", "spec", "plan") if name in sys.modules]
assert not clobbered, clobbered
import hopsworks_flink
print("fine")
"""
    assert run(code).strip().endswith("fine")


def test_config_default_is_known_to_airflow() -> None:
    from hopsworks_flink._compat import conf

    assert conf.get("hopsworks_flink", "jars_dir", fallback="") == ""
