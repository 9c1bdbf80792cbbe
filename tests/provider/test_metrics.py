"""What the dashboard and the alerts ask for is what the operators tell Airflow's metrics."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from hopsworks_flink.health.verdict import KINDS
from tests.support import REPOSITORY

FOLDER = REPOSITORY / "docs/metrics"
OPERATORS = REPOSITORY / "plugins/hopsworks_flink/operators"
pytestmark = pytest.mark.airflow


def told() -> set[str]:
    """Names of the figures, as the sources write them."""
    from hopsworks_flink.operators.flink.supervise import _GAUGES

    texts = [(OPERATORS / name).read_text() for name in ("flink/supervise.py", "freshness.py")]
    found = {name for text in texts for name in re.findall(r"gauge\(f\"hopsworks_flink\.{[^}]*}\.(\w+)\"", text)}
    assert {"verdict", "failed_rows", "freshness"} <= found
    return found | set(_GAUGES)


def asked(text: str) -> set[str]:
    return set(re.findall(r"hopsworks_flink_(\w+)", text))


def test_the_dashboard_shows_every_figure() -> None:
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert asked("\n".join(expressions)) == told()
    (verdict,) = [panel for panel in dashboard["panels"] if panel["title"] == "Verdict"]
    (mapping,) = verdict["fieldConfig"]["defaults"]["mappings"]
    assert [mapping["options"][str(number)]["text"] for number in range(len(KINDS))] == list(KINDS)


def test_alerts_are_about_figures_that_there_are() -> None:
    (group,) = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]:
        assert asked(rule["expr"]) <= told()
        assert rule["annotations"]["summary"]


def test_the_mapping_makes_these_names() -> None:
    (rule,) = yaml.safe_load((FOLDER / "statsd-mapping.yaml").read_text())["mappings"]
    pattern = re.escape(rule["match"]).replace(r"\*", "([^.]*)")
    found = re.fullmatch(pattern, "airflow.hopsworks_flink.card_transactions__features.lag")
    assert found is not None
    assert rule["name"].replace("${2}", found[2]) == "hopsworks_flink_lag"
    assert rule["labels"] == {"job_name": "$1"}
