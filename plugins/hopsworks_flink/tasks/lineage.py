"""What operators tell OpenLineage: datasets with their schemas, columns and row counts.

Its provider asks an operator before and after its run, where it is installed and has somebody to tell. This package
does without it, so it is imported inside these functions only. Datasets have the addresses of their assets
(`hopsworks_flink.assets`), before and after: nothing is asked of anybody.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from hopsworks_flink.assets import feature_group_asset, offline_table_asset, topic_asset

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import Dataset, InputDataset, OutputDataset

    from hopsworks_flink._compat import Asset
    from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline

# Flink's names for its S3 file systems, which are one to everybody else.
_STORES = {"s3a": "s3", "s3p": "s3"}
# Name, type and description of a column.
Columns = Iterable[tuple[str, str, str]]


def dataset_of_asset(asset: Asset, lineage_context: Any = None) -> Dataset | None:
    """What Airflow's OpenLineage provider makes of an asset of this package in the inlets or outlets of any task.

    :param lineage_context: the provider's, of no interest here.
    :return: None for a job, which is no dataset.
    """
    from openlineage.client.event_v2 import Dataset

    namespace, name = _names(asset)
    return None if name.split("/")[-2] == "job" else Dataset(namespace=namespace, name=name)


def of_pipeline(pipeline: Any) -> OperatorLineage:
    """The streaming job: from the source topic to the feature groups, and the topics beside them.

    :param pipeline: as an operator takes it, rendered.
    """
    from hopsworks_flink.pipeline.spec import Pipeline

    parsed = Pipeline.parse(pipeline)
    asset = topic_asset(parsed.source.topic)
    outputs = [
        _output(feature_group_asset(group.name, group.version), *_made(parsed, group, asset))
        for group in parsed.feature_groups
    ]
    beside = [topic for topic in (parsed.late_topic, parsed.quarantine_topic) if topic]
    inputs = [_input(asset, _events(parsed)), *_joined(parsed)]
    return _lineage(inputs, [*outputs, *(_output(topic_asset(topic)) for topic in beside)])


def of_recompute(pipeline: Any, groups: Sequence[str] | None, rows: Mapping[str, int | None]) -> OperatorLineage:
    """A recomputation: from topic or files to the feature groups; materializing them is another task's.

    :param groups: full names; None: all that can be recomputed.
    :param rows: what was written, by full name.
    """
    from hopsworks_flink.pipeline.recompute import select_groups
    from hopsworks_flink.pipeline.spec import Pipeline

    parsed = Pipeline.parse(pipeline)
    source: Any = topic_asset(parsed.source.topic)
    if parsed.history:
        source = parsed.history.path
    outputs = [
        _output(
            feature_group_asset(group.name, group.version),
            *_made(parsed, group, source),
            rows=rows.get(group.full_name),
        )
        for group in select_groups(parsed, list(groups) if groups is not None else None)
    ]
    return _lineage([_input(source, _events(parsed)), *_joined(parsed)], outputs)


def of_materialization(name: str, version: int, columns: Columns, rows: int | None) -> OperatorLineage:
    """From a feature group to its offline table, column by column.

    :param columns: the group's features; empty as long as they are not known.
    :param rows: how many the offline table got; None: not known.
    """
    group, columns = feature_group_asset(name, version), list(columns)
    same = {column: [(column, "DIRECT", "IDENTITY", "", None)] for column, _, _ in columns}
    output = _output(offline_table_asset(name, version), columns, group, same, {}, rows=rows)
    return _lineage([_input(group, columns)], [output])


def of_feature_group(name: str, version: int, columns: Columns) -> OperatorLineage:
    """A feature group that a task registers."""
    return _lineage([], [_output(feature_group_asset(name, version), columns)])


def of_topic(topic: str, columns: Columns = ()) -> OperatorLineage:
    """A topic that a task creates or writes to."""
    return _lineage([], [_output(topic_asset(topic), columns)])


def of_events(pipeline: Any) -> OperatorLineage:
    """A topic that a task writes a pipeline's events to."""
    from hopsworks_flink.pipeline.spec import Pipeline

    parsed = Pipeline.parse(pipeline)
    return of_topic(parsed.source.topic, _events(parsed))


