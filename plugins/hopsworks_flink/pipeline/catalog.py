"""The pipeline files of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.spec import Pipeline


class Catalog(NamedTuple):
    """What a folder holds.

    :param pipelines: the valid pipelines, sorted by file name.
    :param errors: what is wrong with the other files, by path.
    """

    pipelines: list[Pipeline]
    errors: dict[Path, PipelineError]


def load_pipelines(folder: str | Path) -> Catalog:
    """Read every ``*.yaml`` and ``*.yml`` of a folder. One broken file does not take the others with it."""
    pipelines: dict[str, Pipeline] = {}
    groups: dict[str, str] = {}
    errors: dict[Path, PipelineError] = {}
    for path in sorted(path for path in Path(folder).iterdir() if path.suffix in (".yaml", ".yml")):
        try:
            pipeline = Pipeline.from_yaml(path)
            _refuse_double_use(path, pipeline, pipelines, groups)
        except PipelineError as error:
            errors[path] = error
            continue
        pipelines[pipeline.name] = pipeline
        groups.update({group.full_name: pipeline.name for group in pipeline.feature_groups})
    return Catalog(list(pipelines.values()), errors)


def _refuse_double_use(path: Path, pipeline: Pipeline, pipelines: dict[str, Pipeline], groups: dict[str, str]) -> None:
    if pipeline.name in pipelines:
        raise PipelineError(
            f"pipeline file {path}: name: another file of the folder is named {pipeline.name!r} already"
        )
    for group in pipeline.feature_groups:
        if owner := groups.get(group.full_name):
            # Two writers of one group have no order between them: the newest value would be a matter of luck.
            raise PipelineError(
                f"pipeline file {path}: feature_groups: {group.full_name} is written by pipeline {owner!r} already"
            )
