"""Jobs, executions, schedules."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from devstack.hopsworks.api.inputs import Limit, Number, Offset
from devstack.hopsworks.api.routes.context import Context, ContextDep, JsonObject, ProjectDep
from devstack.hopsworks.api.routes.tags import tag_routes
from devstack.hopsworks.home import errors
from devstack.hopsworks.home.layout import PROJECT_ID
from devstack.hopsworks.jobs import clusters
from devstack.hopsworks.jobs.executions import PYTHON_TYPE, check_variables
from devstack.hopsworks.metadata.models import MATERIALIZATION_SUFFIX, Execution, Job

router = APIRouter(prefix="/project/{project_id}/jobs")
JOB_TYPES = {
    "sparkJobConfiguration": "SPARK",
    "pythonJobConfiguration": "PYTHON",
    "dockerJobConfiguration": "DOCKER",
    "ingestionJobConfiguration": "INGESTION",
    "agentJobConfiguration": "AGENT",
    "pythonAppJobConfiguration": "PYTHON_APP",
    "flinkJobConfiguration": "FLINK",
}
MOST_NAME = 128
PYTHON_RUNNER = "org.apache.spark.deploy.PythonRunner"


def _job(project: ProjectDep, name: str, context: ContextDep) -> Job:
    job = context.jobs.job(name)
    if job is None:
        raise errors.JOB_NOT_FOUND(f"job {name!r}")
    return job


JobDep = Annotated[Job, Depends(_job)]


def _execution(job: JobDep, execution_id: Number, context: ContextDep) -> Execution:
    execution = context.jobs.execution(execution_id)
    if execution is None:
        raise errors.EXECUTION_NOT_FOUND(f"execution {execution_id}")
    if execution.job_id != job.id:
        raise errors.EXECUTION_OF_OTHER_JOB(f"execution {execution_id} is not one of job {job.name!r}")
    return execution


ExecutionDep = Annotated[Execution, Depends(_execution)]


def job_response(job: Job, context: Context) -> dict[str, Any]:
    href = f"{context.config.hopsworks_url}/hopsworks-api/api/project/{PROJECT_ID}/jobs/{quote(job.name, safe='')}"
    return {**job.wire(), "creator": context.layout.creator, "href": href}


def execution_response(execution: Execution, context: Context) -> dict[str, Any]:
    body = execution.model_dump(by_alias=True, exclude={"job_id", "pid", "stop_requested"})
    user = f"{context.layout.project}__{context.config.user}"
    return {**body, "hdfsUser": user, "user": context.layout.creator, "rerunCount": 0}


def _page(items: list[dict[str, Any]], offset: int, limit: int | None) -> dict[str, Any]:
    page = items[offset : None if limit is None else offset + limit]
    return {"count": len(items), **({"items": page} if page else {})}


@router.get("")
def jobs(project: ProjectDep, context: ContextDep, offset: Offset = 0, limit: Limit = None) -> dict[str, Any]:
    return _page([job_response(job, context) for job in context.jobs.jobs()], offset, limit)


@router.get("/{job_type}/configuration")
def configuration(project: ProjectDep, job_type: str) -> dict[str, Any]:
    """Defaults of a job type, for ``JobApi.get_configuration``."""
    kind = next((name for name, value in JOB_TYPES.items() if value == job_type.upper()), None)
    if job_type.upper() == "PYSPARK":
        return {"type": "sparkJobConfiguration", "mainClass": PYTHON_RUNNER, "defaultArgs": ""}
    if kind is None:
        raise errors.ILLEGAL_ARGUMENT(f"job type {job_type!r}; known are PYSPARK, {', '.join(JOB_TYPES.values())}.")
    return {"type": kind, "defaultArgs": ""}


@router.get("/{name}")
def job(job: JobDep, context: ContextDep) -> dict[str, Any]:
    return job_response(job, context)


@router.put("/{name}")
def put_job(
    project: ProjectDep, name: str, context: ContextDep, response: Response, config: JsonObject
) -> dict[str, Any]:
    name = config.get("appName") or name
    kind = JOB_TYPES.get(str(config.get("type")))
    if kind is None:
        raise errors.ILLEGAL_ARGUMENT(f"type {config.get('type')!r}; known are {', '.join(JOB_TYPES)}.")
    if not isinstance(name, str) or not name.strip() or "/" in name or len(name) > MOST_NAME:
        raise errors.JOB_NAME(f"job name {str(name)[:MOST_NAME]!r}: not empty, without slashes, at most {MOST_NAME}.")
    for field in ("appPath", "defaultArgs"):
        if not isinstance(config.get(field, ""), str | None):
            raise errors.ILLEGAL_ARGUMENT(f"{field} {config[field]!r}: a text.")
    if kind == "SPARK" and config.get("mainClass") == PYTHON_RUNNER:
        kind = "PYSPARK"
    job, created = context.jobs.put_job(name, kind, config)
    response.status_code = 201 if created else 200
    return job_response(job, context)


@router.delete("/{name}", status_code=204)
def delete_job(job: JobDep, context: ContextDep) -> Response:
    for execution in context.jobs.executions(job):
        _stop(job, execution, context)
    context.jobs.delete_job(job)
    return Response(status_code=204)


# --- executions ----------------------------------------------------------------------------------------------


def start_arguments(body: bytes, content_type: str) -> tuple[str, dict[str, str]]:
    """Arguments and environment of a POST: plain text, or the JSON of a run for a logical time."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise errors.ILLEGAL_ARGUMENT(f"body of the execution is not UTF-8: {error}") from error
    if "\0" in text:
        raise errors.ILLEGAL_ARGUMENT("body of the execution contains a null byte.")
    if not content_type.startswith("application/json") or not text.strip():
        return text.strip(), {}
    try:
        document = json.loads(text)
        env_vars = {str(k): str(v) for k, v in (document.get("envVars") or {}).items()}
    except (ValueError, AttributeError) as error:
        raise errors.ILLEGAL_ARGUMENT(f"body of the execution is no JSON object: {error}") from error
    for name, variable in (("logicalDate", "HOPS_LOGICAL_DATE"), ("dataIntervalEnd", "HOPS_DATA_INTERVAL_END")):
        if document.get(name):
            env_vars.setdefault(variable, str(document[name]))
    check_variables(env_vars)
    return str(document.get("args") or "").strip(), env_vars


