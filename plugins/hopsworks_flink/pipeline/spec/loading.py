"""Reading YAML strictly and within bounds.

Unquoted values are read as YAML 1.2 does: numbers are decimal, ``true`` and ``false`` are the only booleans, nothing is
a date. Names that other tools, which follow YAML 1.1, would not take for a text must stand in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import yaml

from hopsworks_flink.pipeline.spec.files import MOST_BYTES

_MOST_LEVELS = 100
_MOST_VALUES = 50_000
_MOST_DIGITS = 50

# What YAML can write by escapes, and neither logs nor databases take.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAG = "tag:yaml.org,2002:"
_YAML_1_1 = yaml.resolver.Resolver()
_OTHER_MEANINGS = {"null": "nothing", "int": "a number", "float": "a number", "timestamp": "a date"}

# libyaml's where PyYAML was built with it: ten times as fast, and reading files is most of what parsing the DAGs costs.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Loaded(NamedTuple):
    """What a document holds.

    :param data: dicts, lists, texts, numbers, booleans and None.
    :param problems: what is wrong with it all the same, a line each.
    """

    data: Any
    problems: list[str]


def load_yaml(text: str) -> Loaded:
    """Data of one YAML document.

    :param text: at most `MOST_BYTES` long.
    :raises ValueError: it is not YAML, or absurd: nested too deeply, or too much once its aliases are written out.
    """
    try:
        _refuse_excess(text)
        loader = _Loader(text)
        try:
            document = loader.get_single_node()
            if document is None:
                return Loaded(None, [])
            problems = list(_name_problems(document))
            return Loaded(loader.construct_document(document), problems)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark or error.context_mark
        words = ": ".join(word for word in (error.context, error.problem) if word)
        raise ValueError(f"{_line(mark)}: {words}" if mark else words) from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def _line(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


def _refuse_excess(text: str) -> None:
    """Bounds on the document as if every alias were written out. Read as events: nothing is built yet.

    libyaml builds what is nested by recursion, without a bound, and aliases of aliases multiply.
    """
    # What a line is nested in shows in its indentation and in signs: few files can exceed the bounds.
    has_aliases = "&" in text and "*" in text
    openings, deepest = sum(text.count(sign) for sign in ("[", "{", "- ", "? ")), _MOST_LEVELS // 2
    if not has_aliases and openings < deepest and "\n" + " " * deepest not in text and len(text) <= _MOST_VALUES:
        return
    anchored: dict[str | None, _Extent | None] = {}
    open_ = [_Extent()]
    for event in yaml.parse(text, _SafeLoader):
        part: _Extent | None = None
        if isinstance(event, yaml.CollectionStartEvent):
            open_.append(_Extent(event.anchor))
            anchored[event.anchor] = None
        elif isinstance(event, yaml.CollectionEndEvent):
            part = open_.pop()
            part = part._replace(levels=part.levels + 1)
            anchored[part.anchor] = part
        elif isinstance(event, yaml.ScalarEvent):
            part = anchored[event.anchor] = _Extent(event.anchor, characters=len(event.value))
        elif isinstance(event, yaml.AliasEvent):
            # One that names nothing is refused when the document is built.
            part = anchored.get(event.anchor, _Extent())
            if part is None:
                raise _error(f"the alias *{event.anchor} stands inside of what it repeats", event)
        if part is not None:
            open_[-1] = open_[-1].with_part(part)
        if len(open_) - 1 + open_[-1].levels > _MOST_LEVELS:
            raise _error(f"nested more than {_MOST_LEVELS} levels deep", event)
        if open_[-1].values > _MOST_VALUES or open_[-1].characters > MOST_BYTES:
            raise _error(
                f"more than {_MOST_VALUES} values or {MOST_BYTES} characters, once aliases are written out", event
            )


class _Extent(NamedTuple):
    """How much a value holds, itself included: aliases written out."""

    anchor: str | None = None
    values: int = 1
    characters: int = 0
    levels: int = 0

    def with_part(self, part: _Extent) -> _Extent:
        """With one more value inside."""
        return _Extent(
            self.anchor,
            self.values + part.values,
            self.characters + part.characters,
            max(self.levels, part.levels),
        )


def _error(problem: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


class _Loader(_SafeLoader):
    """Makes data of a document: of mappings, lists, texts, numbers, booleans and null, and of nothing else."""

    # Added below; the parent's are those of YAML 1.1, with dates, times in sixties, sets and more.
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}
    yaml_constructors: ClassVar[dict[str | None, Any]] = {}

    def text(self, node: Any) -> str:
        """Text of a scalar. Raises ConstructorError for what cannot be printed."""
        value: str = self.construct_scalar(node)
        if found := _UNPRINTABLE.search(value):
            problem = f"the character {found.group()!r} cannot be printed; leave it out"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return value

    def number(self, node: Any) -> int | float:
        """A decimal number. Raises ConstructorError for anything else."""
        value: str = self.construct_scalar(node)
        try:
            if len(value) > _MOST_DIGITS:
                raise ValueError
            plain = value.replace("_", "").lower()
            if node.tag == f"{_TAG}int":
                return int(plain)
            return float(plain.replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            problem = f"{shortened(value)!r} cannot be read as a number; in quotes it is a text"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None


def _name_problems(document: yaml.Node) -> Iterator[str]:
    """What is wrong with the keys of a document. Makes texts of those that are something else."""
    waiting, known = [document], set()
    while waiting:
        node = waiting.pop()
        if id(node) in known or isinstance(node, yaml.ScalarNode):
            continue
        known.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield from _key_problems(node)
            waiting += [value for _, value in reversed(node.value)]
        else:
            waiting += reversed(node.value)


def _key_problems(node: yaml.MappingNode) -> Iterator[str]:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a name must be a text", key.start_mark)
        if key.value in seen:
            # The second would silently replace the first.
            yield f"{_line(key.start_mark)}: the key {shortened(key.value)!r} stands twice"
        seen.add(key.value)
        if key.tag != f"{_TAG}merge":
            if not key.style and (meaning := _other_meaning(key.value)):
                word = shortened(key.value)
                yield f'{_line(key.start_mark)}: YAML reads `{word}` as {meaning}: write "{word}" in quotes'
            key.tag = f"{_TAG}str"


@lru_cache(maxsize=1000)
def _other_meaning(word: str) -> str | None:
    """What YAML 1.1 makes of an unquoted word that is not a text; None if it is one."""
    kind = str(_YAML_1_1.resolve(yaml.ScalarNode, word, (True, False))).removeprefix(_TAG)
    if kind == "bool":
        return str(yaml.SafeLoader.bool_values[word.lower()]).lower()
    return _OTHER_MEANINGS.get(kind)


def shortened(text: str, most: int = 60) -> str:
    """The beginning of a long text."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9][0-9_]*", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))"
        r"|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", "<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(rf"(?:{_pattern})\Z"), _first)
for _name, _constructor in {
    "null": _SafeLoader.construct_yaml_null,
    "bool": _SafeLoader.construct_yaml_bool,
    "int": _Loader.number,
    "float": _Loader.number,
    "str": _Loader.text,
    "seq": _SafeLoader.construct_yaml_seq,
    "map": _SafeLoader.construct_yaml_map,
}.items():
    _Loader.add_constructor(f"{_TAG}{_name}", _constructor)
_Loader.add_constructor(None, _SafeLoader.construct_undefined)
