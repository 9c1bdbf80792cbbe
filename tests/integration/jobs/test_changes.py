"""A running pipeline that changes, one kind of change for each case: every row that the new job writes is right.

Several pipelines go the same way at once: deployed, fed, changed, deployed again with the defaults, fed again. The new
job's rows are those with its own ingestion id. Each must be the row that an independent computation over all events
gives for the changed file, and none may be missing behind the last row that the old job has written.

``CHANGES=all`` tries every kind (`make changes`), which makes the table of docs/upgrades.md; ``CHANGES=parallelism``
those (`make rescale`, on two TaskManagers); otherwise a few.
"""

from __future__ import annotations

import copy
import io
import json
import math
import os
import random
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import fastavro
import pytest
import requests
from confluent_kafka import Producer

from hopsworks_flink.exceptions import HopsworksFlinkError
from hopsworks_flink.operators.flink import FlinkDeployFeaturePipelineOperator
from hopsworks_flink.operators.hopsworks import HopsworksCreateFeatureGroupOperator, HopsworksCreateTopicOperator
from hopsworks_flink.pipeline.resources import feature_group_arguments, source_avro_schema, source_topic_arguments
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.sql.late import late_topic_arguments
from hopsworks_flink.pipeline.sql.quarantine import quarantine_topic_arguments
from hopsworks_flink.pipeline.state import panes_go_on, state_outcome, state_signature
from hopsworks_flink.testing import evaluate
from tests.support.fixtures import set_connection, task_context
from tests.support.live.platform import ends, eventually, jobs, records, sdk_project

pytestmark = pytest.mark.timeout(1800)

RUN = uuid.uuid4().hex[:6]
START = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
SECOND = timedelta(seconds=1)
#: Events of one key and second, before and after the change.
BEFORE, AFTER, STEP = 230, 230, SECOND
FLUSH = "flush"

Spec = dict[str, Any]


def base() -> Spec:
    """Two groups over one topic of JSON events; a case changes what it needs before the first deployment."""
    return {
        "name": "p",
        "source": {
            "topic": "t",
            "format": "json",
            "schema": {"id": "bigint", "at": "bigint", "k": "string", "shop": "string", "v": "double", "w": "double"},
            "event_time": {"column": "at"},
            "max_disorder": "2s",
        },
        "feature_groups": [group("a", ["k"]), group("b", ["shop"])],
    }


def group(name: str, key: list[str], **changes: Any) -> Spec:
    return {
        "name": name,
        "key": key,
        "event_time": "window_end",
        "window": {"size": "20s"},
        "aggregates": {"n": "count", "x": {"sum": "v"}, "y": {"max": "v"}},
        **changes,
    }


def window(**setting: str) -> Callable[[Spec], None]:
    return lambda spec: spec["feature_groups"][0].update(window=setting)


def aggregate(name: str, what: Any) -> Callable[[Spec], None]:
    return lambda spec: spec["feature_groups"][0]["aggregates"].update({name: what})


def source(**settings: Any) -> Callable[[Spec], None]:
    return lambda spec: spec["source"].update(settings)


def empty(row: str) -> Callable[[Spec], None]:
    return lambda spec: spec["feature_groups"][0].update(on_empty=row)


def keyed(*key: str) -> Callable[[Spec], None]:
    return lambda spec: spec["feature_groups"][0].update(key=list(key))


def groups(change: Callable[[list[Spec]], Any]) -> Callable[[Spec], None]:
    return lambda spec: change(spec["feature_groups"])


def on_event(size: str) -> Callable[[Spec], None]:
    return lambda spec: spec["feature_groups"][0].update(
        emit="on_event", event_time="event", online=True, window={"size": size}
    )


def rows(expression: str) -> Callable[[Spec], None]:
    """A group of single events beside the others."""

    def change(spec: Spec) -> None:
        made = {"x": {"expression": expression, "type": "double"}, "shop": "shop"}
        for one in spec["feature_groups"]:
            if "features" in one:
                one["features"] = made
                return
        spec["feature_groups"].append({"name": "r", "key": ["k", "id"], "event_time": "event", "features": made})

    return change


def together(*changes: Callable[[Spec], None]) -> Callable[[Spec], None]:
    def change(spec: Spec) -> None:
        for one in changes:
            one(spec)

    return change


