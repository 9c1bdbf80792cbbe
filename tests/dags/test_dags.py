"""The shipped DAGs, as Airflow sees them: parsed and serialised, without a scheduler."""

import copy
import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

from hopsworks_flink import dags
from hopsworks_flink._compat import AirflowFailException
from hopsworks_flink.pipeline.resources import feature_group_arguments
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support import REPOSITORY, bad_files
from tests.support.airflow_names import DagBag, DagSerialization, ParamValidationError

pytestmark = pytest.mark.airflow

DAGS = REPOSITORY / "dags"
EXPECTED = {
    f"card_transactions__{verb}"
    for verb in ("audit", "deploy", "offline_backfill", "recompute", "simulate", "supervise", "undeploy")
}


def parse(folder):
    return DagBag(dag_folder=str(folder))


@pytest.fixture(scope="module")
def bag():
    return parse(DAGS)


def serialised(bag):
    return {dag_id: DagSerialization.to_dict(dag) for dag_id, dag in bag.dags.items()}


def test_every_pipeline_has_its_dags(bag):
    assert bag.import_errors == {}
    assert set(bag.dags) == EXPECTED


def test_dags_survive_serialisation_and_do_not_drift(bag):
    first = serialised(bag)
    assert json.dumps(first, default=str, sort_keys=True) == json.dumps(
        serialised(parse(DAGS)), default=str, sort_keys=True
    )
    for data in first.values():
        assert DagSerialization.from_dict(data).task_dict


def test_dags_are_documented_and_findable(bag):
    for dag in bag.dags.values():
        assert "**" in dag.doc_md, dag.dag_id
        assert "card_transactions" in dag.tags
        assert dag.catchup is False
        # Recomputing is limited by task: see there.
        assert dag.max_active_runs == 1 or dag.dag_id.endswith("__recompute")


def test_what_is_only_triggered_does_not_wait_to_be_unpaused(bag):
    on = {dag_id.rpartition("__")[2] for dag_id, dag in bag.dags.items() if not dag.is_paused_upon_creation}
    assert on == {"deploy", "simulate", "undeploy"}
    assert all((dag.schedule is None) == (not dag.is_paused_upon_creation) for dag in bag.dags.values())


def test_deploy_prepares_everything_before_the_job(bag):
    deploy = bag.dags["card_transactions__deploy"]
    job = deploy.task_dict["deploy_streaming_job"]
    assert job.upstream_task_ids == {
        "create_source_topic",
        "create_card_transactions_10m_agg_1",
        "create_card_transactions_10m_agg_2",
    }
    assert not job.downstream_task_ids


def test_groups_grow_in_the_task_of_the_job_only(bag):
    deploy = bag.dags["card_transactions__deploy"]
    job = deploy.task_dict["deploy_streaming_job"]
    assert job.on_drift == "append"
    groups = [task for name, task in deploy.task_dict.items() if name.startswith("create_card_transactions")]
    assert {task.on_drift for task in groups} == {"append_later"}


@pytest.mark.parametrize(
    ("form", "state", "rewarm_from", "savepoint_path"),
    [
        ({}, "auto", "", ""),
        ({"state": "rewarm", "rewarm_from": "2025-03-01T00:00:00+00:00"}, "rewarm", "2025-03-01T00:00:00+00:00", ""),
        ({"savepoint_path": "file:/savepoints/1"}, "auto", "", "file:/savepoints/1"),
    ],
)
def test_the_deploy_form_reaches_the_operator(bag, form, state, rewarm_from, savepoint_path):
    dag = bag.dags["card_transactions__deploy"]
    params = copy.deepcopy(dag.params)
    params.update(form)
    task = copy.copy(dag.task_dict["deploy_streaming_job"])
    task.render_template_fields({"params": params.dump(), "dag": dag})
    assert (task.state, task.rewarm_from, task.savepoint_path) == (state, rewarm_from, savepoint_path)


