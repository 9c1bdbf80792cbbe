"""The files that a worker sends to Flink: programs and jars. Where they lie and what they contain; no network."""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import hopsworks_flink
from hopsworks_flink.exceptions import ConfigurationError

#: Folder of the jar of flink_jobs/java, which starts every program, and decodes the events of a pipeline.
OWN_JARS = "java"

_PACKAGE = Path(hopsworks_flink.__file__).resolve().parent


def programs_folder() -> Path:
    """The folder with the Flink programs: ``flink_jobs`` of a checkout, else the copy that the wheel carries."""
    checkout = _PACKAGE.parents[1] / "flink_jobs"
    return checkout if (checkout / "feature_pipeline.py").is_file() else _PACKAGE / "flink_jobs"


def read_program(program: str) -> tuple[str, bytes]:
    """A Python program by the name of one that this package brings, or by its path.

    :param program: e.g. ``transaction_simulator`` or ``/opt/jobs/my_job.py``.
    :return: module name and content.
    :raises ConfigurationError: there is no such file.
    """
    path = Path(program)
    if not program.endswith(".py"):
        path = programs_folder() / f"{program}.py"
        if "/" in program or not path.is_file():
            shipped = sorted(file.stem for file in programs_folder().glob("*.py"))
            raise ConfigurationError(
                f"program={program!r} is neither the path of a .py file nor one of the programs of this package: "
                f"{', '.join(shipped)}."
            )
    if path.stem in sys.stdlib_module_names:
        raise ConfigurationError(
            f"program={program!r}: {path.stem!r} is a module of Python's own library, which it would hide from "
            "Flink's Python; rename the file."
        )
    return path.stem, read_file(path, "program")


def read_file(path: str | Path, argument: str) -> bytes:
    """The content of a file on the worker.

    :raises ConfigurationError: it cannot be read; the text names the argument.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{argument}: the file {str(path)!r} cannot be read on this worker: {error.strerror}."
        ) from error


@dataclass(frozen=True)
class Jar:
    """A jar on the worker.

    :param sha256: hex digest of its content.
    """

    path: Path
    sha256: str

    @property
    def upload_name(self) -> str:
        """Its name on the cluster: tells the content, so that an earlier upload of the same file is found."""
        return f"{self.path.stem}-{self.sha256[:16]}.jar"


@dataclass(frozen=True)
class JobJars:
    """What a Python job needs beside itself: Flink's jar for Python, the connectors, and what starts the program."""

    flink_python: Jar
    connectors: tuple[Jar, ...]
    launcher: Jar

    @property
    def digests(self) -> dict[str, str]:
        """File name -> SHA-256, for the deployment's identity, of which the launcher is no part."""
        return {jar.path.name: jar.sha256 for jar in (self.flink_python, *self.connectors)}


def find_jars(
    folder: Path | None, flink_version: str, connectors: Sequence[str] | None, formats: Sequence[str] = ()
) -> JobJars:
    """The jars for a cluster of ``flink_version``.

    :param folder: None means ``connectors/jars`` beside the Flink programs.
    :param connectors: paths or, relative to ``folder``, names of the jars that the job brings along; None means
        every jar of the folder, an empty sequence none (the cluster carries the connectors itself).
    :param formats: folders of ``folder`` whose jars come along as well: this package's own, `OWN_JARS`, always; others
        where ``connectors`` is None.
    :raises ConfigurationError: a jar is missing; the text says how to get it.
    """
    default = folder is None
    folder = folder or programs_folder() / "connectors" / "jars"
    flink_python = folder / f"flink-python-{flink_version}.jar"
    if not flink_python.is_file():
        others = sorted(path.name for path in folder.glob("flink-python-*.jar"))
        found = f"only {', '.join(others)} is there" if others else "there is none"
        raise ConfigurationError(
            f"The cluster runs Flink {flink_version}, so {flink_python.name} is needed in {folder}: {found}. "
            + _remedy(default)
        )
    if connectors is None:
        paths = sorted(path for path in folder.glob("*.jar") if not path.name.startswith("flink-python-"))
        if not paths:
            raise ConfigurationError(f"No connector jars in {folder}. {_remedy(default)}")
    else:
        paths = [folder / name for name in connectors]
    for name in formats:
        if connectors is None or name == OWN_JARS:
            paths += _jars_in(folder / name)
    launcher = _jars_in(folder / OWN_JARS)[-1]
    return JobJars(_jar(flink_python), tuple(_jar(path) for path in paths), _jar(launcher))


def _jars_in(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.jar"))
    if not found:
        raise ConfigurationError(
            f"The job needs the jars of {folder.name}, and there are none in {folder}. Get them with "
            f"`hopsworks-flink jars {folder.parent}` on every worker."
        )
    return found


def _remedy(default: bool) -> str:
    pom = programs_folder() / "connectors" / "pom.xml"
    fetch = f"`hopsworks-flink jars <folder>` (those of another Flink: `mvn -f {pom} -Dflink.version=… "
    fetch += "dependency:copy-dependencies -DoutputDirectory=<folder>`)"
    place = "" if default else ", or correct jars_dir"
    return (
        f"Fetch the jars with {fetch} on every worker and name the folder as jars_dir in the Flink connection{place}."
    )


def _jar(path: Path) -> Jar:
    try:
        status = path.stat()
    except OSError as error:
        raise ConfigurationError(f"The jar {str(path)!r} cannot be read: {error.strerror}. {_remedy(False)}") from error
    return Jar(path, _jar_digest(path, status.st_mtime_ns, status.st_size))


@functools.lru_cache(maxsize=64)
def _jar_digest(path: Path, _mtime: int, _size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
