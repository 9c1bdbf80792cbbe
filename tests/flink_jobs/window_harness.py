"""The operators of windows, run in Flink's harnesses, and what their rows must be by the meaning of the words."""

from __future__ import annotations

import math
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from devstack import flink, jars
from tests.support.java_program import JavaProgram

#: Function and column, None: events; a third part is the number of panes that it looks back at.
Aggregate = tuple[Any, ...]
_HARNESS = Path(__file__).parent / "harness"


class Harness:
    """A JVM that answers one request after the other.

    :param name: of the program, in the package of the operators, which are nobody else's.
    """

    def __init__(self, folder: Path, name: str = "hopsworksflink.window.WindowHarness") -> None:
        harness = jars.fetch(_HARNESS / "pom.xml", jars.CACHE / "harness")
        classes = f"{folder}:{jars.JAVA_JARS}/*:{flink.distribution() / 'lib'}/*:{harness}/*"
        source = str(_HARNESS / f"{name.rpartition('.')[2]}.java")
        subprocess.run([jars.java("javac"), "-d", str(folder), "-cp", classes, source], check=True, timeout=120)
        # Each of Flink's harnesses leaves a folder behind.
        options = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Djava.io.tmpdir={folder}"]
        command = [jars.java(), *options, "-cp", classes, name]
        self._program = JavaProgram(command, subprocess.DEVNULL)

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request, as the program describes both."""
        return dict(self._program.ask(request))

    def close(self) -> None:
        """End it."""
        self._program.close()


@dataclass(frozen=True)
class Windows:
    """Windows of so many panes, in milliseconds.

    :param emit: as in Shape.java.
    """

    pane: int
    panes: int
    emit: str = "SLIDE"

    def of(self, time: int) -> Iterator[tuple[int, int]]:
        """Start and end of each window that holds a moment."""
        size = self.pane * self.panes
        if self.emit == "STEP":
            start = time // size * size
            for end in range(start + self.pane, start + size + 1, self.pane):
                if time < end:
                    yield start, end
        else:
            last = time // self.pane * self.pane
            for start in range(last - size + self.pane, last + 1, self.pane):
                yield start, start + size


def expected(
    windows: Windows, keys: int, columns: Sequence[str], aggregates: Sequence[Aggregate], actions: Any
) -> tuple[dict[tuple[Any, ...], list[Any]], int]:
    """Values by key, start and end; and how many events belong to no window that was open when they came."""
    if windows.emit == "EVENT":
        return _expected_at_events(windows, keys, columns, aggregates, actions)
    watermark, dropped = -(2**63), 0
    contents: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for action in actions:
        if "watermark" in action:
            watermark = max(watermark, action["watermark"])
        elif "event" in action:
            event = action["event"]
            opened = [(start, end) for start, end in windows.of(event[keys]) if end - 1 > watermark]
            dropped += not opened
            for bounds in opened:
                contents[(*event[:keys], *bounds)].append(event)
    return {
        window: [
            value
            for aggregate in aggregates
            for value in _values(_near(events, keys, windows, window[-1], *aggregate[2:]), columns, [aggregate])
        ]
        for window, events in contents.items()
    }, dropped


def _near(events: Sequence[Any], keys: int, windows: Windows, end: int, panes: int | None = None) -> Sequence[Any]:
    return events if panes is None else [event for event in events if event[keys] >= end - panes * windows.pane]


def _expected_at_events(
    windows: Windows, keys: int, columns: Sequence[str], aggregates: Sequence[Aggregate], actions: Any
) -> tuple[dict[tuple[Any, ...], list[Any]], int]:
    watermark, dropped = -(2**63), 0
    counted = []
    for action in actions:
        if "watermark" in action:
            watermark = max(watermark, action["watermark"])
        elif "event" in action:
            event = action["event"]
            if event[keys] > watermark:
                counted.append(event)
            else:
                dropped += 1
    reach = windows.panes - 1
    contents = {
        (*event[:keys], event[keys] - reach, event[keys]): [
            other for other in counted if other[:keys] == event[:keys] and 0 <= event[keys] - other[keys] <= reach
        ]
        for event in counted
    }
    return {window: _values(events, columns, aggregates) for window, events in contents.items()}, dropped


def _values(events: Sequence[Any], columns: Sequence[str], aggregates: Sequence[Aggregate]) -> list[Any]:
    return [
        _value(function, [event if name is None else event[columns.index(name)] for event in events])
        for function, name, *_ in aggregates
    ]


def _value(function: str, values: Sequence[Any]) -> Any:
    present = [value for value in values if value is not None]
    if function == "COUNT":
        return len(present)
    if not present:
        return None
    if function in ("MIN", "MAX"):
        # Texts are compared by their bytes.
        order = _bytes if isinstance(present[0], str) else None
        return (min if function == "MIN" else max)(present, key=order)
    if isinstance(present[0], int):
        return sum(present)
    numbers = [Fraction(value) for value in present]
    total, count = sum(numbers), len(numbers)
    if isinstance(present[0], Decimal):
        return total
    if function in ("SUM", "AVG"):
        return float(total) / (count if function == "AVG" else 1)
    divisor = count - (1 if function.endswith("SAMP") else 0)
    if divisor == 0:
        return None
    spread = float(sum((number - total / count) ** 2 for number in numbers) / divisor)
    return math.sqrt(spread) if function.startswith("STDDEV") else spread


def _bytes(text: str) -> bytes:
    return text.encode()
