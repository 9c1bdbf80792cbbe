"""JSON Schema of the pipeline file, for editors: made from the models and their words.

It is looser than the models: what rules between settings say, and what an expression may be, only they know. Whatever
they take, it takes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from hopsworks_flink.pipeline.spec.aggregates import _SETTINGS as AGGREGATE_SETTINGS
from hopsworks_flink.pipeline.spec.aggregates import FUNCTIONS
from hopsworks_flink.pipeline.spec.durations import format_duration
from hopsworks_flink.pipeline.spec.group.times import NAMES
from hopsworks_flink.pipeline.spec.pipeline import Pipeline
from hopsworks_flink.pipeline.spec.source import KAFKA_TIMESTAMP
from hopsworks_flink.pipeline.types import TYPE_NAMES

Schema = dict[str, Any]

_DURATION = {"type": "string", "pattern": "^([0-9]+(ms|[dhms]))+$", "examples": ["10m", "1h30m", "7d"]}
_TYPE = {
    "anyOf": [
        {"enum": [name for name in TYPE_NAMES if name != "decimal"]},
        {"type": "string", "pattern": r"^\s*[A-Za-z]+\s*(\([\s0-9,]*\))?\s*$", "examples": ["decimal(10,2)"]},
    ]
}
_TEXT = {"type": "string"}
# Forms of a model that are shorter than its settings, by the model's name.
_SHORT: dict[str, list[Schema]] = {
    "Column": [_TYPE],
    "EventTime": [{"const": KAFKA_TIMESTAMP}],
    "Projection": [_TEXT],
    "EventTimeFeature": [{"enum": [name for name in NAMES if name != "window_start"]}],
    "WindowStart": [{"const": True}],
    "StatisticsConfig": [{"type": "boolean"}],
}
# The same of single settings, by model and name.
_SHORT_SETTINGS: dict[tuple[str, str], Schema] = {
    ("FeatureGroup", "features"): {"type": "array", "items": _TEXT, "minItems": 1, "uniqueItems": True},
    ("Deduplicate", "by"): _TEXT,
}
# What may be left out though the model has no default: a short form, or a rule of the model, stands for it.
_OPTIONAL = {"EventTime": ["column"], "EventTimeFeature": ["feature"], "Window": ["size"]}
_PARAM = re.compile(r"^:param (\w+): ", re.MULTILINE)


def json_schema() -> Schema:
    """The schema, JSON-safe; the words of settings are those of the models' docstrings."""
    made = Pipeline.model_json_schema(by_alias=True)
    models = {model.__name__: model for model in _models(Pipeline)}
    definitions: Schema = made.pop("$defs")
    definitions["FeatureType"] = dict(_TYPE)
    for name, model in models.items():
        _describe(made if model is Pipeline else definitions[name], model)
    definitions["Aggregate"] = _aggregate(definitions["Aggregate"])
    for name, optional in _OPTIONAL.items():
        definitions[name]["required"] = [one for one in definitions[name]["required"] if one not in optional]
    for name, forms in _SHORT.items():
        whole = definitions[name]
        definitions[name] = {"description": whole.pop("description"), "anyOf": [*forms, whole]}
    for (name, setting), form in _SHORT_SETTINGS.items():
        properties = definitions[name]["properties"]
        whole = properties[setting]
        properties[setting] = {"description": whole.pop("description"), "anyOf": [whole, form]}
    result = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Feature pipeline", **made}
    return _tidied({**result, "$defs": definitions})


def settings() -> Iterator[tuple[str, Schema, bool]]:
    """All settings in the order of the models: path, schema, and whether it is required. Of aggregates without the
    functions.
    """
    schema = json_schema()
    yield from _settings(schema, schema, "")


