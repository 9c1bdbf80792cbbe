"""Who sees the pages, and how a browser gets in."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from devstack.config import DevstackConfig, DevstackError
from devstack.hopsworks.home.loginlinks import LINK_SECONDS, make_link
from devstack.hopsworks.home.setup import generate_api_key, read_api_key
from devstack.hopsworks.site import login
from tests.support.hopsworks_server import LocalHopsworks
from tests.support.hopsworks_site import client

WANTED = "/p/119/kafka?x=1&y=%2F"


@pytest.fixture
def browser(hopsworks: LocalHopsworks) -> Iterator[httpx.Client]:
    with client(hopsworks) as browser:
        yield browser


def enter(browser: httpx.Client, server: LocalHopsworks, key: str | None = None, wanted: str = "/") -> httpx.Response:
    return browser.post("/login", data={"api_key": key or read_api_key(server.config), "next": wanted})


def test_a_browser_is_asked_and_comes_back_to_where_it_wanted(browser, hopsworks):
    asked = browser.get(WANTED)
    assert asked.status_code == 303
    assert parse_qs(urlsplit(asked.headers["location"]).query) == {"next": [WANTED]}
    form = browser.get(asked.headers["location"])
    assert (form.status_code, form.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert 'name="next" value="/p/119/kafka?x=1&amp;y=%2F"' in form.text
    entered = enter(browser, hopsworks, f" {read_api_key(hopsworks.config)}\n", WANTED)
    assert (entered.status_code, entered.headers["location"]) == (303, WANTED)
    assert browser.get(WANTED).status_code == 200


@pytest.mark.parametrize("path", ["/", "/p/119", "/p/4711", "/no/such/page", "//elsewhere.example/p", "/login/x"])
def test_nothing_is_shown_without_a_login(browser, path):
    answer = browser.get(httpx.URL(str(browser.base_url), raw_path=path.encode()))
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login")
    assert browser.post(path.replace("//", "/"), data={"api_key": "x"}).headers["location"] == "/login"


def test_the_cookie_is_for_this_server_only_and_no_script_reads_it(browser, hopsworks):
    (cookie,) = SimpleCookie(enter(browser, hopsworks).headers["set-cookie"]).values()
    assert cookie.key == f"__Host-hopsworks-{hopsworks.config.hopsworks_port}"
    assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "lax")
    assert (cookie["path"], cookie["domain"], cookie["max-age"]) == ("/", "", "43200")
    assert read_api_key(hopsworks.config) not in cookie.value


@pytest.mark.parametrize(
    "key", ["", "not-it", generate_api_key(), "ä", "x" * 20_000], ids=["none", "short", "another", "no-ascii", "long"]
)
def test_a_wrong_key_is_refused_and_not_repeated(browser, hopsworks, key):
    answer = browser.post("/login", data={"api_key": key, "next": WANTED})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert 'role="alert"' in answer.text
    assert not key or key not in answer.text
    assert browser.get("/p/119").status_code == 303


def test_other_cookies_than_the_servers_own_open_nothing(browser, hopsworks):
    enter(browser, hopsworks)
    name, value = next(iter(browser.cookies.items()))
    content, stamp, signature = value.split(".")
    browser.cookies.clear()
    for forged in ("", "browser", f"{content}.{stamp}", f"{content}.{stamp}.{signature[::-1]}", f"x{value}", "a.b.c"):
        answer = browser.get("/p/119", headers={"Cookie": f"other=1; {name}={forged}"})
        assert answer.status_code == 303, forged
    assert browser.get("/p/119", headers={"Cookie": f"other=1; {name}={value}"}).status_code == 200


def test_a_session_ends(browser, hopsworks, monkeypatch):
    enter(browser, hopsworks)
    with monkeypatch.context() as later:
        later.setattr(login, "SESSION_SECONDS", -1)
        assert browser.get("/p/119").status_code == 303
    assert browser.get("/p/119").status_code == 200
    assert browser.get("/logout").status_code == 405
    assert browser.post("/logout").headers["location"] == "/login"
    assert browser.get("/p/119").status_code == 303


def test_a_session_is_no_key_of_the_api(browser, hopsworks):
    enter(browser, hopsworks)
    for path in ("/hopsworks-api/api/project", "/hopsworks-api", "/hopsworks-api/flinkmaster/x/overview"):
        assert browser.get(path).json()["errorCode"] == 200003
    key = {"Authorization": f"ApiKey {read_api_key(hopsworks.config)}"}
    assert browser.get("/hopsworks-api/api/project", headers=key).json()[0]["project"]["id"] == 119


@pytest.mark.parametrize(
    "wanted",
    [
        *("//elsewhere.example", "https://elsewhere.example/", "/\\elsewhere.example", "elsewhere", "", "/\t/x"),
        *("/\n/elsewhere.example", "javascript:alert(1)", "//[", "/login?next=/login", "/ä"),
    ],
)
def test_a_login_leads_nowhere_else(browser, hopsworks, wanted):
    assert enter(browser, hopsworks, wanted=wanted).headers["location"] == "/"
    assert browser.get("/login", params={"next": wanted, "link": "x"}).headers["location"] == "/"


# --- links -----------------------------------------------------------------------------------------------------------


def test_a_link_logs_in_once(browser, hopsworks):
    link = make_link(hopsworks.config, WANTED)
    secret = parse_qs(urlsplit(link).query)["link"][0]
    (file,) = hopsworks.layout.login_links.iterdir()
    assert secret not in file.name
    assert file.stat().st_mode & 0o777 == 0o600
    assert link.startswith(f"{hopsworks.config.hopsworks_url}/login?")
    entered = browser.get(link)
    assert (entered.status_code, entered.headers["location"]) == (303, WANTED)
    assert browser.get("/p/119").status_code == 200
    # Again in the same browser, as "back" does; another link there; and both in another one.
    other = make_link(hopsworks.config, WANTED)
    for again in (link, other):
        assert browser.get(again).headers["location"] == WANTED
    assert list(hopsworks.layout.login_links.iterdir()) == []
    browser.cookies.clear()
    for again in (link, other):
        refused = browser.get(again)
        assert (refused.status_code, "set-cookie" in refused.headers) == (401, False)
        assert "used already" in refused.text


@pytest.mark.parametrize("secret", ["x", "..", "../api_key", "\ud800", "%00"])
def test_an_unknown_link_is_refused(browser, hopsworks, secret):
    make_link(hopsworks.config)
    answer = browser.get(f"/login?link={secret.encode('utf-8', 'surrogatepass').decode('latin-1')}")
    assert 400 <= answer.status_code < 500
    assert "set-cookie" not in answer.headers
    assert hopsworks.config.hopsworks_api_key_file.exists()


def test_an_old_link_is_refused_and_swept_away(browser, hopsworks):
    old, older = make_link(hopsworks.config), make_link(hopsworks.config)
    for file in hopsworks.layout.login_links.iterdir():
        os.utime(file, times=(time.time() - LINK_SECONDS - 5,) * 2)
    assert browser.get(old).status_code == 401
    make_link(hopsworks.config)
    assert len(list(hopsworks.layout.login_links.iterdir())) == 1
    assert browser.get(older).status_code == 401


def test_a_link_needs_a_server(tmp_path: Path):
    with pytest.raises(DevstackError, match="make up"):
        make_link(DevstackConfig(home=tmp_path))
