"""The pages: what they show, that all of it is escaped, that none of them changes or reveals anything."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from html import unescape
from urllib.parse import quote, urljoin

import httpx
import pytest

from devstack.hopsworks.featurestore.broker import Broker
from devstack.hopsworks.home.loginlinks import make_link
from devstack.hopsworks.home.setup import read_api_key
from devstack.hopsworks.site import groups
from devstack.hopsworks.site.app import HEADERS, _routes
from hopsworks_flink.clients.hopsworks.executions import executions_url
from tests.support.hopsworks_server import HOSTILE_SEGMENTS, LocalHopsworks, free_port
from tests.support.hopsworks_site import EXECUTIONS, GROUP, JOB, PAGES, PROJECT, ROWS, client, stocked_server


@pytest.fixture(scope="module")
def server(hopsworks_home, tmp_path_factory) -> Iterator[LocalHopsworks]:
    with stocked_server(hopsworks_home, tmp_path_factory.mktemp("site")) as server:
        yield server


@pytest.fixture(scope="module")
def browser(server: LocalHopsworks) -> Iterator[httpx.Client]:
    with client(server) as browser:
        assert browser.get(make_link(server.config)).status_code == 303
        yield browser


def page(browser: httpx.Client, path: str) -> str:
    """The page without its tags, its words one space apart; - stands for nothing."""
    answer = browser.get(path)
    assert answer.status_code == 200, answer.text
    text = unescape(re.sub(r"<[^>]*>", " ", answer.text)).replace("\u2013", "-")
    return re.sub(r"\s+", " ", text)


# --- what they show --------------------------------------------------------------------------------------------------


def test_the_project_shows_what_it_has_and_what_ran(browser):
    text = page(browser, PROJECT)
    assert re.search(r"3 Feature groups 2 Topics 5 Subjects 4 Jobs 1 Running executions", text)
    assert "cards 1 4 120 " in text
    assert re.search(rf"1 {JOB} finished", text)
    assert "train running" in text
    assert browser.get("/").headers["location"] == PROJECT


def test_groups_are_searched(browser):
    assert "3 versions" in page(browser, f"{PROJECT}/fs/67/fg")
    assert "2 versions whose name contains “ARD”" in page(browser, f"{PROJECT}/fs/67/fg?q=ARD")
    assert "No feature group." in page(browser, f"{PROJECT}/fs/67/fg?q=none")
    assert "No feature group." in page(browser, f"{PROJECT}/fs/67/fg?page=2")


def test_a_group_shows_schema_tags_and_versions(browser):
    text = page(browser, GROUP)
    assert "cc_num bigint bigint primary key" in text
    assert "ts timestamp timestamp event time" in text
    assert "amounts array<double> varbinary(100)" in text
    assert "Versions: 1 2" in text
    assert 'owner {"team"' in text.replace("{ ", "{")
    assert f"Materialization job {JOB}" in text
    assert "Subject cards_1 , version 1" in text


def test_online_rows_come_page_by_page(browser):
    first, last = page(browser, f"{GROUP}/online"), page(browser, f"{GROUP}/online?page=3")
    assert f"{ROWS} rows" in first
    assert "Rows 1 to 50, by primary key. Page 1 Next" in first
    # The array's bytes are decoded; others are shown as they are.
    assert "[1.5, null]" in first
    assert f"{ROWS} null null 0xff Rows 101 to {ROWS}, by primary key. ← Previous Page 3 Online" in last
    assert "No rows here." in page(browser, f"{GROUP}/online?page=4")


def test_an_online_row_is_looked_up_by_its_key(browser):
    text = page(browser, f"{GROUP}/online?key.cc_num=77&key.city=ignored")
    assert "77 2026-01-01 00:00:00" in text
    assert "Rows 1 to 1," in text
    assert "No row with this key." in page(browser, f"{GROUP}/online?key.cc_num=100000")
    refused = page(browser, f"{GROUP}/online?key.cc_num=1%20OR%201=1")
    assert "filter on cc_num (bigint): '1 OR 1=1' is not a value of this type." in refused
    assert "Rows" not in refused.partition("problem")[2]


def test_offline_rows_are_the_newest_with_table_and_commits(browser):
    text = page(browser, f"{GROUP}/offline")
    assert "Rows 3 " in text
    assert "partition 0: 1,200" in text
    assert re.search(r"2 2026-01-03 00:00:00 b null 3 2026-01-02 00:00:00 null \[\] 1 2026-01-01", text)
    assert "2023-11-14 22:13:20" in text
    assert "Nothing has been materialized yet." in page(browser, f"{PROJECT}/fs/67/fg/2/offline")


def test_statistics_of_each_time_are_shown(browser):
    text = page(browser, f"{GROUP}/statistics")
    assert re.search(r"cc_num 1-5: 3; <script>alert\('x'\)</script>: 9 120 - 119 1 25 50 75 - 60.5 -", text)
    assert "Stored 2023-11-14 22:13:21" in text
    assert "Stored 2023-11-14 22:13:20" in page(browser, f"{GROUP}/statistics?at=1700000000000")
    assert "Stored" not in page(browser, f"{GROUP}/statistics?at=5")


def test_statistics_of_the_offline_rows_are_computed(browser, server, monkeypatch):
    offer = "Compute them over 3 rows."
    assert offer in page(browser, f"{GROUP}/statistics")
    text = page(browser, f"{GROUP}/statistics?now=true")
    assert re.search(r"cc_num 1 to 1.1: 1; .*; 2.9 to 3: 1 3 0 3 1 [\d.]+ 2 [\d.]+ 3 2 1 ", text)
    assert "ts - 3 0 3 2026-01-01 00:00:00 - - - 2026-01-03 00:00:00 - -" in text
    assert "city - 2 1 2 <script>alert('x')</script> - - - b - -" in text
    assert "amounts - 2 1 - - - - - - - -" in text
    assert "Nothing has been materialized yet." in page(browser, f"{PROJECT}/fs/67/fg/2/statistics?now=true")
    # Of a group without stored ones at once, unless it is large.
    monkeypatch.setattr(server.context.store, "documents", lambda *_: [])
    assert "2.9 to 3: 1 3 0 3 1" in page(browser, f"{GROUP}/statistics")
    monkeypatch.setattr(groups, "MOST_ROWS_UNASKED", 2)
    assert offer in page(browser, f"{GROUP}/statistics")


def test_values_of_every_type_are_shown_and_counted(browser):
    kinds = f"{PROJECT}/fs/67/fg/3"
    values = '1 2 3 4 0.5 1.5 true x 0xff 2026-01-02 1.10 2026-01-02 00:00:00 [1] [["a", 1]] {"a": 1, "b": "x"}'
    assert f" 1 {values} 2 {values} 3 null" in page(browser, f"{kinds}/offline")
    text = page(browser, f"{kinds}/statistics?now=true")
    assert "f5 - 2 1 1 1.5 1.5 1.5 1.5 1.5 1.5 0" in text
    assert "f6 - 2 1 1 true - - - true - -" in text
    assert "f8 - 2 1 - - - - - - - -" in text
    assert re.search(r"f10 - 2 1 1 1.10 1.1\d* 1.1\d* 1.1\d* 1.10 1.1\d* 0", text)
    assert "f14 - 2 1 - -" in text


def test_topics_and_subjects(browser):
    assert "demo_onlinefs 2 cards_1 1 cards_1 , cards_2" in page(browser, f"{PROJECT}/kafka")
    topic = page(browser, f"{PROJECT}/kafka/topics/demo_onlinefs")
    assert (
        "end of the topic 1,500 1,500 online store 1,234 266 behind - offline store of cards_1 1,200 300 behind -"
        in topic
    )
    subject = page(browser, f"{PROJECT}/kafka/subjects/cards_1")
    assert "Version 1 schema id 1" in subject
    assert "cc_num long? ts timestamp-micros? city string? amounts array<double?>?" in subject
    assert '"name": "cc_num"' in subject
    assert '"string"' in page(browser, f"{PROJECT}/kafka/subjects/plain")


def test_a_topic_is_shown_while_the_broker_is_away(browser, server, monkeypatch):
    monkeypatch.setattr(server.context.registry, "broker", Broker({"bootstrap.servers": f"127.0.0.1:{free_port()}"}))
    topic = page(browser, f"{PROJECT}/kafka/topics/demo_onlinefs")
    assert "The broker does not tell where the topic ends: topic 'demo_onlinefs'" in topic
    assert "end of the topic - - online store 1,234 -" in topic


def test_the_tasks_links_lead_to_the_executions(browser, server):
    address = executions_url(server.config.hopsworks_url, 119, JOB)
    text = page(browser, address)
    assert "1 with its logs finished succeeded" in text
    execution = page(browser, f"{EXECUTIONS}/1")
    assert execution.rstrip().partition(" the end ")[2]
    assert "line 19999 of the log" in execution
    assert "line 1 of the log" not in execution
    assert re.search(r"The end of \d+\.\d KiB", execution)
    assert "It runs. Look again" in page(browser, f"{PROJECT}/jobs/named/train/executions/2")


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/p/7", 404, "this server has 119"),
        ("/p/119/fs/1/fg", 404, "this server has 67"),
        ("/p/119/fs/67/fg/4711", 404, "feature group id 4711"),
        ("/p/119/fs/67/fg/x", 422, "feature_group_id"),
        ("/p/119/fs/67/fg?page=0", 422, "page"),
        ("/p/119/jobs/named/none", 404, "job 'none'"),
        ("/p/119/jobs/named/train/executions/1", 403, "not one of job 'train'"),
        ("/p/119/kafka/topics/none", 404, "topic 'none'"),
        ("/p/119/kafka/subjects/none", 404, "'none' not found"),
        ("/p/119/models", 404, "There is no such page."),
        ("/static/../app.py", 404, "There is no such page."),
        ("/static/%2e%2e/app.py", 404, "There is no such page."),
    ],
)
def test_what_is_not_there_is_a_page_that_says_so(browser, path, status, words):
    answer = browser.get(httpx.URL(str(browser.base_url), raw_path=path.encode()))
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert words in unescape(answer.text)


def test_a_failure_tells_no_internals(browser, server, monkeypatch):
    monkeypatch.setattr(server.context.store, "topics", lambda: 1 / 0)
    # Uvicorn ends the connection after such an answer; the next request must not be sent on it.
    answer = browser.get(f"{PROJECT}/kafka", headers={"Connection": "close"})
    assert answer.status_code == 500
    assert answer.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]
    assert "ZeroDivisionError" in answer.text
    assert "division by" not in answer.text


def test_no_link_is_dead(browser):
    seen, waiting = set(), [PROJECT]
    while waiting:
        address = waiting.pop()
        answer = browser.get(address)
        assert answer.status_code in (200, 303), address
        for link in re.findall(r'href="([^"]+)"', answer.text):
            target = urljoin(address, unescape(link).partition("#")[0])
            if target not in seen:
                seen.add(target)
                waiting.append(target)
    assert {*PAGES} - {f"{PROJECT}/view", f"{PROJECT}/jobs/named/{JOB}"} <= seen


# --- what they do not ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PAGES, "/login", "/no/such/page", "/static/site.css"])
def test_every_answer_is_guarded(browser, path):
    answer = browser.get(path)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert not re.search(r"<script|<[^>]+ (style|on\w+)=|https?://(?!127)", answer.text.replace('xmlns="http', ""))


def test_hostile_text_stays_text(browser):
    shown = [path for path in PAGES if "alert(" in page(browser, path)]
    assert set(shown) >= {GROUP, f"{GROUP}/online", f"{GROUP}/offline", f"{GROUP}/statistics", f"{EXECUTIONS}/1"}


def test_no_page_shows_a_secret(browser, server):
    everything = "".join(browser.get(path).text for path in (*PAGES, "/login"))
    certs = server.config.certificates
    secrets = [
        read_api_key(server.config),
        *((certs / name).read_text() for name in ("material_passwd", "kafka_passwd")),
    ]
    for secret in (*secrets, "variables-value", "hunter2", "PRIVATE KEY"):
        assert secret not in everything
    assert "MODEL_TOKEN" in everything
    assert "--db-password ***" in everything


def test_looking_changes_nothing(browser, server):
    def content() -> list[list[str]]:
        found = []
        for path in (server.layout.metadata_db, server.layout.online_db):
            connection = sqlite3.connect(path)
            found.append(list(connection.iterdump()))
            connection.close()
        return found

    before = content()
    for path in PAGES:
        browser.get(path)
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert browser.request(method, path, json={}).status_code == 405
    assert content() == before


KNOWN = {"project_id": "119", "feature_store_id": "67", "feature_group_id": "1", "name": JOB, "execution_id": "1"}


@pytest.mark.parametrize("path", sorted({route.path for route in _routes() if "{" in route.path}))
def test_every_part_of_every_address(browser, path):
    parts = re.findall(r"{(\w+)}", path)
    for hostile in parts:
        for segment in HOSTILE_SEGMENTS:
            address = path
            for part in parts:
                address = address.replace(f"{{{part}}}", segment if part == hostile else quote(KNOWN[part]))
            answer = browser.get(address)
            assert answer.status_code < 500, (address[:200], answer.text)


@pytest.mark.parametrize("path", [f"{GROUP}/online", f"{PROJECT}/fs/67/fg", f"{EXECUTIONS}", f"{GROUP}/statistics"])
def test_every_parameter(browser, path):
    for name in ("page", "q", "at", "now", "key.cc_num", "key."):
        for value in (*HOSTILE_SEGMENTS, "1e9", "", "1.5", "%F0%9F%92%A9"):
            answer = browser.get(f"{path}?{name}={value}")
            assert answer.status_code < 500, (name, value[:50], answer.text)
