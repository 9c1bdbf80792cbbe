"""Files of the project: stat, list, create, upload, download, delete, copy, move."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Response, UploadFile
from fastapi.responses import FileResponse

from devstack.hopsworks.api.inputs import Limit, Offset
from devstack.hopsworks.api.routes.context import ContextDep, ProjectDep
from devstack.hopsworks.home import errors
from devstack.hopsworks.home.datasets import ChunkForm

router = APIRouter(prefix="/project/{project_id}/dataset")


@router.post("/upload/{path:path}")
def upload(
    project: ProjectDep,
    path: str,
    context: ContextDep,
    file: Annotated[UploadFile, File()],
    flow_identifier: Annotated[str, Form(alias="flowIdentifier")],
    flow_filename: Annotated[str, Form(alias="flowFilename")],
    flow_chunk_number: Annotated[int, Form(alias="flowChunkNumber")],
    flow_total_chunks: Annotated[int, Form(alias="flowTotalChunks")],
    flow_total_size: Annotated[int, Form(alias="flowTotalSize")],
) -> dict[str, str]:
    form = ChunkForm(
        identifier=flow_identifier,
        filename=flow_filename,
        number=flow_chunk_number,
        total=flow_total_chunks,
        total_size=flow_total_size,
    )
    complete = context.datasets.add_chunk(path, form, file.file)
    return {"successMessage": "Successfuly uploaded." if complete else "Chunk received."}


@router.get("/download/with_auth/{path:path}")
def download(project: ProjectDep, path: str, context: ContextDep) -> FileResponse:
    target = context.datasets.existing(path)
    if target.is_dir():
        raise errors.PATH_REFUSED(f"{path!r} is a folder; download its files.")
    return FileResponse(target, media_type="application/octet-stream", filename=target.name)


@router.get("/{path:path}")
def stat_or_list(
    project: ProjectDep,
    path: str,
    context: ContextDep,
    action: str = "stat",
    offset: Offset = 0,
    limit: Limit = None,
) -> dict[str, Any]:
    target = context.datasets.existing(path)
    if action != "listing":
        return context.datasets.inode(target)
    if not target.is_dir():
        raise errors.PATH_REFUSED(f"{path!r} is a file, not a folder.")
    # A link may lead nowhere.
    children = sorted(child for child in target.iterdir() if child.exists())
    page = children[offset : None if limit is None else offset + limit]
    return {"count": len(children), "items": [context.datasets.inode(child) for child in page]}


@router.post("/{path:path}")
def create_or_transfer(
    project: ProjectDep,
    path: str,
    context: ContextDep,
    response: Response,
    action: str,
    destination_path: str | None = None,
) -> dict[str, Any] | None:
    if action == "create":
        response.status_code = 201
        return context.datasets.inode(context.datasets.make_folder(path))
    if action in ("copy", "move") and destination_path:
        context.datasets.transfer(path, destination_path, move=action == "move")
        response.status_code = 204
        return None
    raise errors.ILLEGAL_ARGUMENT(f"action {action!r}: create, or copy and move with destination_path.")


@router.delete("/{path:path}", status_code=204)
def delete(project: ProjectDep, path: str, context: ContextDep) -> Response:
    context.datasets.remove(path)
    return Response(status_code=204)
