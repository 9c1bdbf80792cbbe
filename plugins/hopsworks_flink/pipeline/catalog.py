"""The pipeline files of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.spec.files import shown_path
from hopsworks_flink.pipeline.spec.problems import describe


class Catalog(NamedTuple):
    """What a folder holds.

    :param pipelines: the valid pipelines, sorted by file name.
    :param errors: what is wrong with the other files, by path.
    """

    pipelines: list[Pipeline]
    errors: dict[Path, PipelineError]


def load_pipelines(folder: str | Path) -> Catalog:
    """Read every ``*.yaml`` and ``*.yml`` of a folder but hidden ones. One bad file does no harm to the others.

    :raises OSError: the folder cannot be read.
    """
    pipelines: dict[str, Pipeline] = {}
    groups: dict[str, str] = {}
    errors: dict[Path, PipelineError] = {}
    for path in sorted(Path(folder).iterdir()):
        if path.suffix not in (".yaml", ".yml") or path.name.startswith("."):
            continue
        try:
            pipeline = Pipeline.from_yaml(path, folder)
            _refuse_double_use(path, pipeline, pipelines, groups)
        except PipelineError as error:
            errors[path] = error
            continue
        except Exception as error:
            # A fault of this package. It must not take the DAGs of every other file with it.
            name = type(error).__name__
            errors[path] = PipelineError(f"pipeline file {shown_path(path)} cannot be compiled: {name}: {error}"[:1000])
            continue
        pipelines[pipeline.name] = pipeline
        groups.update({group.full_name: pipeline.name for group in pipeline.feature_groups})
    return Catalog(list(pipelines.values()), errors)


def _refuse_double_use(path: Path, pipeline: Pipeline, pipelines: dict[str, Pipeline], groups: dict[str, str]) -> None:
    problems = []
    if pipeline.name in pipelines:
        problems.append(f"name: another file of the folder is named {pipeline.name!r} already")
    for group in pipeline.feature_groups:
        if owner := groups.get(group.full_name):
            # Two writers of one group have no order between them: the newest value would be a matter of luck.
            problems.append(f"feature_groups: {group.full_name} is written by pipeline {owner!r} already")
    if problems:
        raise PipelineError(describe(f"pipeline file {shown_path(path)}", problems))