def engine(name: str, *changes: Callable[[Spec], None]) -> Callable[[Spec], None]:
    return together(lambda spec: spec.update(engine=name), *changes)


def nothing(spec: Spec) -> None:
    """The base as it is."""


def spread(spec: Spec) -> None:
    """Each holds the watermark back: no event is late, however long a deployment takes."""
    spec["source"].update(partitions=2, idle_timeout=None)


def parallel(number: int) -> Callable[[Spec], None]:
    return lambda spec: spec.update(parallelism=number)


def renamed(spec: Spec) -> None:
    found = spec["feature_groups"][0]["aggregates"]
    found["z"] = found.pop("y")


def reordered(spec: Spec) -> None:
    found = spec["feature_groups"][0]["aggregates"]
    spec["feature_groups"][0]["aggregates"] = {name: found[name] for name in ("y", "x", "n")}


def exchanged(spec: Spec) -> None:
    found = spec["feature_groups"][0]["aggregates"]
    spec["feature_groups"][0]["aggregates"] = {"n": found["n"], "y": found["x"], "x": found["y"]}


def appended(spec: Spec) -> None:
    spec["source"]["schema"]["extra"] = "string"


def avro(spec: Spec) -> None:
    spec["source"]["format"] = "avro"


def appended_avro(spec: Spec) -> None:
    appended(spec)
    spec["source"]["appended"] = ["extra"]


def appended_and_used(spec: Spec) -> None:
    appended_avro(spec)
    spec["feature_groups"][0]["aggregates"]["x"]["where"] = "extra IS NULL OR id > 300"


def shuffled(spec: Spec) -> None:
    found = spec["source"]["schema"]
    spec["source"]["schema"] = {name: found[name] for name in reversed(found)}


def derive(expression: str) -> Callable[[Spec], None]:
    def change(spec: Spec) -> None:
        spec["source"]["derive"] = {"d": {"expression": expression, "type": "double"}}
        spec["feature_groups"][0]["aggregates"]["x"] = {"sum": "d"}

    return change


@dataclass(frozen=True)
class Change:
    """One kind.

    :param before: makes the file of the first deployment out of the base.
    :param after: makes the changed file out of that.
    :param outcome: what becomes of the state: ``keeps`` or ``rewarms``; ``restores``: panes go on as asked for, instead
        of a rewarm; ``refused``: nothing is touched; ``nothing``: the job is the same.
    :param often: tried in each run, not only in the long one.
    :param unknown: a feature that may have no value in windows with an event from before.
    """

    words: str
    after: Callable[[Spec], None]
    outcome: str = "rewarms"
    before: Callable[[Spec], None] = nothing
    often: bool = False
    deploy: dict[str, Any] = field(default_factory=dict)
    unknown: str = ""


