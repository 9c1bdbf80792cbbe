"""Which tests run in one process, one after the other."""

from pathlib import PurePosixPath

#: What shares a stack, in the order in which it begins. Other modules, with a stack of their own or none, come before.
SHARING = tuple(f"tests/integration/{folder}" for folder in ("jobs", "airflow", "values", "platform"))

#: How many stacks run at once, at most: as many as there are cores. More hold each other up past every deadline.
STACKS = 2


def group_of(nodeid: str) -> str:
    """What runs in one process of pytest-xdist: all modules that share a stack; otherwise a module."""
    module = nodeid.partition("::")[0]
    folder = str(PurePosixPath(module).parent)
    return folder if folder in SHARING else module
