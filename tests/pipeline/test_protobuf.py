"""Messages of Protobuf: both decoders, held against each other and against what a library writes and reads."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.health.refusal import refused_of
from hopsworks_flink.pipeline.decoding import UndecodableError, decoder, value_check
from hopsworks_flink.pipeline.resources import source_avro_schema, source_topic_arguments
from hopsworks_flink.pipeline.simulation import event_time_range, simulator_arguments
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.spec.source.protobuf import CONTENT, shipped
from hopsworks_flink.pipeline.sql.features import source_table
from hopsworks_flink.pipeline.state import state_signature
from tests.pipeline.strict_format import JavaFormat, texts
from tests.pipeline.written import spec
from tests.support.protobuf import content, files, message_class, write

relaxed = settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
KINDS = {"UNKNOWN": 0, "CARD": 1, "CASH": 2, "LOSS": -3}
SHOP = files(
    "shop",
    {
        "Item": {"price": "double", "sku": "optional string", "tags": "repeated string"},
        "Order": {
            "id": "sint64",
            "at": "google.protobuf.Timestamp",
            "shop": "string",
            "quantity": "uint32",
            "total": "uint64",
            "vip": "bool",
            "paid": "Kind",
            "note": "optional string",
            "items": "repeated Item",
            "codes": "repeated int32",
            "marks": "repeated Kind",
            "attrs": "map<string,string>",
            "lots": "map<string,Item>",
            "discount": "google.protobuf.DoubleValue",
            "till": "oneof place int32",
            "site": "oneof place string",
            "raw": "bytes",
            "ratio": "float",
            "made": "fixed64",
            "back": "sfixed32",
            "parent": "Order",
            "price": "string = 2000",
            "seen": "int64",
        },
    },
    {"Kind": KINDS},
)
Order = message_class(SHOP, "shop.Order")
PROTOBUF = {"format": "protobuf", "descriptor": content(SHOP), "message": "shop.Order"}
COLUMNS: dict[str, Any] = {
    "id": "bigint",
    "at": "timestamp",
    "shop": "string",
    "quantity": "int",
    "total": "decimal(20,0)",
    "vip": "boolean",
    "paid": "string",
    "note": "string",
    "first_price": {"type": "double", "path": "items[0].price"},
    "second_sku": {"type": "string", "path": "items[1].sku"},
    "second_tag": {"type": "string", "path": "items[1].tags[1]"},
    "code": {"type": "smallint", "path": "codes[2]"},
    "mark": {"type": "string", "path": "marks[1]"},
    "colour": {"type": "string", "path": "attrs['the colour']"},
    "lot": {"type": "double", "path": "lots.a.price"},
    "lot_sku": {"type": "string", "path": "lots.a.sku"},
    "discount": "double",
    "site": "string",
    "raw": "binary",
    "ratio": "double",
    "made": {"type": "timestamp", "unit": "seconds"},
    "back": "tinyint",
    "parent": {"type": "string", "path": "parent.parent.shop"},
    "price": "decimal(9,2)",
    "seconds": {"type": "bigint", "path": "parent.at.seconds"},
}
#: What a message is that says nothing but the price, which has no default that is a number.
LEAST: dict[str, Any] = {
    **dict.fromkeys(COLUMNS),
    **{"id": 0, "shop": "", "quantity": 0, "total": Decimal(0), "vip": False, "paid": "UNKNOWN", "raw": b""},
    **{"ratio": 0.0, "made": datetime(1970, 1, 1), "back": 0, "price": Decimal("1.00")},
}


@pytest.fixture(scope="module")
def flink() -> Iterator[JavaFormat]:
    format_ = JavaFormat()
    yield format_
    format_.close()


def judged(columns: dict[str, Any], value: bytes, decode: Any) -> dict[str, Any]:
    """What the decoder in Python says, in the words of the Java one."""
    try:
        event = decode(value)
    except UndecodableError as problem:
        return {"reason": str(problem)}
    return {} if event is None else {"row": texts(event, columns)}


def both(
    flink: JavaFormat, columns: dict[str, Any], values: list[bytes], source: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """What both decoders say, which is the same."""
    source = {**PROTOBUF, **(source or {})}
    parsed = Pipeline.parse(spec(columns, **source)).source
    assert parsed.protobuf_message is not None
    framing = {"framed": parsed.framing is not None, "ids": parsed.schema_ids, "unwrap": parsed.unwrap}
    found = flink.decode("protobuf", columns, values, message=parsed.protobuf_message.options(), **framing)
    decode = decoder(parsed)
    assert [judged(columns, value, decode) for value in values] == found
    return found


def filled() -> Any:
    order = Order(id=-7, shop="Väst", quantity=3_000_000_00, total=2**64 - 1, vip=True, paid="CASH", note="")
    order.at.FromDatetime(datetime(2025, 3, 1, 12, 0, 0, 123456))
    order.at.nanos += 789
    order.items.add(price=1.5, sku="a", tags=["x"])
    order.items.add(price=2.5, tags=["y", "ü"])
    order.codes.extend([1, 70_000, -2])
    order.marks.extend(["CARD", "LOSS"])
    order.attrs.update({"size": "xl", "the colour": "red"})
    order.lots["a"].price = 4.25
    order.discount.value = 0.0
    order.site = "north"
    order.raw, order.ratio, order.made, order.back, order.price = b"\0\1", 0.5, 1_740_830_400, -128, "12.50"
    order.parent.parent.shop = "old"
    order.parent.at.seconds = 5
    return order


FILLED = {
    "id": -7,
    "at": datetime(2025, 3, 1, 12, 0, 0, 123456),
    "shop": "Väst",
    "quantity": 300_000_000,
    "total": Decimal(2**64 - 1),
    "vip": True,
    "paid": "CASH",
    "note": "",
    "first_price": 1.5,
    "second_sku": None,
    "second_tag": "ü",
    "code": -2,
    "mark": "LOSS",
    "colour": "red",
    "lot": 4.25,
    "lot_sku": None,
    "discount": 0.0,
    "site": "north",
    "raw": b"\0\1",
    "ratio": 0.5,
    "made": datetime(2025, 3, 1, 12),
    "back": -128,
    "parent": "old",
    "price": Decimal("12.50"),
    "seconds": 5,
}


def test_columns_are_read_from_wherever_they_stand(flink: JavaFormat) -> None:
    assert both(flink, COLUMNS, [filled().SerializeToString()]) == [{"row": texts(FILLED, COLUMNS)}]


def test_what_is_absent_is_null_where_protobuf_knows_of_it_and_else_the_default(flink: JavaFormat) -> None:
    least, empty = Order(price="1"), Order(price="1")
    empty.parent.parent.SetInParent()
    empty.items.add()
    empty.items.add()
    empty.lots["a"].SetInParent()
    empty.discount.SetInParent()
    inside = {"parent": "", "first_price": 0.0, "lot": 0.0, "discount": 0.0}
    wanted = [{"row": texts(row, COLUMNS)} for row in (LEAST, {**LEAST, **inside})]
    assert both(flink, COLUMNS, [least.SerializeToString(), empty.SerializeToString()]) == wanted
    assert both(flink, {"id": "bigint", "note": "string"}, [b""]) == [{"row": {"id": "0", "note": None}}]


def test_proto2_knows_of_each_field_and_groups_are_messages(flink: JavaFormat) -> None:
    old = files(
        "old", {"Place": {"x": "int32"}, "R": {"id": "required int64", "n": "int32", "p": "Place"}}, {}, "proto2"
    )
    old.file[-1].message_type[1].field[2].type = 10
    old.file[-1].message_type[1].field[2].name = "place"
    columns = {"id": "bigint", "n": "int", "x": {"type": "int", "path": "place.x"}}
    record = message_class(old, "old.R")
    source = {"descriptor": content(old), "message": "old.R"}
    values = [record(id=1).SerializeToString(), record(id=1, n=0, place={"x": 3}).SerializeToString()]
    assert values[1][-1] & 7 == 4, "it is a group"
    assert both(flink, columns, values, source) == [
        {"row": {"id": "1", "n": None, "x": None}},
        {"row": {"id": "1", "n": "0", "x": "3"}},
    ]


def test_a_producer_with_a_newer_message_is_read(flink: JavaFormat) -> None:
    fields = {"id": "sint64", "new": "string = 99", "more": "repeated Item = 100", "shop": "string = 3"}
    newer = files("shop", {"Item": {"sku": "string"}, "Order": fields})
    value = message_class(newer, "shop.Order")(id=5, new="n", more=[{"sku": "s"}], shop="x").SerializeToString()
    assert both(flink, {"id": "bigint", "shop": "string"}, [value]) == [{"row": {"id": "5", "shop": "x"}}]


def tag(number: int, wire: int) -> bytes:
    return varint(number << 3 | wire)


def varint(number: int) -> bytes:
    made = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        made.append(low | (0x80 if number else 0))
        if not number:
            return bytes(made)


def sized(number: int, inner: bytes) -> bytes:
    return tag(number, 2) + varint(len(inner)) + inner


ONE = {"id": "bigint", "quantity": "int", "vip": "boolean", "shop": "string", "at": "timestamp"}
BROKEN: list[tuple[bytes, str]] = [
    (b"\0", "it has a field 0, which no message has; a zero byte in front is the framing of a schema registry "),
    (b'{"id": 1}', "field 4: its length reads as 105, and 6 bytes are left; it looks like JSON"),
    (b"\x08", "it ends in field id"),
    (b"\x08\x80", "it ends in field id"),
    (b"\x08" + b"\xff" * 9 + b"\x02", "field id: its bytes are no number of Protobuf"),
    (b"\x08\x02\x08\x04", "field id stands in it twice"),
    (tag(1, 2) + b"\x01x", "field id is sint64, and is written with the wire type 2"),
    (tag(4, 0) + varint(2**32), "field quantity is uint32 and reads as 4294967296"),
    (tag(4, 0) + varint(2**64 - 1), "field quantity is uint32 and reads as 18446744073709551615"),
    (tag(4, 0) + varint(2**31), "column quantity is int and holds 2147483648"),
    (tag(6, 0) + b"\x02", "field vip: its bool reads as 2, not false or true"),
    (sized(3, b"\xff"), "field shop is no UTF-8 text"),
    (tag(3, 2) + b"\x05ab", "field shop: its length reads as 5, and 2 bytes are left"),
    (tag(3, 2) + varint(2**64 - 1), "field shop: its length reads as 18446744073709551615, and 0 bytes are left"),
    (sized(2, tag(1, 0) + varint(253_402_300_800)), "column at is timestamp and holds 253402300800 seconds and 0 nano"),
    (sized(2, tag(2, 0) + varint(10**9)), "column at is timestamp and holds 0 seconds and 1000000000 nanoseconds"),
    (sized(2, tag(1, 0) + varint(2**63)), "column at is timestamp and holds -9223372036854775808 seconds and 0 nano"),
    (sized(2, tag(2, 0) + varint(2**31)), "field at.nanos is int32 and reads as 2147483648"),
    (sized(2, tag(1, 2) + b"\0"), "field at.seconds is int64, and is written with the wire type 2"),
    (sized(2, b"\x08\1\x08\1"), "field at has one of its parts twice"),
    (sized(2, tag(1, 0)) + b"\x01", "it ends in field at.seconds"),
    (tag(99, 0), "it ends in field 99"),
    (tag(99, 1) + b"1234567", "it ends in field 99"),
    (tag(99, 2) + b"\3ab", "field 99: its length reads as 3, and 2 bytes are left"),
    (tag(99, 3) + tag(98, 4), "field 98 ends a group that did not begin"),
    (tag(99, 4), "field 99 ends a group that did not begin"),
    (tag(99, 3) * 101, "field 99 is nested more than 100 levels deep"),
    (tag(99, 3), "it ends in the number of a field"),
    (tag(99, 6), "field 99 has the wire type 6, which does not exist"),
    (varint(1 << 32), "it has a field 536870912, which no message has"),
]


@pytest.mark.parametrize(("value", "reason"), BROKEN, ids=lambda part: str(part)[:40])
def test_what_is_no_message_is_undecodable(flink: JavaFormat, value: bytes, reason: str) -> None:
    (found,) = both(flink, ONE, [value])
    assert found["reason"].startswith(reason)
    assert value_check(Pipeline.parse(spec(ONE, **PROTOBUF)).source)(value) == found["reason"]


DEEP: list[tuple[bytes, str]] = [
    (b"", 'column price is decimal(9,2) and holds ""'),
    (sized(2000, b"1,5"), 'column price is decimal(9,2) and holds "1,5"'),
    (tag(7, 0) + b"\x07", "field paid: its enum has no symbol 7"),
    (tag(7, 0) + varint(2**33), "field paid is enum and reads as 8589934592"),
    (tag(15, 0) + b"\1" + sized(16, b"x"), "oneof place stands in it twice"),
    (sized(12, sized(1, b"the colour") + tag(2, 0) + b"\1"), "field attrs is string, and is written with the wire"),
    (sized(12, sized(1, b"the colour")) * 2, "field attrs has one of its keys twice"),
    (sized(10, b"\1\2\x80"), "it ends in field codes"),
    (sized(10, b"\1\2" + varint(40_000)), "column code is smallint and holds 40000"),
    (sized(11, b"\1\x09"), "field marks: its enum has no symbol 9"),
    (sized(9, b"") + sized(9, sized(3, b"a") + tag(3, 0)), "field items[1].tags is string, and is written with the wi"),
    (sized(21, sized(21, sized(3, b"\xff"))), "field parent.parent.shop is no UTF-8 text"),
    (sized(14, tag(1, 1) + b"1234567"), "it ends in field discount.value"),
]


@pytest.mark.parametrize(("value", "reason"), DEEP, ids=lambda part: str(part)[:40])
def test_what_columns_cannot_hold_is_undecodable(flink: JavaFormat, value: bytes, reason: str) -> None:
    (found,) = both(flink, COLUMNS, [value])
    assert found["reason"].startswith(reason)


def test_what_no_column_reads_is_passed_over(flink: JavaFormat) -> None:
    # The third mark has no symbol, and is not read; an entry's key may stand behind its value.
    value = sized(11, b"\1\2\x09") + sized(12, sized(2, b"blue") + sized(1, b"the colour")) + sized(2000, b"1")
    more = {"mark": "CASH", "colour": "blue"}
    assert both(flink, COLUMNS, [value]) == [{"row": texts({**LEAST, **more}, COLUMNS)}]
    # Values that are not packed together, though they may be.
    apart = b"".join(tag(10, 0) + varint(number) for number in (4, 5, 6)) + sized(10, b"\7") + sized(2000, b"1")
    assert both(flink, COLUMNS, [apart]) == [{"row": texts({**LEAST, "code": 6}, COLUMNS)}]
    # Longer numbers than need be.
    assert both(flink, {"id": "bigint"}, [b"\x88\x00\x84\x80\x00"]) == [{"row": {"id": "2"}}]


NESTED = files("n", {"A": {"x": "int32"}, "B": {"x": "int32", "y": "string"}})
INNER = NESTED.file[-1].message_type[1].nested_type.add(name="C")
INNER.field.add(name="x", number=1, type=5, label=1)


@pytest.mark.parametrize(
    ("message", "indexes", "reason"),
    [
        ("n.A", b"\0", None),
        ("n.A", b"\2\0", None),
        ("n.B", b"\2\2", None),
        ("n.B.C", b"\4\2\0", None),
        ("n.B", b"\0", "it is the message with the indexes [0] of its schema, and source.message has [1]"),
        ("n.A", b"\4\2\0", "it is the message with the indexes [1, 0] of its schema, and source.message has [0]"),
        ("n.A", b"\1", "the message indexes: there are -1 of them, and 2 bytes are left"),
        ("n.A", b"\x7e", "the message indexes: there are 63 of them, and 2 bytes are left"),
    ],
)
def test_framing_says_which_message_it_is(flink: JavaFormat, message: str, indexes: bytes, reason: str | None) -> None:
    source = {"descriptor": content(NESTED), "message": message, "framing": "confluent", "schema_ids": [7]}
    value = b"\0" + struct.pack(">I", 7) + indexes + b"\x08\5"
    wanted = {"row": {"x": "5"}} if reason is None else {"reason": reason}
    assert both(flink, {"x": "int"}, [value], source) == [wanted]
    (other,) = both(flink, {"x": "int"}, [b"\0\0\0\0\1" + indexes + b"\x08\5"], source)
    assert other["reason"] == "it was written with schema 1 of the registry, and source.schema_ids has 7"
    assert "does not begin with the framing" in both(flink, {"x": "int"}, [b"\x08\5"], source)[0]["reason"]


def test_change_events_of_debezium(flink: JavaFormat) -> None:
    row = {"id": "int64", "shop": "string"}
    made = files(
        "db", {"Value": row, "E": {"before": "Value", "after": "Value", "op": "optional string", "ts": "int64"}}
    )
    source = {"descriptor": content(made), "message": "db.E", "unwrap": "debezium"}
    columns = {"id": "bigint", "shop": "string", "ts": {"type": "bigint", "path": "$.ts"}}
    event = message_class(made, "db.E")
    sent = [
        event(op="c", after={"id": 5, "shop": "x"}, ts=9),
        event(op="d", before={"id": 5}),
        event(op="u", before={"id": 5}, after={"id": 5}),
        event(after={"id": 5}),
    ]
    assert both(flink, columns, [one.SerializeToString() for one in sent], source) == [
        {"row": {"id": "5", "shop": "x", "ts": "9"}},
        {},
        {"row": {"id": "5", "shop": "", "ts": "0"}},
        {"reason": "it is no change event of Debezium: it has no op"},
    ]
    source |= {"format": "protobuf", "descriptor": content(files("db", {"V": {"after": "string"}})), "message": "db.V"}
    with pytest.raises(PipelineError, match=r"unwrap: the message has no op; db\.V has after"):
        Pipeline.parse(spec({"id": "bigint"}, **source))


TEXTS = st.text(max_size=6)
FLOATS = st.floats(width=32)
ITEMS = st.fixed_dictionaries({}, optional={"price": st.floats(), "sku": TEXTS, "tags": st.lists(TEXTS, max_size=3)})
ORDERS: Any = st.deferred(
    lambda: st.fixed_dictionaries(
        {"price": st.integers(0, 10**7).map(str)},
        optional={
            "id": st.integers(-(2**63), 2**63 - 1),
            "at": st.fixed_dictionaries(
                {"seconds": st.integers(-62_135_596_800, 253_402_300_799), "nanos": st.integers(0, 999_999_999)}
            ),
            "shop": TEXTS,
            "quantity": st.integers(0, 2**32 - 1),
            "total": st.integers(0, 2**64 - 1),
            "vip": st.booleans(),
            "paid": st.sampled_from([*KINDS]),
            "note": TEXTS,
            "items": st.lists(ITEMS, max_size=3),
            "codes": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
            "marks": st.lists(st.sampled_from([*KINDS]), max_size=3),
            "attrs": st.dictionaries(st.sampled_from(["the colour", "a", "ü"]), TEXTS, max_size=3),
            "discount": st.fixed_dictionaries({"value": st.floats()}),
            "raw": st.binary(max_size=4),
            "ratio": FLOATS,
            "made": st.integers(0, 2**64 - 1),
            "back": st.integers(-(2**31), 2**31 - 1),
            "parent": ORDERS,
        },
    )
)


def encoded(order: dict[str, Any]) -> bytes:
    return bytes(made(order).SerializeToString())


def made(order: dict[str, Any]) -> Any:
    message = Order(**{name: value for name, value in order.items() if name not in ("at", "parent")})
    if "at" in order:
        message.at.seconds, message.at.nanos = order["at"]["seconds"], order["at"]["nanos"]
    if "parent" in order:
        message.parent.CopyFrom(made(order["parent"]))
    return message


@st.composite
def damaged(draw: Any) -> bytes:
    value = encoded(draw(ORDERS))
    begin = draw(st.integers(0, len(value)))
    end = min(len(value), begin + draw(st.integers(0, 2)))
    return bytes(value[:begin] + draw(st.binary(max_size=3)) + value[end:])


@relaxed
@given(st.lists(ORDERS.map(encoded) | damaged() | st.binary(max_size=40), min_size=1, max_size=20))
def test_both_judge_alike(flink: JavaFormat, values: list[bytes]) -> None:
    both(flink, COLUMNS, values)


PLAIN = {name: COLUMNS[name] for name in ("id", "shop", "vip", "paid", "note", "first_price", "second_tag", "discount")}


@relaxed
@given(st.lists(ORDERS, min_size=1, max_size=10))
def test_what_a_library_reads_is_what_both_read(flink: JavaFormat, orders: list[dict[str, Any]]) -> None:
    found = both(flink, PLAIN, [encoded(order) for order in orders])
    for order, answer in zip(orders, found, strict=True):
        read = Order.FromString(encoded(order))
        row = {
            "id": read.id,
            "shop": read.shop,
            "vip": read.vip,
            "paid": next(symbol for symbol, number in KINDS.items() if number == read.paid),
            "note": read.note if read.HasField("note") else None,
            "first_price": read.items[0].price if read.items else None,
            "second_tag": read.items[1].tags[1] if len(read.items) > 1 and len(read.items[1].tags) > 1 else None,
            "discount": read.discount.value if read.HasField("discount") else None,
        }
        assert answer == {"row": texts(row, PLAIN)}


@pytest.mark.parametrize(
    ("columns", "source", "problem"),
    [
        ({}, {"descriptor": None}, "descriptor is needed with format: protobuf"),
        ({}, {"message": None}, "message is needed with format: protobuf"),
        ({}, {"message": "shop.Bill"}, "descriptor has no message shop.Bill; it has shop.Item, shop.Order"),
        ({}, {"message": "a b"}, "source.message: must be the full name of a message, such as shop.Order"),
        ({}, {"descriptor": "orders.desc"}, "descriptor names a file, which only a pipeline file can"),
        ({}, {"descriptor": "base64:?"}, "descriptor is no base64"),
        ({}, {"descriptor": "base64:AAAA"}, "descriptor is no set of file descriptors"),
        ({}, {"format": "json"}, "descriptor is about Protobuf, and format is json; remove it"),
        ({}, {"registry": "r", "framing": "confluent"}, "registry is about Avro, and format is protobuf"),
        ({}, {"schema_ids": [1]}, "schema_ids is for framing without a registry"),
        ({}, {"appended": ["id"]}, "appended is about plain Avro"),
        ({"no": "int"}, {}, "schema.no: the message has no no; shop.Order has id, at, shop"),
        ({"x": {"type": "int", "path": "parent.no"}}, {}, "schema.x: the message has no parent.no; parent has id, at"),
        ({"shop": "int"}, {}, "schema.shop: is int, and shop is string"),
        ({"vip": "int"}, {}, "schema.vip: is int, and vip is bool"),
        ({"at": "bigint"}, {}, "schema.at: is bigint, and at is a message google.protobuf.Timestamp: seconds, nanos"),
        ({"at": {"type": "timestamp", "unit": "seconds"}}, {}, "schema.at: is timestamp, and at is a message"),
        ({"made": "timestamp"}, {}, "schema.made: is timestamp, and made is fixed64"),
        ({"total": "string"}, {}, "schema.total: is string, and total is uint64"),
        ({"items": "string"}, {}, "schema.items: items is repeated: name a place in it, such as items[0]"),
        ({"x": {"type": "int", "path": "items.price"}}, {}, "schema.x: items is repeated: name a place"),
        ({"x": {"type": "string", "path": "shop[0]"}}, {}, "schema.x: shop is not repeated; remove [0]"),
        ({"x": {"type": "string", "path": "shop.name"}}, {}, "schema.x: shop is string, and nothing lies below it"),
        ({"attrs": "string"}, {}, "schema.attrs: attrs is a map: name a key of it, such as attrs.name"),
        ({"parent": "string"}, {}, "schema.parent: is string, and parent is a message shop.Order: id, at"),
    ],
)
def test_what_is_refused(columns: dict[str, Any], source: dict[str, Any], problem: str) -> None:
    with pytest.raises(PipelineError) as refused:
        Pipeline.parse(spec({"id": "bigint", **columns}, **{**PROTOBUF, **source}))
    assert problem in str(refused.value)


def test_maps_with_other_keys_are_refused() -> None:
    made = files("m", {"M": {"id": "int64", "counts": "map<int32,int32>"}})
    source = {**PROTOBUF, "descriptor": content(made), "message": "m.M"}
    with pytest.raises(PipelineError, match="counts is a map with keys of int32; maps are read by keys of string"):
        Pipeline.parse(spec({"id": "bigint", "n": {"type": "int", "path": "counts.a"}}, **source))


def in_folder(folder: Path, **source: Any) -> Path:
    file = folder / "orders.yaml"
    written = spec({"id": "bigint"}, format="protobuf", message="shop.Order", **source)
    file.write_text(yaml.safe_dump(written))
    return file


def test_a_file_takes_along_what_its_descriptor_holds(tmp_path: Path) -> None:
    (tmp_path / "protos").mkdir()
    more = FileDescriptorSet.FromString(SHOP.SerializeToString())
    more.file.add(name="other.proto").message_type.add(name="Other")
    more.file[-2].source_code_info.location.add(leading_comments="of no meaning")
    write(more, tmp_path / "protos" / "all.desc")
    file = in_folder(tmp_path, descriptor="protos/all.desc")
    pipeline = Pipeline.from_yaml(file)
    assert pipeline.source.descriptor == shipped(SHOP.SerializeToString(), "shop.Order")
    assert Pipeline.parse(pipeline.to_dict()) == pipeline
    assert pipeline.source.descriptor != CONTENT


def test_the_descriptor_of_a_joined_topic_goes_along_too(tmp_path: Path) -> None:
    limits = files("limits", {"Limit": {"id": "int64", "most": "double"}})
    write(limits, tmp_path / "limits.desc")

    def joined(descriptor: str, message: str = "limits.Limit") -> Path:
        columns = {"of": {"type": "bigint", "path": "id"}, "most": "double"}
        join = {"topic": "limits", "schema": columns, "by": {"id": "of"}, "format": "protobuf"}
        file = tmp_path / "orders.yaml"
        source = {"join": {"limits": {**join, "descriptor": descriptor, "message": message}}}
        file.write_text(yaml.safe_dump(spec({"id": "bigint"}, **source)))
        return file

    pipeline = Pipeline.from_yaml(joined("limits.desc"))
    assert pipeline.source.join["limits"].descriptor == shipped(limits.SerializeToString(), "limits.Limit")
    assert Pipeline.parse(pipeline.to_dict()) == pipeline
    for named, message, problem in (
        ("no.desc", "limits.Limit", "source.join.limits.descriptor: no.desc cannot be read"),
        ("limits.desc", "limits.Other", "source.join.limits.descriptor: limits.desc has no message limits.Other"),
    ):
        with pytest.raises(PipelineError) as refused:
            Pipeline.from_yaml(joined(named, message))
        assert problem in str(refused.value)


def test_a_descriptor_that_cannot_be_read_is_one_error_of_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "pipelines"
    folder.mkdir()
    write(SHOP, tmp_path / "outside.desc")
    (folder / "text.desc").write_text("syntax = 'proto3';")
    (folder / "link.desc").symlink_to(tmp_path / "outside.desc")
    alone = FileDescriptorSet(file=[SHOP.file[-1]])
    write(alone, folder / "alone.desc")
    write(files("old", {"Order": {"id": "int64"}}), folder / "other.desc")
    for named, problem in (
        ("no.desc", "source.descriptor: no.desc cannot be read: No such file or directory"),
        ("../outside.desc", "source.descriptor: ../outside.desc must be relative to the pipeline file's folder"),
        (str(tmp_path / "outside.desc"), "must be relative to the pipeline file's folder, and lie in it"),
        ("link.desc", "link.desc cannot be read: it is a link to a file outside of its folder"),
        ("text.desc", "text.desc is no set of file descriptors, as protoc --include_imports -o FILE writes it"),
        ("other.desc", "source.descriptor: other.desc has no message shop.Order; it has old.Order"),
        ("alone.desc", "descriptor lacks google/protobuf/timestamp.proto, which shop.proto imports; make it with"),
    ):
        with pytest.raises(PipelineError) as refused:
            Pipeline.from_yaml(in_folder(folder, descriptor=named), folder)
        assert problem in str(refused.value)


def test_what_a_job_gets_is_what_its_columns_read() -> None:
    newer = FileDescriptorSet.FromString(SHOP.SerializeToString())
    newer.file[-1].message_type[1].field.add(name="new", number=3000, type=9, label=1)
    columns = {"id": "bigint", "at": "timestamp", "price": {"type": "double", "path": "items[0].price"}}
    one, other = (Pipeline.parse(spec(columns, **{**PROTOBUF, "descriptor": content(made)})) for made in (SHOP, newer))
    assert source_table(one) == source_table(other), "a field that no column reads does not change the job"
    assert state_signature(one) == state_signature(other)
    assert "'hopsworks-events.encoding' = 'protobuf'" in source_table(one)
    item = '{"name": "items", "kind": "message", "items": {"0": {"fields": {"1": {"name": "items[0].price", '
    assert item + '"kind": "double", "implicit": true, "value": {"column": "price"}}}}}}' in source_table(one)


def test_the_topic_has_a_schema_and_events_are_not_made_up() -> None:
    pipeline = Pipeline.parse(spec(COLUMNS, **PROTOBUF))
    told = source_avro_schema(pipeline)["doc"]
    assert told == "Records are Protobuf's messages shop.Order; these are the columns read."
    assert source_topic_arguments(pipeline)["on_drift"] == "append"
    assert not pipeline.canary_groups
    assert refused_of(pipeline, [(filled().SerializeToString(), 1_740_830_400_000)]).count == 0
    times = event_time_range(now=10**12, newest=None, events=10, rate=1)
    with pytest.raises(PipelineError, match="cannot be simulated: events are written as JSON or plain Avro"):
        simulator_arguments(pipeline, times, cards=1, events=10, rate=1, disorder=0, skew=1, seed=1)
