"""The whole path through Airflow's scheduler: pipeline file, events, features in both stores, and a changed file.

The tests build on each other and run in order, as the days of a pipeline do.
"""

from __future__ import annotations

import io
import json
import re
import time

import fastavro
import psutil
import pytest
import requests

from devstack.airflow_client import AirflowClient
from hopsworks_flink.pipeline.resources import source_avro_schema
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support.live import events as simulated
from tests.support.live.leaks import files_with, flink_pages, planted_in_airflow
from tests.support.live.platform import ends, eventually, jobs, offline_rows, records, sdk_project
from tests.support.live.served import GROUP, assert_offline, assert_online, iso

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("with_airflow")]

PIPELINE = "card_transactions"
DEPLOY, BACKFILL, SIMULATE = (f"{PIPELINE}__{verb}" for verb in ("deploy", "offline_backfill", "simulate"))
JOB = f"{PIPELINE}__features"
DEPLOY_TASKS = ("create_source_topic", f"create_{GROUP}_1", f"create_{GROUP}_2", "deploy_streaming_job")
MINUTE = simulated.MINUTE


class Path:
    """What one test leaves for the next."""

    def __init__(self, stack, certificates):
        self.stack = stack
        self.airflow = AirflowClient(stack.config.airflow_url, stack.airflow_credentials)
        self.certificates = certificates
        self.file = stack.config.dags_folder / "pipelines" / f"{PIPELINE}.yaml"
        self.events = []
        self.first_run = None
        self.runs = []
        self.held_back = []
        self.markers = []
        # The project's topic is common to all its groups, and other tests have written to it.
        self.before = ends(stack.config.kafka_bootstrap, f"{stack.config.project}_onlinefs")
        # Six hours back, on a whole minute: room for the events and the gaps between.
        self.start = int(time.time()) // 60 * MINUTE - 380 * MINUTE

    def run(self, dag_id, conf=None):
        run = self.airflow.run(dag_id, conf, timeout=400)
        self.runs.append(run)
        return run

    def produce(self, batch):
        pipeline = Pipeline.from_yaml(self.file)
        bootstrap = self.stack.config.kafka_bootstrap
        simulated.produce(bootstrap, pipeline.source.topic, source_avro_schema(pipeline), batch)
        self.events += batch

    def asset_events(self, run):
        """What the run's tasks said about their assets, by task; in whatever order Airflow lists its assets."""
        answer = self.airflow.call("GET", "/assets/events", params={"source_dag_id": run.dag_id, "limit": 100})
        told = {}
        for event in answer["asset_events"]:
            if event["source_run_id"] == run.run_id:
                told.setdefault(event["source_task_id"], {}).update(event["extra"])
        return told

    def feature_groups(self):
        return sdk_project(self.stack, self.certificates)

    def running(self):
        ended = ("FINISHED", "FAILED", "CANCELED")
        return {job for job, state in jobs(self.stack, JOB).items() if state not in ended}

    def results(self, run):
        return {task: self.airflow.xcom(run, task) for task in DEPLOY_TASKS}


@pytest.fixture(scope="module")
def path(stack, tmp_path_factory):
    path = Path(stack, tmp_path_factory.mktemp("certificates"))
    path.airflow.wait_for_dags({DEPLOY, BACKFILL, SIMULATE, "case_approval", "case_secrets"})
    with planted_in_airflow(path.airflow, stack) as path.markers:
        yield path