@router.post("/{name}/executions", status_code=201)
async def start(request: Request, job: JobDep, context: ContextDep) -> dict[str, Any]:
    args, env_vars = start_arguments(await request.body(), request.headers.get("content-type", ""))
    return execution_response(await run_in_threadpool(_start, job, args, env_vars, context), context)


def _start(job: Job, args: str, env_vars: dict[str, str], context: Context) -> Execution:
    if job.job_type == clusters.TYPE:
        return context.clusters.start(job, args, env_vars)
    if job.job_type == PYTHON_TYPE:
        program = str(job.config.get("appPath") or "")
        if not program.endswith(".py") or not context.datasets.existing(program).is_file():
            raise errors.JOB_START_FAILED(f"job {job.name!r}: appPath {program!r} is not a Python file of the project.")
    elif not job.name.endswith(MATERIALIZATION_SUFFIX):
        raise errors.JOB_START_FAILED(
            f"job {job.name!r} is of type {job.job_type}; this local server runs jobs of type {PYTHON_TYPE}, "
            f"materialization jobs (names ending in {MATERIALIZATION_SUFFIX}) and Flink clusters only."
        )
    return context.executor.start(job, args or job.config.get("defaultArgs") or "", env_vars)


def _stop(job: Job, execution: Execution, context: Context) -> Execution:
    if job.job_type == clusters.TYPE:
        return context.clusters.stop(execution)
    return context.executor.stop(execution)


