"""The report: Markdown between two marks of docs/benchmarks/README.md, a plot, and the raw figures."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from tests.benchmarks.results import MIB, Measurement, Summary, Verdict, summarize, verdicts

BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def write(folder: Path, measurements: Sequence[Measurement], others: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    """Write results.json, throughput.svg, and the results into README.md.

    :param others: results of the other benchmarks by name.
    :param run: how it was run, for the record.
    """
    folder.mkdir(parents=True, exist_ok=True)
    titles = run["titles"]
    raw = {"machine": machine(), "run": dict(run), "throughput": [asdict(one) for one in measurements], **others}
    (folder / "results.json").write_text(json.dumps(raw, indent=1) + "\n")
    cold, warm = summarize(measurements, warm=False), summarize(measurements, warm=True)
    readme = folder / "README.md"
    text = readme.read_text() if readme.is_file() else f"# Benchmarks\n\n{BEGIN}\n{END}\n"
    readme.write_text(replaced(text, markdown(titles, cold, warm, others, run)))
    if warm:
        (folder / "throughput.svg").write_bytes(_plot(titles, warm))
    for of, points in others.get("growth", {}).items():
        (folder / _file(of)).write_bytes(_line(of, points))


def earlier(folder: Path, parts: Set[str], variants: Set[str]) -> tuple[list[Measurement], dict[str, float], Any]:
    """What results.json says: the runs of some variants, which of them did not end, and other parts by name."""
    file = folder / "results.json"
    found = json.loads(file.read_text()) if file.is_file() else {}
    runs = [Measurement(**run) for run in found.get("throughput", []) if run["variant"] in variants]
    unfinished = found.get("run", {}).get("unfinished", {})
    late = {name: unfinished[name] for name in variants & unfinished.keys()}
    return runs, late, {part: found[part] for part in parts - {"throughput"} if part in found}


def replaced(text: str, results: str) -> str:
    """The text with what stands between the two marks replaced.

    :raises ValueError: a mark is missing.
    """
    if BEGIN not in text or END not in text:
        raise ValueError(f"the report needs the lines {BEGIN} and {END}")
    before, rest = text.split(BEGIN, 1)
    return f"{before}{BEGIN}\n{results}\n{END}{rest.split(END, 1)[1]}"


def markdown(
    titles: Mapping[str, str],
    cold: Mapping[str, Summary],
    warm: Mapping[str, Summary],
    others: Mapping[str, Any],
    run: Mapping[str, Any],
) -> str:
    """Machine, throughput, the other figures, goals."""
    busy = f", load {run['load']:.1f} when it began" if "load" in run else ""
    took = f" It took {run['minutes']:.0f} minutes." if "minutes" in run else ""
    if run.get("again"):
        took = f" After all the rest, in {run['minutes']:.0f} minutes: {run['again']}."
    parts = [f"Measured on {run.get('date', date.today().isoformat())}: {machine()}{busy}.{took}"]
    parts += [f"**{part.capitalize()} failed:** {reason}" for part, reason in run.get("failed", {}).items()]
    parts.append(_verdict_table(verdicts(warm, others)))
    if warm:
        parts += ["### Throughput", _throughput_text(warm, run), _throughput_table(titles, cold, warm)]
        parts += [
            f"*{titles.get(name, name)}* did not end within {limit:.0f} s: not measured."
            for name, limit in run.get("unfinished", {}).items()
        ]
        parts.append("![K events per CPU second](throughput.svg)")
    parts += [_growth(figures) if name == "growth" else _figures(name, figures) for name, figures in others.items()]
    return "\n\n".join(parts)


def _throughput_text(warm: Mapping[str, Summary], run: Mapping[str, Any]) -> str:
    rounds = sorted({one.runs for one in warm.values()})
    counted = f"{rounds[0]} to {rounds[-1]}" if len(rounds) > 1 else str(rounds[0])
    options = "".join(f", `{key}: {value}`" for key, value in run.get("flink", {}).items())
    return (
        f"{run['events']:,} events, rounds: {counted}, parallelism 1, a fresh TaskManager of {run['memory']}{options} "
        "for each variant and round. K events per second, medians; cold is the first job of a JVM, warm the second, "
        "larger one. "
        "*Running* leaves out what the JVM's compilers take, as a job that runs for weeks does; *in all* counts it."
    )


def _throughput_table(titles: Mapping[str, str], cold: Mapping[str, Summary], warm: Mapping[str, Summary]) -> str:
    lines = [
        "| | per CPU second, running (range) | in all, warm | in all, cold | wall, warm | peak memory, MiB "
        "| longest checkpoint, largest state |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, one in warm.items():
        cells = [
            f"**{one.per_cpu_second / 1000:.0f}** ({one.smallest / 1000:.0f}-{one.largest / 1000:.0f})",
            f"{one.per_cpu_second_in_all / 1000:.0f}",
            f"{cold[name].per_cpu_second_in_all / 1000:.0f}" if name in cold else "",
            f"{one.per_second / 1000:.0f}",
            f"{one.peak_memory / MIB:.0f}",
            "" if one.state is None else f"{one.checkpoint:.1f} s, {one.state / MIB:.0f} MiB",
        ]
        lines.append(f"| {titles.get(name, name)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _growth(figures: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    parts = ["### Growth", "One warm run each, in a TaskManager of 4 GiB; CPU seconds without the JVM's compilers."]
    for of, points in figures.items():
        lines = [f"| {of} | events read | rows written | CPU seconds | µs for an event or a row |", "|---:" * 5 + "|"]
        for one in points:
            value = next(iter(one.values()))
            each = 1e6 * one["cpu_seconds"] / (one["events"] + one["rows"])
            cells = [_whole(value), _whole(one["events"]), _whole(one["rows"]), f"{one['cpu_seconds']:.1f}"]
            lines.append(f"| {' | '.join(cells)} | {each:.2f} |")
        parts += ["\n".join(lines), f"![CPU seconds by {of}]({_file(of)})"]
    return "\n\n".join(parts)


def _file(of: str) -> str:
    return f"growth-{of.split()[0]}.svg"


def _figures(name: str, figures: Any) -> str:
    lines = [f"### {name.capitalize()}", "", "| | |", "|---|---:|"]
    lines += [f"| {label} | {_shown(value)} |" for label, value in _flat(figures)]
    return "\n".join(lines)


def _flat(figures: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in figures.items():
        label = f"{prefix}{key.replace('_', ' ')}"
        found += _flat(value, f"{label}, ") if isinstance(value, Mapping) else [(label, value)]
    return found


def _shown(value: Any) -> str:
    return f"{value:,.3g}" if isinstance(value, float) and abs(value) < 100 else _whole(value)


def _whole(value: Any) -> str:
    return f"{value:,.0f}" if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def _verdict_table(found: Sequence[Verdict]) -> str:
    words = {True: "met", False: "**not met**", None: "not measured"}
    lines = ["### Goals", "", "| goal | found | |", "|---|---|---|"]
    lines += [f"| {one.goal} | {one.found} | {words[one.met]} |" for one in found]
    return "\n".join(lines)


def _plot(titles: Mapping[str, str], warm: Mapping[str, Summary]) -> bytes:
    import pygal
    from pygal.style import CleanStyle

    chart = pygal.HorizontalBar(
        title="K events per CPU second (median, warm, without compilation)",
        show_legend=False,
        print_values=True,
        style=CleanStyle(background="white", plot_background="white", value_font_size=14, label_font_size=13),
        height=80 + 42 * len(warm),
        width=900,
        disable_xml_declaration=False,
        js=(),
        no_prefix=True,
        value_formatter=lambda value: f"{value:.0f}",
    )
    names = list(warm)[::-1]
    chart.x_labels = [titles.get(name, name) for name in names]
    colours = {"sql": "#5b7fb5", "java": "#b8722c", "floor": "#8a8f98", "copy": "#8a8f98"}
    chart.add(
        "",
        [
            {"value": warm[name].per_cpu_second / 1000, "color": colours.get(name.split("_")[0], "#1b7a5a")}
            for name in names
        ],
    )
    return bytes(chart.render())


def _line(of: str, points: Sequence[Mapping[str, float]]) -> bytes:
    """CPU seconds over events, and over rows where these grow instead: what is linear lies on a straight line."""
    import pygal
    from pygal.style import CleanStyle

    grows = "events" if of == "events" else "rows"
    furthest = max(one[grows] for one in points)
    chart = pygal.XY(
        title=f"CPU seconds over {grows}, in millions" + ("" if of == "events" else f", by {of}"),
        show_legend=False,
        style=CleanStyle(background="white", plot_background="white", colors=("#1b7a5a",), value_label_font_size=13),
        width=720,
        height=320,
        range=(0, max(one["cpu_seconds"] for one in points) * 1.05),
        xrange=(0, furthest / 1e6 * 1.15),
        print_labels=of != "events",
        disable_xml_declaration=False,
        js=(),
        no_prefix=True,
        dots_size=4,
    )
    values, free = [], 0.0
    for one in sorted(points, key=lambda one: one[grows], reverse=True):
        # From the right: a label that would run into the next one is left out, the table has it.
        crowded = bool(values) and free - one[grows] < furthest / 12
        free = free if crowded else one[grows]
        label = "" if crowded else _whole(next(iter(one.values())))
        values.append({"value": (one[grows] / 1e6, one["cpu_seconds"]), "label": label})
    chart.add("", values)
    return bytes(chart.render())


def machine() -> str:
    """Processor, cores, memory, kernel."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores of {model}, {memory:.0f} GiB, Linux {platform.release().split('-')[0]}"
