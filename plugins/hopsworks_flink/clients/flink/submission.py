"""One submission of a Python program to Flink: uploads, the call, and what became of it when the answer is lost."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import mask_secret
from hopsworks_flink.clients.flink.bundle import Bundle, mask
from hopsworks_flink.clients.flink.failures import excerpt, submission_cause
from hopsworks_flink.clients.flink.files import Jar, JobJars
from hopsworks_flink.clients.flink.uploads import bundle_name, delete_left_bundles
from hopsworks_flink.exceptions import (
    ConfigurationError,
    FlinkApiError,
    FlinkConnectionError,
    FlinkDuplicateJobId,
    FlinkError,
    FlinkSubmissionError,
)

if TYPE_CHECKING:
    from hopsworks_flink.hooks.flink import FlinkHook

_PYTHON_DRIVER = "org.apache.flink.client.python.PythonDriver"
_GLOBAL_PARAMETERS = "pipeline.global-job-parameters"
_DUPLICATE = re.compile(r"Duplicate(Application|Job)Submission")
_MARK = re.compile(r"[A-Za-z0-9_.\-]+\Z")


class PythonSubmission:
    """Sends one program; what it uploads for that is gone afterwards. See :meth:`FlinkHook.run_python_job`.

    :param job_id: 32 hex digits.
    :param arguments: the program's own.
    """

    #: How long a job whose submission broke off may take to turn up, and how often it is looked for.
    settle_seconds = 20.0
    settle_poll = 1.0

    def __init__(
        self, hook: FlinkHook, job_id: str, bundle: Bundle, jars: JobJars, arguments: Sequence[str] = ()
    ) -> None:
        self._hook = hook
        self._client = hook.client
        self._job_id = job_id
        self._bundle = bundle
        self._jars = jars
        self._arguments = list(arguments)
        self._uploads: list[str] = []
        self.log = hook.log

    def send(self, request: Mapping[str, Any]) -> str:
        """Start the job, with one more try if the first one broke off and did not arrive.

        :param request: for ``POST /jars/{id}/run``, without what follows from the program.
        :return: the job's id.
        :raises FlinkError: as :meth:`FlinkHook.run_python_job`.
        """
        job_id = self._send(request)
        delete_left_bundles(self._hook)
        return job_id

    def _send(self, request: Mapping[str, Any]) -> str:
        request = {"entryClass": _PYTHON_DRIVER, "jobId": self._job_id, **request}
        try:
            try:
                return self._try(request)
            except FlinkConnectionError as error:
                self.log.warning("The submission of job %s broke off: %s", self._job_id, error)
            if self._turns_up():
                self.log.info("Job %s arrived all the same.", self._job_id)
                return self._job_id
            return self._try(request)
        finally:
            # Not earlier: a submission that broke off may still be reading its bundle.
            for bundle_id in self._uploads:
                self._delete(bundle_id)

    def _try(self, request: Mapping[str, Any]) -> str:
        client, bundle = self._client, self._bundle
        flink_python = self._uploaded(self._jars.flink_python)
        connectors = [self._uploaded(jar) for jar in self._jars.connectors]
        secrets = bundle.secrets()
        for secret in secrets:
            mask_secret(secret)
        bundle_path = client.upload_jar(bundle_name(bundle.module, self._job_id), bundle.to_zip())
        folder, _, bundle_id = bundle_path.rpartition("/")
        self._uploads.append(bundle_id)
        python = self._hook.settings.python_executable
        program_arguments = ["-pym", bundle.module, "-pyfs", bundle_path]
        if python:
            program_arguments += ["-pyclientexec", python, "-pyexec", python]
        program_arguments += self._arguments
        if connectors:
            program_arguments += ["--jars", ";".join(f"file://{folder}/{jar_id}" for jar_id in connectors)]
        try:
            return client.run_jar(flink_python, {**request, "programArgsList": program_arguments})
        except FlinkApiError as error:
            if error.status_code in (502, 503, 504):
                raise FlinkConnectionError(str(error)) from error
            raise self._failure(error, bundle_id.removesuffix(".jar"), secrets) from None

    def _failure(
        self, error: FlinkApiError, marker: str, secrets: Sequence[str]
    ) -> FlinkSubmissionError | FlinkDuplicateJobId:
        job_id = self._job_id
        log = self._client.log_since(marker)
        cause = submission_cause(log, secrets)
        state = self._hook.job_state(job_id)
        # PythonDriver hides a refused id like any other failure. A job that is FAILED did not survive its own start.
        if state is not None and (state != "FAILED" or _DUPLICATE.search(cause or "")):
            return FlinkDuplicateJobId(f"Flink already has a job with the id {job_id} ({state}).", error.status_code)
        if lines := excerpt(log, secrets):
            self.log.error("::group::JobManager log of the submission\n%s\n::endgroup::", lines)
        if cause is None and state is not None:
            cause = mask(self._hook.health(job_id).root_exception or "", secrets)
        return FlinkSubmissionError(
            f"The program did not start the job {job_id}: {cause or mask(str(error), secrets)}",
        )

    def _uploaded(self, jar: Jar) -> str:
        """The id of the jar on the cluster, uploaded unless a file of this content is there."""
        for entry in self._client.jars():
            if entry["name"] == jar.upload_name:
                return str(entry["id"])
        path = self._client.upload_jar(jar.upload_name, jar.path.read_bytes())
        self.log.info("Uploaded %s (%d KiB).", jar.path.name, jar.path.stat().st_size // 1024)
        return path.rpartition("/")[2]

    def _delete(self, bundle_id: str) -> None:
        try:
            self._client.delete_jar(bundle_id)
        except FlinkError as error:
            # The job runs without it; but it may hold credentials, so somebody should know.
            self.log.warning("The uploaded program %s could not be deleted: %s", bundle_id, error)

    def _turns_up(self) -> bool:
        deadline = time.monotonic() + self.settle_seconds
        while time.monotonic() < deadline:
            try:
                if self._hook.job_state(self._job_id) is not None:
                    return True
            except (FlinkConnectionError, FlinkApiError) as error:
                self.log.debug("Flink does not answer yet: %s", error)
            time.sleep(self.settle_poll)
        return False


def job_configuration(job_name: str, user: Mapping[str, str], marks: Mapping[str, str]) -> dict[str, str]:
    """Flink's configuration for one job: the user's, the name, and the marks beside the user's own parameters.

    :raises ConfigurationError: a mark is not a plain word.
    """
    for key, value in marks.items():
        if not (_MARK.match(key) and _MARK.match(value)):
            raise ConfigurationError(f"The job's mark {json.dumps({key: value})} may only hold letters, digits, '_.-'.")
    own = ",".join(f"{key}:{value}" for key, value in sorted(marks.items()))
    parameters = ",".join(part for part in (user.get(_GLOBAL_PARAMETERS, ""), own) if part)
    configuration = {**user, "pipeline.name": job_name}
    if parameters:
        configuration[_GLOBAL_PARAMETERS] = parameters
    return configuration