def test_deploy_makes_topic_groups_and_one_healthy_job(path):
    path.first_run = path.run(DEPLOY)
    results = path.results(path.first_run)
    deployed = results["deploy_streaming_job"]
    assert deployed["action"] == "submitted"
    assert jobs(path.stack, JOB) == {deployed["job_id"]: "RUNNING"}
    shown = requests.get(f"{path.stack.config.flink_url}/jobs/{deployed['job_id']}/plan", timeout=30).json()["plan"]
    read = " ".join(node["description"] for node in shown["nodes"])
    for words in ("credit_card_transactions<br/>+- events", "10 m every 1 m by cc_num", f"{GROUP} v2: Writer"):
        assert words in read, "Flink's page says it as the pipeline file does"
    event = path.asset_events(path.first_run)["deploy_streaming_job"]
    assert {"job_id": deployed["job_id"], "action": "submitted"}.items() <= event.items()
    log = path.airflow.log(path.first_run, "deploy_streaming_job", 1)
    lines = [line for line in log.splitlines() if line.startswith(f"Job {deployed['job_id']}: all vertices run")]
    assert len(lines) == len(set(lines)) <= 4, (
        "one line for each change of what is known, however often it is looked at"
    )
    assert all(results[f"create_{GROUP}_{version}"]["created"] for version in (1, 2))
    with path.feature_groups() as project:
        group = project.get_feature_store().get_feature_group(GROUP, version=1)
        assert [(feature.name, feature.type) for feature in group.features] == [
            ("cc_num", "bigint"),
            ("num_trans_per_10m", "bigint"),
            ("avg_amt_per_10m", "double"),
            ("stdev_amt_per_10m", "double"),
        ]
        assert group.primary_key == ["cc_num"]


def test_online_features_are_right(path):
    batch = simulated.transactions(seed=7, start=path.start, minutes=60, cards=25, count=4000)
    path.produce(batch + simulated.flush(7, path.start + 60 * MINUTE))
    expected = simulated.newest_by_card(simulated.expected_windows(path.events))
    with path.feature_groups() as project:
        eventually(lambda: assert_online(project.get_feature_store(), expected))
    assert any(window["sd"] is None for window in expected.values()), "the card with one event belongs to the case"


def test_offline_features_are_right(path):
    windows = simulated.expected_windows(path.events)
    run = path.run(BACKFILL)
    results = [path.airflow.xcom(run, f"materialize_{GROUP}_{version}") for version in (1, 2)]
    assert {result["final_status"] for result in results} == {"SUCCEEDED"}
    events = path.asset_events(run)
    for version, result in zip((1, 2), results, strict=True):
        event = events[f"materialize_{GROUP}_{version}"]
        window = event.pop("window")
        assert window is None or window == sorted(window)
        assert event == result
        assert event["execution_id"] > 0
        assert event["offsets_verified"]
        assert {at["after"] for at in event["offsets"].values()} == set(event["end_offsets"].values())
    with path.feature_groups() as project:
        assert_offline(project.get_feature_store(), windows)
        # The DAG's scheduled run may have been first: together they have brought every row, once.
        group = project.get_feature_store().get_feature_group(GROUP, version=2)
        inserted = sum(commit["rowsInserted"] for commit in group.commit_details().values())
        assert inserted == len(offline_rows(group)) >= len(windows)


def test_records_equal_those_of_the_sdks_own_encoder(path):
    from hsfs.core import kafka_engine

    with path.feature_groups() as project:
        store = project.get_feature_store()
        groups = {group.id: group for group in (store.get_feature_group(GROUP, version=v) for v in (1, 2))}
        writers = {number: kafka_engine._get_writer_function(group)[1] for number, group in groups.items()}
        schemas = {number: fastavro.parse_schema(json.loads(group.avro_schema)) for number, group in groups.items()}
        topics = {group._online_topic_name for group in groups.values()}
        subjects = {number: str(group.subject["id"]).encode() for number, group in groups.items()}
        project_id = str(project.id).encode()
    (topic,) = topics
    seen = dict.fromkeys(groups, 0)
    for record in records(path.stack.config.kafka_bootstrap, topic, path.before):
        headers = dict(record.headers())
        number = int(headers["featureGroupId"])
        if number not in groups:
            continue
        row = fastavro.schemaless_reader(io.BytesIO(record.value()), schemas[number])
        assert record.value() == kafka_engine._encode_row({}, writers[number], dict(row))
        assert record.key() == str(row["cc_num"]).encode()
        assert list(headers) == ["projectId", "featureGroupId", "subjectId", "onlineIngestionId"]
        assert (headers["projectId"], headers["subjectId"]) == (project_id, subjects[number])
        assert re.fullmatch(rb"\d+", headers["onlineIngestionId"])
        seen[number] += 1
    assert all(count > 1000 for count in seen.values()), seen


