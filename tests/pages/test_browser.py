"""The pages in a real browser, alone and within Airflow's UI. Skipped where there is no browser: `make browser`."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tests.support import REPOSITORY
from tests.support.browser import browser, missing
from tests.support.status_pages import USERS, served

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

CHECKS = (REPOSITORY / "tests/support/contrast.js").read_text()
PAGES = ("/", "/pipeline/card_transactions__supervise", "/pipeline/orders__supervise", "/pipeline/parcels__supervise")
SIZES = ((1360, 860), (390, 844))


def test_the_pages_in_a_browser() -> None:
    """One server and one browser for all of it."""
    with served() as url, browser() as chromium:
        token = requests.post(f"{url}/auth/token", json={"username": "admin", "password": USERS["admin"]}, timeout=30)
        cookie = {"name": "_token", "value": token.json()["access_token"], "url": url}
        for width, height in SIZES:
            for scheme in ("light", "dark"):
                page = open_page(chromium, cookie, width, height, scheme)
                for path in PAGES:
                    reads_well(page, f"{url}/streaming-features{path}")
                assert page.complaints == []
                page.context.close()
        page = open_page(chromium, cookie, *SIZES[0], "light")
        what_is_looked_for_is_found(page, url)
        the_keyboard_is_enough(page, url)
        assert page.complaints == []
        within_airflow(page, url)


def open_page(chromium: Any, cookie: dict[str, str], width: int, height: int, scheme: str) -> Any:
    context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    context.set_default_timeout(20_000)
    context.add_cookies([cookie])
    page = context.new_page()
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("console", lambda m: page.complaints.append(m.text) if m.type in ("error", "warning") else None)
    return page


def reads_well(page: Any, url: str) -> None:
    page.goto(url)
    for closed in page.locator("summary").all():
        closed.click()
    assert page.evaluate(CHECKS) == [], url
    # What a pipeline's texts hold stays text.
    assert "owned" not in page.title()


def what_is_looked_for_is_found(page: Any, url: str) -> None:
    page.goto(f"{url}/streaming-features/")
    rows = page.locator("table.overview tbody tr:visible")
    assert rows.count() == 7
    page.get_by_label("Find a pipeline").fill("CARD")
    assert rows.count() == 1
    assert page.locator(".found").inner_text() == "1 of 7 pipelines"
    page.get_by_label("Find a pipeline").fill("")
    page.get_by_label("sick 1").check()
    assert rows.locator("a.name").all_inner_texts() == ["orders"]
    rows.get_by_role("link", name="and 1 more").click()
    assert "offset 48210" in page.locator("#reasons").inner_text()


def the_keyboard_is_enough(page: Any, url: str) -> None:
    page.goto(f"{url}/streaming-features/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "find"
    page.keyboard.type("parcels")
    for _ in range(4):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "parcels":
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/pipeline/parcels__supervise")


def within_airflow(page: Any, url: str) -> None:
    """The menu's entry shows the page in a frame; what belongs to Airflow opens around it."""
    page.goto(f"{url}/plugin/streaming-features")
    frame = page.frame_locator("iframe")
    frame.get_by_role("link", name="card_transactions").click()
    frame.get_by_role("heading", name="card_transactions", level=1).wait_for()
    frame.get_by_role("link", name="Deploy", exact=True).click()
    page.wait_for_url("**/dags/card_transactions__deploy*")
    assert page.locator("iframe").count() == 0
