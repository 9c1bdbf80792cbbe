"""Feature groups, their records and tables, as several of these tests need them."""

from __future__ import annotations

import io
import json
import subprocess
import tempfile
from pathlib import Path

import fastavro
import pyarrow as pa
from cryptography.hazmat.primitives.serialization import pkcs12
from deltalake import DeltaTable, QueryBuilder

from devstack.hopsworks.metadata.featuretypes import avro_schema, canonical_text, encoded_schema
from devstack.hopsworks.metadata.models import FeatureGroup

SMALL = [("id", "bigint"), ("s", "string")]
SMALL_TEXT = canonical_text(avro_schema("g_1", "n", SMALL))
CARD_FEATURES = [("cc_num", "bigint"), ("ts", "timestamp"), ("city", "string"), ("amounts", "array<double>")]
CARD_SCHEMA = avro_schema("cards_1", "demo_featurestore.db", CARD_FEATURES)


def small(number, text="x") -> bytes:
    buffer = io.BytesIO()
    schema = fastavro.parse_schema(json.loads(SMALL_TEXT))
    fastavro.schemaless_writer(buffer, schema, {"id": number, "s": text})
    return buffer.getvalue()


def card(cc_num, ts=0, city="x", amounts=None) -> bytes:
    buffer = io.BytesIO()
    inner = None
    if amounts is not None:
        nested = io.BytesIO()
        fastavro.schemaless_writer(nested, fastavro.parse_schema(CARD_SCHEMA["fields"][3]["type"]), amounts)
        inner = nested.getvalue()
    row = {"cc_num": cc_num, "ts": ts, "city": city, "amounts": inner}
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(encoded_schema(CARD_SCHEMA)), row)
    return buffer.getvalue()


def make_group(*features) -> FeatureGroup:
    return FeatureGroup(
        type="streamFeatureGroupDTO",
        name="g",
        version=1,
        time_travel_format="HUDI",
        location="file:///nowhere",
        created="2024",
        features=[{"name": name, "type": kind} for name, kind in features],
    )


def read_table(location, condition="TRUE"):
    # Not to_pyarrow_table: its threads sometimes abort the interpreter at exit.
    table = DeltaTable(str(location))
    reader = QueryBuilder().register("t", table).execute(f"SELECT * FROM t WHERE {condition} ORDER BY id")
    return pa.table(reader.read_all()).to_pylist()


def make_table(**columns):
    types = {"id": pa.int64(), "t": pa.timestamp("us", "UTC"), "v": pa.float64()}
    return pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})


def opened(jks: bytes, password: str) -> pkcs12.PKCS12KeyAndCertificates:
    """What Java finds in a key store of type JKS."""
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name) / "store.jks", Path(name) / "store.p12"
        source.write_bytes(jks)
        stores = ["-srckeystore", source, "-srcstoretype", "JKS", "-destkeystore", target, "-deststoretype", "PKCS12"]
        passwords = ["-srcstorepass", password, "-deststorepass", password]
        subprocess.run(
            ["keytool", "-importkeystore", "-noprompt", *stores, *passwords], check=True, capture_output=True
        )
        return pkcs12.load_pkcs12(target.read_bytes(), password.encode())