HOP, TUMBLE, CUMULATE = window(size="30s", slide="10s"), window(size="20s"), window(size="40s", step="10s")
CHANGES = {
    "size-up": Change("a longer window", window(size="40s"), often=True),
    "size-down": Change("a shorter window", window(size="10s")),
    "hop-size": Change("size of an overlapping window", window(size="40s", slide="10s"), before=HOP),
    "hop-slide": Change("slide", window(size="30s", slide="15s"), before=HOP),
    "tumble-hop": Change("tumbling → overlapping", HOP),
    "hop-tumble": Change("overlapping → tumbling", TUMBLE, before=HOP),
    "tumble-cumulate": Change("tumbling → growing", CUMULATE),
    "cumulate-step": Change("step of a growing window", window(size="40s", step="20s"), before=CUMULATE),
    "where": Change("`source.where`", source(where="v > 0")),
    "derive": Change("a derived column that is used", derive("v * 2"), before=derive("v + 1")),
    "aggregate-where": Change("an aggregate's `where`", aggregate("x", {"sum": "v", "where": "w > 0"})),
    "sum-max": Change("another function of the same type", aggregate("x", {"max": "v"})),
    "min-max": Change("min ↔ max", aggregate("y", {"min": "v"})),
    "column": Change("another column", aggregate("x", {"sum": "w"})),
    "first-last": Change(
        "first_value ↔ last_value", aggregate("y", {"last_value": "v"}), before=aggregate("y", {"first_value": "v"})
    ),
    "avg-min": Change("avg ↔ min", aggregate("y", {"min": "v"}), before=aggregate("y", {"avg": "v"})),
    "deviation": Change(
        "stddev_samp ↔ stddev_pop, var_samp, var_pop of the same column",
        aggregate("y", {"var_pop": "v"}),
        "keeps",
        before=aggregate("y", {"stddev_samp": "v"}),
    ),
    "default": Change("a default", aggregate("x", {"sum": "v", "default": 0}), "keeps"),
    "aggregate-order": Change("order of the aggregates", reordered, "nothing"),
    "key": Change("another key of the same type", keyed("shop", "k"), before=keyed("k", "shop")),
    "group-order": Change("order of the groups", groups(lambda found: found.reverse())),
    "group-added": Change("a group more, at the end", groups(lambda found: found.append(group("c", ["k", "shop"])))),
    "group-in-front": Change("a group more, in front", groups(lambda f: f.insert(0, group("c", ["k", "shop"])))),
    "group-removed": Change("a group less", groups(lambda found: found.pop(0))),
    "on-event": Change("length with `emit: on_event`", on_event("40s"), before=on_event("20s")),
    "disorder": Change("`max_disorder`", source(max_disorder="4s"), "keeps"),
    "future": Change("`max_future`", source(max_future="2h")),
    "late": Change("`late: topic`", source(late="topic")),
    "refused": Change("`refused: quarantine`", source(refused="quarantine")),
    "decode": Change("`on_decode_error: quarantine`", source(on_decode_error="quarantine")),
    "append": Change("a source column more that nothing uses (JSON)", appended, "keeps"),
    "append-avro": Change("a source column more that nothing uses (Avro)", appended_avro, "keeps", before=avro),
    "append-used": Change("a source column more that is used (Avro)", appended_and_used, before=avro, often=True),
    "append-silent": Change(
        "a source column more that `appended` does not name (Avro)", appended, "refused", before=avro
    ),
    "shuffle": Change("source columns in another order", shuffled, "refused"),
    "idle": Change("`idle_timeout`", source(idle_timeout="10s"), "keeps"),
    "parallelism": Change("parallelism", parallel(2), "keeps", before=spread),
    "parallelism-down": Change(
        "parallelism, to fewer", parallel(1), "keeps", before=together(HOP, spread, parallel(2))
    ),
    "parallelism-form": Change("parallelism, in the form", nothing, "keeps", before=spread, deploy={"parallelism": 2}),
    "panes": Change(
        "other aggregates, with *state* = `restore`",
        aggregate("y", {"min": "v"}),
        "restores",
        before=HOP,
        deploy={"state": "restore"},
        unknown="y",
    ),
    "engine": Change("`engine`", engine("native"), before=engine("sql", HOP), often=True),
    "engine-back": Change("`engine`, to SQL", engine("sql"), before=CUMULATE),
    "sql-append": Change("a source column more, with `engine: sql`", appended, "keeps", before=engine("sql", HOP)),
    "sql-size": Change("a longer window, with `engine: sql`", window(size="40s"), before=engine("sql")),
    "sql-deviation": Change(
        "stddev_samp ↔ var_pop, with `engine: sql`",
        aggregate("y", {"var_pop": "v"}),
        "keeps",
        before=engine("sql", HOP, aggregate("y", {"stddev_samp": "v"})),
    ),
    "sql-names": Change(
        "two features exchange their names, with `engine: sql`",
        exchanged,
        before=engine("sql", HOP, aggregate("y", {"sum": "w"})),
    ),
    "sql-empty": Change("`on_empty`, with `engine: sql`", empty("null"), before=engine("sql", HOP, empty("zero"))),
    "rename": Change("a feature renamed", renamed, "refused"),
    "rows": Change("what a feature of `features` is made of", rows("v * 3"), "keeps", before=rows("v + 1")),
    "rows-added": Change("a group without windows more", rows("v + 1")),
}
#: The beginning of their names.
ASKED = os.environ.get("CHANGES", "")
CHOSEN = [
    name
    for name, change in CHANGES.items()
    if (change.often if not ASKED else ASKED == "all" or name.startswith(ASKED))
]
#: Each job takes a slot, and other tests have theirs.
AT_ONCE = 3


