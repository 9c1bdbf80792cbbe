"""DAGs of pipelines that tell somebody: a mail for what failed, and for what did not end in time.

Mails go out by Airflow's connection `smtp_default`. Another provider's notifier (Slack, PagerDuty, …) takes the
same place.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.smtp.notifications.smtp import SmtpNotifier

# Airflow reads a DAG file only if the words "airflow" and "dag" stand in it.
from hopsworks_flink.dags import deploy_dag, offline_backfill_dag, supervise_dag
from hopsworks_flink.pipeline.catalog import load_pipelines

try:
    from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference
except ImportError:
    try:
        from airflow.sdk.definitions.deadline import AsyncCallback, DeadlineAlert, DeadlineReference
    except ImportError:  # Airflow 3.0 has no deadlines
        DeadlineAlert = None

TEAM = "features@example.com"
FOLDER = Path(__file__).parent / "pipelines"


def mail(subject: str) -> SmtpNotifier:
    """Who is told, and what."""
    return SmtpNotifier(to=TEAM, from_email="airflow@example.com", subject=subject, html_content="{{ ti.log_url }}")


def within(limit: timedelta) -> dict[str, Any]:
    """A run that has not ended so long after it was queued is told of while it still runs."""
    if DeadlineAlert is None:
        return {}
    told = {"to": TEAM, "from_email": "airflow@example.com", "subject": "A run is late", "html_content": "See Airflow."}
    return {
        "deadline": DeadlineAlert(
            reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=limit, callback=AsyncCallback(SmtpNotifier, told)
        )
    }


for pipeline in load_pipelines(FOLDER).pipelines:
    failed = {"default_args": {"on_failure_callback": mail("{{ ti.task_id }} of {{ dag.dag_id }} failed")}}
    deploy_dag(pipeline, **failed, **within(timedelta(minutes=30)))
    # Its verdict is the failure of a task: job sick, missing or duplicated, features staler than the file says.
    supervise_dag(pipeline, **failed)
    offline_backfill_dag(pipeline, **failed, **within(timedelta(minutes=10)))
