"""Telling people everything that is wrong with a file, at once and in few words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from hopsworks_flink.pipeline.spec.base import FULL_NAME, HOPSWORKS_NAME, MESSAGE_NAME, TOPIC_NAME

_PATTERN_MEANING = {
    HOPSWORKS_NAME: (
        "must be lower case letters, digits and underscores, begin with a letter and have at most 63 characters"
    ),
    FULL_NAME: "must be a feature group with its version, such as orders_1",
    MESSAGE_NAME: "must be the full name of a message, such as shop.Order",
    TOPIC_NAME: "must be letters, digits, dots, underscores and dashes, at most 249 characters",
}
# Of an address, which a message about it must not repeat.
_CREDENTIALS = re.compile(r"://[^/@\s]*:[^/@\s]*@")
_LONGEST_NAME, _LONGEST_VALUE, _LONGEST_LINE, _MOST_LINES = 100, 200, 1000, 50

M = TypeVar("M", bound=BaseModel)


class Problems(ValueError):
    """What is wrong with a part of a file, a line each; pydantic takes no more than one error from a validator."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


def refuse(problems: Iterable[str]) -> None:
    """Raise `Problems` if there are any."""
    if lines := [_shortened(line, _LONGEST_LINE) for line in islice(problems, _MOST_LINES + 1)]:
        raise Problems(lines)


def describe(what: str, problems: Iterable[str]) -> str:
    """One line for each: ``feature_groups[0].window.slide: what is wrong (found: value)``; equal ones stand once."""
    lines = list(dict.fromkeys(_printable(_shortened(line, _LONGEST_LINE)) for line in problems))
    count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
    shown = [f"  - {line}" for line in lines[:_MOST_LINES]]
    if len(lines) > _MOST_LINES:
        shown.append(f"  - and {len(lines) - _MOST_LINES} more")
    return f"{what} has {count}:\n" + "\n".join(shown)


def problem_lines(error: ValidationError) -> Iterator[str]:
    """What pydantic has found, in words about the file."""
    for problem in error.errors(include_url=False):
        place = _path(problem["loc"])
        cause = problem.get("ctx", {}).get("error")
        for message in cause.lines if isinstance(cause, Problems) else [_message(problem)]:
            yield f"{place}: {message}" if place else message


def _message(problem: Any) -> str:
    kind, found = problem["type"], problem["input"]
    if kind == "extra_forbidden":
        return "unknown setting; remove it or check its spelling"
    if kind == "missing":
        return "is required"
    if kind == "string_type" and (hint := unquoted(found)):
        return hint
    message = problem["msg"].removeprefix("Value error, ")
    if kind == "string_pattern_mismatch":
        message = _PATTERN_MEANING.get(problem["ctx"]["pattern"], message)
    elif kind in ("enum", "literal_error"):
        message = f"must be one of {problem['ctx']['expected']}"
        if found is None and "'null'" in message:
            return f'{message}; YAML reads an unquoted null as nothing: write "null" in quotes'
    return message if isinstance(found, (dict, list)) else f"{message} (found: {_shown(found)})"


def unquoted(found: Any) -> str | None:
    """What to do where a text was wanted and YAML read something else; None: it is nothing that quotes could help."""
    if found is None:
        return 'must be a text, and is empty; where the word null is meant, write "null" in quotes'
    if isinstance(found, bool):
        word, meaning = str(found).lower(), "a boolean"
    elif isinstance(found, (int, float)):
        word, meaning = _shown(found), "a number"
    else:
        return None
    return f'must be a text, and YAML reads `{word}` as {meaning}: write "{word}" in quotes'


def _shown(found: Any) -> str:
    if isinstance(found, int) and found.bit_length() > _LONGEST_VALUE:
        # Python refuses to write the digits of the largest.
        return f"a number of {found.bit_length()} bits"
    text = _CREDENTIALS.sub("://***@", repr(found))
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}… ({len(text)} characters)"


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _path(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        # pydantic marks a problem with a mapping's key so; the key itself stands before it.
        if part == "[key]":
            continue
        name = _shortened(str(part), _LONGEST_NAME)
        text += f"[{part}]" if isinstance(part, int) else f".{name}" if text else name
    return text


def salvaged(model: type[M], data: Any, **stand_ins: Any) -> M:
    """The model with those settings that are valid by themselves, so that the rules between them can be checked.

    Of a mapping or list the valid entries are taken; an entry of a mapping that is not valid becomes None.

    :param stand_ins: for required settings that are not valid.
    """
    values = dict(stand_ins)
    for name, field in model.model_fields.items() if isinstance(data, Mapping) else ():
        given = data.get(field.alias or name)
        if isinstance(given, list) and get_origin(field.annotation) is dict:
            # Names alone stand for themselves.
            given = {one: one for one in given if isinstance(one, str)}
        if given is not None and (found := _valid(_whole(model, name), given)) is not None:
            values[name] = found[0]
        elif isinstance(given, Mapping) and get_origin(field.annotation) is dict:
            entry = _entry(model, name)
            values[name] = {str(key): (_valid(entry, value) or [None])[0] for key, value in given.items()}
        elif isinstance(given, list) and get_origin(field.annotation) is list:
            entry = _entry(model, name)
            values[name] = [found[0] for value in given if (found := _valid(entry, value)) is not None]
    return model.model_construct(set(values), **values)


def _valid(adapter: TypeAdapter[Any], value: Any) -> list[Any] | None:
    try:
        return [adapter.validate_python(value)]
    except ValidationError:
        return None


@cache
def _whole(model: type[BaseModel], name: str) -> TypeAdapter[Any]:
    field = model.model_fields[name]
    kind: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    return TypeAdapter(kind)


@cache
def _entry(model: type[BaseModel], name: str) -> TypeAdapter[Any]:
    return TypeAdapter(get_args(model.model_fields[name].annotation)[-1])
