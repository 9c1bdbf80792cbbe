"""The folders of the local stack: imports run down only, none in a circle."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from devstack.config import REPOSITORY

# From the bottom to the top: a folder imports itself and what stands before it.
LAYERS = ("home", "metadata", "jobs", "online", "offline", "featurestore", "api", "site")
MOST_MODULES = 12


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(file): file for file in (REPOSITORY / "devstack").rglob("*.py")}


def imports(name: str) -> set[str]:
    """The modules of the local stack that a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from package import module` and `from module import name`.
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= full & MODULES.keys() or {node.module}
    return found & MODULES.keys()


def layer(name: str) -> int | None:
    parts = name.split(".")
    return LAYERS.index(parts[2]) if parts[1:2] == ["hopsworks"] and len(parts) > 2 and parts[2] in LAYERS else None


def test_no_circles() -> None:
    # Raises CycleError, naming the circle.
    list(TopologicalSorter({name: imports(name) for name in MODULES}).static_order())


@pytest.mark.parametrize("name", sorted(name for name in MODULES if layer(name) is not None))
def test_imports_run_down(name: str) -> None:
    above = {other for other in imports(name) if (layer(other) or 0) > (layer(name) or 0)}
    assert not above


def test_every_folder_of_the_server_has_its_layer() -> None:
    folders = {
        path.name for path in (REPOSITORY / "devstack" / "hopsworks").iterdir() if (path / "__init__.py").exists()
    }
    assert folders == set(LAYERS)


def test_folders_stay_small() -> None:
    folders = [file.parent for file in MODULES.values() if file.name != "__init__.py"]
    assert {str(folder): n for folder in folders if (n := folders.count(folder)) > MOST_MODULES} == {}
