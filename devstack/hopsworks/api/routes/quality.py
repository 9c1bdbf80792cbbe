"""Data quality of a feature group as clients compute it: statistics and the expectation suite, stored and served."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from devstack.hopsworks.api.inputs import Limit, Number, Offset
from devstack.hopsworks.api.routes.context import Context, ContextDep, FeatureGroupDep
from devstack.hopsworks.home.errors import EXPECTATION_NOT_FOUND, EXPECTATION_SUITE_NOT_FOUND, ILLEGAL_ARGUMENT
from devstack.hopsworks.home.layout import FEATURE_STORE_ID
from devstack.hopsworks.metadata.models import Expectation, ExpectationSuite, FeatureGroup, Wire

router = APIRouter(prefix="/project/{project_id}/featurestores/{feature_store_id}/featuregroups/{feature_group_id}")
SUITE, STATISTICS = "expectationsuite", "statistics"
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ltoeq": operator.le,
    "gtoeq": operator.ge,
    "lt": operator.lt,
    "gt": operator.gt,
}
_SORTABLE = ("computation_time", "window_start_commit_time", "window_end_commit_time")

# --- expectation suite -----------------------------------------------------------------------------------------------


def suite_response(suite: ExpectationSuite, group: FeatureGroup, href: str = "") -> dict[str, Any]:
    """The suite in the platform's JSON."""
    return {**suite.wire(), "href": href, "featureStoreId": FEATURE_STORE_ID, "featureGroupId": group.id}


def stored_suite(group: FeatureGroup, context: Context) -> ExpectationSuite | None:
    documents = context.store.documents(group.id, SUITE)
    return ExpectationSuite.model_validate({**documents[-1][1], "id": documents[-1][0]}) if documents else None


def attach_suite(suite: ExpectationSuite, group: FeatureGroup, context: Context) -> ExpectationSuite:
    """Make ``suite`` the one of the group, in place of another one; every expectation gets an id."""
    number_expectations(suite)
    context.store.delete_documents(group.id, SUITE)
    return suite.model_copy(update={"id": context.store.add_document(group.id, SUITE, suite.wire())})


def number_expectations(suite: ExpectationSuite) -> None:
    free = max((expectation.id or 0 for expectation in suite.expectations), default=0)
    for expectation in suite.expectations:
        if not expectation.id:
            free += 1
            expectation.id = free


def _suite(group: FeatureGroupDep, suite_id: Number, context: ContextDep) -> ExpectationSuite:
    suite = stored_suite(group, context)
    if suite is None or suite.id != suite_id:
        raise EXPECTATION_SUITE_NOT_FOUND(f"expectation suite {suite_id} of {group.full_name}")
    return suite


SuiteDep = Annotated[ExpectationSuite, Depends(_suite)]


@router.get(f"/{SUITE}")
def expectation_suite(group: FeatureGroupDep, request: Request, context: ContextDep) -> dict[str, Any]:
    """The SDK asks before every insert, and takes a count of 0 for none."""
    suite = stored_suite(group, context)
    href = str(request.url)
    return suite_response(suite, group, f"{href}/{suite.id}") if suite else {"href": href, "count": 0}


@router.post(f"/{SUITE}", status_code=201)
def create_suite(
    group: FeatureGroupDep, request: Request, context: ContextDep, body: ExpectationSuite
) -> dict[str, Any]:
    suite = attach_suite(body, group, context)
    return suite_response(suite, group, f"{request.url}/{suite.id}")


def _store(suite: ExpectationSuite, group: FeatureGroup, context: Context) -> None:
    assert suite.id is not None
    number_expectations(suite)
    context.store.put_document(suite.id, suite.wire())


@router.put(f"/{SUITE}/{{suite_id}}")
def update_suite(
    group: FeatureGroupDep, suite: SuiteDep, request: Request, context: ContextDep, body: ExpectationSuite
) -> dict[str, Any]:
    changed = body.model_copy(update={"id": suite.id})
    _store(changed, group, context)
    return suite_response(changed, group, str(request.url))


@router.put(f"/{SUITE}/{{suite_id}}/metadata")
def update_suite_metadata(
    group: FeatureGroupDep, suite: SuiteDep, request: Request, context: ContextDep, body: ExpectationSuite
) -> dict[str, Any]:
    changed = body.model_copy(update={"id": suite.id, "expectations": suite.expectations})
    _store(changed, group, context)
    return suite_response(changed, group, str(request.url).removesuffix("/metadata"))


@router.delete(f"/{SUITE}/{{suite_id}}", status_code=204)
def delete_suite(group: FeatureGroupDep, suite: SuiteDep, context: ContextDep) -> Response:
    context.store.delete_documents(group.id, SUITE)
    return Response(status_code=204)


def _expectation(suite: SuiteDep, expectation_id: Number) -> Expectation:
    found = next((one for one in suite.expectations if one.id == expectation_id), None)
    if found is None:
        raise EXPECTATION_NOT_FOUND(f"expectation {expectation_id}")
    return found


ExpectationDep = Annotated[Expectation, Depends(_expectation)]
EXPECTATIONS = f"/{SUITE}/{{suite_id}}/expectations"


