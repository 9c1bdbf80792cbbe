"""SQL of a query: features, joins, filters, limit. Built as a syntax tree, never as text."""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

import sqlglot.expressions as exp
from pydantic import Field, ValidationError
from sqlglot.dialects import SQLite

from devstack.hopsworks.home.errors import ILLEGAL_ARGUMENT
from devstack.hopsworks.metadata.featuretypes import is_complex, normalise, online_type
from devstack.hopsworks.metadata.models import Feature, FeatureGroup, Wire

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
_RANK = "__rank"
_MOST_DIGITS = 38
# Decimal digits that every double keeps: as such, SQLite orders decimals.
_DOUBLE_DIGITS = 15


class Backticks(SQLite):
    """SQL as the platform writes it, identifiers in backticks; SQLite reads them as well."""

    class Tokenizer(SQLite.Tokenizer):
        IDENTIFIERS = ["`", '"']  # noqa: RUF012


class FeatureRef(Wire):
    name: str
    feature_group_id: int | None = None


class GroupRef(Wire):
    id: int | None = None


class Filter(Wire):
    """A comparison, or two filters and how they are joined."""

    condition: str | None = None
    feature: FeatureRef | None = None
    value: Any = None
    type: str | None = None
    left_filter: Filter | None = None
    left_logic: Filter | None = None
    right_filter: Filter | None = None
    right_logic: Filter | None = None


class Join(Wire):
    query: Query
    type: str | None = None
    prefix: str | None = None
    on: list[FeatureRef | str] | None = None
    left_on: list[FeatureRef | str] | None = None
    right_on: list[FeatureRef | str] | None = None


class Query(Wire):
    """Body of ``PUT featurestores/query``, as far as this server reads it."""

    left_feature_group: GroupRef | None = None
    left_features: list[FeatureRef] | None = None
    left_feature_group_start_time: Any = None
    left_feature_group_end_time: Any = None
    joins: list[Join] | None = None
    filter: Filter | None = None
    limit: int | None = Field(None, ge=0)


@dataclass(frozen=True)
class Rendered:
    """A statement, and the feature groups that it reads by the names of their tables."""

    select: exp.Select
    groups: dict[str, FeatureGroup]

    def text(self, dialect: Any = Backticks, database: str | None = None) -> str:
        """The SQL; ``database`` goes before the names of its tables."""
        tree = self.select.copy()
        for table in tree.find_all(exp.Table) if database else ():
            table.set("db", exp.to_identifier(database, quoted=True))
        return tree.sql(dialect=dialect, identify=True)


@dataclass
class _Source:
    group: FeatureGroup
    alias: str


