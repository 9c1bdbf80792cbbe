"""Assets for what this package reads and produces: the same address wherever a DAG names the same thing.

Made from plain names while a DAG file is parsed: no connection is read, nothing is asked. Topics and feature groups are
named as OpenLineage names its datasets (`hopsworks_flink.tasks.lineage`), so that one graph holds both; where they live
the settings ``[hopsworks_flink] lineage_kafka`` and ``lineage_hopsworks`` say. A job is no dataset: its address is for
Airflow only.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from hopsworks_flink._compat import Asset, conf

if TYPE_CHECKING:
    from urllib.parse import SplitResult

_HOPSWORKS, _FLINK, _KAFKA = "hopsworks", "x-flink", "kafka"
_PATH = re.compile(r"(/p/[^/]+)?/(fg/[^/]+/[0-9]+(/offline)?|job/[^/]+)")


def topic_asset(topic: str, *, broker: str | None = None) -> Asset:
    """A Kafka topic: ``kafka://broker:9092/orders``.

    :param topic: name of the topic.
    :param broker: host and port of its broker, the first of several; None: the setting ``lineage_kafka``.
    :raises ValueError: a name is empty.
    """
    place = broker if broker is not None else conf.get("hopsworks_flink", "lineage_kafka", fallback="kafka:9092")
    return _asset(("topic", topic), f"{_KAFKA}://{_server(place)}/{_part(topic)}")


def feature_group_asset(name: str, version: int, *, project: str | None = None, host: str | None = None) -> Asset:
    """A feature group, whose rows a job writes: its topic and its online table.

    :param name: name of the feature group.
    :param version: its version.
    :param project: name of the Hopsworks project; None where one Airflow serves one project.
    :param host: address of Hopsworks; None: the setting ``lineage_hopsworks``.
    :raises ValueError: a name is empty.
    """
    uri = f"{_place(host, project)}/fg/{_part(name)}/{int(version)}"
    return _asset(("feature_group", project, name, f"v{version}"), uri)


def offline_table_asset(name: str, version: int, *, project: str | None = None, host: str | None = None) -> Asset:
    """A feature group's offline table; events of :class:`HopsworksMaterializeFeatureGroupOperator` carry rows, offsets
    and window.

    :param name: name of the feature group.
    :param version: its version.
    :param project: name of the Hopsworks project; None where one Airflow serves one project.
    :param host: address of Hopsworks; None: the setting ``lineage_hopsworks``.
    :raises ValueError: a name is empty.
    """
    uri = f"{_place(host, project)}/fg/{_part(name)}/{int(version)}/offline"
    return _asset(("offline_table", project, name, f"v{version}"), uri)


def hopsworks_job_asset(name: str, *, project: str | None = None, host: str | None = None) -> Asset:
    """A job of a Hopsworks project; events of :class:`HopsworksRunJobOperator` carry its execution.

    :param name: name of the job.
    :param project: name of the Hopsworks project; None where one Airflow serves one project.
    :param host: address of Hopsworks; None: the setting ``lineage_hopsworks``.
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


def normal_uri(uri: SplitResult) -> SplitResult:
    """What Airflow asks about each ``hopsworks://`` address of an asset; the host is told in small letters.

    :raises ValueError: it is not the address of a feature group, its offline table, or a job.
    """
    if not uri.netloc or not _PATH.fullmatch(uri.path):
        raise ValueError(
            "an address in Hopsworks is hopsworks://host/p/project/fg/name/version, with /offline behind it for the "
            "offline table, or hopsworks://host/p/project/job/name; /p/project may be left out. Use the functions of "
            "hopsworks_flink.assets"
        )
    return uri._replace(netloc=uri.netloc.lower())


def _asset(parts: tuple[str | None, ...], uri: str) -> Asset:
    # Airflow wants name and address to belong together, so the name tells projects apart as well.
    return Asset(name=".".join(part for part in parts if part is not None), uri=uri)


def _place(host: str | None, project: str | None) -> str:
    if host is None:
        host, _, of_setting = conf.get("hopsworks_flink", "lineage_hopsworks", fallback="hopsworks").partition("/")
        project = project if project is not None else of_setting or None
    return f"{_HOPSWORKS}://{_server(host).lower()}" + (f"/p/{_part(project)}" if project is not None else "")


def _server(text: str) -> str:
    """Host and port, without credentials."""
    return quote(_named(text).rpartition("@")[2], safe=":[]")


def _part(text: str) -> str:
    return quote(_named(text), safe="")


def _named(text: str) -> str:
    if not text.strip():
        raise ValueError("an asset's names must not be empty")
    return text.strip()
