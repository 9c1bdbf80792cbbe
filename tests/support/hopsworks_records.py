"""Records in the two encodings that the local Hopsworks' tests write."""

import io
import json

import fastavro

from devstack.hopsworks.featuretypes import avro_schema, canonical_text, encoded_schema

FEATURES = [("cc_num", "bigint"), ("ts", "timestamp"), ("city", "string"), ("amounts", "array<double>")]
SCHEMA = avro_schema("cards_1", "demo_featurestore.db", FEATURES)


def encode(cc_num, ts=0, city="x", amounts=None) -> bytes:
    buffer = io.BytesIO()
    inner = None
    if amounts is not None:
        nested = io.BytesIO()
        fastavro.schemaless_writer(nested, fastavro.parse_schema(SCHEMA["fields"][3]["type"]), amounts)
        inner = nested.getvalue()
    row = {"cc_num": cc_num, "ts": ts, "city": city, "amounts": inner}
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(encoded_schema(SCHEMA)), row)
    return buffer.getvalue()


SMALL = [("id", "bigint"), ("s", "string")]
SMALL_TEXT = canonical_text(avro_schema("g_1", "n", SMALL))


def small(number, text="x") -> bytes:
    buffer = io.BytesIO()
    schema = fastavro.parse_schema(json.loads(SMALL_TEXT))
    fastavro.schemaless_writer(buffer, schema, {"id": number, "s": text})
    return buffer.getvalue()
