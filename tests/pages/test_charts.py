"""Drawings: what they say, and that nothing in them is markup of somebody else."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from hopsworks_flink.health.words import duration, number
from hopsworks_flink.pages.charts import Chart
from hopsworks_flink.pages.flow import Flow, Group

NOW = 1_000_000.0
EVIL = '"><script>alert(1)</script>'


def chart(*points: tuple[float, float | None], limit: float | None = None) -> Chart:
    return Chart("Lag", [(NOW + at, value) for at, value in points], number, limit)


def test_a_chart_says_what_it_draws() -> None:
    drawn = chart((-7200, 4), (-6900, 10), (-6600, 7), limit=20)
    assert (drawn.now, drawn.summary) == ("7", "from 4 to 10 within a day, 20 are allowed")
    root = ET.fromstring(drawn.svg(NOW))
    assert root.attrib["aria-label"] == "Lag: now 7, from 4 to 10 within a day, 20 are allowed"
    assert len(root.findall("polyline")) == 1
    assert root.find("line[@class='limit']") is not None


def test_nothing_is_drawn_where_nothing_is_known() -> None:
    drawn = chart((-7200, 4), (-6900, None), (-6600, 7), (-6300, 8), (-600, 9), (-300, 1))
    lines = ET.fromstring(drawn.svg(NOW))
    # One look alone is a dot; a pause of more than half an hour is a gap.
    assert (len(lines.findall("circle")), len(lines.findall("polyline"))) == (1, 2)
    assert chart().summary == "nothing was measured within a day"
    assert ET.fromstring(chart((-1, None)).svg(NOW)).findall("polyline") == []


@pytest.mark.parametrize("highest", [0.0, 1e-9, 5.0, 1e12])
def test_points_stay_within_the_drawing(highest: float) -> None:
    drawn = chart((-200_000, highest), (-300, highest / 2), (0, highest), (500, 0))
    lines = ET.fromstring(drawn.svg(NOW)).iter("polyline")
    for x, y in (place.split(",") for line in lines for place in line.attrib["points"].split()):
        assert 0 <= float(x) <= 320
        assert 4 <= float(y) <= 60


def flow(*groups: Group, **words: str) -> Flow:
    texts = {
        "topic": "t",
        "job": "j",
        "kind": "healthy",
        "read": "12/s · 4 wait",
        "written": "3 rows/s",
        "state": "running",
    }
    return Flow(**{**texts, **words}, groups=groups, beside=[("q", "quarantine: 2 records")])


@pytest.mark.parametrize("number_of_groups", [1, 2, 5])
def test_the_flow_is_all_there_in_both_directions_and_in_words(number_of_groups: int) -> None:
    groups = [Group(f"g{n}", n, f"{n} rows", f"+{n} rows") for n in range(number_of_groups)]
    for svg in (flow(*groups).wide(), flow(*groups).narrow()):
        root = ET.fromstring(svg)
        texts = [element.text for element in root.iter("text")]
        for group in groups:
            assert group.name in texts
            assert any(group.online in str(text) for text in texts)
        height = float(root.attrib["viewBox"].split()[3])
        assert all(0 <= float(r.attrib["y"]) <= height - 62 for r in root.iter("rect"))
        assert "12/s · 4 wait" in texts
        assert "g0 version 0: online: 0 rows; offline: +0 rows." in root.attrib["aria-label"]


def test_a_group_without_a_store_has_no_arrow_to_it() -> None:
    arrows = [
        len(ET.fromstring(flow(g).wide()).findall("g")) for g in (Group("g", 1, "1", "2"), Group("g", 1, None, "2"))
    ]
    assert arrows[0] - arrows[1] == 1


def test_texts_are_texts() -> None:
    drawn = flow(Group(EVIL, 1, EVIL, EVIL), topic=EVIL, job=EVIL, kind=EVIL, read=EVIL, state=EVIL)
    for svg in (drawn.wide(), drawn.narrow(), Chart(EVIL, [(NOW, 1.0)], lambda value: EVIL).svg(NOW)):
        assert "<script" not in svg
        ET.fromstring(svg)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.31, "0.3 s"), (9.96, "10 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (302_400, "4 d")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (7, "7"), (1.25, "1.2"), (48_211, "48,211"), (3.21e6, "3.2 M")])
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text
