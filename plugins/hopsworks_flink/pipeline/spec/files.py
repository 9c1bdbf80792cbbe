"""Reading a pipeline file, or one that it names: regular, of sensible size, or an error; nothing that can hold up its
reader."""

from __future__ import annotations

import os
import stat
from pathlib import Path

#: Far beyond any pipeline; what that many bytes can hold is parsed and checked within a second.
MOST_BYTES = 128 * 1024

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_text(path: str | Path, folder: str | Path | None = None) -> str:
    """Content of a pipeline file as text.

    :param folder: as for `read_bytes`.
    :raises ValueError: as `read_bytes`, or it is not UTF-8.
    """
    content = read_bytes(path, folder, MOST_BYTES)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text: byte {error.start} is {content[error.start]:#04x}") from None


def read_bytes(path: str | Path, folder: str | Path | None, most: int) -> bytes:
    """Content of a file.

    :param folder: the file must lie in it, also after following links; None: anywhere.
    :param most: bytes that it may have.
    :raises ValueError: it cannot be read, is no regular file, leads out of the folder, or is too large.
    """
    try:
        place = Path(path).resolve(strict=True)
        if folder is not None and not place.is_relative_to(Path(folder).resolve()):
            raise ValueError("it is a link to a file outside of its folder; copy the file instead")
        # Opening a named pipe, or some devices, would wait for the other end.
        descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError(f"it is {_KINDS.get(stat.S_IFMT(status.st_mode), 'something else')}, not a file")
            with open(descriptor, "rb", closefd=False) as file:
                # Counted as well: some of the system's files have content and no size, and a file may grow.
                content = b"" if status.st_size > most else file.read(most + 1)
        finally:
            os.close(descriptor)
        if max(status.st_size, len(content)) > most:
            raise ValueError(f"it has more than {most} bytes, which no pipeline needs")
    except RuntimeError:
        # Of pathlib, before Python 3.13; later ones raise an OSError.
        raise ValueError("its links lead in a circle") from None
    except OSError as error:
        raise ValueError(error.strerror or type(error).__name__) from None
    return content


def shown_path(path: str | Path) -> str:
    """A path for messages: names may hold line breaks, and bytes that are no text."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return text if text.isprintable() else text.encode("unicode_escape").decode()
