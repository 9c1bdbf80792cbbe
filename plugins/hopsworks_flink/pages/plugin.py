"""What Airflow loads: every process of it does, so nothing is imported here that a page alone needs."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from hopsworks_flink.pages.place import NAME, PREFIX, base_path


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The pages, as an ASGI application that is made at the first request."""
    from hopsworks_flink.pages.app import pages

    await pages()(scope, receive, send)


class StreamingFeaturesPlugin(AirflowPlugin):
    """The status page, and from Airflow 3.1 on its entry in the menu."""

    name = "hopsworks_flink"
    fastapi_apps = [{"app": app, "url_prefix": PREFIX, "name": NAME}]  # noqa: RUF012 - Airflow's own attributes
    external_views = [  # noqa: RUF012
        {
            "name": NAME,
            "href": f"{base_path()}{PREFIX}/",
            "destination": "nav",
            "url_route": PREFIX.strip("/"),
            "icon": f"{base_path()}{PREFIX}/static/icon.svg",
            "icon_dark_mode": f"{base_path()}{PREFIX}/static/icon-dark.svg",
        }
    ]
