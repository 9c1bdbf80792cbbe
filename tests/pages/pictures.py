"""The pictures of docs/status-page.md: ``python -m tests.pages.pictures``, through ``make browser``."""

from __future__ import annotations

import requests

from tests.support import REPOSITORY
from tests.support.browser import browser, missing
from tests.support.status_pages import USERS, served

PICTURES = {"overview": ("/", 560), "pipeline": ("/pipeline/card_transactions__supervise", 640)}


def main() -> None:
    """Take them."""
    if reason := missing():
        raise SystemExit(reason)
    folder = REPOSITORY / "docs/assets"
    folder.mkdir(exist_ok=True)
    with served() as url, browser() as chromium:
        login = requests.post(f"{url}/auth/token", json={"username": "admin", "password": USERS["admin"]}, timeout=30)
        for name, (path, height) in PICTURES.items():
            page = chromium.new_context(viewport={"width": 1240, "height": height}).new_page()
            page.context.add_cookies([{"name": "_token", "value": login.json()["access_token"], "url": url}])
            page.goto(f"{url}/streaming-features{path}")
            page.screenshot(path=folder / f"status-{name}.png")
            print(f"docs/assets/status-{name}.png")


if __name__ == "__main__":
    main()
