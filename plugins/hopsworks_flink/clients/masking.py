"""Tells Airflow which values of a connection must not be shown: it knows passwords by their names, but not PEM keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hopsworks_flink._compat import mask_secret
from hopsworks_flink.clients.flink.bundle import secret_strings


def mask_values(settings: Mapping[str, Any]) -> None:
    """Have every log of this process hide the passwords and keys among the settings."""
    for secret in secret_strings(settings):
        mask_secret(secret)