@dataclass
class _Builder:
    load: LoadGroup
    online: bool
    sources: list[_Source] = field(default_factory=list)

    def source(self, query: Query) -> _Source:
        group_id = query.left_feature_group.id if query.left_feature_group else None
        if group_id is None:
            raise ILLEGAL_ARGUMENT(f"leftFeatureGroup.id {group_id!r}: the id of a saved feature group is needed.")
        if query.left_feature_group_start_time or query.left_feature_group_end_time:
            raise ILLEGAL_ARGUMENT("as_of: this server reads the latest rows only.")
        group = self.load(group_id)
        if self.online and not group.online_enabled:
            raise ILLEGAL_ARGUMENT(f"feature group {group.full_name} is not online enabled: read it offline.")
        source = _Source(group, f"fg{len(self.sources)}")
        self.sources.append(source)
        return source

    def columns(self, source: _Source, query: Query, prefix: str | None) -> list[exp.Expr]:
        names = [self.known(source.group, sent.name).name for sent in query.left_features or []]
        return [exp.alias_(_column(source, name), f"{prefix or ''}{name}", quoted=True) for name in names]

    def known(self, group: FeatureGroup, name: str) -> Feature:
        feature = group.feature(name)
        if feature is None or (self.online and feature.offline_only):
            store = "online " if self.online else ""
            raise ILLEGAL_ARGUMENT(f"{name!r} is not an {store}feature of {group.full_name}.")
        return feature

    def find(self, sent: FeatureRef | None) -> tuple[_Source, Feature]:
        """The table and stored feature that a filter's feature names."""
        name = sent.name if sent else None
        for source in self.sources:
            feature = source.group.feature(str(name))
            if sent and feature and sent.feature_group_id in (None, source.group.id):
                return source, feature
        raise ILLEGAL_ARGUMENT(f"filter on {name!r}: no feature group of the query has this feature.")

    def logic(self, body: Filter | None) -> exp.Expr | None:
        if body is None:
            return None
        if body.condition is not None:
            return self.comparison(body, body.condition)
        sides = (body.left_filter, body.left_logic, body.right_filter, body.right_logic)
        terms = [part for part in map(self.logic, sides) if part is not None]
        if not terms:
            return None
        return exp.or_(*terms) if body.type == "OR" else exp.and_(*terms)

    def comparison(self, body: Filter, condition: str) -> exp.Expr:
        source, feature = self.find(body.feature)
        column, value = _column(source, feature.name), body.value
        if condition == "IN":
            values = [self.literal(feature, one) for one in _values(feature, value)]
            return exp.In(this=column, expressions=values) if values else exp.false()
        if condition not in _COMPARISONS:
            raise ILLEGAL_ARGUMENT(f"condition {condition!r}: allowed are IN, {', '.join(_COMPARISONS)}.")
        if value is None:
            if condition not in ("EQUALS", "NOT_EQUALS"):
                raise ILLEGAL_ARGUMENT(f"filter on {feature.name}: {condition} needs a value.")
            empty = exp.Is(this=column, expression=exp.null())
            return exp.not_(empty) if condition == "NOT_EQUALS" else empty
        literal = self.literal(feature, value)
        if self.online and condition not in ("EQUALS", "NOT_EQUALS") and _is_decimal(feature):
            return _COMPARISONS[condition](this=_as_double(feature, column), expression=_as_double(feature, literal))
        return _COMPARISONS[condition](this=column, expression=literal)

    def literal(self, feature: Feature, value: Any) -> exp.Expr:
        """A filter's value as SQL, by the feature's type. Raises 120001 when it does not fit."""
        kind, text = normalise(feature.type or ""), str(value)
        if kind == "binary" or is_complex(kind):
            raise ILLEGAL_ARGUMENT(f"filter on {feature.name} ({kind}): this server compares scalars and texts only.")
        try:
            if kind in _INTEGERS:
                return exp.Literal.number(int(text))
            if kind in ("float", "double"):
                if not math.isfinite(number := float(text)):
                    raise _unfit(feature, value)
                return exp.Literal.number(repr(number))
            if kind == "boolean":
                truth = {"true": True, "1": True, "false": False, "0": False}[text.lower()]
                # The online store keeps numbers.
                return exp.Literal.number(int(truth)) if self.online else exp.Boolean(this=truth)
            if kind.startswith("decimal"):
                return _decimal(feature, Decimal(text), self.online)
            if kind == "date":
                moment = _utc(text)
                if moment.time() != datetime.time():
                    raise _unfit(feature, value)
                return exp.Literal.string(moment.date().isoformat())
            if kind.startswith("timestamp"):
                return exp.Literal.string(_timestamp(feature, _utc(text)))
        except (ValueError, KeyError, OverflowError, InvalidOperation) as error:
            raise _unfit(feature, value) from error
        return exp.Literal.string(text)

    def join_condition(self, left: _Source, right: _Source, join: Join) -> exp.Expr:
        left_names, right_names = _names(join.left_on) or _names(join.on), _names(join.right_on) or _names(join.on)
        if not left_names:
            # Without an explicit condition: the primary key columns that both groups have.
            left_names = right_names = [key for key in left.group.primary_key if key in right.group.primary_key]
        if not left_names or len(left_names) != len(right_names):
            both = f"{left.group.full_name} and {right.group.full_name}"
            raise ILLEGAL_ARGUMENT(f"join of {both}: name the columns to join on.")
        return exp.and_(
            *(
                exp.EQ(
                    this=_column(left, self.known(left.group, a).name),
                    expression=_column(right, self.known(right.group, b).name),
                )
                for a, b in zip(left_names, right_names, strict=True)
            )
        )


def _names(sent: list[FeatureRef | str] | None) -> list[str]:
    return [one if isinstance(one, str) else one.name for one in sent or []]


def _column(source: _Source, name: str) -> exp.Column:
    return exp.column(name, table=source.alias, quoted=True)


def _event_time(source: _Source) -> exp.Column:
    return _column(source, str(source.group.event_time))


def _unfit(feature: Feature, value: Any) -> Exception:
    kind = normalise(feature.type or "")
    return ILLEGAL_ARGUMENT(f"filter on {feature.name} ({kind}): {str(value)[:200]!r} is not a value of this type.")


def _values(feature: Feature, value: Any) -> list[Any]:
    try:
        values = json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise _unfit(feature, value) from error
    if values is not None and not isinstance(values, list):
        raise ILLEGAL_ARGUMENT(f"filter on {feature.name}: IN needs a list of values.")
    return values or []


def _utc(text: str) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is not None:
        moment = moment.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return moment


def _timestamp(feature: Feature, moment: datetime.datetime) -> str:
    """As texts, moments compare rightly only with the places that the online column has."""
    places = sum(_numbers(feature.online_type or ""))
    fraction = f"{moment.microsecond:06d}".rstrip("0").ljust(places, "0")
    return moment.isoformat(" ", "seconds") + (f".{fraction}" if fraction else "")


def _is_decimal(feature: Feature) -> bool:
    return normalise(feature.type or "").startswith("decimal")


