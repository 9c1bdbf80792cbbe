"""Shows broken pipeline files in Airflow's list of import errors; has no DAG of its own.

The other files leave a broken pipeline out, so that one mistake does not take every pipeline's DAGs with it.
"""

from __future__ import annotations

from pathlib import Path

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.catalog import load_pipelines

errors = load_pipelines(Path(__file__).parent / "pipelines").errors
if errors:
    raise PipelineError("\n".join(str(error) for error in errors.values()))