@pytest.mark.parametrize("verb", ["audit", "deploy", "recompute", "simulate", "supervise"])
def test_no_text_of_a_file_is_a_template_of_airflow(minimal, verb):
    minimal["source"] |= {"where": "tid <> '{{ 1 + 1 }}'", "derive": {"two": {"expression": "'2'", "type": "string"}}}
    minimal["feature_groups"][0] |= {"description": "{% raw %}\n", "event_time": "window_end"}
    minimal["feature_groups"][0]["aggregates"]["n"] = {"count": "*", "description": "{# none #} {{ of }} these"}
    pipeline = Pipeline.parse(minimal)
    dag = getattr(dags, f"{verb}_dag")(pipeline)
    tasks = [copy.copy(task) for task in dag.tasks if hasattr(task, "pipeline") or hasattr(task, "features")]
    for task in tasks:
        task.render_template_fields({"params": dag.params.dump(), "dag": dag})
        if hasattr(task, "features"):
            arguments = feature_group_arguments(pipeline, pipeline.feature_groups[0])
            assert {name: getattr(task, name) for name in arguments} == arguments
        else:
            assert Pipeline.parse(task.pipeline) == pipeline
    assert tasks


def test_the_backfill_has_intervals_and_never_overlaps(bag):
    import pendulum

    dag = bag.dags["card_transactions__offline_backfill"]
    interval = dag.timetable.infer_manual_data_interval(run_after=pendulum.datetime(2025, 5, 1, 12, 34, tz="UTC"))
    assert (interval.start.minute, interval.end.minute) == (20, 30)
    assert {task.max_active_tis_per_dag for task in dag.tasks} == {1}


def test_recompute_has_daily_intervals_and_is_one_at_a_time(bag):
    import pendulum

    dag = bag.dags["card_transactions__recompute"]
    assert dag.is_paused_upon_creation
    interval = dag.timetable.infer_manual_data_interval(run_after=pendulum.datetime(2025, 5, 2, 12, 34, tz="UTC"))
    assert (interval.start, interval.end) == (
        pendulum.datetime(2025, 5, 1, tz="UTC"),
        pendulum.datetime(2025, 5, 2, tz="UTC"),
    )
    # The first version has no event time, so no past.
    wait, recompute, materialize = dag.topological_sort()
    assert [wait.task_id, recompute.task_id, materialize.task_id] == [
        "wait_for_late_events",
        "recompute",
        "materialize_card_transactions_10m_agg_2",
    ]
    assert recompute.upstream_task_ids == {wait.task_id}
    assert materialize.upstream_task_ids == {recompute.task_id}
    assert [task.max_active_tis_per_dag for task in (wait, recompute, materialize)] == [None, 1, 1]


def waits_until(dag, form, context):
    params = copy.deepcopy(dag.params)
    params.update(form)
    task = copy.copy(dag.task_dict["wait_for_late_events"])
    task.render_template_fields({"params": params.dump(), "dag": dag, **dag.user_defined_macros, **context})
    return task.target_time


def test_recompute_waits_for_late_events(bag):
    import pendulum

    dag = bag.dags["card_transactions__recompute"]
    end = pendulum.datetime(2025, 5, 2, tz="UTC")
    for form, context, until in (
        ({}, {"data_interval_end": end}, "2025-05-02T01:00:05+00:00"),
        ({"arrival_margin": "90m"}, {"data_interval_end": end}, "2025-05-02T01:30:05+00:00"),
        ({"end": "2025-05-01T12:00:00Z"}, {"data_interval_end": end}, "2025-05-01T13:00:05+00:00"),
        ({"end": "2025-05-01T12:00:00Z"}, {}, "2025-05-01T13:00:05+00:00"),
    ):
        assert waits_until(dag, form, context) == until


def test_recompute_does_not_wait_for_an_end_in_the_future(bag):
    import pendulum

    dag = bag.dags["card_transactions__recompute"]
    past, soon, tomorrow = (pendulum.now("UTC").add(minutes=minutes) for minutes in (-1, 4, 24 * 60))
    with pytest.raises(AirflowFailException, match=r"end lies in the future .* only what is past can be recomputed"):
        waits_until(dag, {"end": tomorrow.isoformat()}, {"data_interval_end": past})
    # Clocks differ, and a scheduled run is not there before its interval is over.
    margin = pendulum.duration(hours=1, seconds=5)
    assert pendulum.parse(waits_until(dag, {"end": soon.isoformat()}, {})) == soon + margin
    assert pendulum.parse(waits_until(dag, {}, {"data_interval_end": tomorrow})) == tomorrow + margin


