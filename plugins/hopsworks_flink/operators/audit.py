"""Operator that holds what both stores serve against what the events come to."""

from __future__ import annotations

import random
import shlex
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import AirflowFailException, AirflowSkipException, BaseOperator
from hopsworks_flink.deployment.record import Record
from hopsworks_flink.exceptions import ConfigurationError
from hopsworks_flink.health.explanation import Explanation, fails, iso, key_text
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.hooks.kafka_connection import source_kafka
from hopsworks_flink.pipeline.spec.durations import parse_duration
from hopsworks_flink.tasks.arguments import as_int
from hopsworks_flink.tasks.context import run_mark, skip_while_deploying, task_errors
from hopsworks_flink.tasks.links import HOPSWORKS_COLOUR

if TYPE_CHECKING:
    from hopsworks_flink._compat import Context
    from hopsworks_flink.pipeline.spec import Pipeline

# Mismatches that the log tells in full.
_TOLD = 20


class AuditFeaturesOperator(BaseOperator):
    """Explains the values of a sample of keys: is what is online what is offline, and what the events come to?

    The keys are drawn from the newest events of the source topic, by chance, and for all tries of a task run the same.
    Of each key two rows of each feature group are looked at: online the one that is served, and the one that was valid
    ``settle`` ago, which has had its time to be materialized, and to be served if no later one is (without event time,
    the only one). Differences get
    a cause, as by ``hopsworks-flink explain``. The log has the command for each of them: it names keys, XCom does not.

    The task fails, without a retry, where a difference is none that the pipeline means: rows of another writer, rows
    that are in the topic but not in a store, values that nothing explains. It succeeds with a warning where the values
    are as the pipeline means it, though they differ: late events, silent keys, values recomputed since, events that
    the topic has lost, a file that is not deployed yet.

    The counts are kept in the Airflow Variable ``hopsworks_flink.audit.<job>``, for the status page.

    :param pipeline: the pipeline as a mapping, or the path of its file (templated).
    :param sample: how many keys are drawn; default: 20 (templated).
    :param settle: how long after its time a row must be offline, such as ``1h``; default: 1h (templated).
    :param deploy_dag_id: DAG that deploys the pipeline; nothing is audited while it is at work; None: there is none
        (templated).
    :param source_kafka_conn_id: Airflow connection of type ``kafka`` for the source topic; None: the feature store's
        own broker (templated).
    :param hopsworks_conn_id: Airflow connection of type ``hopsworks``; default: ``hopsworks_default`` (templated).
    :param flink_conn_id: Airflow connection of type ``flink``; default: ``flink_default`` (templated).
    :return: (XCom) ``values`` compared, ``equal``, ``differ``, ``causes`` (cause -> values), ``groups`` (feature group
        -> cause -> values), ``refused`` (values whose key has refused events), ``unknown`` (what could not be learned).
    :raises AirflowSkipException: a deployment is at work, the topic has no events that count, or no value could be
        compared.
    :raises AirflowFailException: a value is wrong; the text has the counts.
    """

    template_fields: Sequence[str] = (
        "pipeline",
        "sample",
        "settle",
        "deploy_dag_id",
        "source_kafka_conn_id",
        "hopsworks_conn_id",
        "flink_conn_id",
    )
    ui_color = HOPSWORKS_COLOUR

    def __init__(
        self,
        *,
        pipeline: Mapping[str, Any] | str,
        sample: int | str = 20,
        settle: str = "1h",
        deploy_dag_id: str | None = None,
        source_kafka_conn_id: str | None = None,
        hopsworks_conn_id: str = HopsworksHook.default_conn_name,
        flink_conn_id: str = FlinkHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pipeline = pipeline
        self.sample = sample
        self.settle = settle
        self.deploy_dag_id = deploy_dag_id
        self.source_kafka_conn_id = source_kafka_conn_id
        self.hopsworks_conn_id = hopsworks_conn_id
        self.flink_conn_id = flink_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Draw keys, explain their values, and judge by the causes of differences."""
        from hopsworks_flink.pipeline.spec import Pipeline

        with task_errors():
            pipeline = Pipeline.parse(self.pipeline)  # type: ignore[arg-type]
            sample, settle = as_int(self.sample, "sample"), _settle(self.settle)
            if self.deploy_dag_id:
                skip_while_deploying(context, self.deploy_dag_id)
            found = self._explained(pipeline, sample, settle, random.Random(run_mark(context)))  # noqa: S311
        result = summary(found)
        if not result["values"]:
            why = "; ".join(result["unknown"]) or "each row is too young, or was there too long ago"
            raise AirflowSkipException(f"No value of {pipeline.name} could be compared: {why}.")
        Record.across_runs("audit", pipeline.job_name).write({**result, "at": round(time.time(), 3)})
        return self._judge(pipeline, found, result)

    def _explained(
        self, pipeline: Pipeline, number: int, settle: timedelta, chance: random.Random
    ) -> list[Explanation]:
        from hopsworks_flink.tasks.explaining import Explainer
        from hopsworks_flink.tasks.source_events import newest_keys

        with HopsworksHook(self.hopsworks_conn_id).session() as session:
            broker = source_kafka(self.source_kafka_conn_id, session)
            hook = FlinkHook(self.flink_conn_id)
            explainer = Explainer(pipeline, session, hook, broker, hopsworks_conn_id=self.hopsworks_conn_id)
            now, found = int(time.time() * 1000), []
            settled = now - settle // timedelta(milliseconds=1)
            for group in pipeline.feature_groups:
                known = sorted(newest_keys(pipeline, group, broker, explainer.schemas, explainer.versions), key=repr)
                drawn = chance.sample(known, min(number, len(known)))
                if asked := [one for key in drawn for one in explainer.rows_to_audit(group, key, now, settled)]:
                    found += explainer.explain(group, asked, always=False)
        if not found:
            raise AirflowSkipException(
                f"There is nothing to audit: topic {pipeline.source.topic} has no events, or none of its newest ones "
                "counts for a key."
            )
        return found

    def _judge(self, pipeline: Pipeline, found: Sequence[Explanation], result: dict[str, Any]) -> dict[str, Any]:
        differing = [one for one in found if one.differs]
        for one in differing[:_TOLD]:
            key = shlex.quote(key_text(list(one.key.values())))
            for finding in one.findings:
                if finding.differs:
                    self.log.warning(
                        "%s, %s: %s. See: hopsworks-flink explain FILE --group %s --key=%s --at %s",
                        finding.cause,
                        "/".join(finding.where),
                        finding.text,
                        one.group,
                        key,
                        iso(one.facts.at),
                    )
        for text in result["unknown"]:
            self.log.warning("Not known: %s.", text)
        causes = ", ".join(f"{cause} {count}" for cause, count in result["causes"].items())
        text = f"{pipeline.name}: of {result['values']} values {result['differ']} differ"
        text += f" ({causes})." if causes else "."
        if fails(result["causes"]):
            raise AirflowFailException(f"{text} The log names them, and docs/explain.md what to do.")
        (self.log.warning if differing else self.log.info)("%s", text)
        return result


def summary(found: Sequence[Explanation]) -> dict[str, Any]:
    """Counts of what was compared; JSON-safe, without keys and values."""
    groups: dict[str, Counter[str]] = {}
    unknown = list(dict.fromkeys(text for one in found for text in one.unknown))
    found = [one for one in found if one.compared]
    for one in found:
        causes = {finding.cause for finding in one.findings if finding.differs}
        groups.setdefault(one.group, Counter()).update(causes)
    total = sum(groups.values(), Counter[str]())
    differ = sum(one.differs for one in found)
    return {
        "values": len(found),
        "equal": len(found) - differ,
        "differ": differ,
        "causes": dict(total.most_common()),
        "groups": {name: dict(causes.most_common()) for name, causes in groups.items()},
        "refused": sum(bool(one.facts.refused) for one in found),
        "unknown": unknown,
    }


def _settle(value: Any) -> timedelta:
    try:
        return parse_duration(value)
    except ValueError as error:
        raise ConfigurationError(f"settle {value!r}: {error}.") from None
