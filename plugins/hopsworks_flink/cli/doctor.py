"""`doctor`: looks at everything that pipelines need, one line for each, with what to do where something is missing."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from hopsworks_flink import __version__
from hopsworks_flink._compat import conf
from hopsworks_flink.cli.installing import requirements
from hopsworks_flink.clients.flink.files import OWN_JARS, programs_folder
from hopsworks_flink.clients.flink.jobs import state_directories
from hopsworks_flink.clients.hopsworks.session import HopsworksSession
from hopsworks_flink.clients.kafka.client import KafkaClient
from hopsworks_flink.exceptions import ConfigurationError, HopsworksFlinkError
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.hooks.kafka_connection import kafka_connection
from hopsworks_flink.tasks.deferral import triggerer

Result = Literal["ok", "warning", "wrong"]
OK: Result = "ok"
WARNING: Result = "warning"
WRONG: Result = "wrong"
_KAFKA_SECONDS = 10.0


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    :param text: what was found; where that is not ``ok`` also what to do.
    """

    result: Result
    subject: str
    text: str


def examine(hopsworks_conn_id: str, flink_conn_id: str, kafka_conn_id: str | None) -> Iterator[Check]:
    """Look at packages, Airflow, Hopsworks, Kafka and Flink. Changes nothing.

    :param kafka_conn_id: connection of source topics that are elsewhere; None: they are on the feature store's broker.
    """
    yield _looked("packages", _packages)
    yield _database()
    yield _triggerer()
    yield from _hopsworks(hopsworks_conn_id)
    if kafka_conn_id:
        yield _looked("source kafka", lambda: _kafka(kafka_connection(kafka_conn_id)))
    yield from _flink(flink_conn_id)


def _looked(subject: str, look: Callable[[], str]) -> Check:
    try:
        return Check(OK, subject, look())
    except HopsworksFlinkError as error:
        return Check(WRONG, subject, str(error))


def _packages() -> str:
    airflow = importlib.metadata.version("apache-airflow")
    # Refuses an Airflow that was not tested.
    if left := requirements(None, missing=True):
        raise ConfigurationError(
            f"{len(left)} packages of the tested ones are missing ({', '.join(left[:3])}, …): "
            "hopsworks-flink requirements --missing > more.txt, then pip install --no-deps -r more.txt"
        )
    return f"{__version__} on Airflow {airflow}, Python {platform.python_version()}"


def _database() -> Check:
    kind, _, rest = conf.get("database", "sql_alchemy_conn", fallback="").partition(":")
    if not kind.startswith("sqlite") or "timeout=" in rest:
        return Check(OK, "database", f"{kind or 'none'} is Airflow's")
    return Check(
        WARNING,
        "database",
        "Airflow's is SQLite, in which one process at a time may write: on a busy machine the scheduler ends with "
        "'database is locked'. Use PostgreSQL; to try things out append ?timeout=20 to [database] sql_alchemy_conn, "
        "and run PRAGMA journal_mode=WAL in it once.",
    )


def _triggerer() -> Check:
    deferring = conf.getboolean("operators", "default_deferrable", fallback=False)
    alive, what = triggerer()
    if not deferring:
        return Check(OK, "triggerer", f"{what}; none is needed: [operators] default_deferrable is not set")
    if alive:
        return Check(OK, "triggerer", f"{what}; tasks wait there, without a worker slot")
    remedy = "Tasks wait on their workers" if alive is False else "Look whether `airflow triggerer` runs"
    return Check(WARNING, "triggerer", f"{what}. {remedy}. Start one, or unset [operators] default_deferrable.")


def _hopsworks(conn_id: str) -> Iterator[Check]:
    try:
        with HopsworksHook(conn_id).session() as session:
            project = session.settings
            version = session.platform_version() or "unknown"
            yield Check(OK, "hopsworks", f"{project.url}, project {project.project}, version {version}")
            yield _looked("feature store", lambda: _feature_store(session))
            yield _looked("jobs", lambda: _jobs(session))
            yield _looked("kafka", lambda: _kafka(session.kafka_config()))
    except HopsworksFlinkError as error:
        yield Check(WRONG, "hopsworks", str(error))


def _feature_store(session: HopsworksSession) -> str:
    from hopsworks_flink.clients.hopsworks.errors import translated

    with translated("read the feature groups (scope FEATURESTORE of the API key)"):
        session.feature_store.get_feature_groups()
    return f"{session.feature_store.name} can be read"


def _jobs(session: HopsworksSession) -> str:
    from hopsworks_flink.clients.hopsworks.errors import translated

    with translated("read the jobs (scope JOB of the API key)"):
        jobs = session.project.get_job_api().get_jobs()
    return f"materializations can be started and followed ({len(jobs)} jobs)"


def _kafka(settings: dict[str, Any]) -> str:
    topics = KafkaClient(settings).topics(_KAFKA_SECONDS)
    return f"{settings['bootstrap.servers']} answers, {len(topics)} topics can be seen from here"


def _flink(conn_id: str) -> Iterator[Check]:
    hook = FlinkHook(conn_id)
    try:
        overview, settings = hook.client.overview(), hook.client.jobmanager_config()
    except HopsworksFlinkError as error:
        yield Check(WRONG, "flink", str(error))
        return
    slots = f"{overview['slots-available']} of {overview['slots-total']} slots free"
    found = f"{hook.settings.url}, version {overview['flink-version']}, {slots}"
    if overview["slots-available"]:
        yield Check(OK, "flink", found)
    else:
        yield Check(WARNING, "flink", f"{found}. A new job waits for one: add a TaskManager.")
    yield _looked("jars", lambda: _jars(hook))
    yield _restore_points(settings)


def _jars(hook: FlinkHook) -> str:
    jars = hook.find_jars(formats=(OWN_JARS,))
    folder, own = jars.flink_python.path.parent, jars.launcher.path
    shipped = programs_folder() / "connectors" / "jars" / OWN_JARS / own.name
    if not shipped.is_file() or shipped.read_bytes() != own.read_bytes():
        raise ConfigurationError(
            f"{own} is not the jar of version {__version__} of this package: hopsworks-flink jars {folder}"
        )
    return f"{folder} has those of the cluster's version ({len(jars.connectors)} connectors)"


def _restore_points(settings: dict[str, str]) -> Check:
    savepoints, checkpoints = state_directories(settings)
    known = {"execution.checkpointing.savepoint-dir": savepoints, "execution.checkpointing.dir": checkpoints}
    if missing := [key for key, folder in known.items() if not folder]:
        return Check(
            WRONG,
            "restore points",
            f"The cluster has no {' and no '.join(missing)}: jobs are stopped with a savepoint, and go back to "
            "checkpoints. Set it in Flink's config.yaml, to storage that all its machines reach.",
        )
    return Check(OK, "restore points", f"savepoints in {savepoints}, checkpoints in {checkpoints}")
