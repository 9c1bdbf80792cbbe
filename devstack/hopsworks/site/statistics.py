"""Statistics of features: as a client has stored them, or of the offline rows as they are now."""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

import sqlglot.expressions as exp

from devstack.hopsworks.api.queryservice import read
from devstack.hopsworks.api.routes.context import Context
from devstack.hopsworks.featurestore.querysql import Rendered
from devstack.hopsworks.metadata.featuretypes import is_complex, normalise
from devstack.hopsworks.metadata.models import FeatureGroup
from devstack.hopsworks.site.rendering import is_numeric
from devstack.hopsworks.site.rows import ALIAS, statement

# Title, and the names under which clients send the number: the first that is there counts.
COLUMNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Values", ("count",)),
    ("Nulls", ("numNullValues",)),
    ("Distinct", ("exactNumDistinctValues", "approxNumDistinctValues")),
    ("Smallest", ("min",)),
    ("25 %", ("percentiles", "24")),
    ("Median", ("percentiles", "49")),
    ("75 %", ("percentiles", "74")),
    ("Largest", ("max",)),
    ("Mean", ("mean",)),
    ("Deviation", ("stdDev",)),
)
BARS, HIGHEST_BAR = 20, 32
# More rows are counted when somebody asks for it.
MOST_ROWS_UNASKED = 200_000


class FeatureLine(NamedTuple):
    """One feature's numbers by ``COLUMNS``, and the heights of its histogram with the same in words."""

    name: str
    numbers: list[Any]
    bars: list[int]
    summary: str


# --- as stored -------------------------------------------------------------------------------------------------------


def feature_lines(document: dict[str, Any]) -> list[FeatureLine]:
    """The features of a stored document of statistics; what a client left out is None."""
    return [_stored(one) for one in document["featureDescriptiveStatistics"]]


def _stored(one: dict[str, Any]) -> FeatureLine:
    numbers = [_number(one, names) for _, names in COLUMNS]
    return FeatureLine(one["featureName"], numbers, *_drawn(_histogram(one)))


def _number(one: dict[str, Any], names: tuple[str, ...]) -> Any:
    if names[0] == "percentiles":
        percentiles = one.get("percentiles")
        # Of a hundred; a client without them sends none, or fewer.
        return percentiles[int(names[1])] if isinstance(percentiles, list) and len(percentiles) == 100 else None
    return next((one[name] for name in names if one.get(name) is not None), None)


def _histogram(one: dict[str, Any]) -> list[tuple[str, float]]:
    """Bins with their counts; empty where there are none in the form that clients send."""
    extended = one.get("extendedStatistics")
    try:
        document = json.loads(extended) if isinstance(extended, str) else extended or {}
        bins = document.get("histogram") or []
        return [(str(bin["value"]), float(bin["count"])) for bin in bins[:BARS]]
    except (ValueError, TypeError, KeyError, AttributeError):
        return []


def _drawn(histogram: list[tuple[str, float]]) -> tuple[list[int], str]:
    """Heights of the bars, and the same in words."""
    largest = max((count for _, count in histogram), default=0)
    if not 0 < largest < math.inf:
        return [], ""
    # What is there is seen, however little it is.
    bars = [math.ceil(HIGHEST_BAR * max(count, 0) / largest) for _, count in histogram]
    return bars, "; ".join(f"{value}: {count:g}" for value, count in histogram)


# --- of the offline rows ---------------------------------------------------------------------------------------------


def of_offline_rows(context: Context, group: FeatureGroup) -> list[FeatureLine]:
    """Computed in two passes over the offline table; numbers of distinct values and percentiles are estimates."""
    source = statement(context, group, {}, online=False)
    measures: dict[str, exp.Expr] = {}
    for feature in group.features:
        column = _column(feature.name)
        wanted: dict[str, exp.Expr] = {"count": _call("count", column)}
        if not is_complex(feature.type or "") and normalise(feature.type or "") != "binary":
            # As text: the function does not take all types.
            text = exp.Cast(this=column.copy(), to=exp.DataType.build("text"))
            wanted |= {"approxNumDistinctValues": _call("approx_distinct", text)}
            wanted |= {name: _call(name, column) for name in ("min", "max")}
        if is_numeric(feature):
            wanted |= {"mean": _call("avg", column), "stdDev": _call("stddev", column)}
            for percent in (25, 50, 75):
                share = exp.Literal.number(percent / 100)
                wanted[f"percentile {percent}"] = _call("approx_percentile_cont", column, share)
        measures |= {f"{feature.name} {name}": one for name, one in wanted.items()}
    found = _row(source, {"rows": _call("count", exp.Star()), **measures})
    histograms = _histograms(source, group, found)
    lines = []
    for feature in group.features:
        known = {name: found.get(f"{feature.name} {name}") for name in ("count", "min", "max", "mean", "stdDev")}
        percentiles = [found.get(f"{feature.name} percentile {percent}") for percent in (25, 50, 75)]
        distinct = found.get(f"{feature.name} approxNumDistinctValues")
        numbers = [known["count"], found["rows"] - known["count"], distinct, known["min"], *percentiles]
        numbers += [known["max"], known["mean"], known["stdDev"]]
        lines.append(FeatureLine(feature.name, numbers, *_drawn(histograms.get(feature.name, []))))
    return lines


def _histograms(source: Rendered, group: FeatureGroup, found: dict[str, Any]) -> dict[str, list[tuple[str, float]]]:
    """Counts of equally wide bins between the smallest and the largest value of each numeric feature."""
    bins: dict[str, list[tuple[float, float]]] = {}
    counts: dict[str, exp.Expr] = {}
    for feature in group.features:
        bounds = found.get(f"{feature.name} min"), found.get(f"{feature.name} max")
        if not is_numeric(feature) or None in bounds:
            continue
        low, high = (float(bound) for bound in bounds)  # type: ignore[arg-type]
        width = (high - low) / BARS
        if not 0 < width < math.inf:
            continue
        bins[feature.name] = [(low + number * width, low + (number + 1) * width) for number in range(BARS)]
        for number, (begin, end) in enumerate(bins[feature.name]):
            column = _column(feature.name)
            inside: exp.Expr = exp.GTE(this=column, expression=_literal(begin))
            if number < BARS - 1:
                inside = exp.and_(inside, exp.LT(this=column.copy(), expression=_literal(end)))
            case = exp.Case(ifs=[exp.If(this=inside, true=exp.Literal.number(1))])
            counts[f"{feature.name} {number}"] = _call("count", case)
    row = _row(source, counts) if counts else {}
    return {
        name: [(f"{low:.6g} to {high:.6g}", row[f"{name} {number}"]) for number, (low, high) in enumerate(of)]
        for name, of in bins.items()
    }


def _row(source: Rendered, wanted: dict[str, exp.Expr]) -> dict[str, Any]:
    # Names of our own: those of the features may be anything.
    columns = [exp.alias_(one, f"c{number}", quoted=True) for number, one in enumerate(wanted.values())]
    table = read(Rendered(source.select.select(*columns, append=False), source.groups))
    return dict(zip(wanted, table.to_pylist()[0].values(), strict=True))


def _column(name: str) -> exp.Column:
    return exp.column(name, table=ALIAS, quoted=True)


def _call(function: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=function, expressions=[argument.copy() for argument in arguments])


def _literal(value: float) -> exp.Expr:
    return exp.Cast(this=exp.Literal.string(repr(value)), to=exp.DataType.build("double"))
