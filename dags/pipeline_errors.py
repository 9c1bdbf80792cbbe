"""Reports pipeline files that cannot be used in Airflow's list of import errors. It defines no DAG.

The other files of this folder make DAGs for the pipelines that are right, and pass over the rest: one bad file does not
remove the DAGs of the others.
"""

from __future__ import annotations

from pathlib import Path

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.catalog import load_pipelines

# Airflow reads this file because the words "airflow" and "dag" stand in it: by default it passes over all others.
errors = load_pipelines(Path(__file__).parent / "pipelines").errors
if errors:
    raise PipelineError("\n".join(str(error) for error in errors.values()))