def events(case: str, begin: int, count: int) -> list[dict[str, Any]]:
    """One a second for each of two keys, a little out of order, some values missing or negative."""
    random_ = random.Random(f"{case}{begin}")
    made = []
    for number in range(begin, begin + count):
        for k in ("k1", "k2"):
            at = START + number * STEP + timedelta(milliseconds=random_.randrange(1500))
            made.append(
                {
                    "id": number,
                    "at": round(at.timestamp() * 1000),
                    "k": k,
                    "shop": random_.choice(["s1", "s2"]),
                    "v": random_.choice([None, *(random_.randrange(-40, 80) / 4 for _ in range(6))]),
                    "w": random_.randrange(-5, 9) / 2,
                }
            )
    return made


def flush(number: int) -> dict[str, Any]:
    """Ends all windows before it."""
    at = round((START + number * STEP).timestamp() * 1000)
    return {"id": number, "at": at, "k": FLUSH, "shop": FLUSH, "v": None, "w": 0.0}


class Pipe:
    """One pipeline on its way through a change."""

    def __init__(self, stack: Any, name: str) -> None:
        self.stack, self.name, self.change = stack, name, CHANGES[name]
        spec = base()
        self.change.before(spec)
        self.spec = self._named(spec)
        self.events: list[dict[str, Any]] = []
        self.result: dict[str, Any] = {}
        self.refusal = ""
        self.planned = ""

    def _named(self, spec: Spec) -> Spec:
        unique = f"{self.name.replace('-', '_')}_{RUN}"
        named = copy.deepcopy(spec)
        named.update(name=f"c_{unique}")
        named["source"]["topic"] = f"t_{unique}"
        for one in named["feature_groups"]:
            if not one["name"].endswith(unique):
                one["name"] = f"{one['name']}_{unique}"
        return named

    def deploy(self, **form: Any) -> dict[str, Any]:
        """What the deploy DAG does, with its form as it is or filled in."""
        pipeline = Pipeline.parse(self.spec)
        topics = [source_topic_arguments(pipeline)]
        topics += [late_topic_arguments(pipeline)] if pipeline.late_topic else []
        topics += [quarantine_topic_arguments(pipeline)] if pipeline.quarantine_topic else []
        for topic in topics:
            HopsworksCreateTopicOperator(task_id="topic", **topic).execute(task_context())
        for one in pipeline.feature_groups:
            HopsworksCreateFeatureGroupOperator(
                task_id=one.full_name, on_drift="append_later", **feature_group_arguments(pipeline, one)
            ).execute(task_context())
        operator = FlinkDeployFeaturePipelineOperator(
            task_id="deploy",
            pipeline=self.spec,
            on_drift="append",
            **{"grace_period": 1.0, "poll_interval": 0.5, "timeout": 240, **form},
        )
        return operator.execute(task_context())

    def alter(self) -> None:
        """Deploy the changed file, with the defaults."""
        from hopsworks_flink._compat import AirflowFailException
        from hopsworks_flink.hooks.flink import FlinkHook
        from hopsworks_flink.hooks.hopsworks import HopsworksHook

        before, job_id = copy.deepcopy(self.spec), self.result["job_id"]
        self.change.after(self.spec)
        self.spec = self._named(self.spec)
        signature = state_signature(Pipeline.parse(self.spec))
        running = FlinkHook().job_marks(job_id)
        self.planned = state_outcome(signature.marks(), running)[0]
        if self.change.deploy.get("state") == "restore" and panes_go_on(signature.marks(), running):
            self.planned = "restores"
        topic = source_topic_arguments(Pipeline.parse(self.spec))
        append = topic["on_drift"] == "append"
        with HopsworksHook().session() as session:
            found = session.topics.differences(
                topic["topic"], topic["schema"], partitions=topic["partitions"], append=append
            )
        try:
            self.result = self.deploy(**self.change.deploy)
        except (AirflowFailException, HopsworksFlinkError) as error:
            self.refusal, self.spec = str(error), before
        # What the plan would say about the topic is what the deployment did.
        assert found is not None
        assert bool(found[1]) == self.refusal.startswith("Schema"), (self.name, found, self.refusal)

    def produce(self, made: list[dict[str, Any]]) -> None:
        producer = Producer({"bootstrap.servers": self.stack.config.kafka_bootstrap, "enable.idempotence": True})
        if "extra" in self.spec["source"]["schema"]:
            made = [{**event, "extra": f"e{event['id']}"} for event in made]
        topic, partitions = self.spec["source"]["topic"], self.spec["source"].get("partitions", 1)
        for event in made:
            for partition in range(partitions) if event["k"] == FLUSH else [event["id"] % partitions]:
                producer.produce(topic, self.encoded(event), timestamp=event["at"], partition=partition)
        assert producer.flush(60) == 0
        self.events += made

    def encoded(self, event: dict[str, Any]) -> bytes:
        """The event as a producer with the schema of today writes it."""
        if self.spec["source"]["format"] == "json":
            return json.dumps({name: value for name, value in event.items() if value is not None}).encode()
        buffer = io.BytesIO()
        schema = fastavro.parse_schema(source_avro_schema(Pipeline.parse(self.spec)))
        fastavro.schemaless_writer(buffer, schema, event)
        return buffer.getvalue()

    def expected(self) -> dict[str, dict[tuple[Any, ...], dict[str, Any]]]:
        """Group → (key, time) → row, of all events."""
        pipeline = Pipeline.parse(self.spec)
        rows = evaluate(pipeline, self.events)
        return {
            one.full_name: {place(row, [*one.key, str(one.event_time_feature)]): row for row in rows[one.full_name]}
            for one in pipeline.feature_groups
        }


