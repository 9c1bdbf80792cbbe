"""How a column stands in a record: its path, patterns of texts that are times, and zones. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

_MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_ONE_OR_TWO, _TWO = "([0-9]{1,2})", "([0-9]{2})"
# What the letters of a pattern stand for, as java.time has it: the field, and the text that it takes.
_LETTERS = {
    "yyyy": ("y", "([0-9]{4})"),
    "MM": ("M", _TWO),
    "M": ("M", _ONE_OR_TWO),
    "MMM": ("b", f"({_MONTHS})"),
    "dd": ("d", _TWO),
    "d": ("d", _ONE_OR_TWO),
    "HH": ("H", _TWO),
    "H": ("H", _ONE_OR_TWO),
    "hh": ("h", _TWO),
    "h": ("h", _ONE_OR_TWO),
    "a": ("a", "(AM|PM)"),
    "mm": ("m", _TWO),
    "m": ("m", _ONE_OR_TWO),
    "ss": ("s", _TWO),
    "s": ("s", _ONE_OR_TWO),
    "X": ("X", "(Z|[+-][0-9]{2}(?::?[0-9]{2})?)"),
}
_LONGEST_FRACTION = 9
_TOKEN = re.compile(r"'(?P<quoted>[^']*)'|(?P<letters>(?P<letter>[A-Za-z])(?P=letter)*)|(?P<other>[^A-Za-z'])")
_STEP = re.compile(
    r"""(?P<dot>\.)?(?P<name>[^].\['"\s]+)|\[(?P<index>[0-9]{1,4})\]|\[(?P<quote>['"])(?P<quoted>.+?)(?P=quote)\]"""
)
# Names that Python finds in the tz database or on the machine, and java.time.ZoneId does not know.
_NOT_OF_JAVA = {"EST", "MST", "HST", "ROC", "Factory", "localtime", "posixrules"}
#: Names of fields and places in arrays, from a record down to a value.
Path = tuple[str | int, ...]
MONTHS = tuple(_MONTHS.split("|"))


@dataclass(frozen=True)
class Pattern:
    """What a pattern of times means.

    :param expression: regular expression of the texts, with a group for each field; the same in Python and Java.
    :param fields: the fields in the order of these groups, a letter each: ``y``, ``M`` or ``b`` (a name), ``d``,
        ``H`` or ``h`` and ``a``, ``m``, ``s``, ``S`` (digits of a second's fraction), ``X`` (a zone).
    """

    expression: str
    fields: str

    @classmethod
    def of(cls, text: str) -> Pattern:
        """The meaning of ``yyyy-MM-dd HH:mm:ss[.SSS]``. Raises ValueError for what is no pattern."""
        expression, fields, depth = [], [], 0
        for piece, field in _pieces(text):
            depth += (piece == "(?:") - (piece == ")?")
            if depth < 0 or depth > 1:
                break
            expression.append(piece)
            fields.append(field)
        found = "".join(fields)
        if depth:
            raise ValueError("its brackets do not match; [ and ] stand around a part that may be missing, once")
        if twice := next((one for one in found if found.count(one) > 1), None):
            raise ValueError(f"has {twice} twice")
        month, hour = found.count("M") + found.count("b"), found.count("H") + found.count("h")
        if found.count("y") != 1 or month != 1 or found.count("d") != 1 or hour > 1:
            raise ValueError("needs a year (yyyy), a month (MM, M or MMM) and a day (dd or d), and one hour at most")
        if ("h" in found) != ("a" in found):
            raise ValueError("hh counts to 12 and needs a (AM or PM); HH counts to 23 and goes without")
        if ("S" in found and "s" not in found) or ("s" in found and "m" not in found) or ("m" in found and not hour):
            raise ValueError("has minutes without an hour, seconds without minutes, or a fraction without seconds")
        return cls("".join(expression), found)

    @staticmethod
    def written(text: str, local: datetime) -> str:
        """A local time as the pattern ``text`` writes it; a zone as ``Z``, which is right for UTC."""
        by_letters = {
            "yyyy": f"{local.year:04d}",
            "MMM": MONTHS[local.month - 1],
            "a": "AM" if local.hour < 12 else "PM",
            "X": "Z",
        }
        numbers = {"M": local.month, "d": local.day, "H": local.hour, "h": (local.hour + 11) % 12 + 1}
        numbers |= {"m": local.minute, "s": local.second}
        result = []
        for token in _TOKEN.finditer(text):
            letters = token["letters"]
            if not letters:
                result.append((token["other"] or token["quoted"] or "'").strip("[]"))
            elif letters[0] == "S":
                result.append(f"{local.microsecond:06d}000"[: len(letters)])
            else:
                result.append(by_letters.get(letters) or f"{numbers[letters[0]]:0{len(letters)}d}")
        return "".join(result)


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """Parts of a regular expression, and the field that each of them is the group of."""
    end = 0
    for token in _TOKEN.finditer(text):
        if token.start() != end:
            break
        end = token.end()
        letters = token["letters"]
        if token["quoted"] is not None:
            yield re.escape(token["quoted"] or "'"), ""
        elif token["other"]:
            yield {"[": "(?:", "]": ")?"}.get(token["other"]) or re.escape(token["other"]), ""
        elif letters in _LETTERS:
            field, group = _LETTERS[letters]
            yield group, field
        elif letters.strip("S") == "" and len(letters) <= _LONGEST_FRACTION:
            yield f"([0-9]{{{len(letters)}}})", "S"
        else:
            known = ", ".join([*_LETTERS, "S (once for each digit)"])
            raise ValueError(f"{letters!r} means nothing: {known}; other letters stand in quotes, such as 'T'")
    if end != len(text):
        raise ValueError("has a quote that is not closed")


def parse_path(text: str) -> Path:
    """The steps of ``payload.items[0]['unit price']``. Raises ValueError for what is no path."""
    steps: list[str | int] = []
    end = 0
    for step in _STEP.finditer(text):
        if step.start() != end or (step["name"] is not None and bool(step["dot"]) != bool(steps)):
            break
        end = step.end()
        name = step["name"] or step["quoted"]
        steps.append(name if name is not None else int(step["index"]))
    if not steps or end != len(text):
        raise ValueError(
            "is no path: names with dots between them, such as payload.items[0].price; "
            "a name with dots, brackets, quotes or blanks stands in ['…']"
        )
    if isinstance(steps[0], int):
        raise ValueError("begins with a place in an array; a record has names")
    return tuple(steps)


def shown_path(path: Path) -> str:
    """A path as messages have it."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def check_zone(name: str) -> None:
    """Raise ValueError for a name that is no time zone, or none to Java, which reads the records."""
    if name in _NOT_OF_JAVA or name.startswith(("posix/", "right/")):
        raise ValueError(
            "is no time zone of Java; name a region such as America/Panama, or an offset: Etc/GMT+5 is -05:00"
        )
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError("is no time zone, such as UTC or Europe/Stockholm") from None