def savepoint(url):
    """A savepoint of a job that goes on; its path."""
    request = requests.post(url, json={"cancel-job": False}, timeout=30).json()["request-id"]
    taken = {}

    def check():
        taken.update(requests.get(f"{url}/{request}", timeout=30).json())
        assert taken["status"]["id"] == "COMPLETED"

    eventually(check, 60)
    return taken["operation"]["location"]


def test_an_incompatible_file_is_rolled_back(path):
    """Through scheduler, triggerer and the asset's store: nobody but Airflow remembers what ran before.

    The same deployment again touches nothing.
    """
    batch = simulated.transactions(seed=8, start=path.start + 100 * MINUTE, minutes=60, cards=25, count=4000)
    half = len(batch) // 2
    path.produce(batch[:half])
    path.held_back = batch[half:]
    good = path.file.read_text()
    (before,) = path.running()
    known = set(jobs(path.stack, JOB))
    path.file.write_text(good.replace("{size: 10m,", "{size: 20m,"))
    # By itself it would be rewarmed: somebody insists on a state that does not fit.
    state = savepoint(f"{path.stack.config.flink_url}/jobs/{before}/savepoints")
    run = path.airflow.wait(path.airflow.trigger(DEPLOY, {"savepoint_path": state}), timeout=400)
    path.runs.append(run)
    path.file.write_text(good)
    assert run.state == "failed"
    (failed,) = [task for task in path.airflow.tasks(run) if task["state"] == "failed"]
    assert failed["task_id"] == "deploy_streaming_job"
    log = path.airflow.log(run, failed["task_id"], 1)
    assert failed["try_number"] == 1, f"no retry of what must fail again; the first try's log:\n{log}"
    assert re.search(r"Rolled back: the previous deployment .* runs again and is healthy", log), log
    (back,) = path.running()
    assert back in log
    assert len(set(jobs(path.stack, JOB)) - known) == 2, "the one that failed, and the one that came back"
    assert back != before
    assert path.asset_events(run) == {}

    first, again = path.results(path.first_run), path.results(path.run(DEPLOY))
    assert (again["deploy_streaming_job"]["action"], again["deploy_streaming_job"]["job_id"]) == ("none", back)
    assert path.running() == {back}
    for task in DEPLOY_TASKS[:3]:
        assert again[task].pop("created") is False
        first[task].pop("created")
        assert again[task] == first[task]


def test_values_go_on_after_all_that(path):
    """From the savepoint of the job that was replaced and came back; a backfill again brings no row twice."""
    path.produce(path.held_back + simulated.flush(8, path.start + 160 * MINUTE))
    windows = simulated.expected_windows(path.events)
    with path.feature_groups() as project:
        eventually(lambda: assert_online(project.get_feature_store(), simulated.newest_by_card(windows)))
        path.run(BACKFILL)
        assert_offline(project.get_feature_store(), windows)


def test_a_feature_more_makes_the_groups_grow(path):
    """Through scheduler, triggerer and the asset's store; that no row is lost is shown by test_growth_live.py."""
    (before,) = path.running()
    path.produce(simulated.transactions(seed=9, start=path.start + 200 * MINUTE, minutes=20, cards=25, count=1000))
    good = path.file.read_text()
    path.file.write_text(good.replace("{avg: amount}", "{avg: amount}\n      most_amt_per_10m: {max: amount}"))
    results = path.results(path.run(DEPLOY))
    names = [f"{GROUP}_{version}" for version in (1, 2)]
    assert [results[f"create_{name}"]["lacking"] for name in names] == [["most_amt_per_10m"]] * 2
    deployed = results["deploy_streaming_job"]
    assert [deployed["grown"][name]["features"] for name in names] == [["most_amt_per_10m"]] * 2
    assert [deployed["grown"][name]["offsets_verified"] for name in names] == [True, True]
    assert (deployed["action"], deployed["replaced_job_id"]) == ("submitted", before)
    assert path.running() == {deployed["job_id"]} != {before}


