"""Which tests run in one process, one after the other."""

from pathlib import PurePosixPath

#: What shares a stack, in the order in which it begins: so that two processes have about as much to do. Modules with a
#: stack of their own come before, because a shared one stays up to the end; those without one come last, and fill up.
SHARING = tuple(f"tests/integration/{folder}" for folder in ("jobs", "values", "airflow", "platform"))

#: What needs services, tools or minutes, and no stack: it fills the process that has none.
WITHOUT_STACK = tuple(f"tests/integration/alone/test_{name}.py" for name in ("edges", "install", "planner"))

#: How many stacks run at once, at most: as many as there are cores. More hold each other up past every deadline.
STACKS = 2


def group_of(nodeid: str) -> str:
    """What runs in one process of pytest-xdist: all modules that share a stack; otherwise a module."""
    module = nodeid.partition("::")[0]
    folder = str(PurePosixPath(module).parent)
    return folder if folder in SHARING else module