def avro_columns(schema: Any) -> Columns:
    """Columns of an Avro record, as an operator takes it."""
    record = json.loads(schema) if isinstance(schema, str) else schema
    for field in record["fields"]:
        kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
        told = [kind for kind in kinds if kind != "null"]
        yield field["name"], ", ".join(kind if isinstance(kind, str) else json.dumps(kind) for kind in told), ""


def _events(pipeline: Pipeline) -> Columns:
    return [(name, str(kind), "") for name, kind in pipeline.source.columns.items()]


def _joined(pipeline: Pipeline) -> Iterable[InputDataset]:
    for join in pipeline.source.join.values():
        columns = [(name, str(column.type), "") for name, column in join.declared.items()]
        yield _input(topic_asset(join.topic), columns)


def _made(pipeline: Pipeline, group: FeatureGroup, source: Any) -> tuple[Any, ...]:
    """The features of a group, and which columns of the source they are made of, for `_output`."""
    from hopsworks_flink.pipeline.resources import features
    from hopsworks_flink.pipeline.sql.lineage import deciding_columns, feature_origins

    columns = [(one.name, one.type, one.description or one.meaning) for one in features(pipeline, group)]
    origins = {
        feature: [
            (
                o.column,
                "DIRECT" if o.is_direct else "INDIRECT",
                o.how,
                o.words,
                topic_asset(o.topic) if o.topic else None,
            )
            for o in found
        ]
        for feature, found in feature_origins(pipeline, group).items()
    }
    return columns, source, origins, deciding_columns(pipeline, group)


def _names(source: Any) -> tuple[str, str]:
    """Namespace and name of a dataset, as OpenLineage's naming has them: of an asset, or of a path of files."""
    if isinstance(source, str):
        # No address: a question mark stands for a character, and nothing is quoted.
        kind, remote, place = source.partition("://")
        host, _, path = place.partition("/")
        if not remote or kind.lower() == "file":
            return "file", f"/{path}" if remote else source
        return f"{_STORES.get(kind.lower(), kind)}://{host}", path
    uri = urlsplit(source.uri)
    return f"{uri.scheme}://{uri.netloc}", unquote(uri.path.lstrip("/"))


def _input(source: Any, columns: Columns) -> InputDataset:
    from openlineage.client.event_v2 import InputDataset

    namespace, name = _names(source)
    return InputDataset(namespace=namespace, name=name, facets=_schema(columns))


def _output(
    source: Asset,
    columns: Columns = (),
    origin: Any = None,
    origins: Mapping[str, Sequence[tuple[str, str, str, str, Asset | None]]] | None = None,
    deciding: Mapping[str, Sequence[str]] | None = None,
    *,
    rows: int | None = None,
) -> OutputDataset:
    """:param origin: where the columns of ``origins`` (by feature) and ``deciding`` (by what they decide) are."""
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import column_lineage_dataset as lineage
    from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics

    def read(column: str, kind: str, how: str, words: str, elsewhere: Asset | None = None) -> lineage.InputField:
        done = lineage.Transformation(type=kind, subtype=how, description=words, masking=False)
        at, called = _names(elsewhere or origin)
        return lineage.InputField(namespace=at, name=called, field=column, transformations=[done])

    namespace, name = _names(source)
    facets: dict[str, Any] = _schema(columns)
    fields = {
        feature: lineage.Fields([read(*one) for one in found]) for feature, found in (origins or {}).items() if found
    }
    if fields:
        decided = [read(column, "INDIRECT", how, "") for how, names in (deciding or {}).items() for column in names]
        facets["columnLineage"] = lineage.ColumnLineageDatasetFacet(fields=fields, dataset=decided)
    counted: dict[str, Any] = (
        {} if rows is None else {"outputStatistics": statistics.OutputStatisticsOutputDatasetFacet(rowCount=rows)}
    )
    return OutputDataset(namespace=namespace, name=name, facets=facets, outputFacets=counted)


def _schema(columns: Columns) -> dict[str, Any]:
    from openlineage.client.facet_v2 import schema_dataset as schema

    told = [schema.SchemaDatasetFacetFields(name=n, type=kind, description=words or None) for n, kind, words in columns]
    return {"schema": schema.SchemaDatasetFacet(fields=told)} if told else {}


def _lineage(inputs: list[Any], outputs: list[Any]) -> OperatorLineage:
    from airflow.providers.openlineage.extractors import OperatorLineage

    return OperatorLineage(inputs=inputs, outputs=outputs)
