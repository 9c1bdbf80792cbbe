"""Docstrings of what users construct: each argument with its unit and default, whether it is templated, and errors."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.triggers.base import BaseTrigger

from hopsworks_flink._compat import BaseHook, BaseOperator, BaseSensorOperator
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.triggers.flink import FlinkHealthTrigger, FlinkJobTrigger, FlinkSavepointTrigger, FlinkTrigger
from hopsworks_flink.triggers.flink_deploy import FlinkDeploymentTrigger
from hopsworks_flink.triggers.hopsworks import HopsworksExecutionTrigger
from tests.support.operators import FROM_PIPELINE, OPERATORS

TRIGGERS: list[type[BaseTrigger]] = [
    FlinkJobTrigger,
    FlinkSavepointTrigger,
    FlinkHealthTrigger,
    FlinkDeploymentTrigger,
    HopsworksExecutionTrigger,
]
HOOKS: list[type[BaseHook]] = [FlinkHook, HopsworksHook]
TASKS = list(OPERATORS)
_TIMES = re.compile(r"(^|_)(timeout|interval|period|age|window|deadline)$")
_PARAM = re.compile(r":param (\w+):(.*?)(?=\n\s*:|\Z)", re.DOTALL)


def named(cls: type) -> dict[str, inspect.Parameter]:
    """Arguments that this package's classes name in their constructors."""
    found: dict[str, inspect.Parameter] = {}
    for base in cls.mro():
        if base.__module__.startswith("hopsworks_flink") and "__init__" in vars(base):
            for name, parameter in inspect.signature(vars(base)["__init__"]).parameters.items():
                if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD) and name != "self":
                    found.setdefault(name, parameter)
    return found


def described(cls: type) -> dict[str, str]:
    """Argument -> its words: the class's own, or those of a base that its ``kwargs`` line refers to."""
    own = {name: " ".join(text.split()) for name, text in _PARAM.findall(inspect.getdoc(cls) or "")}
    for base in cls.mro()[1:]:
        if "kwargs" in own and base.__name__ in own["kwargs"]:
            return {**described(base), **own}
    return own


def not_taken(cls: type) -> set[str]:
    """What an operator refuses although its base names it: it follows from the pipeline."""
    return {"job_name", "program", "files", "data_files", "arguments"} if cls in FROM_PIPELINE else set()


def cases() -> Iterator[Any]:
    for cls in (*TASKS, *HOOKS, *TRIGGERS):
        for name, parameter in named(cls).items():
            if name not in not_taken(cls):
                yield pytest.param(cls, parameter, id=f"{cls.__name__}-{name}")


every_argument = pytest.mark.parametrize(("cls", "parameter"), list(cases()))


@every_argument
def test_argument_is_described(cls: type, parameter: inspect.Parameter) -> None:
    text = described(cls).get(parameter.name)
    assert text, f"{cls.__name__} does not describe {parameter.name!r}"
    assert parameter.annotation is not parameter.empty


@every_argument
def test_templated_or_not(cls: type, parameter: inspect.Parameter) -> None:
    templated = parameter.name in getattr(cls, "template_fields", ())
    assert ("(templated)" in described(cls)[parameter.name]) is templated


@every_argument
def test_times_have_a_unit(cls: type, parameter: inspect.Parameter) -> None:
    if _TIMES.search(parameter.name):
        assert "seconds" in described(cls)[parameter.name]


@every_argument
def test_default_is_said(cls: type, parameter: inspect.Parameter) -> None:
    text, default = described(cls)[parameter.name], parameter.default
    if default is parameter.empty:
        return
    if default is None:
        assert re.search(r"\b(default|None)\b", text, re.IGNORECASE)
        return
    shown = "Airflow's setting" if parameter.name == "deferrable" else _written(default)
    assert re.search(rf"\bdefault:? [^.]*{re.escape(shown)}", text, re.IGNORECASE), (
        f"{cls.__name__} does not say that {shown} is the default of {parameter.name!r}: {text!r}"
    )


def _written(default: Any) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    if default == "":
        return "empty"
    return f"{default:g}" if isinstance(default, float) else str(default)


@pytest.mark.parametrize("cls", TASKS)
def test_results_and_errors_are_described(cls: type[BaseOperator]) -> None:
    text = (inspect.getdoc(cls) or "") + "".join(
        inspect.getdoc(base) or "" for base in cls.mro()[1:] if base.__name__ in described(cls).get("kwargs", "")
    )
    assert ":return: (XCom)" in text
    assert ":raises AirflowFailException:" in text
    if issubclass(cls, BaseSensorOperator):
        assert ":raises AirflowSensorTimeout:" in text


@pytest.mark.parametrize("cls", TRIGGERS)
def test_triggers_describe_their_event(cls: type[BaseTrigger]) -> None:
    text = inspect.getdoc(cls) or ""
    assert "``status``" in text or FlinkTrigger.__name__ in described(cls).get("kwargs", "")
