"""Beside the provider of the Airflow inside Hopsworks, which has the same type of connection: both work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import REPOSITORY
from tests.support.hopsworks_server import LocalHopsworks
from tests.support.platform_provider import install

pytestmark = pytest.mark.airflow

PROGRAM = """
import json
from airflow.providers_manager import ProvidersManager
from airflow.models.connection import Connection
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from platform_provider.hook import HopsworksHook as Theirs

manager = ProvidersManager()
forms = {name: manager.hooks[name].hook_class_name for name in ("hopsworks", "flink")}
there = "apache-airflow-providers-hopsworks" in manager.providers
print("RESULT", json.dumps([there, forms, Theirs().key(), HopsworksHook().test_connection()[0]]))
"""


def test_both_hooks_read_one_connection_which_has_one_form(hopsworks: LocalHopsworks, tmp_path: Path) -> None:
    install(tmp_path)
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{REPOSITORY / 'plugins'}"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert lines, done.stdout + done.stderr
    there, forms, their_key, ours_logged_in = json.loads(lines[0].removeprefix("RESULT"))
    assert there
    assert forms == {
        "hopsworks": "hopsworks_flink.hooks.hopsworks.HopsworksHook",
        "flink": "hopsworks_flink.hooks.flink.FlinkHook",
    }
    assert their_key == hopsworks.connection()["password"]
    assert ours_logged_in
    said = done.stdout + done.stderr
    assert "has been already registered by provider 'airflow-provider-hopsworks-flink" in said, "no clash to speak of"
