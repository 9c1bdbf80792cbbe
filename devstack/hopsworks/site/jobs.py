"""Jobs, their executions, and what these wrote."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Depends, Query, Request, Response

from devstack.hopsworks.api.routes.context import Context, ContextDep, project_in_path
from devstack.hopsworks.api.routes.jobs import ExecutionDep, JobDep
from devstack.hopsworks.home.setup import read_api_key
from devstack.hopsworks.metadata.models import Execution, Job
from devstack.hopsworks.site.rendering import page_of, render

router = APIRouter(prefix="/p/{project_id}/jobs", dependencies=[Depends(project_in_path)])
PageNumber = Annotated[int, Query(alias="page", ge=1, le=1_000_000)]
LOG_BYTES = 128 * 1024
# The rest of a configuration is memory, cores and the like; what is in it may be a secret.
SHOWN_CONFIG = {"mainClass": "Program", "appPath": "File", "defaultArgs": "Arguments", "files": "Files beside it"}
# Options and settings whose names say that their values are secret. All parts are bounded: a log may be one line.
_WORD = r"(?:passw(?:or)?d|secret|token|credential|api[._-]?key)[\w.-]{0,40}"
_SECRET = re.compile(
    rf"""(--[\w.-]{{0,40}}{_WORD}\s{{1,3}}|{_WORD}["']?\s{{0,3}}[=:]\s{{0,3}})("[^"\n]{{0,500}}"|'[^'\n]{{0,500}}'|\S+)""",
    re.IGNORECASE,
)


class Line(NamedTuple):
    """A line of the list of jobs."""

    job: Job
    executions: int
    last: Execution | None


@router.get("")
def list_jobs(request: Request, context: ContextDep, number: PageNumber = 1) -> Response:
    page = page_of(context.jobs.jobs(), number)
    lines = [Line(job, *context.jobs.last_execution(job)) for job in page.items]
    return render(request, "jobs.html", page=page, lines=lines)


@router.get("/named/{name}")
@router.get("/named/{name}/executions")
def one_job(request: Request, job: JobDep, context: ContextDep, number: PageNumber = 1) -> Response:
    """The job; its executions are on the same page."""
    config = {title: job.config[name] for name, title in SHOWN_CONFIG.items() if job.config.get(name)}
    return render(
        request,
        "job.html",
        job=job,
        config={title: without_secrets(str(value), context) for title, value in config.items()},
        tags=context.store.tags(f"job/{job.id}"),
        page=page_of(context.jobs.executions(job), number),
    )


@router.get("/named/{name}/executions/{execution_id}")
def one_execution(request: Request, job: JobDep, execution: ExecutionDep, context: ContextDep) -> Response:
    logs = [
        (title, log_tail(context, path))
        for title, path in (("Output", execution.stdout_path), ("Errors", execution.stderr_path))
    ]
    arguments = without_secrets(execution.args, context)
    return render(request, "execution.html", job=job, execution=execution, arguments=arguments, logs=logs)


class Log(NamedTuple):
    """The end of a file; ``size`` is that of all of it, None if there is none."""

    path: str
    text: str
    size: int | None
    cut: bool


def log_tail(context: Context, path: str) -> Log:
    file = context.datasets.resolve(path)
    if not file.is_file():
        return Log(path, "", None, False)
    with file.open("rb") as opened:
        size = opened.seek(0, 2)
        opened.seek(max(0, size - LOG_BYTES))
        raw = opened.read(LOG_BYTES)
    cut = size > LOG_BYTES
    if cut:
        # Not in the middle of a line.
        raw = raw.partition(b"\n")[2]
    return Log(path, without_secrets(raw.decode("utf-8", "replace"), context), size, cut)


def without_secrets(text: str, context: Context) -> str:
    """``text`` without the API key, and without the values of options that are called like secrets."""
    return _SECRET.sub(r"\1***", text.replace(read_api_key(context.config), "***"))
