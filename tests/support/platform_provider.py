"""A stand-in for the provider that the Airflow inside Hopsworks carries: another hook for the same connection type."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = """
def provider_info():
    return {
        "package-name": "apache-airflow-providers-hopsworks",
        "name": "Hopsworks",
        "description": "Jobs of Hopsworks",
        "connection-types": [
            {"connection-type": "hopsworks", "hook-class-name": "platform_provider.hook.HopsworksHook"}
        ],
    }
"""
_HOOK = """
from airflow.providers.common.compat.sdk import BaseHook


class HopsworksHook(BaseHook):
    conn_name_attr, default_conn_name = "hopsworks_conn_id", "hopsworks_default"
    conn_type, hook_name = "hopsworks", "Hopsworks"

    def __init__(self, hopsworks_conn_id="hopsworks_default"):
        super().__init__()
        self.hopsworks_conn_id = hopsworks_conn_id

    def key(self):
        return self.get_connection(self.hopsworks_conn_id).password
"""


def install(folder: Path) -> None:
    """Make it importable, and found by Airflow, for a process with this folder in its ``PYTHONPATH``."""
    name = "apache_airflow_providers_hopsworks-1.0.0.dist-info"
    files = {
        "platform_provider/__init__.py": _PACKAGE,
        "platform_provider/hook.py": _HOOK,
        f"{name}/METADATA": "Metadata-Version: 2.1\nName: apache-airflow-providers-hopsworks\nVersion: 1.0.0\n",
        f"{name}/entry_points.txt": "[apache_airflow_provider]\nprovider_info = platform_provider:provider_info\n",
    }
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
