"""What the models of the pipeline file have in common: strictness, and the rules for names."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints

# The feature store's rule for names of feature groups and features, which become table and column names online.
HOPSWORKS_NAME = r"^[a-z][a-z0-9_]{0,62}$"
_COLUMN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
# Columns that the window functions add; a feature or column of that name could not be told apart from them.
WINDOW_COLUMNS = ("window_start", "window_end", "window_time")

Name = Annotated[str, StringConstraints(pattern=HOPSWORKS_NAME)]
# Of a feature group with its version, as the platform names tables.
FULL_NAME = r"^[a-z][a-z0-9_]*_[1-9][0-9]*$"
FullName = Annotated[str, StringConstraints(pattern=FULL_NAME)]
LONGEST_TOPIC = 249
TOPIC_NAME = rf"^[A-Za-z0-9._-]{{1,{LONGEST_TOPIC}}}$"
# Of Protobuf, with its package.
MESSAGE_NAME = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$"
Topic = Annotated[str, StringConstraints(pattern=TOPIC_NAME)]


class Model(BaseModel):
    """A part of the pipeline file: unknown settings are refused, and nothing changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def check_names(columns: dict[str, Any]) -> dict[str, Any]:
    """Columns as they are. Raises ValueError for a name that none may have."""
    for name in columns:
        if not _COLUMN_NAME.fullmatch(name) or name.startswith("__"):
            raise ValueError(
                f"column name {name!r} must be letters, digits and underscores, and not begin with a digit or '__'"
            )
    return columns


def check_event_names(columns: dict[str, Any]) -> dict[str, Any]:
    """Columns as they are. Raises ValueError for a name that none of events may have."""
    for name in check_names(columns):
        if name in WINDOW_COLUMNS:
            raise ValueError(f"column name {name!r} is taken by the window functions; rename the column")
    return columns
