"""Statistics and expectation suites: stored and served as clients expect them."""

from __future__ import annotations

import pytest

from tests.support.hopsworks_fixtures import GROUPS

SUITE = {
    "expectationSuiteName": "cards",
    "expectations": [{"expectationType": "expect_column_max_to_be_between", "kwargs": '{"column": "v"}'}],
    "runValidation": True,
    "validationIngestionPolicy": "STRICT",
    "meta": "{}",
}


@pytest.fixture
def group(client, cards) -> str:
    return f"{GROUPS}/{client.post(GROUPS, json=cards).json()['id']}"


def test_a_suite_is_created_changed_and_deleted(client, group):
    url = f"{group}/expectationsuite"
    assert client.get(url).json()["count"] == 0
    made = client.post(url, json=SUITE)
    assert made.status_code == 201
    suite = client.get(url).json()
    assert suite["href"].endswith(f"/expectationsuite/{suite['id']}")
    assert (suite["validationIngestionPolicy"], suite["featureGroupId"]) == ("STRICT", 1)
    (first,) = suite["expectations"]
    assert first["kwargs"] == SUITE["expectations"][0]["kwargs"]
    added = client.post(
        f"{url}/{suite['id']}/expectations", json={"expectationType": "expect_b", "kwargs": "{}"}
    ).json()
    assert added["id"] != first["id"]
    one = f"{url}/{suite['id']}/expectations/{added['id']}"
    assert client.put(one, json={**added, "expectationType": "expect_c"}).json()["expectationType"] == "expect_c"
    assert [e["expectationType"] for e in client.get(url).json()["expectations"]][1] == "expect_c"
    assert client.delete(one).status_code == 204
    assert (client.get(one).status_code, client.get(one).json()["errorCode"]) == (404, 270210)
    metadata = {**SUITE, "expectations": [], "runValidation": False}
    changed = client.put(f"{url}/{suite['id']}/metadata", json=metadata).json()
    assert (changed["runValidation"], len(changed["expectations"])) == (False, 1)
    assert client.put(f"{url}/{suite['id'] + 1}", json=SUITE).status_code == 404
    assert client.delete(f"{url}/{suite['id']}").status_code == 204
    assert client.get(url).json()["count"] == 0


def test_a_group_may_come_with_its_suite_and_keeps_one(client, cards):
    created = client.post(GROUPS, json={**cards, "expectationSuite": SUITE}).json()
    assert created["expectationSuite"]["expectationSuiteName"] == "cards"
    url = f"{GROUPS}/{created['id']}/expectationsuite"
    again = client.post(url, json={**SUITE, "expectationSuiteName": "other"}).json()
    assert client.get(url).json()["id"] == again["id"]
    assert client.get(f"{GROUPS}/cards").json()[0]["expectationSuite"]["expectationSuiteName"] == "other"


def test_statistics_are_served_newest_first_and_filtered(client, group):
    url = f"{group}/statistics"
    assert client.get(url).json()["count"] == 0
    for time, commit in ((10, 1), (30, 3), (20, 2)):
        body = {
            "computationTime": time,
            "rowPercentage": 1.0,
            "windowEndCommitTime": commit,
            "featureDescriptiveStatistics": [
                {"featureName": "cc_num", "count": time, "extendedStatistics": "{}"},
                {"featureName": "city", "count": 1},
            ],
        }
        assert client.post(url, json=body).status_code == 201

    def times(**parameters) -> list[int]:
        return [item["computationTime"] for item in client.get(url, params=parameters).json()["items"]]

    assert times() == [30, 20, 10]
    assert times(limit=1) == [30]
    assert times(offset=1, limit=1) == [20]
    assert times(filter_by="computation_time_ltoeq:20") == [20, 10]
    assert times(filter_by=["window_end_commit_time_eq:3", "row_percentage_eq:1.0"]) == [30]
    assert times(filter_by=["window_end_commit_time_eq:3", "before_transformation_eq:True"]) == []
    assert times(sort_by="window_end_commit_time:asc") == [10, 20, 30]
    bare = client.get(url).json()["items"][0]
    assert bare["featureDescriptiveStatistics"] == []
    full = client.get(url, params={"fields": "content", "feature_names": ["cc_num"]}).json()["items"][0]
    assert full["featureDescriptiveStatistics"] == [{"featureName": "cc_num", "count": 30, "extendedStatistics": "{}"}]
    assert client.get(url, params={"filter_by": "nonsense"}).status_code == 422


def test_statistics_of_unknown_features_are_refused(client, group):
    body = {"computationTime": 1, "featureDescriptiveStatistics": [{"featureName": "nothing"}]}
    assert client.post(f"{group}/statistics", json=body).status_code == 422


def test_what_is_made_names_who_made_it_and_where_it_is(client, cards):
    made = client.post(GROUPS, json=cards).json()
    assert made["creator"]["email"] == "demo@devstack.local"
    assert made["href"].endswith(f"/featurestores/67/featuregroups/{made['id']}")
    job = client.get("project/119/jobs/cards_1_offline_fg_materialization").json()
    assert job["creator"] == made["creator"]
    assert job["href"].endswith("/project/119/jobs/cards_1_offline_fg_materialization")