@pytest.mark.parametrize(
    ("form", "start", "end"),
    [
        ({}, None, None),
        ({"start": "2025-03-01T00:00:00+00:00"}, "2025-03-01T00:00:00+00:00", None),
        (
            {"start": "2025-03-01T00:00:00+00:00", "end": "2025-03-01T06:00:00+00:00"},
            "2025-03-01T00:00:00+00:00",
            "2025-03-01T06:00:00+00:00",
        ),
    ],
)
def test_the_recompute_form_reaches_the_operator(bag, form, start, end):
    dag = bag.dags["card_transactions__recompute"]
    params = copy.deepcopy(dag.params)
    params.update(form)
    task = copy.copy(dag.task_dict["recompute"])
    task.render_template_fields({"params": params.dump(), "dag": dag})
    assert (task.start, task.end) == (start, end)
    assert (task.feature_groups, task.allow_deleted) == (["card_transactions_10m_agg_2"], False)
    assert (task.arrival_margin, task.parallelism) == ("1h", 1)


@pytest.mark.parametrize(("form", "sample", "settle"), [({}, "20", "1h"), ({"sample": 5, "settle": "90m"}, "5", "90m")])
def test_the_audit_form_reaches_the_operator(bag, form, sample, settle):
    dag = bag.dags["card_transactions__audit"]
    assert dag.is_paused_upon_creation
    params = copy.deepcopy(dag.params)
    params.update(form)
    task = copy.copy(dag.task_dict["audit_values"])
    task.render_template_fields({"params": params.dump(), "dag": dag})
    assert (task.sample, task.settle, task.deploy_dag_id) == (sample, settle, "card_transactions__deploy")


OWN_FILE = """
# Airflow reads this file: "airflow" and "dag" stand in it.
from pathlib import Path

from hopsworks_flink.dags import deploy_dag, offline_backfill_dag, supervise_dag
from hopsworks_flink.pipeline.catalog import load_pipelines

for pipeline in load_pipelines(Path(__file__).parent / "pipelines").pipelines:
    deploy_dag(pipeline, dag_id="p_fraud_119__deploy", default_args={"owner": "fraud-team"}, tags=["fraud"])
    supervise_dag(pipeline, dag_id="p_fraud_119__supervise", deploy_dag_id="p_fraud_119__deploy")
    offline_backfill_dag(pipeline, schedule="@hourly", is_paused_upon_creation=False)
"""


def test_a_dag_file_of_ones_own(tmp_path):
    shutil.copytree(DAGS / "pipelines", tmp_path / "pipelines")
    (tmp_path / "fraud.py").write_text(OWN_FILE)
    bag = parse(tmp_path)
    assert bag.import_errors == {}
    deploy, supervise = bag.dags["p_fraud_119__deploy"], bag.dags["p_fraud_119__supervise"]
    backfill = bag.dags["card_transactions__offline_backfill"]
    assert deploy.tags == {"hopsworks", "flink", "card_transactions", "fraud"}
    assert {(task.owner, task.retries) for task in deploy.tasks} == {("fraud-team", 1)}
    assert supervise.task_dict["supervise_job"].deploy_dag_id == deploy.dag_id
    assert (backfill.is_paused_upon_creation, backfill.schedule) == (False, "@hourly")
    assert len(bag.dags) == 3


SHOW_DEFERRAL = """
import sys
from tests.support.airflow_names import DagBag
tasks = [task for dag in DagBag(dag_folder=sys.argv[1]).dags.values() for task in dag.tasks]
print("RESULT", {getattr(task, "deferrable", None) for task in tasks} - {None}, end=" ")
print({task.mode for task in tasks if task.task_id == "wait_for_late_events"})
"""


