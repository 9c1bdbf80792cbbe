"""The pages in a real browser: login, keyboard, narrow screens, contrast. Skipped without one: `make browser`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from devstack.hopsworks.home.loginlinks import make_link
from devstack.hopsworks.home.setup import read_api_key
from tests.support import REPOSITORY, browser
from tests.support.hopsworks_server import LocalHopsworks
from tests.support.hopsworks_site import GROUP, PAGES, PROJECT, stocked_server

pytestmark = pytest.mark.skipif(browser.missing() is not None, reason=str(browser.missing()))
CHECKS = (REPOSITORY / "tests/support/contrast.js").read_text()


@pytest.fixture(scope="module")
def server(hopsworks_home, tmp_path_factory) -> Iterator[LocalHopsworks]:
    with stocked_server(hopsworks_home, tmp_path_factory.mktemp("site")) as server:
        yield server


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser.browser() as chromium:
        yield chromium


def visit(page: Any, address: str) -> None:
    """Go there; again if the machine's network interfaces change, which ends every request of a browser."""
    from playwright.sync_api import Error

    for attempt in range(5):
        try:
            page.goto(address)
            return
        except Error as error:
            if "ERR_NETWORK_CHANGED" not in error.message or attempt == 4:
                raise


def watched_page(context: Any) -> tuple[Any, list[str]]:
    """A page, and what went wrong in it: errors on the console, scripts that ran."""
    page, wrong = context.new_page(), []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    return page, wrong


def test_login_and_look_up_by_keyboard(chromium, server):
    context = chromium.new_context(ignore_https_errors=True)
    page, wrong = watched_page(context)
    wanted = f"{server.config.hopsworks_url}{GROUP}/online"
    visit(page, wanted)
    assert page.title().startswith("Log in")
    # The field has the focus already.
    page.keyboard.type(read_api_key(server.config))
    page.keyboard.press("Enter")
    page.wait_for_url(wanted)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_label("cc_num").focus()
    page.keyboard.type("77")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "?key.cc_num=77" in url)
    assert page.locator("main table").first.locator("tbody tr").count() == 1
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    assert context.cookies() == []
    visit(page, wanted)
    assert page.title().startswith("Log in")
    assert wrong == []
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_can_be_read(chromium, server, scheme, width):
    viewport = {"width": width, "height": 900}
    context = chromium.new_context(ignore_https_errors=True, color_scheme=scheme, viewport=viewport)
    page, wrong = watched_page(context)
    visit(page, f"{server.config.hopsworks_url}/login")
    assert page.evaluate(CHECKS) == ["there is no nav"]
    found = {}
    visit(page, make_link(server.config))
    for path in (*PAGES, f"{PROJECT}/kafka/subjects/plain", f"{GROUP}/online?key.cc_num=x"):
        visit(page, f"{server.config.hopsworks_url}{path}")
        found[path] = page.evaluate(CHECKS)
    assert {path: problems for path, problems in found.items() if problems} == {}
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 29)"
    assert dark is (scheme == "dark")
    assert wrong == []
    context.close()