def _settings(schema: Schema, root: Schema, path: str) -> Iterator[tuple[str, Schema, bool]]:
    for name, value in schema.get("properties", {}).items():
        place = f"{path}{name}"
        if path.endswith("aggregates.*.") and name in FUNCTIONS:
            continue
        yield place, value, name in schema.get("required", [])
        for found, behind in _objects(value, root):
            yield from _settings(found, root, f"{place}{behind}.")


def _objects(schema: Schema, root: Schema, behind: str = "") -> Iterator[tuple[Schema, str]]:
    """Objects with settings of their own that a value may be, and what stands behind its name then."""
    if reference := schema.get("$ref"):
        schema = root["$defs"][reference.rpartition("/")[2]]
    if "properties" in schema:
        yield schema, behind
    for part in schema.get("anyOf", []):
        yield from _objects(part, root, behind)
    if "items" in schema:
        yield from _objects(schema["items"], root, f"{behind}[]")
    for more in (schema.get("additionalProperties"), *schema.get("patternProperties", {}).values()):
        if isinstance(more, dict):
            yield from _objects(more, root, f"{behind}.*")


def words_of(model: type[BaseModel]) -> tuple[str, dict[str, str]]:
    """What a model's docstring says: of itself, and of each of its settings, by the names of the fields."""
    text = inspect.cleandoc(model.__doc__ or "")
    for base in model.__mro__[1:]:
        if issubclass(base, BaseModel) and base is not BaseModel and (more := inspect.getdoc(base)):
            text += "\n" + "\n".join(f":param {part}" for part in more.split(":param ")[1:])
    summary, *parts = _PARAM.split(text)
    # What a model says itself comes first, and counts.
    words = {name: _plain(value) for name, value in reversed([*zip(parts[::2], parts[1::2], strict=True)])}
    return _plain(summary), words


def _plain(text: str) -> str:
    """Words of a docstring for people who read no reStructuredText."""
    text = re.sub(r"^\(``\w+`` in the file\) ", "", " ".join(text.split())).replace("``", "`")
    return f"{text[:1].upper()}{text[1:]}"


def _models(model: type[BaseModel], seen: dict[str, type[BaseModel]] | None = None) -> list[type[BaseModel]]:
    seen = {} if seen is None else seen
    if model.__name__ not in seen:
        seen[model.__name__] = model
        for field in model.model_fields.values():
            for part in _classes(field.annotation):
                _models(part, seen)
    return list(seen.values())


def _classes(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _classes(part)


def _describe(schema: Schema, model: type[BaseModel]) -> None:
    schema["description"], words = words_of(model)
    for name, field in model.model_fields.items():
        made = schema["properties"][field.alias or name]
        if name in words:
            made["description"] = words[name]
        if isinstance(field.default, timedelta):
            # pydantic writes it as ISO 8601 does.
            made["default"] = format_duration(field.default)


def _aggregate(whole: Schema) -> Schema:
    """``count``, or a function with its column and settings beside it."""
    column = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 2, "maxItems": 2}]}
    functions = {name: {**column, "description": f"`{name}` of this column"} for name in FUNCTIONS}
    properties = {**functions, **{name: whole["properties"][name] for name in AGGREGATE_SETTINGS}}
    form = {"type": "object", "additionalProperties": False, "minProperties": 1, "properties": properties}
    return {"description": whole["description"], "anyOf": [{"const": "count"}, form]}


def _tidied(value: Any) -> Any:
    """Durations as the file writes them, and nothing that only pydantic wants."""
    if isinstance(value, list):
        return [_tidied(part) for part in value]
    if not isinstance(value, dict):
        return value
    if value.get("format") == "duration":
        value = {**{name: part for name, part in value.items() if name not in ("type", "format")}, **_DURATION}
    if "patternProperties" in value:
        value = {**value, "additionalProperties": False}
    found = {}
    for name, part in value.items():
        if (name == "title" and isinstance(part, str) and part != "Feature pipeline") or (
            name == "default" and part in (None, "", [], {})
        ):
            continue
        found[name] = _tidied(part)
    return found
