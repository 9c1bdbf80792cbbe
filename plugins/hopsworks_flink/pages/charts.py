"""Small drawings of figures over a day, as SVG. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from hopsworks_flink.health.status import DAY_SECONDS

_WIDTH, _HEIGHT, _MARGIN = 320, 64, 4
# Two looks further apart than this have nothing between them.
_GAP_SECONDS = 1800.0


@dataclass(frozen=True)
class Chart:
    """One figure over a day.

    :param points: epoch seconds and value; None where nothing is known.
    :param say: how a value is written.
    :param limit: a bound that is drawn; None: there is none.
    """

    title: str
    points: Sequence[tuple[float, float | None]]
    say: Callable[[float], str]
    limit: float | None = None

    @property
    def values(self) -> list[float]:
        """What is known."""
        return [value for _, value in self.points if value is not None]

    @property
    def now(self) -> str:
        """The last value that is known, in words."""
        return self.say(self.values[-1]) if self.values else "—"

    @property
    def summary(self) -> str:
        """All of it in words, for who does not see it."""
        if not self.values:
            return "nothing was measured within a day"
        allowed = f", {self.say(self.limit)} are allowed" if self.limit is not None else ""
        return f"from {self.say(min(self.values))} to {self.say(max(self.values))} within a day{allowed}"

    def svg(self, now: float) -> Markup:
        """The drawing, from a day before ``now`` (epoch seconds) until then."""
        highest = max([*self.values, self.limit or 0.0, 0.0]) or 1.0
        begin, inner = now - DAY_SECONDS, _HEIGHT - 2 * _MARGIN

        def place(at: float, value: float) -> str:
            x = max(0.0, min(1.0, (at - begin) / DAY_SECONDS)) * _WIDTH
            return f"{x:.1f},{_MARGIN + inner * (1 - value / highest):.1f}"

        parts = []
        for line in self._lines():
            if len(line) == 1:
                x, y = place(*line[0]).split(",")
                parts.append(f'<circle class="dot" cx="{x}" cy="{y}" r="2"/>')
                continue
            places = [place(at, value) for at, value in line]
            first, last = places[0].split(",")[0], places[-1].split(",")[0]
            floor = _HEIGHT - _MARGIN
            parts.append(f'<polygon class="area" points="{first},{floor} {" ".join(places)} {last},{floor}"/>')
            parts.append(f'<polyline class="line" points="{" ".join(places)}"/>')
        if self.limit is not None and self.values:
            y = place(now, self.limit).split(",")[1]
            parts.append(f'<line class="limit" x1="0" x2="{_WIDTH}" y1="{y}" y2="{y}"/>')
        label = escape(f"{self.title}: now {self.now}, {self.summary}")
        return Markup(  # noqa: S704 - numbers, and a text that was escaped
            f'<svg class="spark" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" '
            f'aria-label="{label}"><line class="axis" x1="0" x2="{_WIDTH}" y1="{_HEIGHT - _MARGIN}" '
            f'y2="{_HEIGHT - _MARGIN}"/>{"".join(parts)}</svg>'
        )

    def _lines(self) -> list[list[tuple[float, float]]]:
        """Pieces without a gap."""
        lines: list[list[tuple[float, float]]] = []
        last: float | None = None
        for at, value in self.points:
            if value is None:
                last = None
                continue
            if last is None or at - last > _GAP_SECONDS:
                lines.append([])
            lines[-1].append((at, value))
            last = at
        return lines
