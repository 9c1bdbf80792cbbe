"""What an audit makes of explanations (integration/values/test_explain.py runs one)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from hopsworks_flink._compat import AirflowFailException
from hopsworks_flink.health.explanation import COUNTED, Event, Explanation, Facts, Row, Store, findings
from hopsworks_flink.operators.audit import AuditFeaturesOperator, summary
from hopsworks_flink.pipeline.types import FeatureType
from tests.support import REPOSITORY
from tests.support.fixtures import task_context

pytestmark = pytest.mark.airflow

AT = 1_780_056_000_000
TYPES = {"card": FeatureType.parse("bigint"), "n": FeatureType.parse("bigint")}
LATE = Event(0, 7, AT, AT - 5, COUNTED)


def value(group: str, online: int, offline: int, **more: Any) -> Explanation:
    """One for which the events come to 3."""

    def row(n: int) -> Row:
        return Row(AT, {"card": 4444, "n": n})

    stores = {"online": Store(row(online), [LATE]), "offline": Store(row(offline), [LATE])}
    facts = Facts(AT, TYPES, row(3), **stores, watermark=AT, job="j", **more)
    return Explanation("p", group, {"card": 4444}, facts, [], findings(facts), (), ["the offline store: away"])


def test_the_summary_counts_values_and_causes_and_names_no_key() -> None:
    refused = [Event(0, 8, AT, None, "at is null")]
    found = summary([value("a_1", 3, 3), value("a_1", 2, 2, refused=refused), value("b_1", 2, 3), value("b_1", 3, 3)])
    assert found == {
        "values": 4,
        "equal": 2,
        "differ": 2,
        "causes": {"late_event": 2},
        "groups": {"a_1": {"late_event": 1}, "b_1": {"late_event": 1}},
        "refused": 1,
        "unknown": ["the offline store: away"],
    }
    assert "4444" not in json.dumps(found)


def test_what_was_not_compared_is_not_called_equal() -> None:
    one = value("a_1", 3, 3)
    later = Store(Row(AT + 60_000, {"card": 4444, "n": 5}))
    moved_on = replace(one, facts=replace(one.facts, online=later, offline=None))
    found = summary([one, moved_on, replace(one, facts=replace(one.facts, online=None, offline=None))])
    assert (found["values"], found["equal"], found["unknown"]) == (1, 1, ["the offline store: away"])


@pytest.mark.parametrize(("argument", "text"), [({"sample": "0"}, "sample"), ({"settle": "soon"}, "settle 'soon'")])
def test_wrong_arguments_fail_for_good(argument: dict[str, Any], text: str) -> None:
    file = str(REPOSITORY / "dags" / "pipelines" / "card_transactions.yaml")
    with pytest.raises(AirflowFailException, match=text):
        AuditFeaturesOperator(task_id="t", pipeline=file, **argument).execute(task_context())
