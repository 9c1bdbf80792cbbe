"""The console script ``hopsworks-flink``: look at pipelines before and after they are deployed, and install.

Only argparse is imported here; each command brings what it needs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import NoReturn, TypeVar

from hopsworks_flink import __version__
from hopsworks_flink.exceptions import HopsworksFlinkError

T = TypeVar("T")
_CONTEXT = "_AIRFLOW_PROCESS_CONTEXT"
#: Exit codes.
DONE, ERROR, CHANGES = 0, 1, 2


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # argparse ends with 2, which means here that something would change.
        self.print_usage(sys.stderr)
        self.exit(ERROR, f"{self.prog}: error: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    :param arguments: of the command line; None: of this process.
    :return: exit code: 0 done, 1 error; for ``plan`` 0 nothing to change, 2 something would change.
    """
    options = make_parser().parse_args(arguments)
    try:
        code = options.run(options)
        sys.stdout.flush()
        return code
    except HopsworksFlinkError as error:
        print(f"error: {error}", file=sys.stderr)
        return ERROR
    except BrokenPipeError:
        # Whoever reads has enough (`| head`). The interpreter must not write to the pipe again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        # A file or folder that was named cannot be written, or read.
        print(f"error: {error.filename}: {error.strerror}." if error.filename else f"error: {error}", file=sys.stderr)
        return ERROR