def test_simulated_events_become_features(path):
    path.run(SIMULATE, {"events": 2000, "rate": 1000, "cards": 5, "start": iso(path.start + 280 * MINUTE)})

    def check():
        with path.feature_groups() as project:
            frame = project.get_feature_store().get_feature_group(GROUP, version=2).read(online=True)
        assert sum(frame["cc_num"] > 4_000_000_000_000_000) == 5

    eventually(check)


def test_a_person_is_asked_before_a_rewarm_and_not_before_nothing(path):
    """The question holds the plan; rejected, nothing follows. Where nothing would change nobody is asked."""
    run = path.airflow.trigger("case_approval", {"pipeline": str(path.file)})
    path.runs.append(run)
    place = f"/dags/{run.dag_id}/dagRuns/{run.run_id}"
    eventually(lambda: _one(path.airflow.call("GET", f"{place}/hitlDetails")["hitl_details"]), 90)
    question = _one(path.airflow.call("GET", f"{place}/hitlDetails")["hitl_details"])
    assert question["task_instance"]["task_id"] == "asked"
    assert question["subject"].startswith(f"Deploy {PIPELINE}: the job is rewarmed (")
    assert "state rewarms" in question["body"]
    assert f"{GROUP}_2" in question["body"]

    def waits() -> None:
        states = {task["task_id"]: task["state"] for task in path.airflow.tasks(run)}
        assert states["asked"] in ("deferred", "awaiting_input")

    # An answer that comes before is lost. A person reads first, too: Airflow retries what is answered before its
    # scheduler has seen the task wait.
    eventually(waits, 90)
    time.sleep(5)
    answer = {"chosen_options": ["Reject"], "params_input": {}}
    path.airflow.call("PATCH", f"{place}/taskInstances/asked/-1/hitlDetails", json=answer)
    assert path.airflow.wait(run, timeout=120).state == "success"
    states = {task["task_id"]: task["state"] for task in path.airflow.tasks(run)}
    assert states == {
        "asked": "success",
        "after_asked": "skipped",
        "unchanged": "success",
        "after_unchanged": "success",
    }
    assert path.airflow.xcom(run, "unchanged")["reasons"] == []


def _one(found):
    assert len(found) == 1, found
    return found[0]


def test_no_secret_is_anywhere(path):
    """No key or password is in a task's log, XCom, rendered field, Airflow's database, a command line, or Flink."""
    planted = path.airflow.wait(path.airflow.trigger("case_secrets"), timeout=120)
    states = {task["task_id"]: task["state"] for task in path.airflow.tasks(planted)}
    assert states == {"scram": "success", "keys": "success", "wrong": "failed", "variable": "failed"}
    assert "refuses the login of 'demo__demo'" in path.airflow.log(planted, "wrong", 1)
    assert "must not hold 's3.secret-key'" in path.airflow.log(planted, "variable", 1)
    config = path.stack.config
    shown = {}
    for run in [*path.runs, planted]:
        for task in path.airflow.tasks(run):
            where = f"{run.dag_id} {task['task_id']}"
            shown[f"{where} fields"] = json.dumps(task["rendered_fields"])
            shown[f"{where} log"] = path.airflow.log(run, task["task_id"], task["try_number"])
    for process in psutil.process_iter(["cmdline"]):
        shown[f"process {process.pid}"] = " ".join(process.info["cmdline"] or [])
    shown |= {f"Flink {number}": page for number, page in enumerate(flink_pages(config.flink_url))}
    assert [(m.name, where) for m in path.markers for where, text in shown.items() if m.text in text] == []
    # XComs, assets and triggers are rows of the database, whose pages may still be in its journal.
    assert (config.airflow_home / "airflow.db").is_file()
    assert (
        files_with(path.markers, [config.airflow_home, config.logs, config.home / "flink"], since=0, kept=set()) == []
    )


def test_no_program_is_left_on_the_cluster(path):
    """Bundles hold credentials: they are deleted as soon as their job has started. Jars stay for the next one."""
    left = requests.get(f"{path.stack.config.flink_url}/jars", timeout=30).json()["files"]
    assert [
        jar["name"] for jar in left if not jar["name"].startswith(("flink-", "hopsworks-flink-java-", "zstd-"))
    ] == []
