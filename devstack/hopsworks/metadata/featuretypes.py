"""Feature types of Hopsworks and what they become: Avro (the topic), MySQL types (online), Arrow (offline)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from devstack.hopsworks.home.errors import AVRO_MALFORMED, AVRO_MAP_KEY, AVRO_UNKNOWN_PRIMITIVE

_PRIMITIVES = {
    "tinyint": "int",
    "smallint": "int",
    "int": "int",
    "bigint": "long",
    "float": "float",
    "double": "double",
    "boolean": "boolean",
    "string": "string",
    "binary": "bytes",
}
_COMPLEX = ("array", "map", "struct", "uniontype")
_DECIMAL = re.compile(r"decimal\(([0-9]{1,2}),([0-9]{1,2})\)\Z")
_DEEPEST_TYPE = 32
EVENT_TIME_TYPES = frozenset({"timestamp", "date", "bigint"})


def normalise(feature_type: str) -> str:
    """The form in which types are compared and mapped: lower case without blanks."""
    return re.sub(r"\s+", "", feature_type).lower()


def is_complex(feature_type: str) -> bool:
    """Whether values of this type are encoded twice on the topic."""
    return normalise(feature_type).startswith(_COMPLEX)


def java_string_hash(text: str) -> int:
    """Java's ``String.hashCode``: signed 32 bit, over UTF-16 code units."""
    units = text.encode("utf-16-be")
    value = 0
    for high, low in zip(units[::2], units[1::2], strict=True):
        value = (31 * value + (high << 8 | low)) & 0xFFFFFFFF
    return value - 0x100000000 if value & 0x80000000 else value


def split_top_level(text: str) -> list[str]:
    """Split at the commas that stand outside any bracket. Raises ValueError when the brackets do not match."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        if character in "<(":
            depth += 1
        elif character in ">)":
            depth -= 1
            if depth < 0:
                break
        elif character == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    if depth != 0:
        raise ValueError(f"brackets do not match in {text!r}")
    return [*parts, text[start:]]


@dataclass
class _AvroBuilder:
    """Builds the Avro type of one feature; a record that occurs twice is named the second time, not repeated."""

    feature: str
    records: set[str] = field(default_factory=set)

    def union(self, feature_type: str, namespace: str) -> list[Any]:
        return ["null", self.build(feature_type, namespace)]

    def build(self, feature_type: str, namespace: str) -> Any:
        if feature_type in _PRIMITIVES:
            return _PRIMITIVES[feature_type]
        if feature_type == "date":
            return {"type": "int", "logicalType": "date"}
        if re.fullmatch(r"timestamp(\(\d\))?", feature_type):
            return {"type": "long", "logicalType": "timestamp-micros"}
        if feature_type.startswith("decimal"):
            return self._decimal(feature_type)
        outer, bracket, rest = feature_type.partition("<")
        if outer in ("array", "map", "struct") and bracket:
            if not rest.endswith(">"):
                raise AVRO_MALFORMED(f"feature {self.feature}: {feature_type!r} has no closing '>'.")
            return getattr(self, f"_{outer}")(feature_type, rest[:-1], namespace)
        raise AVRO_UNKNOWN_PRIMITIVE(
            f"feature {self.feature}: {feature_type!r}; known are {', '.join(_PRIMITIVES)}, "
            "date, timestamp, decimal(p,s), array<>, map<string,>, struct<>."
        )

    def _decimal(self, feature_type: str) -> dict[str, Any]:
        match = _DECIMAL.match(feature_type)
        if not match:
            raise AVRO_MALFORMED(f"feature {self.feature}: {feature_type!r}; write decimal(precision,scale).")
        precision, scale = map(int, match.groups())
        if not 1 <= precision <= 38 or scale > precision:
            raise AVRO_MALFORMED(f"feature {self.feature}: {feature_type!r}; at most 38 digits, scale within them.")
        return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}

    def _array(self, _: str, inner: str, namespace: str) -> dict[str, Any]:
        return {"type": "array", "items": self.union(inner, namespace)}

    def _map(self, feature_type: str, inner: str, namespace: str) -> dict[str, Any]:
        parts = self._split(feature_type, inner)
        if len(parts) != 2:
            raise AVRO_MALFORMED(f"feature {self.feature}: {feature_type!r} needs a key and a value type.")
        if parts[0] != "string":
            raise AVRO_MAP_KEY(f"feature {self.feature}: the key type of {feature_type!r} is {parts[0]!r}.")
        return {"type": "map", "values": self.union(parts[1], namespace)}

    def _struct(self, feature_type: str, inner: str, namespace: str) -> Any:
        name = f"r{abs(java_string_hash(feature_type))}"
        full_name = f"{namespace}.{name}"
        if full_name in self.records:
            return full_name
        self.records.add(full_name)
        fields = []
        for member in self._split(feature_type, inner):
            member_name, colon, member_type = member.partition(":")
            if not colon or not member_name:
                raise AVRO_MALFORMED(f"feature {self.feature}: member {member!r} of {feature_type!r} is no name:type.")
            fields.append({"name": member_name, "type": self.union(member_type, full_name)})
        return {"type": "record", "name": name, "namespace": namespace, "fields": fields}

    def _split(self, feature_type: str, inner: str) -> list[str]:
        try:
            return split_top_level(inner)
        except ValueError as error:
            raise AVRO_MALFORMED(f"feature {self.feature}: {feature_type!r}: {error}") from error


def avro_field(name: str, feature_type: str) -> dict[str, Any]:
    """The field of one feature in the group's schema. Raises faults 270151, 270152, 270153."""
    if feature_type.count("<") > _DEEPEST_TYPE:
        raise AVRO_MALFORMED(f"feature {name}: more than {_DEEPEST_TYPE} nested types.")
    return {"name": name, "type": _AvroBuilder(name).union(normalise(feature_type), name)}


