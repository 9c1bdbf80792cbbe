"""How the jobs read files of past events: every type of each format exactly, and all else refused by name."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Iterator
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hopsworks_flink.pipeline.spec.paths import split_pattern
from tests.pipeline.strict_format import CASES, JavaFormat, row_of, texts, value_of

TYPES = CASES["schemas"]["types"]
SCHEMA = {"card": "bigint", "at": "bigint", "amount": "double", "shop": "string"}
AT = 1_700_000_000_000
BODY = f'7,{AT},0.5,a\n,{AT + 1},,"b, c"\n-9,{AT + 2},1e-7,\n'
ROWS = [
    {"card": 7, "at": AT, "amount": 0.5, "shop": "a"},
    {"card": None, "at": AT + 1, "amount": None, "shop": "b, c"},
    {"card": -9, "at": AT + 2, "amount": 1e-7, "shop": None},
]
MOMENT = datetime(2025, 3, 1, 12, 0, 0, 123456, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def flink() -> Iterator[JavaFormat]:
    format_ = JavaFormat()
    yield format_
    format_.close()


class Reader:
    """Reads files that a test writes."""

    def __init__(self, flink: JavaFormat, folder: Path) -> None:
        self.flink, self.folder = flink, folder

    def __call__(
        self, content: Any, schema: dict[str, str] | None = None, name: str = "events.csv", **how: Any
    ) -> list[dict[str, Any]]:
        path = self.folder / name
        if isinstance(content, pa.Table):
            path = path.with_suffix(".parquet")
            pq.write_table(content, path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return self.flink.read(path.name.split(".")[1], schema or SCHEMA, path, **how)

    def reason(self, *content: Any, **how: Any) -> str:
        """Why a file is refused."""
        *_, answer = self(*content, **how)
        file, _, reason = answer["refused"].partition(": ")
        assert file.startswith(f"history file {self.folder}/events.")
        return str(reason)


@pytest.fixture
def read(flink: JavaFormat, tmp_path: Path) -> Reader:
    return Reader(flink, tmp_path)


def rows(expected: list[dict[str, Any]], schema: dict[str, str] | None = None) -> list[dict[str, Any]]:
    return [{"row": texts(row, schema or SCHEMA)} for row in expected]


# --- CSV


def test_csv_without_a_header_has_the_columns_in_order(read: Reader) -> None:
    assert read(BODY) == rows(ROWS)
    assert read(BODY.replace("\n", "\r\n")) == rows(ROWS)
    assert read(BODY.rstrip("\n")) == rows(ROWS)


def test_empty_lines_of_csv_are_no_rows(read: Reader) -> None:
    assert read("\n" + BODY.replace("\n", "\n\n") + "\n", header=False) == rows(ROWS)
    assert read(f"\r\ncard,at,amount,shop\r\n\r\n{BODY}\n \n", header=True) == rows(ROWS)
    assert read("a\n\nb\n", {"shop": "string"}) == rows([{"shop": "a"}, {"shop": "b"}], {"shop": "string"})


@pytest.mark.parametrize(
    "content",
    [
        f"card,at,amount,shop\n{BODY}",
        f"\ufeffcard,at,amount,shop\n{BODY}",
        f'"card","at","amount","shop"\r\n{BODY}',
        f'shop,note, amount ,at,card\na,x,0.5,{AT},7\n"b, c",,,{AT + 1},\n,"y\ny",1e-7,{AT + 2},-9',
    ],
)
def test_csv_with_a_header_has_the_columns_by_name(read: Reader, content: str) -> None:
    assert read(content, header=True) == rows(ROWS)


def test_a_compressed_file_is_read(read: Reader) -> None:
    assert read(gzip.compress(BODY.encode()), name="events.csv.gz") == rows(ROWS)
    assert "it is broken, or cut off: java.io.EOFException" in read.reason(
        gzip.compress(BODY.encode())[:-20], name="events.csv.gz"
    )
    first, _, rest = BODY.encode().partition(b"\n")
    assert read(gzip.compress(first + b"\n") + gzip.compress(rest), name="events.csv.gz") == rows(ROWS)


@pytest.mark.parametrize("name", ["events.csv.bz2", "events.csv.xz", "events.csv.deflate"])
def test_a_file_that_is_compressed_otherwise_is_refused(read: Reader, name: str) -> None:
    first, _, rest = BODY.encode().partition(b"\n")
    assert read.reason(bz2.compress(first + b"\n") + bz2.compress(rest), name=name) == (
        "of compressed files only those of gzip are read (.gz)"
    )


def test_a_file_without_rows(read: Reader) -> None:
    assert read("", header=True) == read("card,at,amount,shop\n", header=True) == read("") == []
    assert read("", name="events.json") == read("\n\n", name="events.json") == []


def test_a_row_that_equals_the_header_is_a_row(read: Reader) -> None:
    schema = {"shop": "string", "note": "string"}
    both = rows([{"shop": "shop", "note": "note"}], schema)
    assert read("note,shop\nnote,shop\n", schema, header=True) == both


@pytest.mark.parametrize(
    ("content", "header", "reason"),
    [
        (f"card,at,amount,shop\n{BODY}", False, "its first line names the columns: set header: true in the pipeline's"),
        (BODY, True, f"its first line names no column card, but 7, {AT}, 0.5, a"),
        (f"card,at,amount\n7,{AT},1\n", True, "its first line names no column shop, but card, at, amount"),
        (f"card,at,amount,shop,at\n7,{AT},1,a,1\n", True, "its first line names the column at twice"),
        (f"card,at,amount,shop\n7,{AT},1\n", True, "row 2 has 3 fields, not 4"),
        (f"7,{AT},0.5,a\n7,{AT},1,a,b\n", False, "row 2 has 5 fields, not 4"),
        (f"7,{AT},0.5,a\nx,{AT},1,a\n", False, 'row 2: column card is bigint and holds "x"'),
        (f'7,{AT},0.5,"a\n', False, "row 1 is no CSV: "),
        (f"7,{AT},0.5,ä\n".encode("latin-1"), False, "row 1 is no UTF-8 text"),
        # Half a character, as some databases cut them.
        (
            f"7,{AT},0.5,a".encode() + b"\xed\xa0\xbd\n",
            False,
            "row 1 is no UTF-8 text",
        ),
    ],
)
def test_csv_that_is_refused(read: Reader, content: str | bytes, header: bool, reason: str) -> None:
    assert read.reason(content, header=header).startswith(reason)


@pytest.mark.parametrize(
    ("column", "written", "value"),
    [
        ("yes", "true", True),
        ("yes", " False", False),
        ("tiny", "-128", -128),
        ("whole", "007", 7),
        ("big", "9223372036854775807", 2**63 - 1),
        ("big", "3.0", 3),
        ("big", " 5 ", 5),
        ("ratio", "0.5", 0.5),
        ("amount", "-.5e1", -5.0),
        ("amount", "NaN", float("nan")),
        ("amount", "-inf", float("-inf")),
        ("price", "1234.5", Decimal("1234.50")),
        ("huge", "9999999999999999999999999999.9999999999", Decimal("9999999999999999999999999999.9999999999")),
        ("note", " ß ", " ß "),
        ("raw", "AP8=", b"\0\xff"),
        ("day", "2024-02-29", date(2024, 2, 29)),
        ("at", "2025-03-01T12:00:00.123456Z", MOMENT),
        ("at", "2025-03-01 12:00:00.123456+00:00", MOMENT),
        ("at", "2025-03-01 14:00:00.1234569+0200", MOMENT),
    ],
)
def test_values_of_csv(read: Reader, column: str, written: str, value: Any) -> None:
    held = value.replace(tzinfo=None) if isinstance(value, datetime) else value
    assert read(f"x,{written}\n", {"other": "string", column: TYPES[column]}) == rows(
        [{"other": "x", column: held}], {"other": "string", column: TYPES[column]}
    )


@pytest.mark.parametrize(
    ("column", "written"),
    [
        ("yes", "yes"),
        ("yes", "1"),
        ("tiny", "128"),
        ("short", "32768"),
        ("whole", "3.9"),
        ("big", "9223372036854775808"),
        ("big", "0x10"),
        ("ratio", "1e39"),
        ("amount", "1d"),
        ("amount", "1e309"),
        ("amount", "1,5"),
        ("price", "0.001"),
        ("price", "99999.5"),
        ("raw", "AP8"),
        ("day", "2025-02-30"),
        ("at", "2025-03-01 12:00:00"),
        ("at", "yesterday"),
    ],
)
def test_values_that_csv_refuses(read: Reader, column: str, written: str) -> None:
    kind = TYPES[column]
    wanted = f'row 1: column {column} is {kind} and holds "{written}"'
    assert read.reason(f'"{written}",x\n', {column: kind, "other": "string"}) == wanted


# --- which files


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("", None),
        ("/*.csv", None),
        ("/2025/03.csv", None),
        ("/**/0?.csv", None),
        ("/empty", "history: in {}/empty is no file; "),
        ("/2025/*.cvs", "history: in {}/2025 is no file that matches the pattern; "),
        (
            "/2025/_*",
            "history: in {}/2025 is no file that matches the pattern; names that begin with _ or . are passed",
        ),
        ("/2025/_SUCCESS", "history: in {}/2025/_SUCCESS is no file; names that begin with _ or . are passed over"),
        ("/2024", "history: {}/2024 cannot be listed: java.io.FileNotFoundException"),
    ],
)
def test_a_history_without_a_file_is_refused(flink: JavaFormat, tmp_path: Path, path: str, refused: str | None) -> None:
    for name in ("all.csv", "2025/03.csv", "2025/_SUCCESS", "empty/.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a\n")
    folder, pattern = split_pattern(f"{tmp_path}{path}")
    options = {
        "connector": "filesystem",
        "path": folder,
        "format": "hopsworks-files",
        "hopsworks-files.encoding": "csv",
    }
    if pattern is not None:
        options["source.path.regex-pattern"] = pattern
    found = flink.table(options)
    if refused is None:
        assert found == []
    else:
        assert found[0]["refused"].startswith(refused.format(tmp_path))


# --- JSON


ONE_LINE = [case for case in CASES["json"] if (value := value_of(case).strip()) and not {*b"\r\n"} & {*value}]


@pytest.mark.parametrize("case", ONE_LINE, ids=lambda case: case["what"])
def test_a_line_of_json_is_judged_as_a_record_of_a_topic(read: Reader, case: dict[str, Any]) -> None:
    schema, value = CASES["schemas"][case["schema"]], value_of(case)
    content = b"{}\n" + value + b"\n"
    if "row" in case:
        assert read(content, schema, name="events.json")[1:] == rows([row_of(case, schema)], schema)
    else:
        assert read.reason(content, schema, name="events.json") == f"line 2: {case['reason']}"


def test_lines_of_json(read: Reader) -> None:
    assert read('{"card": 7}\n\n \r\n{"card": 8, "other": [1]}', name="events.json") == rows(
        [dict.fromkeys(SCHEMA, None) | {"card": card} for card in (7, 8)]
    )
    assert read.reason('[{"card": 7},\n{"card": 8}]', name="events.json") == "line 1: it is not a JSON object"


# --- Parquet


def table(**columns: Any) -> pa.Table:
    names = {"card": [7], "at": [AT], "amount": [0.5], "shop": ["a"], **columns}
    return pa.table({name: value for name, value in names.items() if value is not None})


PARQUET = {
    "yes": pa.array([True, False, None]),
    "tiny": pa.array([-128, 127, None], pa.int8()),
    "short": pa.array([-(2**15), 2**15 - 1, None], pa.int16()),
    "whole": pa.array([-(2**31), 2**31 - 1, None], pa.int32()),
    "big": pa.array([-(2**63), 2**63 - 1, None], pa.int64()),
    "ratio": pa.array([0.5, float("nan"), None], pa.float32()),
    "amount": pa.array([-0.0, 1e308, None]),
    "price": pa.array([Decimal("-0.05"), Decimal("9999.99"), None], pa.decimal128(6, 2)),
    "huge": pa.array([Decimal("9" * 28 + "." + "9" * 10), Decimal(0), None], pa.decimal128(38, 10)),
    "small": pa.array([Decimal("0.99"), Decimal("0"), None], pa.decimal128(2, 2)),
    "note": pa.array(["ß", "", None]),
    "raw": pa.array([b"\0\xff", b"", None]),
    "day": pa.array([date(1, 1, 1), date(2024, 2, 29), None]),
    "at": pa.array([MOMENT, datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc), None]),
}


def listed(content: pa.Table) -> list[dict[str, Any]]:
    """Its rows; timestamps without zone, as the decoder in Python has them."""
    return [
        {name: value.replace(tzinfo=None) if isinstance(value, datetime) else value for name, value in row.items()}
        for row in content.to_pylist()
    ]


def test_every_type_of_parquet(read: Reader) -> None:
    content = pa.table(PARQUET)
    assert read(content, TYPES) == rows(listed(content), TYPES)


@pytest.mark.parametrize(
    ("column", "stored"),
    [
        ("card", pa.array([7, None, -(2**31)], pa.int32())),
        ("card", pa.array([7, None, -128], pa.int8())),
        ("card", pa.array([7, None, 65535], pa.uint16())),
        ("amount", pa.array([0.1, None, float("inf")], pa.float32())),
        ("amount", pa.array([2**53, None, -7], pa.int64())),
        ("amount", pa.array([2**31 - 1, None, -7], pa.int32())),
        ("whole", pa.array([2**31 - 1, None, -7], pa.int64())),
        ("tiny", pa.array([127, None, -128], pa.int64())),
        ("price", pa.array([Decimal("1.2"), None, Decimal("-9.9")], pa.decimal128(2, 1))),
        ("price", pa.array([Decimal("1.2000"), None, Decimal("9999.9900")], pa.decimal128(20, 4))),
        ("price", pa.array([7, None, -9999], pa.int32())),
        ("huge", pa.array([Decimal("123456.78"), None, Decimal(0)], pa.decimal128(18, 2))),
        ("note", pa.array(["a", None, "a"]).dictionary_encode()),
        ("raw", pa.array([b"abcd", None, b"\0\0\0\0"], pa.binary(4))),
        ("at", pa.array([MOMENT.replace(microsecond=123000), None], pa.timestamp("ms", "UTC"))),
        ("at", pa.array([MOMENT, None, MOMENT.replace(year=1900)], pa.timestamp("ns", "UTC"))),
        ("at", pa.array([MOMENT.replace(tzinfo=None), None, datetime(9999, 12, 31)], pa.timestamp("us"))),
    ],
)
def test_parquet_of_other_widths_is_read_exactly(read: Reader, column: str, stored: pa.Array) -> None:
    kind = {**TYPES, **SCHEMA, "at": "timestamp"}[column]
    content = pa.table({column: stored})
    found = [row["row"][column] for row in read(content, {column: kind})]
    held = [row[column] for row in listed(content)]
    assert found == [texts({column: value}, {column: kind})[column] for value in held]


def test_timestamps_of_twelve_bytes(read: Reader, tmp_path: Path) -> None:
    pq.write_table(pa.table({"at": PARQUET["at"]}), tmp_path / "old.parquet", use_deprecated_int96_timestamps=True)
    found = read.flink.read("parquet", {"at": "timestamp"}, tmp_path / "old.parquet")
    assert found == rows(listed(pa.table({"at": PARQUET["at"]})), {"at": "timestamp"})


def test_columns_in_another_order_and_more(read: Reader) -> None:
    content = pa.table({"note": [["x"]], "shop": ["a"], "amount": [0.5], "at": [AT], "card": [7]})
    assert read(content) == rows(ROWS[:1])


@pytest.mark.parametrize(
    ("schema", "content", "reason"),
    [
        (SCHEMA, table(card=None), "there is no column card"),
        (SCHEMA, table(card=["7"]), "column card is bigint, and BINARY STRING in the file"),
        (SCHEMA, table(at=[MOMENT]), "column at is bigint, and INT64 TIMESTAMP(MICROS,true) in the file"),
        (SCHEMA, table(card=pa.array([1], pa.uint64())), "column card is bigint, and INT64 INTEGER(64,false) in"),
        (SCHEMA, table(amount=[Decimal("0.1")]), "column amount is double, and FIXED_LEN_BYTE_ARRAY DECIMAL(1,1) in"),
        (SCHEMA, table(shop=[["a"]]), "column shop is string, and a group of columns in the file"),
        (
            SCHEMA,
            table(card=["7"], shop=[1]),
            "column card is bigint, and BINARY STRING in the file; column shop is string, and INT64 in the file",
        ),
        ({"ratio": "float"}, pa.table({"ratio": [0.5]}), "column ratio is float, and DOUBLE in the file"),
        ({"whole": "int"}, pa.table({"whole": [1, 2**31]}), "row 2: column whole is int and holds 2147483648"),
        (
            {"amount": "double"},
            pa.table({"amount": [2**53 + 1]}),
            "row 1: column amount is double and holds 9007199254740993",
        ),
        (
            {"price": "decimal(6,2)"},
            pa.table({"price": [Decimal("1.250"), Decimal("1.255")]}),
            "row 2: column price is decimal(6,2) and holds 1.255",
        ),
        (
            {"price": "decimal(6,2)"},
            pa.table({"price": pa.array([Decimal("12345678901234567890.1")], pa.decimal128(30, 1))}),
            "row 1: column price is decimal(6,2) and holds 12345678901234567890.1",
        ),
        ({"note": "string"}, pa.table({"note": [b"\xff"]}), "row 1: column note is string and holds no UTF-8 text"),
    ],
)
def test_parquet_that_is_refused(read: Reader, schema: dict[str, str], content: pa.Table, reason: str) -> None:
    assert read.reason(content, schema).startswith(reason)


def test_a_file_that_is_no_parquet(read: Reader) -> None:
    assert read.reason(BODY, name="events.parquet").startswith("it is broken, or cut off: ")


def test_each_row_group_is_read_by_one_part(read: Reader, tmp_path: Path) -> None:
    content = pa.table({"card": list(range(10_000))})
    pq.write_table(content, tmp_path / "groups.parquet", row_group_size=1100)
    wanted = rows(content.to_pylist(), {"card": "bigint"})
    for splits in (1, 2, 7, 40):
        assert read.flink.read("parquet", {"card": "bigint"}, tmp_path / "groups.parquet", splits=splits) == wanted


@pytest.mark.parametrize("name", ["events.csv", "events.json", "events.parquet"])
def test_a_reader_resumes_behind_what_was_read(read: Reader, name: str) -> None:
    content: Any = {
        "events.csv": "".join(f"{card}\n" for card in range(2500)),
        "events.json": "".join(f'{{"card": {card}}}\n' for card in range(2500)),
        "events.parquet": pa.table({"card": list(range(2500))}),
    }[name]
    wanted = rows([{"card": card} for card in range(2500)], {"card": "bigint"})
    for skip in (0, 1, 1000, 1001, 2500):
        assert read(content, {"card": "bigint"}, name=name, skip=skip) == wanted[skip:]


TIMES = {
    "iso": {"type": "timestamp", "zone": "Europe/Stockholm"},
    "us": {"type": "timestamp", "pattern": "M/d/yyyy h:mm a", "zone": "America/New_York"},
    "s": {"type": "timestamp", "unit": "seconds"},
}
NOON = datetime(2025, 7, 1, 12)


def test_times_of_csv(flink: JavaFormat, tmp_path: Path) -> None:
    file = tmp_path / "times.csv"
    file.write_text("2025-07-01 14:00:00,7/1/2025 8:00 AM,1751371200.0\n,,\n")
    row = texts({"iso": NOON, "us": NOON, "s": NOON}, TIMES)
    assert flink.read("csv", TIMES, file) == [{"row": row}, {"row": dict.fromkeys(TIMES)}]
    file.write_text("2025-07-01T12:00:00Z,x,1\n")
    reason = f'history file {file}: row 1: column us is timestamp and holds "x"'
    assert flink.read("csv", TIMES, file) == [{"refused": reason}]


def test_times_of_parquet(flink: JavaFormat, tmp_path: Path) -> None:
    texts_ = {"iso": ["2025-07-01T14:00:00"], "us": ["7/1/2025 8:00 AM"], "s": [1751371200]}
    moments = {name: pa.array([NOON], pa.timestamp("ms")) for name in TIMES}
    row = texts({"iso": NOON, "us": NOON, "s": NOON}, TIMES)
    for number, content in enumerate((pa.table(texts_), pa.table(moments))):
        file = tmp_path / f"{number}.parquet"
        pq.write_table(content, file)
        assert flink.read("parquet", TIMES, file) == [{"row": row}]
    pq.write_table(pa.table({**texts_, "iso": [5]}), file)
    (refused,) = flink.read("parquet", TIMES, file)
    assert "column iso is timestamp" in refused["refused"]
