"""What the demo prints fits into 80 columns, and no word is broken."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
from rich.console import Console

from devstack import demo


class Store:
    """Rows as the demo reads them, with the widest values that there are."""

    ROWS = pd.DataFrame(
        {
            "cc_num": [4_444_000_000_000_000 + card for card in range(40)],
            "num_trans_per_10m": [12_000] * 40,
            "avg_amt_per_10m": [1000.0] * 40,
            "stdev_amt_per_10m": [None, *[999.99] * 39],
            "window_end": pd.Timestamp("2026-01-01T12:34:00"),
        }
    )

    def get_feature_group(self, name: str, version: int) -> Store:
        return self

    def read(self, **_: Any) -> pd.DataFrame:
        print("Finished: Reading data from Hopsworks, using Hopsworks Feature Query Service (0.50s)")
        return self.ROWS


def test_tables_at_eighty_columns() -> None:
    console = Console(width=80, file=io.StringIO())
    console.print(*demo.online_table(Store()))
    console.print(*demo.offline_table(Store()))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    words = shown.split()
    assert max(map(len, shown.splitlines())) <= 80
    assert {"cc_num", "num_trans", "per_10m", "stdev_amt", "window_end", "4444000000000000", "1000.00"} <= set(words)
    assert shown.count("12:34 UTC") == demo.SHOWN_CARDS
    assert "40 cards in card_transactions_10m_agg_2" in shown
    assert "card_transactions_10m_agg_1" in words


def test_the_sdk_does_not_write_into_the_demo(capsys: Any) -> None:
    demo.online_features(Store(), 1)
    assert capsys.readouterr().out == ""
