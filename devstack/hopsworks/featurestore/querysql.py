"""SQL of a query on the online store: features, joins, filters, limit. Built as a syntax tree, never as text."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlglot.expressions as exp

from devstack.hopsworks.home.errors import ILLEGAL_ARGUMENT
from devstack.hopsworks.metadata.featuretypes import normalise
from devstack.hopsworks.metadata.models import Feature, FeatureGroup

LoadGroup = Callable[[int], FeatureGroup]
_COMPARISONS: dict[str, type[exp.Binary]] = {
    "EQUALS": exp.EQ,
    "NOT_EQUALS": exp.NEQ,
    "GREATER_THAN": exp.GT,
    "GREATER_THAN_OR_EQUAL": exp.GTE,
    "LESS_THAN": exp.LT,
    "LESS_THAN_OR_EQUAL": exp.LTE,
    "LIKE": exp.Like,
}
_JOINS = {"INNER": "inner", "LEFT": "left", "RIGHT": "right", "FULL": "full", "CROSS": "cross", "COMMA": "cross"}
_INTEGERS = frozenset({"tinyint", "smallint", "int", "bigint"})


@dataclass
class _Source:
    group: FeatureGroup
    alias: str


@dataclass
class _Builder:
    load: LoadGroup
    sources: list[_Source] = field(default_factory=list)

    def source(self, body: dict[str, Any]) -> _Source:
        group_id = (body.get("leftFeatureGroup") or {}).get("id")
        if not isinstance(group_id, int):
            raise ILLEGAL_ARGUMENT(f"leftFeatureGroup.id {group_id!r}: the id of a saved feature group is needed.")
        group = self.load(group_id)
        if not group.online_enabled:
            raise ILLEGAL_ARGUMENT(f"feature group {group.full_name} is not online enabled; this server reads online.")
        source = _Source(group, f"fg{len(self.sources)}")
        self.sources.append(source)
        return source

    def columns(self, source: _Source, body: dict[str, Any], prefix: str | None) -> list[exp.Expr]:
        result: list[exp.Expr] = []
        for sent in body.get("leftFeatures") or []:
            name = known_feature(source.group, sent["name"]).name
            result.append(exp.alias_(_column(source, name), f"{prefix or ''}{name}", quoted=True))
        return result

    def find(self, sent: dict[str, Any]) -> tuple[_Source, Feature]:
        """The table and stored feature that a filter's feature names."""
        group_id, name = sent.get("featureGroupId"), sent.get("name")
        for source in self.sources:
            feature = source.group.feature(str(name))
            if feature and group_id in (None, source.group.id):
                return source, feature
        raise ILLEGAL_ARGUMENT(f"filter on {name!r}: no feature group of the query has this feature.")

    def logic(self, body: dict[str, Any] | None) -> exp.Expr | None:
        if not body:
            return None
        if "condition" in body:
            return self.comparison(body)
        parts = [self.logic(body.get(side)) for side in ("leftFilter", "leftLogic", "rightFilter", "rightLogic")]
        terms = [part for part in parts if part is not None]
        if not terms:
            return None
        return exp.or_(*terms) if body.get("type") == "OR" else exp.and_(*terms)

    def comparison(self, body: dict[str, Any]) -> exp.Expr:
        source, feature = self.find(body.get("feature") or {})
        column, condition, value = _column(source, feature.name), body["condition"], body.get("value")
        if condition == "IN":
            values = json.loads(value) if isinstance(value, str) else value
            return exp.In(this=column, expressions=[literal(feature, item) for item in values or []])
        if condition not in _COMPARISONS:
            raise ILLEGAL_ARGUMENT(f"condition {condition!r}: allowed are IN, {', '.join(_COMPARISONS)}.")
        if value is None:
            empty = exp.Is(this=column, expression=exp.null())
            return exp.not_(empty) if condition == "NOT_EQUALS" else empty
        return _COMPARISONS[condition](this=column, expression=literal(feature, value))


def _column(source: _Source, name: str) -> exp.Column:
    return exp.column(name, table=source.alias, quoted=True)


