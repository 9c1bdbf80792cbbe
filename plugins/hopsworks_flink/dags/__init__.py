"""The DAGs of a feature pipeline, made by one function each; DAG files call them."""

from hopsworks_flink.dags.audit import audit_dag
from hopsworks_flink.dags.deploy import deploy_dag
from hopsworks_flink.dags.offline_backfill import offline_backfill_dag
from hopsworks_flink.dags.recompute import recompute_dag
from hopsworks_flink.dags.simulate import simulate_dag
from hopsworks_flink.dags.supervise import supervise_dag
from hopsworks_flink.dags.undeploy import undeploy_dag

__all__ = [
    "audit_dag",
    "deploy_dag",
    "offline_backfill_dag",
    "recompute_dag",
    "simulate_dag",
    "supervise_dag",
    "undeploy_dag",
]