def place(row: dict[str, Any], names: list[str]) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return one == other


def rows_of(pipe: Pipe, certificates: Any, since: dict[int, int]) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """Group → (ingestion id, row) in the order of the topic."""
    pipeline = Pipeline.parse(pipe.spec)
    with sdk_project(pipe.stack, certificates) as project:
        store = project.get_feature_store()
        registered = [store.get_feature_group(one.name, one.version) for one in pipeline.feature_groups]
        schemas = {
            one.id: (f"{one.name}_{one.version}", fastavro.parse_schema(json.loads(one.avro_schema)))
            for one in registered
        }
        (topic,) = {one._online_topic_name for one in registered}
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {name: [] for name, _ in schemas.values()}
    for record in records(pipe.stack.config.kafka_bootstrap, topic, since):
        headers = {key: value.decode() for key, value in record.headers()}
        number = int(headers["featureGroupId"])
        if number in schemas:
            name, schema = schemas[number]
            row: Any = fastavro.schemaless_reader(io.BytesIO(record.value()), schema)
            found[name].append((headers["onlineIngestionId"], row))
    return found


def check(pipe: Pipe, old: dict[str, set[str]], certificates: Any, since: dict[int, int]) -> None:
    """Every row of the new job is right, and none is missing behind the old job's last."""
    pipeline, expected = Pipeline.parse(pipe.spec), pipe.expected()
    found = rows_of(pipe, certificates, since)
    for one in pipeline.feature_groups:
        names, stamp = [*one.key, str(one.event_time_feature)], str(one.event_time_feature)
        wanted = {at: row for at, row in expected[one.full_name].items() if FLUSH not in at}
        ids = old.get(one.full_name, set())
        mine = [row for ingestion, row in found[one.full_name] if ingestion not in ids and row[names[0]] != FLUSH]
        theirs = [row[stamp] for ingestion, row in found[one.full_name] if ingestion in ids and row[names[0]] != FLUSH]
        # Windows that end by the old job's watermark are its own, also where it had none with such an end.
        rewarmed = datetime.fromtimestamp((pipe.result["rewarmed_at"] or 0) / 1000, timezone.utc)
        border = max([START, rewarmed, *theirs])
        without_value = 0
        for row in mine:
            right = wanted.get(place(row, names))
            assert right is not None, f"{pipe.name}: {one.full_name} has a row too many: {row}"
            wrong = {name: (row[name], right[name]) for name in right if not same(row[name], right[name])}
            if row[stamp] - one.window.size < START + BEFORE * STEP and row.get(pipe.change.unknown, 0) is None:
                wrong.pop(pipe.change.unknown, None)
                without_value += 1
            assert not wrong, f"{pipe.name}: {one.full_name} {place(row, names)}: {wrong}"
        missing = {at for at in wanted if at[-1] > border} - {place(row, names) for row in mine}
        assert not missing, f"{pipe.name}: {one.full_name} lacks {sorted(map(str, missing))[:5]}"
        assert mine
        assert bool(without_value) == bool(pipe.change.unknown and one is pipeline.feature_groups[0])


