"""What tasks look like in Airflow's pages: their colours, and the buttons of a Flink job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hopsworks_flink.links import FlinkExceptionsLink, FlinkJobLink

if TYPE_CHECKING:
    from hopsworks_flink._compat import BaseOperator, Context
    from hopsworks_flink.hooks.flink import FlinkHook

FLINK_COLOUR, HOPSWORKS_COLOUR, KAFKA_COLOUR = "#ffe6ef", "#d9f2e6", "#e6e6fa"


def push_links(context: Context, operator: BaseOperator, hook: FlinkHook, job_id: str) -> str:
    """Make the buttons of a job work, from now on; a retry has to do it again.

    :return: the address of the job in Flink's web UI.
    """
    url = hook.job_url(job_id)
    FlinkJobLink().persist(context, operator, url)
    FlinkExceptionsLink().persist(context, operator, hook.job_url(job_id, "exceptions"))
    return url
