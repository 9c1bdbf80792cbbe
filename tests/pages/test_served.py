"""The pages behind the API server of Airflow: who gets in, and what comes out. Real sockets, Airflow's own login."""

from __future__ import annotations

from urllib.parse import quote

import pytest
import requests

from hopsworks_flink._compat import BROWSERS_SEND_TOKENS
from tests.support.status_pages import SCRIPT, USERS, served

pytestmark = pytest.mark.airflow

PIPELINES = ("card_transactions", "clicks", "orders", "sensors", "parcels", "tickets", "returns")
FORGED = ("nonsense", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.")
PAGES = ("/", "/pipeline/card_transactions__supervise", "/pipeline/nobody__supervise")


def get(url: str, path: str, user: str | None = None, **kwargs: object) -> requests.Response:
    headers = {}
    if user:
        login = requests.post(f"{url}/auth/token", json={"username": user, "password": USERS[user]}, timeout=30)
        headers = {"Authorization": f"Bearer {login.json()['access_token']}"}
    return requests.get(f"{url}{path}", headers=headers, timeout=30, allow_redirects=False, **kwargs)  # type: ignore[arg-type]


def test_the_pages() -> None:
    """One server for all: it takes far longer to start than to answer."""
    with served() as url:
        for path in PAGES:
            who_is_not_logged_in_sees_nothing(url, path)
            for token in FORGED:
                a_token_that_airflow_did_not_give_opens_nothing(url, path, token)
        the_overview_has_a_row_for_each_pipeline(url)
        a_cookie_is_as_good_where_browsers_send_one(url)
        a_page_has_the_past_that_airflow_knows(url)
        each_user_sees_what_airflow_lets_them_read(url)
        airflow_lists_the_plugin_without_complaint(url)


def who_is_not_logged_in_sees_nothing(url: str, path: str) -> None:
    answer = get(url, f"/streaming-features{path}")
    if BROWSERS_SEND_TOKENS:
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/api/v2/auth/login?next=%2Fstreaming-features%2F")
        login = requests.get(url + answer.headers["Location"], timeout=30, allow_redirects=False)
        assert "/login" in login.headers["Location"]
        assert "streaming-features" in login.headers["Location"]
    else:
        assert answer.status_code == 401
    assert not [name for name in PIPELINES if name in answer.text.replace(quote(path, safe=""), "")]


def a_token_that_airflow_did_not_give_opens_nothing(url: str, path: str, token: str) -> None:
    bearer = {"Authorization": f"Bearer {token}"}
    answer = requests.get(f"{url}/streaming-features{path}", headers=bearer, timeout=30, allow_redirects=False)
    assert answer.status_code == 401
    assert "Sign in" in answer.text
    assert "clicks" not in answer.text
    cookie = get(url, f"/streaming-features{path}", cookies={"_token": token})
    assert cookie.status_code in (302, 401)
    assert "clicks" not in cookie.text


def the_overview_has_a_row_for_each_pipeline(url: str) -> None:
    answer = get(url, "/streaming-features/", "admin")
    assert answer.status_code == 200
    for name in PIPELINES:
        assert f"/streaming-features/pipeline/{name}__supervise" in answer.text
    assert "644 rows, to offset 183,744" in answer.text
    assert "<script>document" not in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"


def a_cookie_is_as_good_where_browsers_send_one(url: str) -> None:
    token = requests.post(f"{url}/auth/token", json={"username": "admin", "password": USERS["admin"]}, timeout=30)
    answer = get(url, "/streaming-features/", cookies={"_token": token.json()["access_token"]})
    assert answer.status_code == (200 if BROWSERS_SEND_TOKENS else 401)


def a_page_has_the_past_that_airflow_knows(url: str) -> None:
    page = get(url, "/streaming-features/pipeline/card_transactions__supervise", "admin")
    assert page.status_code == 200
    for text in ("replaced, job a3f0c2d1 from a savepoint", "Rolled back: the previous", "INSERT INTO", "4444 0378"):
        assert text in page.text
    for text in ("2 of 80 values differ: late_event 2", "2 h ago", "card_transactions__audit"):
        assert text in page.text
    orders = get(url, "/streaming-features/pipeline/orders__supervise", "admin").text
    assert SCRIPT not in orders
    assert "&lt;script&gt;" in orders


def each_user_sees_what_airflow_lets_them_read(url: str) -> None:
    answer = get(url, "/streaming-features/", "guest")
    assert [name for name in PIPELINES if f"{name}__supervise" in answer.text] == ["clicks"]
    hidden = get(url, "/streaming-features/pipeline/orders__supervise", "guest")
    assert hidden.status_code == 404
    assert "or you may not read it" in hidden.text
    page = get(url, "/streaming-features/pipeline/clicks__supervise", "guest")
    assert page.status_code == 200
    assert "INSERT INTO" not in page.text
    assert "those who may read the DAG&#39;s code" in page.text or "those who may read the DAG's code" in page.text


def airflow_lists_the_plugin_without_complaint(url: str) -> None:
    (plugin,) = [p for p in get(url, "/api/v2/plugins", "admin").json()["plugins"] if p["name"] == "hopsworks_flink"]
    assert plugin["fastapi_apps"][0]["url_prefix"] == "/streaming-features"
    if BROWSERS_SEND_TOKENS:
        assert plugin["external_views"][0]["href"] == "/streaming-features/"
        assert requests.get(url + plugin["external_views"][0]["icon"], timeout=30).status_code == 200
