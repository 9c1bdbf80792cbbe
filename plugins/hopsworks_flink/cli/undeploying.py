"""`undeploy`: what the DAG `<pipeline>__undeploy` does, from a shell; shows it first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hopsworks_flink.clients.flink.jobs import FlinkJob
from hopsworks_flink.exceptions import FlinkAmbiguousJobError, HopsworksNotFoundError
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.pipeline.spec import job_name_of
from hopsworks_flink.tasks.arguments import one_of
from hopsworks_flink.tasks.deleting import as_groups, delete

_ENDS = {
    "savepoint": "with a savepoint, from which a later deployment continues",
    "drain": "with a savepoint, after open windows were emitted as if they were complete",
    "cancel": "at once, without state",
}


@dataclass(frozen=True)
class Undeployment:
    """What is to end.

    :param pipeline: its name.
    :param mode: how the job ends: ``savepoint``, ``drain`` or ``cancel``.
    :param groups: feature groups to delete, by name and version.
    :param topics: topics to delete.
    """

    pipeline: str
    mode: str
    groups: Sequence[tuple[str, int]]
    topics: Sequence[str]
    flink_conn_id: str
    hopsworks_conn_id: str

    @classmethod
    def parse(
        cls, pipeline: str, mode: str, groups: Sequence[str], topics: Sequence[str], **connections: str
    ) -> Undeployment:
        """Check the words of a command line.

        :raises ConfigurationError: a name or the mode is wrong.
        """
        parsed = as_groups(groups, "--delete-feature-group")
        return cls(pipeline, one_of(mode, "--mode", tuple(_ENDS)), parsed, topics, **connections)

    def shown(self) -> Iterator[str]:
        """What would happen, a line each; looks, and changes nothing.

        :raises HopsworksNotFoundError: something that is to be deleted does not exist.
        :raises HopsworksFlinkError: somebody does not answer.
        """
        job = self._job()
        if job is None:
            yield f"no job {job_name_of(self.pipeline)} runs: nothing to stop"
        else:
            yield f"stop job {job.name} ({job.job_id}, {job.state}) {_ENDS[self.mode]}"
        if not self.groups and not self.topics:
            yield "keep every feature group and topic"
            return
        with HopsworksHook(self.hopsworks_conn_id).session() as session:
            for name, version in self.groups:
                session.get_feature_group(name, version)
                yield f"delete feature group {name}_{version} with its online rows, offline table and topic"
            for topic in self.topics:
                if not session.topics.exists(topic):
                    raise HopsworksNotFoundError(f"There is no topic {topic!r}; nothing was stopped or deleted.")
                yield f"delete topic {topic} with its records and schema"

    def run(self) -> Iterator[str]:
        """Do it, and tell each step."""
        hook, job = FlinkHook(self.flink_conn_id), self._job()
        if job is not None and self.mode == "cancel":
            hook.cancel(job.job_id)
            yield f"job {job.job_id} is {hook.wait_until_ended(job.job_id)}"
        elif job is not None:
            path = hook.stop_with_savepoint(job.job_id, drain=self.mode == "drain")
            yield f"job {job.job_id} is {hook.wait_until_ended(job.job_id)}; its state is in {path}"
        if self.groups or self.topics:
            with HopsworksHook(self.hopsworks_conn_id).session() as session:
                for kind, name in delete(session, self.groups, self.topics):
                    yield f"deleted {'feature group' if kind == 'feature_groups' else 'topic'} {name}"

    def _job(self) -> FlinkJob | None:
        name = job_name_of(self.pipeline)
        running = [job for job in FlinkHook(self.flink_conn_id).jobs_named(name) if not job.is_terminal]
        if len(running) > 1:
            listed = ", ".join(f"{job.job_id} ({job.state})" for job in running)
            raise FlinkAmbiguousJobError(f"{len(running)} jobs named {name!r} run: {listed}. Stop all but one.")
        return running[0] if running else None
