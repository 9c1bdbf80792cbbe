"""The project's files: path rules, and uploads in chunks in any order."""

from __future__ import annotations

import datetime
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel

from devstack.hopsworks.home import errors
from devstack.hopsworks.home.layout import Layout
from devstack.hopsworks.home.times import iso

# Of a file system; what lies above the project has to fit as well.
MOST_NAME_BYTES, MOST_PATH_BYTES = 255, 2048
MOST_CHUNKS = 1_000_000


@contextmanager
def refused_by_the_file_system(path: str) -> Iterator[None]:
    """Turn what the file system refuses (a file in place of a folder, a path that is too long) into fault 110005."""
    try:
        yield
    except (OSError, shutil.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise errors.PATH_REFUSED(f"{path[:200]!r}: {reason}.") from error


def relative_parts(path: str, project: str) -> list[str]:
    """The parts of a path below the project's folder.

    Takes all forms the SDK sends: ``Resources/x``, ``/Projects/<p>/Resources/x``, ``Projects/<p>/…`` and
    ``hdfs:///Projects/<p>/…``. Raises fault 110005 for a path that would leave the folder.
    """
    plain = path.removeprefix("hdfs://")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    if parts[:1] == ["Projects"]:
        if parts[1:2] not in ([], [project]):
            raise errors.DATASET_NOT_FOUND(f"{path!r}: this server has the project {project!r} only.")
        parts = parts[2:]
    if ".." in parts or any("\x00" in part for part in parts):
        raise errors.PATH_REFUSED(f"{path[:200]!r} would leave the project's folder.")
    if any(len(os.fsencode(part)) > MOST_NAME_BYTES for part in parts) or len(os.fsencode(path)) > MOST_PATH_BYTES:
        limits = f"at most {MOST_PATH_BYTES} bytes, and {MOST_NAME_BYTES} a name"
        raise errors.PATH_REFUSED(f"{path[:200]!r} is too long: {limits}.")
    return parts


class ChunkForm(BaseModel):
    """The form fields of one chunk (protocol of flow.js)."""

    identifier: str
    filename: str
    number: int
    total: int
    total_size: int


class Datasets:
    """Files below ``/Projects/<project>``."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._lock = threading.Lock()

    def resolve(self, path: str) -> Path:
        """The local path. Refuses symbolic links that lead out of the project."""
        target = self.layout.datasets.joinpath(*relative_parts(path, self.layout.project))
        with refused_by_the_file_system(path):
            inside = target.resolve().is_relative_to(self.layout.datasets.resolve())
        if not inside:
            raise errors.PATH_REFUSED(f"{path!r} would leave the project's folder.")
        return target

    def existing(self, path: str) -> Path:
        """Like :meth:`resolve`, but the file or folder must be there."""
        target = self.resolve(path)
        with refused_by_the_file_system(path):
            exists = target.exists()
        if not exists:
            parts = relative_parts(path, self.layout.project)
            if not (self.layout.datasets / parts[0]).exists():
                raise errors.DATASET_NOT_FOUND(f"{parts[0]!r} of {path!r}")
            raise errors.FILE_NOT_FOUND(f"{path!r}")
        return target

    def path_of(self, target: Path) -> str:
        """The name of a local path in the dataset API."""
        relative = target.relative_to(self.layout.datasets).as_posix()
        return self.layout.project_path if relative == "." else f"{self.layout.project_path}/{relative}"

    def inode(self, target: Path) -> dict[str, Any]:
        stat = target.stat()
        modified = datetime.datetime.fromtimestamp(stat.st_mtime, datetime.timezone.utc)
        attributes: dict[str, Any] = {
            "id": stat.st_ino,
            "name": target.name,
            "path": self.path_of(target),
            "size": 0 if target.is_dir() else stat.st_size,
            "dir": target.is_dir(),
            "owner": self.layout.config.user,
            "group": self.layout.project,
            "permission": "rwxrwx---",
            "modificationTime": iso(modified),
            "underConstruction": False,
        }
        body: dict[str, Any] = {"attributes": attributes, "zipState": "NONE"}
        if target.is_dir() and target.parent == self.layout.datasets:
            body["datasetType"] = attributes["datasetType"] = "DATASET"
        return body

    def make_folder(self, path: str) -> Path:
        target = self.resolve(path)
        if target.exists():
            raise errors.FOLDER_EXISTS(f"{path!r}")
        with refused_by_the_file_system(path):
            target.mkdir(parents=True)
        return target

    def remove(self, path: str) -> None:
        target = self.existing(path)
        if target == self.layout.datasets:
            raise errors.PATH_REFUSED("the project's own folder cannot be removed.")
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink()

    def transfer(self, source: str, destination: str, move: bool) -> None:
        """Copy or move a file or folder to a path that is free."""
        origin, target = self.existing(source), self.resolve(destination)
        if target.is_dir():
            target = target / origin.name
        if target.exists():
            raise errors.DESTINATION_EXISTS(f"{destination!r}")
        if target.is_relative_to(origin):
            raise errors.PATH_REFUSED(f"{destination!r} is inside of {source!r}.")
        with refused_by_the_file_system(destination):
            target.parent.mkdir(parents=True, exist_ok=True)
            if move:
                shutil.move(origin, target)
            elif origin.is_dir():
                shutil.copytree(origin, target)
            else:
                shutil.copy2(origin, target)

    # --- upload ---------------------------------------------------------------------------------------------

    def add_chunk(self, folder: str, form: ChunkForm, content: BinaryIO) -> bool:
        """Keep one chunk; when the last missing one is in, the file appears at once and whole (True)."""
        directory = self.existing(folder)
        if not directory.is_dir():
            raise errors.PATH_REFUSED(f"{folder!r} is a file, not a folder.")
        name = form.filename
        if not name or "/" in name or "\0" in name or name in (".", "..") or len(os.fsencode(name)) > MOST_NAME_BYTES:
            raise errors.UPLOAD_REFUSED(f"flowFilename {name[:200]!r} is not a file name.")
        total = max(form.total, 1)
        if not 1 <= form.number <= total <= MOST_CHUNKS:
            raise errors.UPLOAD_REFUSED(
                f"flowChunkNumber {form.number} is not between 1 and {total}, or they are more than {MOST_CHUNKS}."
            )
        target = directory / form.filename
        key = hashlib.sha256(f"{directory}\0{form.identifier}\0{form.filename}".encode()).hexdigest()
        parts = self.layout.uploads / key
        with self._lock:
            if target.exists() and not parts.exists():
                raise errors.DESTINATION_EXISTS(f"{self.path_of(target)}; delete it first.")
            parts.mkdir(parents=True, exist_ok=True)
            # The name is taken from the first chunk on, as a visible empty file.
            target.touch()
        part = parts / f"{form.number:08d}"
        temporary = part.with_suffix(f".{threading.get_ident()}")
        with temporary.open("wb") as file:
            shutil.copyfileobj(content, file)
        with self._lock:
            temporary.replace(part)
            if not parts.exists() or len([p for p in parts.iterdir() if not p.suffix]) < total:
                return False
            self._assemble(parts, target, form)
        return True

    def _assemble(self, parts: Path, target: Path, form: ChunkForm) -> None:
        temporary = parts / "whole.tmp"
        with temporary.open("wb") as file:
            for part in sorted(p for p in parts.iterdir() if not p.suffix):
                with part.open("rb") as chunk:
                    shutil.copyfileobj(chunk, file)
        size = temporary.stat().st_size
        if size != form.total_size:
            shutil.rmtree(parts)
            target.unlink(missing_ok=True)
            raise errors.UPLOAD_REFUSED(f"{form.filename}: {size} bytes arrived, flowTotalSize is {form.total_size}.")
        os.replace(temporary, target)
        shutil.rmtree(parts)
