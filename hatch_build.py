"""Puts the jar of flink_jobs/java into the wheel, so that its users need neither Maven nor a JDK."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BuildHook(BuildHookInterface):
    """Builds the jar; an editable installation takes it from the checkout, where `make env` builds it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before the wheel is written.

        :raises RuntimeError: there is no Maven.
        """
        if version == "editable":
            return
        if shutil.which("mvn") is None:
            raise RuntimeError("The wheel carries a jar: building it needs Maven and a JDK 17.")
        folder = Path(self.root) / "flink_jobs" / "connectors" / "jars" / "java"
        pom = Path(self.root) / "flink_jobs" / "java" / "pom.xml"
        if not list(folder.glob("*.jar")):
            command = ["mvn", "-q", "-B", "-f", str(pom), "package", f"-DoutputDirectory={folder}"]
            subprocess.run(command, check=True)  # noqa: S603
        for jar in folder.glob("*.jar"):
            build_data["force_include"][str(jar)] = f"hopsworks_flink/flink_jobs/connectors/jars/java/{jar.name}"
