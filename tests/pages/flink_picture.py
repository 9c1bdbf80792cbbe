"""The picture of a job's graph in Flink's own pages, of a demo that is up: ``make flink-picture``."""

from __future__ import annotations

import requests

from devstack.config import DevstackConfig
from devstack.stack import Stack
from tests.support import REPOSITORY
from tests.support.browser import browser, missing
from tests.support.live.platform import jobs

JOB = "card_transactions__features"
_MILLISECONDS = 30_000


def main() -> None:
    """Take it."""
    if reason := missing():
        raise SystemExit(reason)
    stack = Stack(DevstackConfig())
    url = stack.config.flink_url
    try:
        found = jobs(stack, JOB)
    except requests.RequestException as error:
        raise SystemExit(f"Flink at {url} does not answer ({error}): run `make demo` first.") from None
    running = [job for job, state in found.items() if state == "RUNNING"]
    if not running:
        raise SystemExit(f"No job {JOB} runs at {url}: run `make demo` first.")
    with browser() as chromium:
        page = chromium.new_context(viewport={"width": 1240, "height": 900}).new_page()
        page.goto(f"{url}/#/job/running/{running[0]}/overview")
        page.get_by_text("card_transactions_10m_agg v2").first.wait_for(timeout=_MILLISECONDS)
        page.wait_for_timeout(2000)
        page.screenshot(path=REPOSITORY / "docs/assets/flink-graph.png")
    print("docs/assets/flink-graph.png")


if __name__ == "__main__":
    main()