@router.get(EXPECTATIONS)
def expectations(suite: SuiteDep) -> dict[str, Any]:
    return {"count": len(suite.expectations), "items": [one.wire() for one in suite.expectations]}


@router.post(EXPECTATIONS, status_code=201)
def add_expectation(group: FeatureGroupDep, suite: SuiteDep, context: ContextDep, body: Expectation) -> dict[str, Any]:
    added = body.model_copy(update={"id": None})
    suite.expectations.append(added)
    _store(suite, group, context)
    return added.wire()


@router.get(EXPECTATIONS + "/{expectation_id}")
def expectation(found: ExpectationDep) -> dict[str, Any]:
    return found.wire()


@router.put(EXPECTATIONS + "/{expectation_id}")
def update_expectation(
    group: FeatureGroupDep, suite: SuiteDep, found: ExpectationDep, context: ContextDep, body: Expectation
) -> dict[str, Any]:
    changed = body.model_copy(update={"id": found.id})
    suite.expectations[suite.expectations.index(found)] = changed
    _store(suite, group, context)
    return changed.wire()


@router.delete(EXPECTATIONS + "/{expectation_id}", status_code=204)
def delete_expectation(group: FeatureGroupDep, suite: SuiteDep, found: ExpectationDep, context: ContextDep) -> Response:
    suite.expectations.remove(found)
    _store(suite, group, context)
    return Response(status_code=204)


# --- statistics ------------------------------------------------------------------------------------------------------


class FeatureStatistics(Wire):
    """Statistics of one feature; what is in them is the client's."""

    model_config = ConfigDict(extra="allow")

    feature_name: str


class Statistics(Wire):
    """Statistics of a feature group as they were at one time."""

    model_config = ConfigDict(extra="allow")

    computation_time: Number
    row_percentage: float = 1.0
    feature_descriptive_statistics: list[FeatureStatistics] = Field(default_factory=list)
    window_start_commit_time: Number | None = None
    window_end_commit_time: Number | None = None
    window_start_event_time: Number | None = None
    window_end_event_time: Number | None = None
    event_time: str | None = None
    before_transformation: bool = False


@router.post(f"/{STATISTICS}", status_code=201)
def add_statistics(group: FeatureGroupDep, request: Request, context: ContextDep, body: Statistics) -> dict[str, Any]:
    known = {feature.name for feature in group.features}
    unknown = sorted({one.feature_name for one in body.feature_descriptive_statistics} - known)
    if unknown:
        raise ILLEGAL_ARGUMENT(f"statistics of {', '.join(unknown)}: {group.full_name} has no such feature.")
    document = {**body.wire(), "featureGroupId": group.id}
    context.store.add_document(group.id, STATISTICS, document)
    return {**document, "href": str(request.url)}


@router.get(f"/{STATISTICS}")
def statistics(
    group: FeatureGroupDep,
    request: Request,
    context: ContextDep,
    offset: Offset = 0,
    limit: Limit = None,
    fields: str | None = None,
    filter_by: Annotated[list[str] | None, Query()] = None,
    sort_by: Annotated[list[str] | None, Query()] = None,
    feature_names: Annotated[list[str] | None, Query()] = None,
) -> dict[str, Any]:
    """The newest first, unless ``sort_by`` says otherwise; what was computed only with ``fields=content``."""
    found = [document for _, document in context.store.documents(group.id, STATISTICS)]
    for condition in filter_by or []:
        holds = _condition(condition)
        found = [document for document in found if holds(document)]
    for order in reversed(sort_by or ["computation_time:desc"]):
        name, _, direction = order.partition(":")
        if name not in _SORTABLE:
            raise ILLEGAL_ARGUMENT(f"sort_by {order[:100]!r}: known are {', '.join(_SORTABLE)}.")
        key = to_camel(name)
        found.sort(key=lambda document, key=key: document[key] or 0, reverse=direction == "desc")  # type: ignore[misc]
    page = found[offset : None if limit is None else offset + limit]
    content = [
        _content(document, feature_names) if fields == "content" else _content(document, []) for document in page
    ]
    return {"href": str(request.url), "count": len(found), **({"items": content} if content else {"items": []})}


def _content(document: dict[str, Any], names: list[str] | None) -> dict[str, Any]:
    features = document["featureDescriptiveStatistics"]
    return {
        **document,
        "featureDescriptiveStatistics": [one for one in features if names is None or one["featureName"] in names],
    }


def _condition(text: str) -> Callable[[dict[str, Any]], bool]:
    match = re.fullmatch(r"([a-z_]{1,40})_(eq|ltoeq|gtoeq|lt|gt):(.{1,100})", text)
    if match is None:
        raise ILLEGAL_ARGUMENT(f"filter_by {text[:100]!r}: <name>_<{'|'.join(_COMPARISONS)}>:<value> is supported.")
    key, compare, value = to_camel(match[1]), _COMPARISONS[match[2]], match[3]

    def holds(document: dict[str, Any]) -> bool:
        stored = document.get(key)
        if stored is None:
            return False
        try:
            return compare(float(stored), float(value))
        except (TypeError, ValueError):
            return compare(str(stored).lower(), value.lower())

    return holds