def make_parser() -> argparse.ArgumentParser:
    """All commands with their arguments; the documentation prints its help."""
    parser = _Parser(prog="hopsworks-flink", description="Feature pipelines: look before you deploy.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    compiler = _command(commands, "compile", "show the SQL, schemas and feature groups that a file means; offline")
    compiler.set_defaults(run=_compile)

    evaluation = _command(commands, "evaluate", "compute the features of given events; offline, needs DuckDB")
    evaluation.add_argument(
        "--events", required=True, metavar="FILE", help="JSON lines, one event each, in order of arrival; - for stdin"
    )
    evaluation.add_argument(
        "--join",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="versions of a join of the file, as events; a tombstone has key, __kafka_timestamp and __tombstone: true",
    )
    evaluation.add_argument("--group", metavar="NAME_VERSION", help="only this feature group, e.g. cards_1")
    evaluation.set_defaults(run=_evaluate)

    plan = _command(commands, "plan", "compare a file with what is deployed; changes nothing")
    plan.epilog = (
        "Connections are Airflow's, e.g. AIRFLOW_CONN_HOPSWORKS_DEFAULT and AIRFLOW_CONN_FLINK_DEFAULT in the "
        "environment. Exit code: 0 nothing would change, 2 something would change or be refused, 1 error."
    )
    plan.add_argument(
        "--state", choices=("auto", "restore", "rewarm", "fresh"), default="auto", help="of the deployment"
    )
    plan.add_argument("--parallelism", type=int, help="of the deployment (default: as the file says)")
    plan.add_argument(
        "--flink-configuration",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of the deployment; may be repeated",
    )
    _connections(plan)
    plan.set_defaults(run=_plan)

    status = commands.add_parser("status", help="one line for each pipeline of a folder, and for jobs without a file")
    status.add_argument("folder", metavar="DIR", help="the folder of the pipeline files")
    status.add_argument("--json", action="store_true", help="print JSON")
    status.add_argument("--flink-conn-id", default="flink_default", metavar="ID", help="default: %(default)s")
    status.epilog = "Exit code: 0 all are healthy, 2 one is not, 1 error."
    status.set_defaults(run=_status)

    why = _command(commands, "explain", "where one value comes from, and why places differ; changes nothing")
    why.add_argument(
        "--key", required=True, metavar="VALUE[,VALUE]", help="of the feature group, in its order; as in CSV"
    )
    why.add_argument("--at", required=True, metavar="TIME", help="ISO time, or epoch ms: the row valid then")
    why.add_argument("--group", metavar="NAME_VERSION", help="only this feature group, e.g. cards_1")
    why.add_argument(
        "--margin",
        metavar="DURATION",
        help="how long after a row's time its events may arrive, e.g. 2h (default: an hour, max_disorder, and as "
        "much as the topic's newest events lie behind their Kafka time)",
    )
    why.add_argument("--source-kafka-conn-id", metavar="ID", help="of a source topic not on Hopsworks' broker")
    _connections(why)
    why.epilog = "Needs DuckDB. Exit code: 0 the places agree, 2 a value differs, 1 error."
    why.set_defaults(run=_explain)

    ending = commands.add_parser("undeploy", help="stop a pipeline's job, and delete what is named; shows it first")
    ending.description = (
        "Stops the job of a pipeline. Feature groups and topics stay, unless they are named. Shows what would happen, "
        "and asks."
    )
    ending.add_argument("pipeline", metavar="NAME", help="the pipeline's name; its file is not needed")
    ending.add_argument("--mode", choices=("savepoint", "drain", "cancel"), default="savepoint", help="how it ends")
    ending.add_argument(
        "--delete-feature-group", action="append", default=[], metavar="NAME_VERSION", help="may be repeated"
    )
    ending.add_argument("--delete-topic", action="append", default=[], metavar="NAME", help="may be repeated")
    ending.add_argument("--yes", action="store_true", help="do not ask")
    _connections(ending)
    ending.set_defaults(run=_undeploy)

    doctor = commands.add_parser("doctor", help="look at packages, connections, jars, and say what to do")
    doctor.description = "Looks at everything that pipelines need, one line for each. Changes nothing."
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.add_argument("--kafka-conn-id", metavar="ID", help="of source topics that are not on Hopsworks' broker")
    _connections(doctor)
    doctor.epilog = "Exit code: 0 nothing is wrong, 2 something is, 1 error."
    doctor.set_defaults(run=_doctor)

    start = commands.add_parser("init", help="write a DAG folder to begin with: DAG files, an example, a test")
    start.add_argument("folder", metavar="DIR")
    start.add_argument(
        "--hopsworks-airflow", action="store_true", help="for the Airflow inside Hopsworks: flat files, one DAG each"
    )
    start.add_argument("--project", metavar="NAME", help="of Hopsworks, with --hopsworks-airflow")
    start.add_argument("--project-id", type=int, metavar="N", help="its number, with --hopsworks-airflow")
    start.add_argument("--pipeline", metavar="FILE", help="with --hopsworks-airflow (default: the example)")
    start.set_defaults(run=_init)

    adopt = commands.add_parser("adopt", help="write a pipeline file for a registered group and a topic, with blanks")
    adopt.add_argument("group", metavar="GROUP", help="name of the feature group")
    adopt.add_argument("version", metavar="VERSION", type=int)
    adopt.add_argument("--topic", required=True, metavar="TOPIC", help="with the events")
    adopt.add_argument("--schema", metavar="FILE", help="its Avro schema (default: the one registered for the topic)")
    adopt.add_argument("--output", metavar="FILE", help="where to write (default: print)")
    adopt.add_argument("--hopsworks-conn-id", default="hopsworks_default", metavar="ID", help="default: %(default)s")
    adopt.set_defaults(run=_adopt)

    schema = commands.add_parser("schema", help="print the JSON Schema of the pipeline file, for editors")
    schema.set_defaults(run=_schema)

    jars = commands.add_parser("jars", help="fetch the jars that jobs bring along into a folder")
    jars.add_argument("folder", metavar="DIR", help="the jars_dir of the Flink connection")
    jars.add_argument("--repository", metavar="URL", help="a Maven repository (default: Maven Central)")
    jars.set_defaults(run=_jars)

    packages = commands.add_parser("requirements", help="print packages tested together, for pip install --no-deps -r")
    packages.add_argument("--airflow", metavar="VERSION", help="default: the one that is installed")
    packages.add_argument("--missing", action="store_true", help="leave out what is installed")
    packages.set_defaults(run=_requirements)
    return parser


def _command(commands: argparse._SubParsersAction[_Parser], name: str, text: str) -> _Parser:
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("file", metavar="FILE", help="the pipeline file")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _connections(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hopsworks-conn-id", default="hopsworks_default", metavar="ID", help="default: %(default)s")
    parser.add_argument("--flink-conn-id", default="flink_default", metavar="ID", help="default: %(default)s")


def _compile(options: argparse.Namespace) -> int:
    from hopsworks_flink.cli.compiling import compiled, compiled_text
    from hopsworks_flink.cli.output import as_json
    from hopsworks_flink.pipeline.spec import Pipeline

    pipeline = Pipeline.from_yaml(options.file)
    print(as_json(compiled(pipeline)) if options.json else compiled_text(pipeline))
    return DONE


def _evaluate(options: argparse.Namespace) -> int:
    from hopsworks_flink.cli.evaluating import evaluated
    from hopsworks_flink.cli.output import as_json, as_table

    found = evaluated(options.file, options.events, options.group, options.join)
    if options.json:
        print(as_json(found))
    else:
        print("\n\n".join(f"{name}: {len(rows)} row(s)\n{as_table(rows)}" for name, rows in found.items()))
    return DONE


def _plan(options: argparse.Namespace) -> int:
    from hopsworks_flink.cli.output import as_json

    flink_configuration = _pairs(options.flink_configuration)
    with _quiet_airflow():
        from hopsworks_flink.tasks.planning import Deployment, compare

        comparison = compare(
            options.file,
            Deployment(
                state=options.state,
                parallelism=options.parallelism,
                flink_configuration=flink_configuration,
                hopsworks_conn_id=options.hopsworks_conn_id,
                flink_conn_id=options.flink_conn_id,
            ),
        )
    print(as_json(comparison.to_dict()) if options.json else comparison.to_text())
    return CHANGES if comparison.changes else DONE


def _status(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from hopsworks_flink.cli.output import as_json, as_table

    with _quiet_airflow():
        from hopsworks_flink.cli.status import status

        lines = status(options.folder, options.flink_conn_id)
    rows = [asdict(line) for line in lines]
    print(as_json(rows) if options.json else as_table(rows))
    return DONE if all(line.is_well for line in lines) else CHANGES


def _explain(options: argparse.Namespace) -> int:
    from hopsworks_flink.cli.output import as_json

    with _quiet_airflow():
        from hopsworks_flink.cli.explaining import Question, explain, to_text

        question = Question(
            options.file,
            options.key,
            options.at,
            options.group,
            options.margin,
            options.hopsworks_conn_id,
            options.flink_conn_id,
            options.source_kafka_conn_id,
        )
        found = explain(question)
    shown = as_json([one.to_dict() for one in found]) if options.json else "\n\n\n".join(map(to_text, found))
    print(shown)
    return CHANGES if any(one.differs for one in found) else DONE


def _undeploy(options: argparse.Namespace) -> int:
    from hopsworks_flink.exceptions import ConfigurationError

    with _quiet_airflow():
        from hopsworks_flink.cli.undeploying import Undeployment

        undeployment = Undeployment.parse(
            options.pipeline,
            options.mode,
            options.delete_feature_group,
            options.delete_topic,
            flink_conn_id=options.flink_conn_id,
            hopsworks_conn_id=options.hopsworks_conn_id,
        )
        shown = list(undeployment.shown())
    print("\n".join(shown))
    if not options.yes:
        if not sys.stdin.isatty():
            raise ConfigurationError("Nothing was done: nobody can be asked here. With --yes it is done without.")
        try:
            answer = input(f"To go on, type the pipeline's name ({options.pipeline}): ")
        except (EOFError, KeyboardInterrupt):
            answer = ""
            print()
        if answer.strip() != options.pipeline:
            print("Nothing was done.")
            return DONE
    for step in _each(undeployment.run()):
        print(step, flush=True)
    print(
        f"The DAG {options.pipeline}__supervise is not told: pause it, or it misses the job. "
        f"({options.pipeline}__undeploy does the same and tells it.)"
    )
    return DONE


def _doctor(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from hopsworks_flink.cli.output import as_json

    found = []
    with _quiet_airflow():
        from hopsworks_flink.cli import doctor

        checks = doctor.examine(options.hopsworks_conn_id, options.flink_conn_id, options.kafka_conn_id)
    for check in _each(checks):
        found.append(check)
        if not options.json:
            print(f"{check.result:<8} {check.subject:<15} {check.text}", flush=True)
    if options.json:
        print(as_json([asdict(check) for check in found]))
    return CHANGES if any(check.result == doctor.WRONG for check in found) else DONE


def _each(steps: Iterator[T]) -> Iterator[T]:
    """The steps; what is printed while one is made goes elsewhere."""
    while True:
        with _quiet_airflow():
            step = next(steps, None)
        if step is None:
            return
        yield step


@contextlib.contextmanager
def _quiet_airflow() -> Iterator[None]:
    """Airflow logs to the standard output, which is for the answer alone, and more than one wants to read here."""
    os.environ.setdefault("AIRFLOW__LOGGING__LOGGING_LEVEL", "ERROR")
    # As the commands of Airflow's own command line do: without it, Airflow 3.1 and newer look for connections in the
    # environment only, and not among those that were made in its UI.
    before = os.environ.get(_CONTEXT)
    os.environ.setdefault(_CONTEXT, "server")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if before is None:
            del os.environ[_CONTEXT]


def _init(options: argparse.Namespace) -> int:
    from hopsworks_flink.cli.installing import init, init_for_hopsworks
    from hopsworks_flink.exceptions import ConfigurationError

    if not options.hopsworks_airflow:
        if options.pipeline or options.project or options.project_id is not None:
            raise ConfigurationError("--project, --project-id and --pipeline are for --hopsworks-airflow; add it.")
        written = init(options.folder)
    elif options.project and options.project_id is not None:
        written = init_for_hopsworks(options.folder, options.project, options.project_id, options.pipeline)
    else:
        raise ConfigurationError(
            "--hopsworks-airflow needs --project and --project-id: they are part of the DAGs' ids."
        )
    print("\n".join(written))
    print(
        "Next: `hopsworks-flink doctor` says what is missing; then trigger the pipeline's deploy DAG.", file=sys.stderr
    )
    return DONE


def _adopt(options: argparse.Namespace) -> int:
    with _quiet_airflow():
        from hopsworks_flink.cli.adopting import adopt

        text = adopt(
            options.group, options.version, options.topic, options.schema, options.output, options.hopsworks_conn_id
        )
    print(options.output or text, end="\n" if options.output else "")
    return DONE


def _schema(options: argparse.Namespace) -> int:
    from hopsworks_flink.cli.installing import schema_text

    print(schema_text(), end="")
    return DONE


def _jars(options: argparse.Namespace) -> int:
    from hopsworks_flink.cli.installing import MAVEN_CENTRAL, fetch_jars

    for path in fetch_jars(options.folder, options.repository or MAVEN_CENTRAL):
        print(path, flush=True)
    return DONE


def _requirements(options: argparse.Namespace) -> int:
    from hopsworks_flink.cli.installing import requirements

    print("\n".join(requirements(options.airflow, options.missing)))
    return DONE


def _pairs(settings: Sequence[str]) -> dict[str, str]:
    from hopsworks_flink.exceptions import ConfigurationError

    for setting in settings:
        if "=" not in setting:
            raise ConfigurationError(f"--flink-configuration {setting!r} must be KEY=VALUE")
    return dict(setting.split("=", 1) for setting in settings)