def _numbers(declared: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", declared)]


def _decimal(feature: Feature, value: Decimal, online: bool) -> exp.Expr:
    """Offline a decimal of its own size; online the text that the store keeps."""
    precision, scale = _numbers(feature.type or "")
    if not value.is_finite() or abs(value.adjusted()) > _MOST_DIGITS:
        raise _unfit(feature, value)
    if not value:
        # The stores' zero has no sign.
        value = Decimal(0)
    places = max(-int(value.as_tuple().exponent), 0)
    if online:
        return exp.Literal.string(f"{value:.{max(places, _online_scale(feature))}f}")
    whole = max(value.adjusted() + 1, 0)
    if max(whole, precision - scale) + max(places, scale) > _MOST_DIGITS:
        raise _unfit(feature, value)
    size = f"decimal({max(whole + places, 1)}, {places})"
    return exp.Cast(this=exp.Literal.string(f"{value:f}"), to=exp.DataType.build(size))


def _online_scale(feature: Feature) -> int:
    _, *scale = _numbers(feature.online_type or online_type(feature.type or ""))
    return scale[0] if scale else 0


def _as_double(feature: Feature, value: exp.Expr) -> exp.Expr:
    """A decimal of the online store, as which its text can be ordered. Raises 120001 if that would round it."""
    if _numbers(feature.type or "")[0] > _DOUBLE_DIGITS:
        raise ILLEGAL_ARGUMENT(
            f"filter on {feature.name} ({feature.type}): online, decimals of more than {_DOUBLE_DIGITS} digits can be "
            "compared for equality only; read them offline."
        )
    return exp.Cast(this=value, to=exp.DataType.build("double"))


def parse(body: dict[str, Any]) -> Query:
    """The query of a request. Raises 120001 naming what does not have the right form."""
    try:
        return Query.model_validate(body)
    except ValidationError as error:
        details = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ILLEGAL_ARGUMENT(details[:2000]) from error


def build(query: Query, load: LoadGroup, online: bool) -> Rendered:
    """The statement of a query on the online or the offline store."""
    builder = _Builder(load, online)
    left = builder.source(query)
    columns = builder.columns(left, query, None)
    joins: list[tuple[_Source, str, exp.Expr | None]] = []
    filters = [query.filter]
    for join in query.joins or []:
        if join.query.joins:
            raise ILLEGAL_ARGUMENT("joins inside of joined queries are not supported; join all groups to the first.")
        kind = join.type or "LEFT"
        if kind not in _JOINS:
            raise ILLEGAL_ARGUMENT(f"join type {kind!r}: allowed are {', '.join(_JOINS)}.")
        right = builder.source(join.query)
        columns += builder.columns(right, join.query, join.prefix)
        condition = None if _JOINS[kind] == "cross" else builder.join_condition(left, right, join)
        joins.append((right, _JOINS[kind], condition))
        filters.append(join.query.filter)
    names = [column.alias for column in columns]
    if not names:
        raise ILLEGAL_ARGUMENT("leftFeatures: name the features to read.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ILLEGAL_ARGUMENT(f"features {', '.join(twice)} come from several feature groups; give the join a prefix.")
    select = exp.select(*columns).from_(_table(left))
    timed = bool(joins) and not online and all(source.group.event_time for source in builder.sources)
    for right, kind, condition in joins:
        if timed:
            condition = _not_later(left, right, kind, condition)
        select = select.join(_table(right), on=condition, join_type=kind)
    for condition in map(builder.logic, filters):
        if condition is not None:
            select = select.where(condition)
    if timed:
        select = _latest(select, names, left, [right for right, _, _ in joins])
    if query.limit is not None:
        select = select.limit(query.limit)
    return Rendered(select, {source.group.full_name: source.group for source in builder.sources})


def _not_later(left: _Source, right: _Source, kind: str, condition: exp.Expr | None) -> exp.Expr:
    if kind not in ("left", "inner"):
        raise ILLEGAL_ARGUMENT(f"join type {kind!r}: groups that all have an event time are joined left or inner.")
    return exp.and_(condition, exp.GTE(this=_event_time(left), expression=_event_time(right)))


def _latest(select: exp.Select, names: list[str], left: _Source, rights: list[_Source]) -> exp.Select:
    """Of the rows that a left one was joined to, those with the latest event times.

    Groups that all have an event time are joined as of the left one's, as Hopsworks' ``PitJoinController`` does it.
    """
    latest = [exp.Ordered(this=_event_time(right), desc=True, nulls_first=False) for right in rights]
    row = [_column(left, name) for name in left.group.offline_key]
    rank = exp.Window(this=exp.Anonymous(this="rank"), partition_by=row, order=exp.Order(expressions=latest))
    ranked = select.select(exp.alias_(rank, _RANK, quoted=True)).subquery("ranked")
    columns = [exp.column(name, quoted=True) for name in names]
    first = exp.EQ(this=exp.column(_RANK, quoted=True), expression=exp.Literal.number(1))
    return exp.select(*columns).from_(ranked).where(first)


def online_text(rendered: Rendered) -> str:
    """For SQLAlchemy's ``text()``, to which a colon after anything but a word would be a parameter."""
    return re.sub(r"(?<![:\w\\]):(?=\w)", r"\\:", rendered.text())


def _table(source: _Source) -> exp.Expr:
    table = exp.Table(this=exp.to_identifier(source.group.full_name, quoted=True))
    return exp.alias_(table, source.alias, table=True)
