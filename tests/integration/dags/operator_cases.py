"""DAGs of the tests: operators at work while things go wrong. Part of the stack under test only."""

import os
import signal
from pathlib import Path

import pendulum
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

from hopsworks_flink.operators.approve_deployment import ApproveDeploymentOperator
from hopsworks_flink.operators.flink import FlinkDeployJobOperator, FlinkRunJobOperator
from hopsworks_flink.operators.kafka import KafkaCreateTopicOperator

HERE = Path(__file__).parent
PROGRAM = str(HERE / "programs" / "endless_numbers.py")
DEFAULTS = {"retries": 2, "retry_delay": pendulum.duration(seconds=1)}
FAST = {"execution.checkpointing.interval": "2 s"}


def crash_if_asked(point: str) -> None:
    """Die as a worker does that runs out of memory, once for each flag that a test has set."""
    flag = HERE / f"crash-{point}"
    if flag.exists():
        flag.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


class CrashingDeployOperator(FlinkDeployJobOperator):
    """The operator of every day, with two places where its process can be killed."""

    def secret_files(self):
        crash_if_asked("before-submit")
        return super().secret_files()

    def show_job(self, *args, **kwargs):
        crash_if_asked("after-submit")
        return super().show_job(*args, **kwargs)


def case(dag_id: str, **params) -> DAG:
    return DAG(
        dag_id=dag_id,
        schedule=None,
        start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
        catchup=False,
        max_active_runs=4,
        params=params,
        default_args=DEFAULTS,
    )


with case("case_deploy", version=Param("1", type="string")):
    CrashingDeployOperator(
        task_id="deploy",
        job_name="case_deploy",
        program=PROGRAM,
        arguments=["--version", "{{ params.version }}"],
        jars=[],
        flink_configuration=FAST,
        grace_period=2,
    )

with case("case_run", rows=Param(0, type="integer")):
    FlinkRunJobOperator(
        task_id="run",
        job_name="case_run",
        program=PROGRAM,
        arguments=["--rows", "{{ params.rows }}"],
        jars=[],
        deferrable=True,
    )

with case("case_timeout"):
    FlinkRunJobOperator(
        task_id="run",
        job_name="case_timeout",
        program=PROGRAM,
        jars=[],
        deferrable=False,
        retries=0,
        execution_timeout=pendulum.duration(seconds=25),
    )

with case("case_topics"):
    KafkaCreateTopicOperator.partial(
        task_id="create", partitions=2, kafka_conn_id="kafka_default", map_index_template="{{ task.topic }}"
    ).expand(topic=["case_orders", "case_clicks"])

# Every place that a secret can come from in Airflow; the last two fail, and their errors must not repeat it.
with case("case_approval", pipeline=Param("", type="string")):
    for name, parallelism in (("asked", "2"), ("unchanged", "")):
        ask = ApproveDeploymentOperator(
            task_id=name, pipeline="{{ params.pipeline }}", parallelism=parallelism, state="rewarm"
        )
        ask >> EmptyOperator(task_id=f"after_{name}")

with case("case_secrets"):
    for login in ("scram", "keys", "wrong"):
        KafkaCreateTopicOperator(task_id=login, topic="case_secrets", kafka_conn_id=f"case_kafka_{login}", retries=0)
    FlinkRunJobOperator(
        task_id="variable",
        job_name="case_secrets",
        program=PROGRAM,
        jars=[],
        flink_configuration={"s3.secret-key": "{{ var.value.case_secret }}"},
    )
