"""What a deployment says of the job that it wants."""

from __future__ import annotations

from pathlib import Path

from hopsworks_flink.clients.flink.bundle import Bundle
from hopsworks_flink.clients.flink.files import Jar, JobJars
from hopsworks_flink.deployment.desired import DesiredJob
from hopsworks_flink.deployment.feature_job import FeatureJob
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.pipeline.resources import feature_group_arguments
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support.hopsworks_server import LocalHopsworks
from tests.support.supervising import PIPELINE


def test_a_job_of_another_broker_is_another_one(hopsworks: LocalHopsworks) -> None:
    """Its plan is the same: a job that runs would go on with the broker that it was given."""
    pipeline = Pipeline.parse(PIPELINE)
    jar = Jar(Path("some.jar"), "0" * 64)
    wanted = DesiredJob("cards__features", Bundle("program", {"program.py": b""}), JobJars(jar, (), jar))

    def given(servers: str | None) -> str | None:
        source = {"bootstrap.servers": servers} if servers else None
        return FeatureJob.compile(session, pipeline, source, hopsworks_conn_id="h").desired(wanted).credentials

    with HopsworksHook().session() as session:
        for group in pipeline.feature_groups:
            session.create_feature_group(**feature_group_arguments(pipeline, group))
        old = given("old-1:9092,old-2:9092")
        assert given("old-2:9092,old-1:9092") == old
        assert len({old, given("new-1:9092"), given(None)}) == 3
