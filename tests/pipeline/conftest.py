import copy

import pytest

MINIMAL = {
    "name": "cards",
    "source": {
        "topic": "transactions",
        "schema": {"tid": "string", "datetime": "bigint", "cc_num": "bigint", "amount": "double", "ok": "boolean"},
        "event_time": {"column": "datetime"},
    },
    "feature_groups": [
        {
            "name": "cards_10m",
            "key": ["cc_num"],
            "window": {"size": "10m", "slide": "1m"},
            "aggregates": {"n": "count", "mean": {"avg": "amount"}},
        }
    ],
}


@pytest.fixture
def minimal():
    """Smallest useful pipeline as data, free to be broken by a test."""
    return copy.deepcopy(MINIMAL)
