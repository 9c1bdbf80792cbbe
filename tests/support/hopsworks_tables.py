"""Feature groups and Delta tables of the local Hopsworks, as its tests make and read them."""

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from devstack.hopsworks.models import FeatureGroup


def feature_group(*features) -> FeatureGroup:
    return FeatureGroup(
        type="streamFeatureGroupDTO",
        name="g",
        version=1,
        time_travel_format="HUDI",
        location="file:///nowhere",
        created="2024",
        features=[{"name": name, "type": kind} for name, kind in features],
    )


def rows_of(location):
    # Not to_pyarrow_table: its threads sometimes abort the interpreter at exit.
    table = DeltaTable(str(location))
    reader = QueryBuilder().register("t", table).execute("SELECT * FROM t ORDER BY id")
    return pa.table(reader.read_all()).to_pylist()


def table_of(**columns):
    types = {"id": pa.int64(), "t": pa.timestamp("us", "UTC"), "v": pa.float64()}
    return pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})