@pytest.fixture(scope="module")
def connections(stack: Any) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        for conn_id, fields in stack.airflow_connections().items():
            set_connection(patch, conn_id, **fields)
        yield stack


def hosts(pipe: Pipe) -> set[str]:
    """TaskManagers that the job runs on."""
    job = f"{pipe.stack.config.flink_url}/jobs/{pipe.result['job_id']}"
    vertices = [one["id"] for one in requests.get(job, timeout=30).json()["vertices"]]
    found = [requests.get(f"{job}/vertices/{one}", timeout=30).json()["subtasks"] for one in vertices]
    return {subtask["taskmanager-id"] for subtasks in found for subtask in subtasks}


def cancel(pipe: Pipe) -> None:
    for job_id, state in jobs(pipe.stack, f"{pipe.spec['name']}__features").items():
        if state not in ("FINISHED", "CANCELED", "FAILED"):
            requests.patch(f"{pipe.stack.config.flink_url}/jobs/{job_id}?mode=cancel", timeout=30)


@pytest.mark.parametrize("names", [CHOSEN[at : at + AT_ONCE] for at in range(0, len(CHOSEN), AT_ONCE)], ids=" ".join)
def test_a_change_gives_right_rows_or_is_refused(connections: Any, tmp_path: Any, names: list[str]) -> None:
    stack = connections
    pipes = [Pipe(stack, name) for name in names]
    topic = "demo_onlinefs"
    try:
        since: dict[int, int] = {}
        for pipe in pipes:
            # One after the other: the SDK's login is one for the whole process.
            pipe.result = pipe.deploy()
        topic = online_topic(pipes[0], tmp_path)
        since = {partition: 0 for partition in ends(stack.config.kafka_bootstrap, topic)}
        for pipe in pipes:
            pipe.produce(events(pipe.name, 0, BEFORE))
        old: dict[str, dict[str, set[str]]] = {}

        def the_old_jobs_have_written() -> None:
            for pipe in pipes:
                written = rows_of(pipe, tmp_path, since)
                assert all(len(rows) > 4 for rows in written.values()), (pipe.name, written)
                old[pipe.name] = {name: {ingestion for ingestion, _ in rows} for name, rows in written.items()}

        eventually(the_old_jobs_have_written, 120)
        for pipe in pipes:
            pipe.alter()
            if Pipeline.parse(pipe.spec).job_parallelism > 1:
                assert len(hosts(pipe)) == min(2, stack.config.taskmanagers)
        for pipe in pipes:
            pipe.produce([*events(pipe.name, BEFORE, AFTER), flush(BEFORE + AFTER + 200)])
        for pipe in pipes:
            outcome = "refused" if pipe.refusal else pipe.planned
            if pipe.result["action"] == "none":
                # The plan is made in the order of the registered features, and says the same.
                outcome, old[pipe.name] = "nothing", {}
            assert outcome == pipe.change.outcome, f"{pipe.name}: {outcome}, {pipe.refusal or pipe.result}"
            if not pipe.refusal:
                restored = {"keeps": "restore", "restores": "restore", "rewarms": "rewarm", "nothing": None}[outcome]
                assert pipe.result["state"] == restored, (pipe.name, pipe.result)
                eventually(lambda pipe=pipe: check(pipe, old[pipe.name], tmp_path, since), 60)
    finally:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(cancel, pipes))
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and any(
            state not in ("FINISHED", "CANCELED", "FAILED")
            for pipe in pipes
            for state in jobs(stack, f"{pipe.spec['name']}__features").values()
        ):
            time.sleep(0.5)


def online_topic(pipe: Pipe, certificates: Any) -> str:
    with sdk_project(pipe.stack, certificates) as project:
        one = Pipeline.parse(pipe.spec).feature_groups[0]
        return str(project.get_feature_store().get_feature_group(one.name, one.version)._online_topic_name)
