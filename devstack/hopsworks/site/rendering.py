"""Templates, and how values look in them. All times are in UTC; everything that is put into a page is escaped."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

from fastapi import Request
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import Response

from devstack.hopsworks.home.layout import FEATURE_STORE_ID, HOPSWORKS_VERSION, PROJECT_ID
from devstack.hopsworks.home.times import utc_now
from devstack.hopsworks.metadata.featuretypes import normalise
from devstack.hopsworks.metadata.models import Feature

FOLDER = Path(__file__).parent
PROJECT = f"/p/{PROJECT_ID}"
GROUPS = f"{PROJECT}/fs/{FEATURE_STORE_ID}/fg"
LONGEST_CELL = 200
PER_PAGE = 50
_NUMBERS = frozenset({"tinyint", "smallint", "int", "bigint", "float", "double", "decimal"})
# An en dash.
NOTHING = "\u2013"
T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list. ``total`` is None where counting would cost more than reading."""

    items: Sequence[T]
    number: int
    more: bool
    total: int | None = None


def page_of(items: Sequence[T], number: int) -> Page[T]:
    """The part of ``items`` with that number, from 1 on."""
    first = (number - 1) * PER_PAGE
    return Page(items[first : first + PER_PAGE], number, len(items) > first + PER_PAGE, len(items))


def parse_moment(value: Any) -> datetime.datetime | None:
    """The time that the platform's ISO text or epoch milliseconds mean; None for anything else."""
    try:
        if isinstance(value, str):
            moment = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
            return moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)
        return datetime.datetime.fromtimestamp(float(value) / 1000, datetime.timezone.utc)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def moment(value: Any) -> str | Markup:
    """A time, and how long ago it was."""
    then = parse_moment(value)
    if then is None:
        return NOTHING if value is None else str(value)
    machine, text = then.isoformat(timespec="milliseconds"), f"{then:%Y-%m-%d %H:%M:%S}"
    passed = (utc_now() - then).total_seconds()
    return Markup('<time datetime="{}" title="{} UTC">{}<small>{}</small></time>').format(
        machine, text, text, f" {span(passed)} ago" if passed >= 0 else ""
    )


def span(seconds: float) -> str:
    """A duration in its largest unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 or seconds == 0 else f"{seconds:.1f} s"


def number(value: Any) -> str:
    """A count, its digits in groups; a dash for none."""
    return f"{value:,}" if isinstance(value, int) else NOTHING if value is None else str(value)


def size(value: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def is_numeric(feature: Feature) -> bool:
    return normalise(feature.type or "").partition("(")[0] in _NUMBERS


def cell(value: Any) -> str:
    """One value of a row as text."""
    if value is None:
        text = "null"
    elif isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, float):
        text = f"{value:.10g}"
    elif isinstance(value, bytes):
        text = f"0x{value[: LONGEST_CELL // 2].hex()}"
    elif isinstance(value, datetime.datetime):
        text = value.replace(tzinfo=None).isoformat(" ")
    elif isinstance(value, list | tuple | dict):
        text = json.dumps(value, ensure_ascii=False, default=cell)
    else:
        text = str(value)
    return text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]}…"


def brief(value: Any) -> str:
    """One number of several, to six digits; a dash for none."""
    return f"{value:.6g}" if isinstance(value, float) else NOTHING if value is None else cell(value)


def segment(text: str) -> str:
    """A name as one part of an address."""
    return quote(text, safe="")


def pretty(text: str) -> str:
    """JSON with line breaks; anything else as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (moment, span, number, size, cell, brief, segment, pretty):
        environment.filters[function.__name__] = function
    environment.tests["numeric"] = is_numeric
    environment.globals.update(project_url=PROJECT, groups_url=GROUPS, version=HOPSWORKS_VERSION)
    return environment


_TEMPLATES = Jinja2Templates(env=_environment())


def render(request: Request, template: str, status_code: int = 200, **values: Any) -> Response:
    """A page. ``page_url(n)`` in a template is its own address with another page number."""

    def page_url(page: int) -> str:
        kept = [(name, value) for name, value in request.query_params.multi_items() if name != "page"]
        return f"?{urlencode([*kept, ('page', page)])}"

    values |= {"page_url": page_url, "project": request.app.state.context.layout.project, "path": request.url.path}
    return _TEMPLATES.TemplateResponse(request, template, values, status_code=status_code)
