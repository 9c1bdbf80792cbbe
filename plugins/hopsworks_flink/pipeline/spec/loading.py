"""Reading YAML strictly, and telling people what is wrong with it."""

from __future__ import annotations

import re
from typing import Any

import yaml
from pydantic import ValidationError

_PATTERN_MEANING = {
    r"^[a-z][a-z0-9_]{0,62}$": (
        "must be lower case letters, digits and underscores, begin with a letter and have at most 63 characters"
    ),
    r"^[A-Za-z0-9._-]{1,249}$": "must be letters, digits, dots, underscores and dashes, at most 249 characters",
}

# Of an address, which a message about it must not repeat.
_CREDENTIALS = re.compile(r"://[^/@\s]*:[^/@\s]*@")

# Far beyond any pipeline: reading a file must not cost the DAG processor its time or memory.
_MAX_CHARACTERS = 1_000_000
_MAX_DEPTH = 100
_SHOWN_CHARACTERS = 200

# libyaml's where PyYAML was built with it: ten times as fast, and reading files is most of what parsing the DAGs costs.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(_SafeLoader):
    """YAML's safe subset, where a key that stands twice is an error: the second would silently replace the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (str, int, float, bool)) and key in seen:
                raise yaml.constructor.ConstructorError(
                    "while reading a mapping", node.start_mark, f"the key {key!r} stands twice", key_node.start_mark
                )
            if isinstance(key, (str, int, float, bool)):
                seen.add(key)
        return super().construct_mapping(node, deep)


def load_yaml(text: str) -> Any:
    """Data of one YAML document. Raises yaml.YAMLError, also for keys that stand twice and whatever is absurd."""
    if len(text) > _MAX_CHARACTERS:
        raise yaml.YAMLError(f"it has {len(text)} characters, at most {_MAX_CHARACTERS} are read")
    try:
        _refuse_depth(text)
        return yaml.load(text, _StrictLoader)
    except ValueError as error:
        # Of a date that does not exist, or a number with thousands of digits.
        raise yaml.YAMLError(f"a value cannot be read: {error}; in quotes it is a text") from error


def _refuse_depth(text: str) -> None:
    """libyaml builds what is nested by recursion, without a bound: a file could end the process that reads it."""
    indented = "\n" + " " * _MAX_DEPTH in text
    if not indented and sum(text.count(sign) for sign in ("[", "{", "- ", "? ")) < _MAX_DEPTH:
        return
    depth = 0
    for event in yaml.parse(text, _SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            mark: Any = event.start_mark
            problem = f"nested more than {_MAX_DEPTH} levels deep"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def describe_validation_error(what: str, error: ValidationError) -> str:
    """One line for each problem: ``feature_groups[0].window.slide: what is wrong (found: value)``."""
    lines = [_describe(problem) for problem in error.errors(include_url=False)]
    count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
    return f"{what} has {count}:\n" + "\n".join(f"  - {line}" for line in lines)


def _describe(problem: Any) -> str:
    place = _path(problem["loc"])
    kind, found = problem["type"], problem["input"]
    if kind == "extra_forbidden":
        return f"{place}: unknown setting; remove it or check its spelling"
    if kind == "missing":
        return f"{place}: is required"
    message = problem["msg"].removeprefix("Value error, ")
    if kind == "string_pattern_mismatch":
        message = _PATTERN_MEANING.get(problem["ctx"]["pattern"], message)
    elif kind in ("enum", "literal_error"):
        message = f"must be one of {problem['ctx']['expected']}"
    shown = "" if isinstance(found, (dict, list)) else f" (found: {_shown(found)})"
    return f"{place}: {message}{shown}" if place else f"{message}{shown}"


def _shown(found: Any) -> str:
    text = _CREDENTIALS.sub("://***@", repr(found))
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}… ({len(text)} characters)"


def _path(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        # pydantic marks a problem with a mapping's key so; the key itself stands before it.
        if part == "[key]":
            continue
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
