"""Where files of past events lie: a folder, a file, or a pattern."""

from __future__ import annotations

import re

_ABSOLUTE = re.compile(r"/|[a-z][a-z0-9+.-]*://", re.I)
_CREDENTIALS = re.compile(r"://[^/@]*:[^/@]*@")
_WILD = re.compile(r"\*\*|\*|\?")
_REGEX = {"**": ".*", "*": "[^/]*", "?": "[^/]"}


def split_pattern(path: str) -> tuple[str, str | None]:
    """What of a path has no wildcards, and the regular expression (Java's and Python's) for a file's whole path.

    ``*`` and ``?`` stand for characters of one name, ``**`` for folders as well.

    :return: without wildcards the path itself and None.
    :raises ValueError: the path is relative, holds credentials, or another kind of pattern.
    """
    if not _ABSOLUTE.match(path):
        raise ValueError(
            f"path {path!r} must be absolute as the cluster's machines see it, such as /data/events or s3://bucket/events"
        )
    if _CREDENTIALS.search(path):
        raise ValueError("path must not hold credentials; give them to the cluster's file system configuration")
    if ".." in path.split("/"):
        raise ValueError(f"path {path!r} must not hold '..'")
    if strange := sorted(set(path) & set("[]{}")):
        raise ValueError(f"path {path!r} holds {' '.join(strange)}: patterns know *, ? and ** only")
    wild = _WILD.search(path)
    if not wild:
        return path, None
    folder = path[: wild.start()].rpartition("/")[0]
    if not folder or folder.endswith((":/", ":")):
        raise ValueError(f"path {path!r} needs a folder before its first wildcard")
    pattern, end = "", 0
    for match in _WILD.finditer(path):
        pattern += re.escape(path[end : match.start()]) + _REGEX[match.group()]
        end = match.end()
    # Flink shows a file's path with or without its scheme.
    start = re.escape(re.match(r"(?:[a-z][a-z0-9+.-]*://[^/]*)?", path, re.I).group())  # type: ignore[union-attr]
    return folder, ".*" + (pattern + re.escape(path[end:])).removeprefix(start)