def avro_schema(name: str, namespace: str, features: list[tuple[str, str]]) -> dict[str, Any]:
    """The schema that Hopsworks registers for a feature group: ``features`` are (name, offline type) in order."""
    fields = [avro_field(feature, feature_type) for feature, feature_type in features]
    return {"type": "record", "name": name, "namespace": namespace, "fields": fields}


def canonical_text(schema: Any) -> str:
    """The text under which a schema is stored, served and compared."""
    return json.dumps(schema, separators=(",", ":"), ensure_ascii=False)


def encoded_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of the bytes on the topic: complex features are there as bytes (their own Avro encoding)."""
    fields = [{**f, "type": ["null", "bytes"]} if _is_complex_avro(f["type"]) else f for f in schema["fields"]]
    return {**schema, "fields": fields}


def _is_complex_avro(union: Any) -> bool:
    inner = union[1] if isinstance(union, list) else union
    return isinstance(inner, dict) and inner["type"] in ("array", "map", "record")


def physical_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The encoded schema without logical types: decoding yields plain numbers and bytes, which is fast."""
    return {**schema, "fields": [{**f, "type": _physical(f["type"])} for f in encoded_schema(schema)["fields"]]}


def _physical(avro_type: Any) -> Any:
    if isinstance(avro_type, list):
        return [_physical(branch) for branch in avro_type]
    if isinstance(avro_type, dict) and "logicalType" in avro_type:
        return avro_type["type"]
    return avro_type


def online_type(feature_type: str) -> str:
    """The MySQL type that Hopsworks chooses for a feature when the user names none."""
    plain = normalise(feature_type)
    if plain == "boolean":
        return "tinyint"
    if plain == "string":
        return "varchar(100)"
    if plain == "binary" or is_complex(plain):
        return "varbinary(100)"
    return plain


_ONLINE_BYTES = {"tinyint": 1, "smallint": 2, "int": 4, "float": 4, "decimal": 16}


def online_bytes(declared: str) -> int:
    """Bytes that a normalised MySQL type takes of an online row, as Hopsworks' guide to data types counts them."""
    base, _, argument = declared.partition("(")
    if base in ("varchar", "char"):
        return 4 * int(argument[:-1])
    if base in ("varbinary", "binary"):
        return int(argument[:-1])
    return 256 if base.endswith(("text", "blob")) else _ONLINE_BYTES.get(base, 8)
