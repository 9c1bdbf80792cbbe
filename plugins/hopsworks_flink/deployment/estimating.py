"""What a job takes of memory and CPU, roughly: from its pipeline file, and from what was measured (docs/benchmarks)."""

from __future__ import annotations

from collections.abc import Iterator

from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline
from hopsworks_flink.pipeline.spec.aggregates import MOMENTS
from hopsworks_flink.pipeline.spec.durations import format_duration
from hopsworks_flink.pipeline.sql.native import NativeWindows

# Bytes on the heap, of flink_jobs/java: a key without panes, a pane without aggregates, its parts.
_KEY, _PANE, _COUNT, _EXTREME, _SUM, _SQUARES = 350, 16, 8, 16, 32, 40
# Of a window that grows, what has been emitted is one total.
_GROWING_PANES = 2
# Seconds of CPU for a million events: to read them; windows with 1,000 keys and with 100,000; a row for each event.
_READING, _NATIVE, _SQL = 0.7, (1.1, 3.9), (1.9, 7.4)
_ON_EVENT = {"native": 5.9, "sql": 47.0}


def estimates(pipeline: Pipeline) -> list[str]:
    """Sentence parts for people: state of each group with native windows, then CPU of the job."""
    return [*_states(pipeline), _cpu(pipeline)]


def _states(pipeline: Pipeline) -> Iterator[str]:
    for groups in pipeline.native_windows:
        windows = NativeWindows(pipeline, groups)
        window, pane = groups[0].window, _pane_bytes(windows)
        names = ", ".join(group.full_name for group in groups)
        if groups[0].emit == "on_event":
            size = format_duration(window.size)
            yield f"{names}: {_KEY} bytes of heap for a key, and {pane} to {2 * pane} for each of its events in {size}"
            continue
        # Each length beyond the first has a total, which is as large as a pane.
        totals = len({panes for _, _, panes in windows.calls.values()})
        panes = (_GROWING_PANES if window.is_cumulating else windows.panes) + totals - 1
        low, high = _KEY + panes * pane, _KEY + 2 * panes * pane
        yield f"{names}: {_size(low)} to {_size(high)} of heap for a key with events in all of its window"


def _pane_bytes(windows: NativeWindows) -> int:
    """Of a pane on the heap. Aggregates of one column share what they are made of; texts come on top."""
    functions: dict[str, set[str]] = {}
    for function, column, _ in windows.calls.values():
        if column is not None:
            functions.setdefault(column, set()).add(function)
    found = _PANE
    for called in functions.values():
        deviations = {name.upper() for name in MOMENTS} - {"AVG"}
        found += _COUNT * ("COUNT" in called) + _EXTREME * len(called & {"MIN", "MAX"})
        found += _SUM * bool(called & {"SUM", "AVG", *deviations}) + _SQUARES * bool(called & deviations)
    return found


def _cpu(pipeline: Pipeline) -> str:
    native = {group.full_name for group in pipeline.native_groups}
    few = many = _READING
    for engine, one in {_windows(group, group.full_name in native) for group in pipeline.feature_groups}:
        if one == "rows":
            continue
        low, high = _NATIVE if engine == "native" else _SQL
        if one.endswith("on_event"):
            low = high = _ON_EVENT[engine]
        few, many = few + low, many + high
    return f"about {few:.1f} s of CPU for a million events of 1,000 keys, {many:.1f} s of 100,000"


def _windows(group: FeatureGroup, native: bool) -> tuple[str, str]:
    """Engine, and what is made once for all groups that have the same."""
    if group.is_projection:
        return "sql", "rows"
    return "native" if native else "sql", f"{group.key} {group.window} {group.emit}"


def _size(count: int) -> str:
    return f"{count / 1000:.1f} KB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"
