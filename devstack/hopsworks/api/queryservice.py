"""The query service: offline reads of the SDK (``fg.read()``) over Arrow Flight, with the project's client certificate.

A client asks with what ``PUT featurestores/query?hqs=True`` gave it. That is the query as it was sent, not SQL: the
statement is built here, so that nothing but feature groups can be read.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from pyarrow import flight

from devstack.config import DevstackConfig
from devstack.hopsworks.featurestore.groups import FeatureGroups
from devstack.hopsworks.featurestore.querysql import Rendered, build, parse
from devstack.hopsworks.home.errors import HopsworksError
from devstack.hopsworks.home.layout import HOPSWORKS_VERSION
from devstack.hopsworks.home.log import get_logger
from devstack.hopsworks.metadata.models import FeatureGroup
from devstack.hopsworks.offline.columns import arrow_type
from devstack.hopsworks.offline.table import statistics_of

ACTIONS = ("healthcheck", "get-version")
_VIEWS = {pa.string_view(): pa.string(), pa.large_string(): pa.string(), pa.binary_view(): pa.binary()}
log = get_logger("queryservice")


def payload(body: dict[str, Any]) -> str:
    """What a client sends to the service: the query's body, in ASCII."""
    return json.dumps(parse(body).model_dump(by_alias=True, exclude_none=True))


def run_query(text: str, groups: FeatureGroups) -> pa.Table:
    """The rows of a query. Raises HopsworksError for one that cannot be answered."""
    return read(build(parse(json.loads(text)), groups.get, online=False))


def read(rendered: Rendered) -> pa.Table:
    """The rows of a statement on the offline store."""
    with tempfile.TemporaryDirectory() as folder:
        builder = QueryBuilder()
        for name, group in rendered.groups.items():
            builder.register(name, _delta_table(group, Path(folder)))
        found = pa.table(builder.execute(rendered.text("postgres")).read_all())
    return found.cast(pa.schema([(field.name, _readable(field.type)) for field in found.schema]))


def _readable(kind: pa.DataType) -> pa.DataType:
    """The type that pandas takes for one of the engine's, which may have views inside of lists and structs as well."""
    if pa.types.is_map(kind):
        return pa.map_(_readable(kind.key_type), _readable(kind.item_type))
    if pa.types.is_list(kind):
        return pa.list_(_readable(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(one.name, _readable(one.type)) for one in kind])
    return _VIEWS.get(kind, kind)


def _delta_table(group: FeatureGroup, folder: Path) -> DeltaTable:
    """The offline table of a group; an empty one before its first materialization."""
    location = unquote(urlparse(group.location).path)
    schema = pa.schema([(feature.name, arrow_type(feature.type or "")) for feature in group.features])
    if not DeltaTable.is_deltatable(location):
        return DeltaTable.create(str(folder / group.full_name), schema=schema)
    table = DeltaTable(location)
    known = {field.name for field in table.schema().fields}
    new = [field for field in schema if field.name not in known]
    if not new:
        return table
    # Features that were appended after the last materialization are null.
    rows = pa.table(QueryBuilder().register("t", table).execute("SELECT * FROM t").read_all())
    for field in new:
        rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    write_deltalake(str(folder / group.full_name), rows, configuration=statistics_of(rows.schema))
    return DeltaTable(str(folder / group.full_name))


class QueryService(flight.FlightServerBase):
    """Serves queries in threads of its own until it is shut down."""

    def __init__(self, config: DevstackConfig, groups: FeatureGroups) -> None:
        certs = config.certificates
        super().__init__(
            f"grpc+tls://{config.bind_host}:{config.hopsworks_query_port}",
            tls_certificates=[((certs / "server.pem").read_bytes(), (certs / "server.key").read_bytes())],
            verify_client=True,
            root_certificates=config.hopsworks_ca.read_bytes(),
        )
        self._groups = groups
        threading.Thread(target=self.serve, name="queryservice", daemon=True).start()

    def list_actions(self, context: flight.ServerCallContext) -> list[tuple[str, str]]:
        return [(name, "") for name in ACTIONS]

    def do_action(self, context: flight.ServerCallContext, action: flight.Action) -> Iterator[bytes]:
        if action.type not in ACTIONS:
            raise flight.FlightServerError(f"action {action.type!r}: known are {', '.join(ACTIONS)}.")
        return iter([HOPSWORKS_VERSION.encode()])

    def get_flight_info(
        self, context: flight.ServerCallContext, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        endpoint = flight.FlightEndpoint(flight.Ticket(descriptor.command or b""), [])
        return flight.FlightInfo(pa.schema([]), descriptor, [endpoint], -1, -1)

    def do_get(self, context: flight.ServerCallContext, ticket: flight.Ticket) -> flight.FlightDataStream:
        try:
            return flight.RecordBatchStream(run_query(ticket.ticket.decode("ascii"), self._groups))
        except (HopsworksError, ValueError) as error:
            raise flight.FlightServerError(str(error)) from error
        except Exception as error:
            log.error("a query failed", exc_info=error)
            raise flight.FlightServerError(f"{type(error).__name__}; see the log of the server.") from error