def known_feature(group: FeatureGroup, name: str) -> Feature:
    feature = group.feature(name)
    if feature is None or feature.offline_only:
        raise ILLEGAL_ARGUMENT(f"feature {name!r} is not an online feature of {group.full_name}.")
    return feature


def literal(feature: Feature, value: Any) -> exp.Expr:
    """A filter's value as SQL, by the feature's type. Raises 120001 when it does not fit."""
    kind, text = normalise(feature.type or ""), str(value)
    try:
        if kind in _INTEGERS:
            return exp.Literal.number(int(text))
        if kind in ("float", "double"):
            return exp.Literal.number(repr(float(text)))
        if kind == "boolean":
            return exp.Literal.number({"true": 1, "1": 1, "false": 0, "0": 0}[text.lower()])
        if kind == "timestamp":
            return exp.Literal.string(_utc_text(text))
    except (ValueError, KeyError) as error:
        raise ILLEGAL_ARGUMENT(f"filter on {feature.name} ({kind}): {value!r} is not a value of this type.") from error
    return exp.Literal.string(text)


def _utc_text(text: str) -> str:
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is not None:
        moment = moment.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return moment.isoformat(" ", "microseconds" if moment.microsecond else "seconds")


def _join_condition(left: _Source, right: _Source, join: dict[str, Any]) -> exp.Expr:
    def names(key: str) -> list[str]:
        return [f["name"] if isinstance(f, dict) else f for f in join.get(key) or []]

    left_names = names("leftOn") or names("on")
    right_names = names("rightOn") or names("on")
    if not left_names:
        # Without an explicit condition: the primary key columns that both groups have.
        left_names = right_names = [key for key in left.group.primary_key if key in right.group.primary_key]
    if not left_names or len(left_names) != len(right_names):
        raise ILLEGAL_ARGUMENT(
            f"join of {left.group.full_name} and {right.group.full_name}: name the columns to join on."
        )
    return exp.and_(
        *(
            exp.EQ(
                this=_column(left, known_feature(left.group, a).name),
                expression=_column(right, known_feature(right.group, b).name),
            )
            for a, b in zip(left_names, right_names, strict=True)
        )
    )


def render(body: dict[str, Any], load: LoadGroup) -> str:
    """The SQL text for SQLAlchemy's ``text()``, in SQLite's dialect."""
    builder = _Builder(load)
    left = builder.source(body)
    columns = builder.columns(left, body, None)
    joins: list[tuple[_Source, str, exp.Expr | None]] = []
    filters = [body.get("filter")]
    for join in body.get("joins") or []:
        inner = join["query"]
        if inner.get("joins"):
            raise ILLEGAL_ARGUMENT(
                "joins inside of joined queries are not supported; join all groups to the first one."
            )
        kind = join.get("type") or "LEFT"
        if kind not in _JOINS:
            raise ILLEGAL_ARGUMENT(f"join type {kind!r}: allowed are {', '.join(_JOINS)}.")
        right = builder.source(inner)
        columns += builder.columns(right, inner, join.get("prefix"))
        condition = None if _JOINS[kind] == "cross" else _join_condition(left, right, join)
        joins.append((right, _JOINS[kind], condition))
        filters.append(inner.get("filter"))
    names = [column.alias for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ILLEGAL_ARGUMENT(f"features {', '.join(twice)} come from several feature groups; give the join a prefix.")
    select = exp.select(*columns).from_(_table(left))
    for right, kind, condition in joins:
        select = select.join(_table(right), on=condition, join_type=kind)
    for condition in map(builder.logic, filters):
        if condition is not None:
            select = select.where(condition)
    if body.get("limit") is not None:
        select = select.limit(int(body["limit"]))
    # A colon after anything but a word would read as a bind parameter in SQLAlchemy's text().
    return re.sub(r"(?<![:\w\\]):(?=\w)", r"\\:", select.sql(dialect="sqlite", identify=True))


def _table(source: _Source) -> exp.Expr:
    table = exp.Table(this=exp.to_identifier(source.group.full_name, quoted=True))
    return exp.alias_(table, source.alias, table=True)
