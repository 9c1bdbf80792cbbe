"""Assets for what this package produces: the same address wherever a DAG names the same thing.

Made from plain names while a DAG file is parsed: no connection is read, nothing is asked.
"""

from __future__ import annotations

from urllib.parse import quote

from hopsworks_flink._compat import Asset

_HOPSWORKS, _FLINK = "x-hopsworks", "x-flink"


def feature_group_asset(name: str, version: int, *, project: str | None = None, host: str = "hopsworks") -> Asset:
    """A feature group; events of :class:`HopsworksMaterializeFeatureGroupOperator` carry rows, offsets and window.

    :param name: name of the feature group.
    :param version: its version.
    :param project: name of the Hopsworks project; None where one Airflow serves one project.
    :param host: what tells one Hopsworks from another; it need not be an address.
    :raises ValueError: a name is empty.
    """
    uri = f"{_place(host, project)}/fg/{_part(name)}/{int(version)}"
    return _asset(("feature_group", project, name, f"v{version}"), uri)


def hopsworks_job_asset(name: str, *, project: str | None = None, host: str = "hopsworks") -> Asset:
    """A job of a Hopsworks project; events of :class:`HopsworksRunJobOperator` carry its execution.

    :param name: name of the job.
    :param project: name of the Hopsworks project; None where one Airflow serves one project.
    :param host: what tells one Hopsworks from another; it need not be an address.
    :raises ValueError: a name is empty.
    """
    return _asset(("hopsworks_job", project, name), f"{_place(host, project)}/job/{_part(name)}")


def flink_job_asset(name: str, *, cluster: str = "flink") -> Asset:
    """A Flink job that is deployed under a name.

    :param name: name of the job.
    :param cluster: what tells one Flink cluster from another; it need not be an address.
    :raises ValueError: a name is empty.
    """
    return _asset(("flink_job", cluster, name), f"{_FLINK}://{_part(cluster)}/job/{_part(name)}")


def _asset(parts: tuple[str | None, ...], uri: str) -> Asset:
    # Airflow wants name and address to belong together, so the name tells projects apart as well.
    return Asset(name=".".join(part for part in parts if part is not None), uri=uri)


def _place(host: str, project: str | None) -> str:
    return f"{_HOPSWORKS}://{_part(host)}" + (f"/p/{_part(project)}" if project is not None else "")


def _part(text: str) -> str:
    if not text.strip():
        raise ValueError("an asset's names must not be empty")
    return quote(text.strip(), safe="")
