"""What holds for every operator of the package: arguments, templates, XCom, imports."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import pendulum
import pytest

from hopsworks_flink._compat import BaseOperator
from hopsworks_flink.operators import audit, flink, freshness, hopsworks, kafka, simulate
from hopsworks_flink.sensors import flink as flink_sensors
from hopsworks_flink.sensors import hopsworks as hopsworks_sensors
from tests.support.airflow_names import DagSerialization
from tests.support.operators import FROM_PIPELINE, OPERATORS

pytestmark = pytest.mark.airflow

every_operator = pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)


def own_arguments(operator: type[BaseOperator]) -> list[str]:
    """Names of the arguments that this package adds to Airflow's."""
    found: dict[str, None] = {}
    for cls in operator.mro():
        if cls.__module__.startswith("hopsworks_flink") and "__init__" in vars(cls):
            parameters = inspect.signature(vars(cls)["__init__"]).parameters.values()
            found.update({p.name: None for p in parameters if p.kind is p.KEYWORD_ONLY})
    if operator in FROM_PIPELINE:
        for name in ("job_name", "program", "files", "data_files", "arguments"):
            del found[name]
    return list(found)


def test_every_public_operator_is_tested() -> None:
    public = {
        item
        for module in (audit, flink, flink_sensors, freshness, hopsworks, hopsworks_sensors, kafka, simulate)
        for item in vars(module).values()
        if inspect.isclass(item) and issubclass(item, BaseOperator) and item.__module__.startswith("hopsworks_flink")
    }
    assert {item for item in public if "not for use in DAGs" not in (item.__doc__ or "")} == set(OPERATORS)


@every_operator
def test_arguments_are_attributes(operator: type[BaseOperator]) -> None:
    task = operator(task_id="t", **OPERATORS[operator])
    for name in own_arguments(operator):
        assert hasattr(task, name)


@every_operator
def test_positional_arguments_are_refused(operator: type[BaseOperator]) -> None:
    with pytest.raises(TypeError):
        operator("t", *OPERATORS[operator].values())


@every_operator
def test_template_fields_are_arguments(operator: type[BaseOperator]) -> None:
    assert set(operator.template_fields) <= set(own_arguments(operator))


@every_operator
def test_connection_ids_are_templated(operator: type[BaseOperator]) -> None:
    connections = [name for name in own_arguments(operator) if name.endswith("_conn_id")]
    assert connections
    assert set(connections) <= set(operator.template_fields)


@every_operator
def test_default_args_reach_every_argument(operator: type[BaseOperator]) -> None:
    from airflow.sdk import DAG

    required = OPERATORS[operator]
    optional = [name for name in own_arguments(operator) if name not in required]
    defaults = {name: f"default of {name}" for name in optional}
    with DAG("d", schedule=None, start_date=pendulum.datetime(2025, 1, 1), default_args={**defaults, **required}):
        task = operator(task_id="t")
    for name in optional:
        assert getattr(task, name) == f"default of {name}"


@every_operator
def test_templates_render(operator: type[BaseOperator]) -> None:
    task = operator(task_id="t", **OPERATORS[operator])
    for name in operator.template_fields:
        setattr(task, name, {"nested": ["{{ word }}"]} if name in ("features", "pipeline") else "{{ word }}")
    task.render_template_fields({"word": "rendered"})  # type: ignore[arg-type]
    for name in operator.template_fields:
        assert getattr(task, name) in ("rendered", {"nested": ["rendered"]})


@every_operator
def test_mapped(operator: type[BaseOperator]) -> None:
    """Every own argument can be expanded."""
    from airflow.sdk import DAG

    with DAG("d", schedule=None, start_date=pendulum.datetime(2025, 1, 1)):
        for name, value in OPERATORS[operator].items():
            others = {key: other for key, other in OPERATORS[operator].items() if key != name}
            operator.partial(task_id=f"t_{name}", **others).expand(**{name: [value]})


@every_operator
def test_survives_serialisation(operator: type[BaseOperator]) -> None:
    from airflow.sdk import DAG

    with DAG("d", schedule=None, start_date=pendulum.datetime(2025, 1, 1)) as dag:
        operator(task_id="t", **OPERATORS[operator])
    data = json.loads(json.dumps(DagSerialization.to_dict(dag)))
    task = DagSerialization.from_dict(data).get_task("t")
    assert {link.name for link in operator.operator_extra_links} == set(task.extra_links)


def test_pipeline_operator_refuses_what_follows_from_the_pipeline() -> None:
    with pytest.raises(TypeError, match="takes no argument 'program'"):
        flink.FlinkDeployFeaturePipelineOperator(task_id="t", pipeline={}, program="x")


def test_operators_import_no_client_library() -> None:
    """Every DAG file pays for what the operators import."""
    heavy = ["hopsworks", "hsfs", "hopsworks_common", "confluent_kafka", "pandas", "pyarrow", "deltalake", "pyflink"]
    code = (
        "import airflow.sdk, sys\n"
        "from airflow.providers.common.compat.sdk import BaseOperator, BaseHook\n"
        "before = set(sys.modules)\n"
        "from hopsworks_flink.operators import flink, hopsworks, kafka, simulate\n"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout
    loaded = set(out.splitlines()[-1].split())
    assert not loaded & set(heavy)
