"""``python -m devstack.docker file``: the compose file; ``… run PART``: what a container runs."""

from __future__ import annotations

import argparse
import sys

from devstack.config import DevstackConfig, DevstackError
from devstack.docker import compose_file, run
from devstack.parts import NAMES


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m devstack.docker", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("file", help="print the compose file")
    part = commands.add_parser("run", help="prepare a part and become it")
    part.add_argument("part", choices=NAMES)
    part.add_argument("--alone", action="store_true", help="Airflow with the connections of its environment only")
    options = parser.parse_args(arguments)
    try:
        if options.command == "run":
            run(DevstackConfig(), options.part, alone=options.alone)
        sys.stdout.write(compose_file(DevstackConfig()))
    except DevstackError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
