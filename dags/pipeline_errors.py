"""Reports pipeline files that cannot be used as an import error of this file. It defines no DAG.

The other files of this folder make DAGs for the pipelines that are right, and pass over the rest: one bad file does not
remove the DAGs of the others.
"""

from __future__ import annotations

from pathlib import Path

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.catalog import load_pipelines

errors = load_pipelines(Path(__file__).parent / "pipelines").errors
if errors:
    raise PipelineError("\n".join(str(error) for error in errors.values()))
