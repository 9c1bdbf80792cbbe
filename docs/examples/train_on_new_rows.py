"""Trains a small model each time that new rows have come into a feature group's offline table.

Not by the clock: Airflow starts a run when `<pipeline>__offline_backfill` or `__recompute` has told the asset of the
offline table. Several materializations between two runs are one run, which knows all of them.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import DAG, task

from hopsworks_flink.assets import offline_table_asset

GROUP, VERSION = "card_transactions_10m_agg", 2
LABEL, FEATURES = "avg_amt_per_10m", ["num_trans_per_10m", "stdev_amt_per_10m"]
TABLE = offline_table_asset(GROUP, VERSION)

with DAG(
    "card_transactions__train",
    description="An example: predicts the mean amount from number and spread.",
    schedule=[TABLE],
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    tags=["hopsworks", "training", "card_transactions"],
) as dag:

    @task.short_circuit(inlets=[TABLE])
    def new_rows(triggering_asset_events: Any = None) -> int:
        """How many rows are new; without any, nothing is trained."""
        told = [event.extra for events in (triggering_asset_events or {}).values() for event in events]
        return sum((extra.get("rows_inserted") or 0) + (extra.get("rows_updated") or 0) for extra in told)

    @task.hopsworks
    def train(feature_store: Any = None) -> dict[str, Any]:
        """Least squares on the offline rows; the newest fifth is kept to judge it."""
        import numpy

        rows = feature_store.get_feature_group(GROUP, version=VERSION).read()
        rows = rows.dropna(subset=[LABEL, *FEATURES]).sort_values("window_end")
        kept = len(rows) // 5
        if not kept:
            raise ValueError(f"{len(rows)} complete rows are too few to train on")
        inputs = numpy.column_stack([numpy.ones(len(rows)), rows[FEATURES].to_numpy(float)])
        label = rows[LABEL].to_numpy(float)
        weights, *_ = numpy.linalg.lstsq(inputs[:-kept], label[:-kept], rcond=None)
        error = float(numpy.sqrt(numpy.mean((inputs[-kept:] @ weights - label[-kept:]) ** 2)))
        return {"rows": len(rows), "weights": [float(one) for one in weights], "error": error}

    new_rows() >> train()
