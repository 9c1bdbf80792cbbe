"""What MkDocs shows beside the pages of this folder: files of the repository, and reference made from the code."""

from __future__ import annotations

import argparse
import inspect
import json
import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
#: Page of the site → file of the repository that is that page.
ELSEWHERE = {"contributing.md": "CONTRIBUTING.md", "local-stack.md": "devstack/README.md"}
LINK = re.compile(r"(!?)\[([^\]]+)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that are made."""
    made = {page: (ROOT / path).read_text() for page, path in ELSEWHERE.items()}
    made |= {
        "reference/cli.md": commands(),
        "reference/connections.md": connections(),
        "reference/errors.md": errors(),
        "reference/dags.md": dags(),
        "reference/settings.md": settings(),
    }
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    from hopsworks_flink.cli.installing import schema_text

    files.append(File.generated(config, "reference/pipeline.schema.json", content=schema_text()))
    files.remove(files.get_file_from_path("hooks.py"))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links lead to pages of the site; what stands for a file of the repository only keeps its words."""
    source = page.file.src_uri
    origin = ELSEWHERE.get(source, f"docs/{source}")
    pages = {file.src_uri for file in files}

    def resolved(match: re.Match[str]) -> str:
        image, words, path, anchor = match[1], match[2], match[3], match[4] or ""
        target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
        here = {path: page for page, path in ELSEWHERE.items()}.get(target, target.removeprefix("docs/"))
        if target == "README.md":
            here, anchor = "index.md", ""
        if here in pages:
            return f"{image}[{words}]({posixpath.relpath(here, posixpath.dirname(source) or '.')}{anchor})"
        if image or not (ROOT / target).exists():
            return match[0]  # MkDocs says that it leads nowhere
        return words if target in words else f"{words} (`{target}`)"

    return LINK.sub(resolved, markdown)


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Roles of Sphinx in docstrings become the name that they give."""
    return re.sub(r":\w+:<code>~?(?:[\w.]+\.)?(\w+)</code>", r"<code>\1</code>", html)


def commands() -> str:
    """The command line, from its own help."""
    from hopsworks_flink.cli import make_parser

    os.environ["COLUMNS"] = "88"
    parser = make_parser()
    (subparsers,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    parts = ["# Command line", "", "The wheel brings one console script.", "", _help(parser)]
    for name, command in subparsers.choices.items():
        parts += ["", f"## {name}", "", _help(command)]
    return "\n".join(parts)


def _help(parser: argparse.ArgumentParser) -> str:
    return f"```text\n{parser.format_help().rstrip()}\n```"


def connections() -> str:
    """Fields of the connection types, from the provider's metadata."""
    from hopsworks_flink.get_provider_info import get_provider_info

    parts = [
        "# Connections",
        "",
        "Each has a test button in Airflow's form. Operators take another id by `hopsworks_conn_id`, `flink_conn_id`. "
        "Events on another broker than the feature store's need one of Airflow's own type `kafka`.",
    ]
    for kind in get_provider_info()["connection-types"]:
        parts += ["", f"## {kind['hook-name']}", "", f"Type `{kind['connection-type']}`.", ""]
        parts += ["| field | meaning |", "|---|---|"]
        shown = kind.get("ui-field-behaviour", {})
        labels, examples = shown.get("relabeling", {}), shown.get("placeholders", {})
        for field in ("host", "port", "login", "password", "schema"):
            if field not in shown.get("hidden-fields", []):
                example = f", e.g. `{examples[field]}`" if examples.get(field) else ""
                parts.append(f"| `{field}` | {labels.get(field, field)}{example} |")
        for name, field in kind.get("conn-fields", {}).items():
            parts.append(f"| `{name}` (extra) | {field['label']}. {field.get('description', '')} |")
    return "\n".join(parts)


def settings() -> str:
    """Settings of the pipeline file, from its models."""
    from hopsworks_flink.pipeline.spec import schema

    parts = [
        "# Settings of the file",
        "",
        "Made from the models that read the file. [The pipeline file](../pipeline-file.md) explains them; "
        "[pipeline.schema.json](pipeline.schema.json), which `hopsworks-flink schema` prints, gives editors completion "
        "by `# yaml-language-server: $schema=pipeline.schema.json` in the first line of a file.",
        "",
        "`[]` stands for each entry of a list, `*` for each name.",
        "",
        "| setting | meaning | default |",
        "|---|---|---|",
    ]
    for path, value, required in schema.settings():
        words = value.get("description", "").replace("|", "\\|")
        default = f"`{json.dumps(value['default'])}`".replace('"', "") if "default" in value else ""
        parts.append(f"| `{path}` | {words} | {'required' if required else default} |")
    return "\n".join(parts)


def errors() -> str:
    """The errors, from their classes."""
    from hopsworks_flink import exceptions

    parts = [
        "# Errors",
        "",
        "Texts name what is wrong and the remedy. What is *final* fails the task at once (`AirflowFailException`): the "
        "same arguments must fail again. Everything else follows the task's `retries`.",
        "",
        "| error | final | meaning |",
        "|---|---|---|",
    ]
    for name, error in vars(exceptions).items():
        if inspect.isclass(error) and issubclass(error, Exception) and error.__module__ == exceptions.__name__:
            words = " ".join((inspect.getdoc(error) or "").split("\n\n")[0].split()).replace("|", "\\|")
            words = re.sub(r":class:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", words).replace("``", "`")
            parts.append(f"| `{name}` | {'yes' if error.permanent is True else ''} | {words} |")
    return "\n".join(parts)


def dags() -> str:
    """The DAGs, from the text that Airflow shows for each."""
    parts = ["# DAGs", "", "Each pipeline file gets these. `hopsworks_flink.dags` has a function for each."]
    for path in sorted((ROOT / "plugins/hopsworks_flink/dags").glob("[a-z]*.py")):
        text = inspect.cleandoc(re.match(r'"""(.*?)"""', path.read_text(), re.S)[1])  # type: ignore[index]
        if text.startswith("## "):
            parts += ["", f"## `<pipeline>__{path.stem}`", "", re.sub(r"^## (.*)", r"**\1.**", text)]
    return "\n".join(parts)
