"""The flow of a pipeline as a picture: topic, job, feature groups, stores, with figures on the arrows. Pure.

There are two of it, one beside and one below the other; which one is seen is the style sheet's choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

_LONGEST = 27
_BOX, _LINE, _BAND = 62, 18, 96
_WIDE, _NARROW = 1220, 340


@dataclass(frozen=True)
class Group:
    """A feature group in the picture.

    :param online: what the online store took, in words; None: the group has no online store; ``offline`` likewise.
    :param failed: whether the online store dropped rows.
    """

    name: str
    version: int
    online: str | None
    offline: str | None
    failed: bool = False


@dataclass(frozen=True)
class Flow:
    """What is drawn; all of it in words.

    :param read: on the arrow from the topic; ``written``: on those to the groups.
    :param beside: what else the job writes to: name of a topic and words.
    :param kind: the verdict, for the job's colour.
    """

    topic: str
    job: str
    kind: str
    read: str
    written: str
    state: str
    groups: Sequence[Group]
    beside: Sequence[tuple[str, str]] = ()

    @property
    def text(self) -> str:
        """The picture in words, for who does not see it."""
        parts = [f"Topic {self.topic} → job ({self.read}). Job {self.job}: {self.state}."]
        for group in self.groups:
            stores = [("online", group.online), ("offline", group.offline)]
            told = "; ".join(f"{name}: {words}" for name, words in stores if words)
            parts.append(f"{group.name} version {group.version}: {told}.")
        parts += [f"Topic {name}: {words}." for name, words in self.beside]
        return " ".join(parts)

    def wide(self) -> Markup:
        """From left to right."""
        band = max(_BAND, 2 * _BAND // len(self.groups))
        inner = len(self.groups) * band
        middle, height = inner // 2, inner + 44 * len(self.beside)
        parts = [
            _arrow(f"M220 {middle}H348", self.read, 284, middle - 10),
            _box(0, middle - _BOX // 2, 220, "topic", self.topic),
            _box(350, middle - _BOX // 2, 230, self.state, self.job, f"job {self.kind}"),
        ]
        for number, (name, words) in enumerate(self.beside):
            y = inner + 44 * number
            parts.append(_arrow(f"M465 {middle + _BOX // 2}V{y + 12}H488", words, 496, y + 8, "start"))
            parts.append(f'<text class="small" x="496" y="{y + 26}">{_short(name)}</text>')
        for number, group in enumerate(self.groups):
            y = band * number + band // 2
            words = self.written if number == 0 else ""
            parts.append(_arrow(f"M580 {middle}C640 {middle} 630 {y} 698 {y}", words, 640, min(middle, y) - 24))
            parts.append(_box(700, y - _BOX // 2, 240, f"feature group, version {group.version}", group.name))
            parts += self._to_stores(group, y, inner)
        parts += [_box(1140, 10, 80, "store", "online"), _box(1140, inner - _BOX - 10, 80, "store", "offline")]
        return self._svg("wide", _WIDE, height, parts)

    @staticmethod
    def _to_stores(group: Group, y: int, inner: int) -> list[str]:
        # Two lines leave each group, so that the words beside them are not crossed by their own line.
        stores = (
            (group.online, y - 12, 10 + _BOX // 2, y - 19, group.failed),
            (group.offline, y + 12, inner - _BOX // 2 - 10, y + 28, False),
        )
        return [
            _arrow(f"M940 {begin}C1120 {begin} 1060 {end} 1138 {end}", words, 950, at, "start", " failed" * failed)
            for words, begin, end, at, failed in stores
            if words is not None
        ]

    def narrow(self) -> Markup:
        """From top to bottom."""
        parts = [
            _box(0, 0, _NARROW, "topic", self.topic),
            _box(0, 118, _NARROW, self.state, self.job, f"job {self.kind}"),
        ]
        parts.append(_arrow("M170 62V116", self.read, 182, 94, "start"))
        y = 118 + _BOX
        for number, group in enumerate(self.groups):
            words = self.written if number == 0 else ""
            parts.append(
                _arrow(f"M12 {y}V{y + 54}" if number == 0 else f"M12 {y - 30}V{y + 54}", words, 24, y + 32, "start")
            )
            parts.append(_box(0, y + 56, _NARROW, f"feature group, version {group.version}", group.name))
            y += 56 + _BOX
            for store, told in (("online", group.online), ("offline", group.offline)):
                if told is None:
                    continue
                marked = " failed" if group.failed and store == "online" else ""
                parts.append(_arrow(f"M40 {y}V{y + 22}H58", f"{store}: {told}", 66, y + 27, "start", marked))
                y += 26
            y += 6
        for name, words in self.beside:
            parts.append(f'<text class="small" x="0" y="{y + 18}">{_short(name, 22)}: {escape(words)}</text>')
            y += 24
        return self._svg("narrow", _NARROW, y + 4, parts)

    def _svg(self, kind: str, width: int, height: int, parts: Sequence[str]) -> Markup:
        marker = (
            f'<defs><marker id="tip-{kind}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto"><path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>'
        )
        drawn = "".join(parts).replace("url(#tip)", f"url(#tip-{kind})")
        return Markup(  # noqa: S704 - numbers, and texts that were escaped
            f'<svg class="flow {kind}" viewBox="-2 -2 {width + 4} {height + 4}" role="img" '
            f'aria-label="{escape(self.text)}">{marker}{drawn}</svg>'
        )


def _short(text: str, longest: int = _LONGEST) -> Markup:
    return escape(text if len(text) <= longest else f"{text[: longest - 1]}…")


def _box(x: int, y: int, width: int, over: str, name: str, kind: str = "") -> str:
    longest = max(8, (width - 20) // 8)
    return (
        f'<g class="box {escape(kind)}"><title>{escape(name)}</title>'
        f'<rect x="{x}" y="{y}" width="{width}" height="{_BOX}" rx="8"/>'
        f'<text class="over" x="{x + 12}" y="{y + 24}">{_short(over, longest)}</text>'
        f'<text class="name" x="{x + 12}" y="{y + 24 + _LINE + 2}">{_short(name, longest)}</text></g>'
    )


def _arrow(path: str, words: str, x: int, y: int, anchor: str = "middle", kind: str = "") -> str:
    text = f'<text class="on-arrow" x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>' if words else ""
    return f'<g class="arrow{kind}"><path d="{path}" marker-end="url(#tip)"/>{text}</g>'
