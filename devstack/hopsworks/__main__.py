"""``python -m devstack.hopsworks <verb>``: the processes of the local Hopsworks. Settings come from the environment."""

from __future__ import annotations

import argparse
import sys

from devstack.config import DevstackConfig, DevstackError


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m devstack.hopsworks", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("init", help="make folders, certificates and the API key; keeps what exists")
    verbs.add_parser("serve", help="the REST server (https), in the foreground")
    verbs.add_parser("onlinefs", help="the consumer that fills the online store, in the foreground")
    verbs.add_parser("link", help="print an address that logs a browser in: good once, within an hour")
    for verb, kind in (("materialize", "a materialization job"), ("program", "a job of type PYTHON")):
        execution = verbs.add_parser(verb, help=f"one execution of {kind}; started by the server")
        execution.add_argument("--execution", type=int, required=True, help="id of the execution")
    return parser.parse_args()


def main() -> int:
    """Run one verb; the imports are local because each process needs only its own part."""
    arguments = _arguments()
    config = DevstackConfig()
    if arguments.verb == "init":
        from devstack.hopsworks.home.setup import initialise

        initialise(config)
    elif arguments.verb == "serve":
        from devstack.hopsworks.server import serve

        serve(config)
    elif arguments.verb == "onlinefs":
        from devstack.hopsworks.online.consumer import run

        run(config)
    elif arguments.verb == "link":
        from devstack.hopsworks.home.loginlinks import make_link

        try:
            print(make_link(config))
        except DevstackError as error:
            raise SystemExit(str(error)) from error
    elif arguments.verb == "program":
        from devstack.hopsworks.jobs.program import run_program

        run_program(config, arguments.execution)
    else:
        from devstack.hopsworks.offline.materialize import run_execution

        run_execution(config, arguments.execution)
    return 0


if __name__ == "__main__":
    sys.exit(main())
