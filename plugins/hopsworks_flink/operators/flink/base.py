"""What the operators that start Python jobs in Flink have in common."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import BaseOperator
from hopsworks_flink.clients.flink.bundle import Bundle
from hopsworks_flink.clients.flink.files import read_file, read_program
from hopsworks_flink.clients.flink.jobs import TERMINAL_STATES
from hopsworks_flink.deployment.desired import DesiredJob
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.links import FlinkExceptionsLink, FlinkJobLink
from hopsworks_flink.tasks.arguments import as_int, as_strings, as_text, option_names, refuse_secrets
from hopsworks_flink.tasks.deferral import may_defer
from hopsworks_flink.tasks.links import FLINK_COLOUR, push_links

if TYPE_CHECKING:
    from hopsworks_flink._compat import Context
    from hopsworks_flink.triggers.flink import FlinkJobTrigger
    from hopsworks_flink.triggers.flink_deploy import FlinkDeploymentTrigger

#: A bounded job that fails at the same place again and again has failed: its cause belongs into the task's log.
BOUNDED_DEFAULTS = {
    "restart-strategy.type": "fixed-delay",
    "restart-strategy.fixed-delay.attempts": "3",
    "restart-strategy.fixed-delay.delay": "5 s",
}


class FlinkPythonJobOperator(BaseOperator):
    """Base of the operators that start a Python program; not for use in DAGs."""

    template_fields: Sequence[str] = (
        "job_name",
        "program",
        "files",
        "data_files",
        "arguments",
        "parallelism",
        "flink_configuration",
        "jars",
        "flink_conn_id",
    )
    #: What the program reads with that has jars of its own, see `find_jars`.
    file_formats: Sequence[str] = ()
    operator_extra_links = (FlinkJobLink(), FlinkExceptionsLink())
    ui_color = FLINK_COLOUR

    def __init__(
        self,
        *,
        job_name: str,
        program: str,
        files: Mapping[str, str] | None = None,
        data_files: Mapping[str, Any] | None = None,
        arguments: Sequence[Any] | None = None,
        parallelism: int | str | None = 1,
        flink_configuration: Mapping[str, Any] | None = None,
        jars: Sequence[str] | None = None,
        flink_conn_id: str = FlinkHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_name = job_name
        self.program = program
        self.files = files
        self.data_files = data_files
        self.arguments = arguments
        self.parallelism = parallelism
        self.flink_configuration = flink_configuration
        self.jars = jars
        self.flink_conn_id = flink_conn_id

    def build_bundle(self) -> Bundle:
        """The program with its files. A subclass may add to it."""
        module, program = read_program(as_text(self.program, "program"))
        files = {f"{module}.py": program}
        for name, path in (self.files or {}).items():
            files[name] = read_file(path, f"files[{name!r}]")
        for name, value in (self.data_files or {}).items():
            files[name] = json.dumps(value, sort_keys=True, ensure_ascii=False).encode()
        return Bundle(module, files)

    def secret_files(self) -> Mapping[str, bytes]:
        """Files with credentials and values of a single run, made only when the job is really started."""
        return {}

    def desired_job(self, hook: FlinkHook, defaults: Mapping[str, str]) -> DesiredJob:
        """The job that the rendered arguments describe.

        :raises ConfigurationError: an argument is wrong or a file is missing.
        """
        arguments = tuple(str(argument) for argument in self.arguments or ())
        configuration = as_strings(self.flink_configuration, "flink_configuration")
        refuse_secrets(configuration, "flink_configuration")
        refuse_secrets(option_names(arguments), "arguments")
        return DesiredJob(
            job_name=as_text(self.job_name, "job_name"),
            bundle=self.build_bundle(),
            jars=hook.find_jars(self.jars, self.file_formats),
            arguments=arguments,
            parallelism=self.wanted_parallelism(),
            flink_configuration={**defaults, **configuration},
            secret_files=self.secret_files,
        )

    def wanted_parallelism(self) -> int:
        """The rendered argument."""
        return as_int(self.parallelism, "parallelism")

    def show_job(self, context: Context, hook: FlinkHook, job_id: str) -> str:
        """Make the job's button work and return the address."""
        url = push_links(context, self, hook, job_id)
        self.log.info("Job %s: %s", job_id, url)
        return url


def wait_for_event(
    operator: BaseOperator,
    hook: FlinkHook,
    trigger: FlinkJobTrigger | FlinkDeploymentTrigger,
    deferrable: bool,
    kwargs: Mapping[str, Any],
) -> dict[str, Any]:
    """The event of a trigger: awaited here, or by deferring the task unless the job has ended already.

    Where no triggerer is alive, it is awaited here as well.

    :param kwargs: for the operator's ``execute_complete``.
    """
    if deferrable:
        state = hook.job_state(trigger.job_id)
        if state is not None and state not in TERMINAL_STATES and may_defer(operator):
            # The deadline is the trigger's: one of Airflow's own would leave what was begun without anybody to see it.
            operator.defer(trigger=trigger, method_name="execute_complete", kwargs=dict(kwargs), timeout=None)
    return asyncio.run(trigger.report(hook.settings))
