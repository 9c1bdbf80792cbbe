"""The stack's JDK, and jars from Maven: fetched once per pom, which a stamp in their folder names."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from devstack.config import REPOSITORY, DevstackError
from devstack.machine.progress import going_on

CACHE = REPOSITORY / ".devstack-cache"
KAFKA_POM = REPOSITORY / "devstack" / "kafka" / "pom.xml"
KAFKA_JARS = CACHE / "kafka"
CONNECTORS_POM = REPOSITORY / "flink_jobs" / "connectors" / "pom.xml"
CONNECTOR_JARS = REPOSITORY / "flink_jobs" / "connectors" / "jars"
PARQUET_POM = REPOSITORY / "flink_jobs" / "connectors" / "parquet" / "pom.xml"
PARQUET_JARS = CONNECTOR_JARS / "parquet"
JAVA_POM = REPOSITORY / "flink_jobs" / "java" / "pom.xml"
JAVA_JARS = CONNECTOR_JARS / "java"
CLUSTER_POM = REPOSITORY / "devstack" / "flink" / "java" / "pom.xml"
CLUSTER_JARS = CACHE / "flink"
S3_POM = REPOSITORY / "devstack" / "flink" / "s3" / "pom.xml"
S3_JARS = CACHE / "flink-s3"

_STAMP = ".fetched-for"
_TIMEOUT_SECONDS = 900


def java(command: str = "java") -> str:
    """Path of a command of the JDK: ``JAVA_HOME``'s if that is set, the one on the PATH otherwise.

    :raises DevstackError: when there is none.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which(command, path=str(Path(home) / "bin")) if home else None
    found = found or shutil.which(command)
    if found is None:
        raise DevstackError(f"No {command} found: install a JDK 17, e.g. `apt-get install openjdk-17-jdk-headless`.")
    return found


def fetch(pom: Path, target: Path) -> Path:
    """Fetch the dependencies of ``pom`` into ``target``, unless it holds those of this exact pom.

    A pom with sources is built instead, and again when a source changes; so is one that has a build of its own.

    Of several processes at once (a demo and a test run), one fetches and the others wait.

    :raises DevstackError: when Maven is missing or fails; the text carries the end of Maven's output.
    """
    sources = sorted(file for file in (pom.parent / "src").rglob("*") if file.is_file())
    wanted = hashlib.sha256(b"\0".join(file.read_bytes() for file in (pom, *sources))).hexdigest()
    stamp = target / _STAMP
    if _is_fresh(stamp, wanted):
        return target
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{pom.parent.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_fresh(stamp, wanted):
            # Into a new folder: an incomplete set of jars is never visible.
            fresh = Path(tempfile.mkdtemp(dir=CACHE))
            built = sources or b"<phase>package</phase>" in pom.read_bytes()
            _run_maven(pom, "package" if built else "dependency:copy-dependencies", fresh)
            # Classes and other intermediate files.
            shutil.rmtree(fresh / "build", ignore_errors=True)
            (fresh / _STAMP).write_text(wanted)
            fresh.chmod(0o755)
            shutil.rmtree(target, ignore_errors=True)
            shutil.move(fresh, target)
    return target


def fetch_all() -> None:
    """Everything that the stack and the jobs need from Maven."""
    fetch(KAFKA_POM, KAFKA_JARS)
    fetch(CONNECTORS_POM, CONNECTOR_JARS)
    # After the connectors, whose folder they are in: fetching replaces it.
    fetch(PARQUET_POM, PARQUET_JARS)
    fetch(JAVA_POM, JAVA_JARS)
    fetch(CLUSTER_POM, CLUSTER_JARS)


def _is_fresh(stamp: Path, wanted: str) -> bool:
    return stamp.is_file() and stamp.read_text() == wanted and any(stamp.parent.glob("*.jar"))


def _run_maven(pom: Path, goal: str, target: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise DevstackError("Maven (mvn) is not on the PATH: install it, e.g. `apt-get install maven`.")
    command = [maven, "-q", "-B", "-f", str(pom), goal, f"-DoutputDirectory={target}"]
    verb = "building" if goal == "package" else "fetching"
    try:
        with going_on(f"{verb} the jars of {os.path.relpath(pom.parent, REPOSITORY)}"):
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise DevstackError(f"Maven did not fetch {pom.parent.name}'s jars within {_TIMEOUT_SECONDS} s.") from None
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
        raise DevstackError(f"Maven could not fetch the jars of {pom}:\n{tail}")
    if not any(target.glob("*.jar")):
        raise DevstackError(f"Maven succeeded for {pom} but put no jar into {target}.")


if __name__ == "__main__":
    try:
        fetch_all()
    except DevstackError as error:
        raise SystemExit(str(error)) from None
