"""The files that the documentation shows."""

import copy
import re
from typing import Any

import yaml

from tests.support import REPOSITORY, protobuf


def shown(document: str) -> list[dict[str, Any]]:
    """The YAML of a document's blocks: a whole file, and then pieces of files."""
    return [
        yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", (REPOSITORY / document).read_text(), re.S)
    ]


# What features without windows take the place of.
WINDOWED = ("emit", "window", "aggregates")
BASE, *PIECES = shown("docs/pipeline-file.md")


def with_piece(piece: dict[str, Any], base: dict[str, Any] = BASE) -> dict[str, Any]:
    """A document's first file, changed by a piece: settings replace each other, groups are those of the file."""
    data = copy.deepcopy(base)
    for group in piece.get("feature_groups", []):
        if "features" in group:
            data["feature_groups"][0] = {n: v for n, v in data["feature_groups"][0].items() if n not in WINDOWED}
        data["feature_groups"][0].update(group)
    data["source"].update(piece.get("source", {}))
    if "descriptor" in data["source"]:
        file = REPOSITORY / "dags" / "pipelines" / "examples" / data["source"]["descriptor"]
        data["source"]["descriptor"] = protobuf.content(protobuf.read(file))
    return {**data, **{name: value for name, value in piece.items() if name not in ("source", "feature_groups")}}