@router.get("/{name}/executions")
def executions(
    job: JobDep,
    context: ContextDep,
    offset: Offset = 0,
    limit: Limit = None,
    sort_by: str = "submissiontime:desc",
    filter_by: str | None = None,
) -> dict[str, Any]:
    found = context.jobs.executions(job)
    if filter_by:
        found = _filtered(found, filter_by)
    if sort_by.lower() in ("submissiontime:asc", "id:asc"):
        found.reverse()
    elif sort_by.lower() not in ("submissiontime:desc", "id:desc"):
        raise errors.ILLEGAL_ARGUMENT(f"sort_by {sort_by!r}: submissiontime or id, :asc or :desc.")
    return _page([execution_response(execution, context) for execution in found], offset, limit)


def _filtered(found: list[Execution], filter_by: str) -> list[Execution]:
    name, _, values = filter_by.partition(":")
    wanted = {value.upper() for value in values.split(",")}
    if name.lower() == "state":
        return [execution for execution in found if execution.state in wanted]
    if name.lower() == "finalstatus":
        return [execution for execution in found if execution.final_status in wanted]
    raise errors.ILLEGAL_ARGUMENT(f"filter_by {filter_by!r}: state:<..> and finalstatus:<..> are supported.")


@router.get("/{name}/executions/{execution_id}")
def execution(execution: ExecutionDep, context: ContextDep) -> dict[str, Any]:
    return execution_response(execution, context)


@router.put("/{name}/executions/{execution_id}/status", status_code=202)
def stop(job: JobDep, execution: ExecutionDep, context: ContextDep) -> dict[str, Any]:
    """Stop it. The SDK's body is form text that calls itself JSON, so it is not read at all."""
    return execution_response(_stop(job, execution, context), context)


@router.post("/{name}/executions/{execution_id}/rerun", status_code=201)
def rerun(job: JobDep, execution: ExecutionDep, context: ContextDep) -> dict[str, Any]:
    return execution_response(_start(job, execution.args, execution.env_vars, context), context)


@router.delete("/{name}/executions/{execution_id}", status_code=204)
def delete_execution(job: JobDep, execution: ExecutionDep, context: ContextDep) -> Response:
    _stop(job, execution, context)
    context.jobs.delete_execution(execution.id)
    return Response(status_code=204)


@router.get("/{name}/executions/{execution_id}/log/{stream}")
def log(execution: ExecutionDep, stream: str, context: ContextDep) -> dict[str, Any]:
    paths = {"out": execution.stdout_path, "err": execution.stderr_path}
    if stream not in paths:
        raise errors.ILLEGAL_ARGUMENT(f"log {stream!r}: out or err.")
    if not execution.finished:
        raise errors.EXECUTION_RUNNING(f"execution {execution.id} is {execution.state}.")
    text = context.datasets.existing(paths[stream]).read_text(errors="replace")
    return {"log": text, "path": paths[stream], "type": stream.upper(), "retriable": False}


# --- tags and schedules --------------------------------------------------------------------------------------


def _tag_owner(job: JobDep) -> str:
    return f"job/{job.id}"


router.include_router(tag_routes(_tag_owner), prefix="/{name}/tags")


@router.post("/{name}/schedule/v2", status_code=201)
@router.put("/{name}/schedule/v2")
def schedule(job: JobDep, context: ContextDep, body: JsonObject) -> dict[str, Any]:
    """Kept and shown; this server never starts a job by itself (its README says so)."""
    missing = [name for name in ("startDateTime", "cronExpression", "enabled") if body.get(name) is None]
    if missing:
        raise errors.ILLEGAL_ARGUMENT(f"schedule of job {job.name}: {', '.join(missing)} missing.")
    stored = {**body, "id": (job.job_schedule or {}).get("id") or job.id, "nextExecutionDateTime": None}
    context.jobs.put_schedule(job, stored)
    return stored


@router.get("/{name}/schedule/v2")
def get_schedule(job: JobDep) -> dict[str, Any]:
    if job.job_schedule is None:
        raise errors.SCHEDULE_NOT_FOUND(f"job {job.name!r}")
    return job.job_schedule


@router.delete("/{name}/schedule/v2", status_code=204)
def unschedule(job: JobDep, context: ContextDep) -> Response:
    if job.job_schedule is None:
        raise errors.SCHEDULE_NOT_FOUND(f"job {job.name!r}")
    context.jobs.put_schedule(job, None)
    return Response(status_code=204)