@pytest.mark.parametrize("setting", ["True", "False"])
def test_tasks_defer_where_airflow_says_so(setting):
    """Without a triggerer a deferred task waits for ever."""
    shown = subprocess.run(
        [sys.executable, "-c", SHOW_DEFERRAL, str(DAGS)],
        cwd=REPOSITORY,
        env={**os.environ, "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": setting},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert f"RESULT {{{setting}}} {{'reschedule'}}" in shown.stdout, shown.stderr


@pytest.mark.parametrize(
    ("form", "groups", "topics"),
    [({}, [], []), ({"delete_feature_groups": ["card_transactions_10m_agg_1"]}, ["card_transactions_10m_agg_1"], [])],
)
def test_undeploying_deletes_what_the_form_names_and_no_more(bag, form, groups, topics):
    dag = bag.dags["card_transactions__undeploy"]
    params = copy.deepcopy(dag.params)
    params.update(form)
    stop, delete = dag.topological_sort()
    task = copy.copy(delete)
    task.render_template_fields({"params": params.dump(), "dag": dag})
    assert (task.feature_groups, task.topics) == (groups, topics)
    assert delete.upstream_task_ids == {stop.task_id}


def test_a_pipeline_without_event_times_has_no_recompute(tmp_path):
    folder = tmp_path / "dags"
    shutil.copytree(DAGS, folder)
    file = folder / "pipelines" / "card_transactions.yaml"
    file.write_text(file.read_text().replace("    event_time: window_end\n", ""))
    assert set(parse(folder).dags) == EXPECTED - {"card_transactions__recompute"}


@pytest.mark.parametrize("dag_id", sorted(EXPECTED))
def test_a_bare_trigger_works(bag, dag_id):
    dag = bag.dags[dag_id]
    dag.params.validate()


@pytest.mark.parametrize("dag_id", sorted(EXPECTED))
def test_no_field_of_a_form_takes_anything_at_all(bag, dag_id):
    """Texts have a format, a pattern or a list of words; numbers have bounds: nothing else reaches an operator."""
    for name, param in bag.dags[dag_id].params.items():
        schema = bag.dags[dag_id].params.get_param(name).schema
        types = {schema["type"]} if isinstance(schema.get("type"), str) else set(schema.get("type", ()))
        assert types or "enum" in schema, (name, param)
        refused = schema.get("if", {}).get("not", {})
        if "string" in types:
            assert "pattern" in refused or "enum" in schema, name
        if types & {"integer", "number"}:
            assert {"minimum", "maximum"} == set(refused), name
            # The form would bend what is outside to these.
            assert not {"minimum", "maximum"} & set(schema), name
        if "array" in types:
            assert "enum" in schema["items"], name


@pytest.mark.parametrize(
    ("dag_id", "params"),
    [
        ("card_transactions__deploy", {"state": "maybe"}),
        ("card_transactions__deploy", {"parallelism": 0}),
        ("card_transactions__deploy", {"parallelism": 129}),
        ("card_transactions__deploy", {"savepoint_path": "the last one"}),
        ("card_transactions__deploy", {"savepoint_path": "savepoints/x"}),
        ("card_transactions__deploy", {"rewarm_from": "2025-03-01T12:00:00"}),
        ("card_transactions__recompute", {"arrival_margin": "soon"}),
        ("card_transactions__recompute", {"feature_groups": []}),
        ("card_transactions__recompute", {"feature_groups": ["card_transactions_10m_agg_1"]}),
        ("card_transactions__simulate", {"events": -1}),
        ("card_transactions__simulate", {"rate": "fast"}),
        ("card_transactions__simulate", {"start": "{{ conn.hopsworks_default.password }}"}),
        ("card_transactions__simulate", {"start": "2025-03-01T00:00:00Z; rm -r /"}),
        ("card_transactions__recompute", {"end": "yesterday"}),
        ("card_transactions__recompute", {"start": "2025-03-01T00:00:00Z; rm -r /"}),
        ("card_transactions__recompute", {"arrival_margin": "1h\n2h"}),
        ("card_transactions__simulate", {"skew": 1e9}),
        ("card_transactions__undeploy", {"mode": "kill"}),
        ("card_transactions__undeploy", {"delete_feature_groups": ["another_groups_1"]}),
        ("card_transactions__undeploy", {"delete_topics": ["credit_card_transactions", "credit_card_transactions"]}),
        ("card_transactions__simulate", {"speed_up": float("inf")}),
    ],
)
def test_nonsense_in_the_trigger_form_is_refused(bag, dag_id, params):
    form = copy.deepcopy(bag.dags[dag_id].params)
    with pytest.raises(ParamValidationError):
        form.update(params)


def test_supervision_deploys_only_where_the_file_says_so(bag, tmp_path):
    alert = bag.dags["card_transactions__supervise"]
    assert alert.is_paused_upon_creation
    # Freshness is measured where the file has a bound.
    assert [task.task_id for task in alert.tasks] == ["supervise_job"]
    shutil.copytree(DAGS, tmp_path / "dags")
    file = tmp_path / "dags" / "pipelines" / "card_transactions.yaml"
    file.write_text(file.read_text() + "supervision: {policy: redeploy}\nfreshness: 5m\n")
    healing = parse(tmp_path / "dags").dags["card_transactions__supervise"]
    assert healing.task_dict["measure_freshness"].pipeline.value["freshness"] == "5m"
    redeploy = healing.task_dict["redeploy"]
    assert redeploy.upstream_task_ids == {"supervise_job"}
    assert redeploy.trigger_dag_id == healing.task_dict["supervise_job"].deploy_dag_id == "card_transactions__deploy"


@pytest.mark.parametrize(
    "moment",
    [
        "2025-03-01",
        "2025-03-01T00:00Z",
        "2025-03-01 00:00:00",
        "2025-03-01T00:00:00.000Z",
        "2025-03-01T00:00:00+00:00",
        "2025-03-01T00:00:00.123456+0530",
    ],
)
@pytest.mark.parametrize("dag_id", ["card_transactions__recompute", "card_transactions__simulate"])
def test_moments_as_people_and_the_form_write_them_are_taken(bag, dag_id, moment):
    form = copy.deepcopy(bag.dags[dag_id].params)
    form.update({"start": moment})
    assert form.dump()["start"] == moment


@pytest.mark.parametrize(
    "params",
    [
        {"savepoint_path": "file:/tmp/savepoints/savepoint-1"},
        {"savepoint_path": "s3://bucket/savepoints/savepoint-1"},
        {"savepoint_path": "/mnt/savepoints/savepoint-1"},
        {"rewarm_from": "2025-03-01T12:00:00+00:00"},
        {"rewarm_from": "1740830400000"},
    ],
)
def test_ways_out_are_taken_as_people_write_them(bag, params):
    form = copy.deepcopy(bag.dags["card_transactions__deploy"].params)
    form.update({"state": "rewarm", **params})
    assert params.items() <= form.dump().items()


def test_a_broken_pipeline_file_is_shown_and_leaves_the_others_alone(tmp_path):
    folder = tmp_path / "dags"
    shutil.copytree(DAGS, folder)
    (folder / "pipelines" / "broken.yaml").write_text("name: Broken\n")
    bag = parse(folder)
    assert set(bag.dags) == EXPECTED
    (error,) = bag.import_errors.values()
    assert "broken.yaml has 3 problems" in error
    assert "source: is required" in error


def test_bad_files_of_every_kind_leave_the_dags_of_the_others_alone(tmp_path):
    shutil.copytree(DAGS, tmp_path / "dags")
    kinds = [*bad_files.TEXTS, *bad_files.KINDS]
    paths = [bad_files.put(name, tmp_path / "dags" / "pipelines", number) for number, name in enumerate(kinds)]
    bag = parse(tmp_path / "dags")
    assert set(bag.dags) == EXPECTED
    ((file, error),) = bag.import_errors.items()
    assert file.endswith("pipeline_errors.py")
    assert len(paths) > 40
    for path in paths:
        assert str(path) in error
    assert bad_files.SECRET not in error


EXTREMES = [
    {"name": "p" * 63, "feature_groups.0.name": "g" * 63, "feature_groups.0.version": 2**31 - 1},
    {"feature_groups.0.window": {"size": "3650d", "step": "3650d"}, "source.max_future": "3650d"},
    {"source.topic": "t" * 249, "source.partitions": 10_000, "source.replication": 100, "source.max_disorder": "0s"},
    {"description": "x" * 90_000, "feature_groups.0.key": ["cc_num", "datetime", "tid"]},
    {"source.schema.m": "decimal(38,38)", "feature_groups.0.aggregates.m": {"sum": "m", "default": 1e-38}},
    {"source.schema": {f"c{n}": "bigint" for n in range(2000)}, "source.event_time.column": "c0"},
    {"feature_groups.0.aggregates": {f"a{n}": "count" for n in range(2000)}},
    {"freshness": "1s", "supervision": {"policy": "redeploy", "max_lag": 10**40}},
]


def test_whatever_a_file_may_say_its_dags_can_be_made(tmp_path):
    """Extremes of each setting: what is refused is refused when the file is read, and not where DAGs are made."""
    shutil.copytree(DAGS, tmp_path / "dags")
    for number, changes in enumerate(EXTREMES):
        spec = yaml.safe_load((DAGS / "pipelines" / "card_transactions.yaml").read_text())
        spec["name"] = f"extreme_{number}"
        del spec["feature_groups"][0]
        spec["feature_groups"][0]["name"] = f"group_{number}"
        for place, value in changes.items():
            *parents, last = place.split(".")
            part = spec
            for parent in parents:
                part = part[int(parent)] if isinstance(part, list) else part[parent]
            part[last] = value
        if "c0" in spec["source"]["schema"]:
            spec["feature_groups"][0].update(key=["c1"], aggregates={"n": "count"})
        (tmp_path / "dags" / "pipelines" / f"extreme_{number}.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    bag = parse(tmp_path / "dags")
    assert bag.import_errors == {}
    assert len(bag.dags) == len(EXPECTED) * (1 + len(EXTREMES))
    assert set(serialised(bag)) == set(bag.dags)


def test_a_wide_pipeline_has_a_late_topic_and_leaves_out_online_only_groups(tmp_path):
    shutil.copytree(DAGS, tmp_path / "dags")
    example = REPOSITORY / "tests" / "pipeline" / "examples" / "everything.yaml"
    shutil.copy(example, tmp_path / "dags" / "pipelines" / "everything.yaml")
    wide = parse(tmp_path / "dags")
    assert wide.import_errors == {}
    deploy = wide.dags["everything__deploy"]
    assert "create_late_topic" in deploy.task_dict["deploy_streaming_job"].upstream_task_ids
    assert deploy.task_dict["create_late_topic"].topic == "everything_late"
    assert deploy.task_dict["create_shop_hourly_1"].ttl == 30 * 86400
    assert set(wide.dags["everything__offline_backfill"].task_dict) == {
        "materialize_shop_hourly_1",
        "materialize_shop_recent_2",
    }


def test_a_pipeline_with_quarantine_gets_its_topic_before_its_job(tmp_path):
    shutil.copytree(DAGS, tmp_path / "dags")
    file = tmp_path / "dags" / "pipelines" / "card_transactions.yaml"
    file.write_text(file.read_text().replace("source:\n", "source:\n  refused: quarantine\n", 1))
    bag = parse(tmp_path / "dags")
    assert bag.import_errors == {}
    deploy = bag.dags["card_transactions__deploy"]
    assert "create_quarantine_topic" in deploy.task_dict["deploy_streaming_job"].upstream_task_ids
    assert deploy.task_dict["create_quarantine_topic"].topic == "credit_card_transactions_quarantine"


@pytest.mark.parametrize(
    ("verb", "field", "value", "told"),
    [
        ("deploy", "rewarm_from", "yesterday", "'a time with zone such as 2025-03-01T12:00:00Z' was expected"),
        ("deploy", "rewarm_from", "2025-03-01T12:00:00", "'a time with zone such as 2025-03-01T12:00:00Z'"),
        ("deploy", "savepoint_path", "here", "'a path such as s3://bucket/savepoints/savepoint-1a2b3c' was expected"),
        ("deploy", "parallelism", 129, "'a whole number from 1 to 128' was expected"),
        ("deploy", "parallelism", 0, "'a whole number from 1 to 128' was expected"),
        ("deploy", "parallelism", 1.5, "1.5 is not of type 'null', 'integer'"),
        ("deploy", "parallelism", "2", "'2' is not of type 'null', 'integer'"),
        ("deploy", "state", "again", "'again' is not one of ['auto', 'restore', 'rewarm', 'fresh']"),
        ("recompute", "start", "May", "'a time such as 2025-03-01T12:00:00Z' was expected"),
        ("recompute", "arrival_margin", "1 hour", "'a duration such as 90m or 1h30m' was expected"),
        ("recompute", "arrival_margin", None, "None is not of type 'string'"),
        ("simulate", "events", 100_000_001, "'a whole number from 1 to 100_000_000' was expected"),
        ("simulate", "skew", 0, "'a number from 0.1 to 100' was expected"),
        ("simulate", "speed_up", 0, "'a number from 0.001 to 1_000_000' was expected"),
    ],
)
def test_a_form_that_refuses_tells_what_it_takes(bag, verb, field, value, told):
    form = copy.deepcopy(bag.dags[f"card_transactions__{verb}"].params)
    with pytest.raises(ParamValidationError) as caught:
        form.update({field: value})
    first = str(caught.value).splitlines()[0]
    assert first == f"Invalid input for param {field}: {first.partition(': ')[2]}"
    assert told in first
    if "was expected" in told:
        assert not {"^", "$"} & set(str(caught.value)), "a pattern is shown"
