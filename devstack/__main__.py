"""``python -m devstack up|down|status|logs|env``: the local stack at the terminal."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from devstack.config import DevstackError, from_environment
from devstack.parts import NAMES
from devstack.stack import PartStatus, Stack

_COLOURS = {"healthy": "green", "starting": "yellow", "restarting": "yellow", "stopped": "dim"}
_FOLLOW_SECONDS = 0.3


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    console = Console()
    try:
        return int(options.run(Stack(from_environment()), console, options))
    except DevstackError as error:
        Console(stderr=True).print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m devstack", description="The local stack: Kafka, Flink, Hopsworks, Airflow."
    )
    commands = parser.add_subparsers(required=True, metavar="up|down|status|logs|env")
    up = commands.add_parser("up", help="start what does not run and wait until all of it works")
    up.add_argument("parts", nargs="*", metavar="PART", help=f"default: all of {', '.join(NAMES)}")
    up.set_defaults(run=_up)
    down = commands.add_parser("down", help="end every process of the stack; its state stays")
    down.add_argument(
        "--wipe", action="store_true", help="remove the state as well (topics, features, Airflow's history)"
    )
    down.set_defaults(run=_down)
    commands.add_parser("status", help="one line per part; exit code 1 unless all are healthy").set_defaults(
        run=_status
    )
    logs = commands.add_parser("logs", help="the log of a part")
    logs.add_argument("part", metavar="PART")
    logs.add_argument("-n", type=int, default=50, dest="lines", help="how many lines from the end (default 50)")
    logs.add_argument("-f", action="store_true", dest="follow", help="go on printing new lines")
    logs.set_defaults(run=_logs)
    env = commands.add_parser(
        "env", help='what `hopsworks-flink` needs to reach this stack: eval "$(python -m devstack env)"'
    )
    env.set_defaults(run=_env)
    return parser


def bring_up(stack: Stack, console: Console, parts: list[str] | None = None) -> None:
    """Bring the stack up while telling the console what happens.

    :raises DevstackError: when a part does not come up.
    """
    began = time.monotonic()

    def progress(part: str, message: str) -> None:
        line = f"{time.monotonic() - began:5.0f} s  {part:<18} {message}"
        console.print(line, style="green" if message == "healthy" else None, highlight=False, markup=False)

    with console.status("starting the stack"):
        stack.up(parts, progress)
    console.print(f"The stack is up after {time.monotonic() - began:.0f} s.", highlight=False)


def _up(stack: Stack, console: Console, options: argparse.Namespace) -> int:
    bring_up(stack, console, options.parts or None)
    print_addresses(stack, console)
    return 0


def print_addresses(stack: Stack, console: Console) -> None:
    """One value a line, which the terminal may break but a copy does not."""
    for name, value in stack.addresses():
        console.print(f"{name:<14}  {value}", highlight=False, markup=False, soft_wrap=True)


def _down(stack: Stack, console: Console, options: argparse.Namespace) -> int:
    with console.status("ending the stack"):
        stack.down(wipe=options.wipe)
    console.print("The stack is down; its state is gone." if options.wipe else "The stack is down; its state is kept.")
    return 0


def _status(stack: Stack, console: Console, options: argparse.Namespace) -> int:
    statuses = stack.status()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("part", "state", "up", "memory"):
        table.add_column(column, no_wrap=True)
    table.add_column("detail")
    for part in statuses:
        table.add_row(*_row(part))
    console.print(table)
    total = sum(part.memory_bytes for part in statuses) / 2**20
    console.print(f"{total:.0f} MiB in all", highlight=False)
    if any(part.state != "stopped" for part in statuses):
        console.print()
        print_addresses(stack, console)
    return 0 if all(part.healthy for part in statuses) else 1


def _row(part: PartStatus) -> list[str]:
    colour = _COLOURS.get(part.state, "red")
    up = f"{part.uptime_seconds:.0f} s" if part.pids else ""
    memory = f"{part.memory_bytes / 2**20:.0f} MiB" if part.pids else ""
    return [part.name, f"[{colour}]{part.state}[/]", up, memory, part.detail]


def _env(stack: Stack, console: Console, options: argparse.Namespace) -> int:
    """Lines for a shell. They hold the stack's own secrets, and nothing of the caller's environment."""
    config = stack.config
    variables = {
        "AIRFLOW_HOME": str(config.airflow_home),
        # By these names the SDK's login() finds it.
        "HOPSWORKS_HOST": config.host("hopsworks"),
        "HOPSWORKS_PORT": str(config.hopsworks_port),
        "HOPSWORKS_PROJECT": config.project,
        "HOPSWORKS_API_KEY": stack.api_key,
        "HOPSWORKS_TRUST_STORE_PATH": str(config.hopsworks_ca),
        # For producers of events.
        "KAFKA_BOOTSTRAP_SERVERS": config.kafka_bootstrap,
        **{f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields) for name, fields in stack.airflow_connections().items()},
    }
    for name, value in variables.items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
    return 0


def _logs(stack: Stack, console: Console, options: argparse.Namespace) -> int:
    files = [file for file in stack.log_files(options.part) if file.is_file()]
    if not files:
        raise DevstackError(f"{options.part} has no log yet.")
    for file in files:
        _print_lines(file, file.read_text(errors="replace").splitlines()[-options.lines :], many=len(files) > 1)
    if options.follow:
        _follow(files)
    return 0


def _follow(files: list[Path]) -> None:
    positions = {file: file.stat().st_size for file in files}
    while True:
        for file in files:
            size = file.stat().st_size if file.exists() else 0
            if size < positions[file]:
                positions[file] = 0  # rotated
            if size > positions[file]:
                with file.open("rb") as stream:
                    stream.seek(positions[file])
                    text = stream.read(size - positions[file]).decode(errors="replace")
                positions[file] = size
                _print_lines(file, text.splitlines(), many=len(files) > 1)
        time.sleep(_FOLLOW_SECONDS)


def _print_lines(file: Path, lines: list[str], many: bool) -> None:
    for line in lines:
        sys.stdout.write(f"{file.stem}  {line}\n" if many else f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
