"""Where the pages are."""

from __future__ import annotations

from urllib.parse import urlsplit

from hopsworks_flink._compat import conf

PREFIX = "/streaming-features"
NAME = "Streaming features"


def base_path() -> str:
    """Path under which Airflow is served, without a slash at its end; mostly empty."""
    return urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
