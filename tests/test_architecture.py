"""The shape of the code: layers, no circles, pure modules, folders that can be looked through (CONTRIBUTING.md)."""

from __future__ import annotations

import ast
import functools
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PROVIDER = "hopsworks_flink"
#: From the ground up. What stands in one line knows what stands in the lines above it, and its own folder.
LAYERS = (
    ("exceptions", "_compat", "get_provider_info"),
    ("assets", "links", "pipeline"),
    ("clients", "testing"),
    ("health",),
    ("hooks",),
    ("deployment",),
    ("tasks", "triggers"),
    ("operators", "sensors"),
    ("dags",),
    ("cli",),
    ("pages",),
)
#: Decisions and descriptions: no hook, no network, no Airflow, no clock.
PURE = (
    "exceptions",
    "pipeline",
    "deployment.decision",
    "deployment.desired",
    "deployment.growth",
    "health.bounds",
    "health.explanation",
    "health.gate",
    "health.rows",
    "health.refusal",
    "health.status",
    "health.verdict",
    "health.words",
    "pages.charts",
    "pages.flow",
    "pages.known",
    "pages.overview",
    "pages.pipeline",
)
NOT_PURE = {"time", "socket", "requests", "httpx", "airflow", "hopsworks", "confluent_kafka", "subprocess"}
MOST_MODULES = 13


def modules(root: Path, package: str) -> dict[str, Path]:
    """Dotted name -> file."""
    found = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@functools.cache
def imported(path: Path) -> tuple[str, ...]:
    """What a file imports anywhere in it: at its top, inside functions, and for types only."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [node.module, *(f"{node.module}.{name.name}" for name in node.names)]
    return tuple(found)


def graph(known: dict[str, Path]) -> dict[str, set[str]]:
    """Module -> the modules of the same package that it imports; a name out of a package is the package."""
    return {module: {name for name in imported(path) if name in known} - {module} for module, path in known.items()}


KNOWN = modules(REPOSITORY / "plugins", PROVIDER)
IMPORTS = graph(KNOWN)
DEVSTACK = modules(REPOSITORY, "devstack")


def layer(module: str) -> int:
    part = module.removeprefix(f"{PROVIDER}.").partition(".")[0]
    return next(number for number, parts in enumerate(LAYERS) if part in parts)


def is_in(module: str, places: tuple[str, ...]) -> bool:
    name = module.removeprefix(f"{PROVIDER}.")
    return any(name == place or name.startswith(f"{place}.") for place in places)


def test_every_module_has_a_layer() -> None:
    assert len(KNOWN) > 80
    assert [name for name in KNOWN if name != PROVIDER and not any(is_in(name, parts) for parts in LAYERS)] == []


def test_imports_run_down_only() -> None:
    upwards = [
        f"{module} -> {other}"
        for module, others in IMPORTS.items()
        for other in others
        if PROVIDER not in (module, other)
        and module.split(".")[1] != other.split(".")[1]
        and layer(other) >= layer(module)
    ]
    assert upwards == []


@pytest.mark.parametrize("known", [KNOWN, DEVSTACK], ids=["provider", "devstack"])
def test_no_circles(known: dict[str, Path]) -> None:
    packages = {name for name, path in known.items() if path.name == "__init__.py"}
    edges = {
        # The face of a package repeats names of its modules; these know each other by their own names.
        module: {other for other in others if not (other in packages and module.startswith(f"{other}."))}
        for module, others in graph(known).items()
    }
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_pure_modules_touch_nothing() -> None:
    touching = [
        f"{module} -> {name}"
        for module, path in KNOWN.items()
        if is_in(module, PURE)
        for name in imported(path)
        if name.partition(".")[0] in NOT_PURE or name.startswith((f"{PROVIDER}.hooks", f"{PROVIDER}._compat"))
    ]
    assert touching == []


def test_folders_can_be_looked_through() -> None:
    crowded = {}
    for folder in {path.parent for path in (*KNOWN.values(), *DEVSTACK.values())}:
        names = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
        if len(names) > MOST_MODULES:
            crowded[str(folder.relative_to(REPOSITORY))] = len(names)
    assert crowded == {}


def test_provider_and_local_stack_are_strangers() -> None:
    """Nothing imports devstack; devstack takes from the provider what is pure."""
    assert [module for module, path in KNOWN.items() if any(n.startswith("devstack") for n in imported(path))] == []
    foreign = {
        f"{module} -> {name}"
        for module, path in DEVSTACK.items()
        for name in imported(path)
        if name.startswith(f"{PROVIDER}.") and not is_in(name, PURE)
    }
    assert foreign == set()


def test_flink_programs_need_nothing_of_the_project() -> None:
    """They run inside Flink, where neither Airflow nor this package is installed."""
    for path in (REPOSITORY / "flink_jobs").glob("*.py"):
        assert not [name for name in imported(path) if name.partition(".")[0] in (PROVIDER, "devstack", "airflow")]
