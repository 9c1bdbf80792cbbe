"""One submission of a Python program to Flink: uploads, the call, and what became of it when the answer is lost."""

from __future__ import annotations

import json
import logging
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import mask_secret
from hopsworks_flink.clients.flink.bundle import Bundle
from hopsworks_flink.clients.flink.failures import excerpt, root_exception, submission_cause
from hopsworks_flink.clients.flink.files import Jar, JobJars
from hopsworks_flink.clients.masking import mask
from hopsworks_flink.clients.retry import ask_blocking
from hopsworks_flink.exceptions import (
    ConfigurationError,
    FlinkApiError,
    FlinkConnectionError,
    FlinkDuplicateJobId,
    FlinkError,
    FlinkForeignJobError,
    FlinkJobIdTaken,
    FlinkJobNotFound,
    FlinkSubmissionError,
)

if TYPE_CHECKING:
    from hopsworks_flink.clients.flink.rest import FlinkRestClient

# Not Flink's own PythonDriver: of several submissions at once it may run a program under another one's job id.
_LAUNCHER = "hopsworksflink.submit.PythonLauncher"
# What the launcher says when another program is being started; nothing has happened then.
_BUSY = "hopsworksflink.submit.BusyException"
_GLOBAL_PARAMETERS = "pipeline.global-job-parameters"
_DUPLICATE = re.compile(r"Duplicate(Application|Job)Submission")
_MARK = re.compile(r"[A-Za-z0-9_.\-]+\Z")
_BUNDLE = re.compile(r"[A-Za-z_][\w.]*-([0-9a-f]{32})\.jar")
# Longer than any submission takes, its uploads and second try included.
_SUBMISSION_MILLISECONDS = 30 * 60 * 1000
_CHECK_SECONDS = 60.0
log = logging.getLogger(__name__)


class PythonSubmission:
    """Sends one program; what it uploads for that is gone afterwards. See :meth:`FlinkHook.run_python_job`.

    :param job_id: 32 hex digits.
    :param job_name: that the job must have.
    :param identity: marks that the job must show to be the one that was sent.
    :param arguments: the program's own.
    :param python: the cluster's Python that has PyFlink; None: Flink's own default.
    """

    #: How long a job whose submission broke off may take to turn up, and how often it is looked for.
    settle_seconds = 20.0
    settle_poll = 1.0
    #: How long other programs that are being started are waited for; the first pause of that, and the longest.
    busy_seconds = 900.0
    busy_pauses = (1.0, 10.0)

    def __init__(
        self,
        client: FlinkRestClient,
        job_id: str,
        job_name: str,
        identity: Mapping[str, str],
        bundle: Bundle,
        jars: JobJars,
        arguments: Sequence[str] = (),
        python: str | None = None,
    ) -> None:
        self._client = client
        self._job_id = job_id
        self._job_name = job_name
        self._identity = identity
        self._bundle = bundle
        self._jars = jars
        self._arguments = list(arguments)
        self._python = python
        self._uploads: list[str] = []

    def send(self, request: Mapping[str, Any]) -> str:
        """Start the job, with one more try if the first one broke off and did not arrive.

        :param request: for ``POST /jars/{id}/run``, without what follows from the program.
        :return: the job's id.
        :raises FlinkError: as :meth:`FlinkHook.run_python_job`.
        """
        job_id = self._send(request)
        delete_left_bundles(self._client)
        return job_id

    def _send(self, request: Mapping[str, Any]) -> str:
        request = {"entryClass": _LAUNCHER, "jobId": self._job_id, **request}
        try:
            try:
                return self._checked(self._try(request))
            except FlinkConnectionError as error:
                log.warning("The submission of job %s broke off: %s", self._job_id, error)
            if self._turns_up():
                if self._is_ours() is False:
                    raise self._taken("for another job")
                log.info("Job %s arrived all the same.", self._job_id)
                return self._job_id
            return self._checked(self._try(request))
        finally:
            # Not earlier: a submission that broke off may still be reading its bundle.
            for bundle_id in self._uploads:
                self._delete(bundle_id)

    def _try(self, request: Mapping[str, Any]) -> str:
        client, bundle = self._client, self._bundle
        launcher = self._uploaded(self._jars.launcher)
        flink_python = self._uploaded(self._jars.flink_python)
        connectors = [self._uploaded(jar) for jar in self._jars.connectors]
        secrets = bundle.secrets()
        for secret in secrets:
            mask_secret(secret)
        bundle_path = client.upload_jar(f"{bundle.module}-{self._job_id}.jar", bundle.to_zip())
        folder, _, bundle_id = bundle_path.rpartition("/")
        self._uploads.append(bundle_id)
        python = self._python
        words = ["--flink-python", f"{folder}/{flink_python}", "--job-id", self._job_id]
        words += ["--module", bundle.module, "--files", bundle_path]
        if python:
            words += ["--python", python]
        words += ["--", *self._arguments]
        if connectors:
            words += ["--jars", ";".join(f"file://{folder}/{jar_id}" for jar_id in connectors)]
        try:
            return self._run(launcher, {**request, "programArgsList": words})
        except FlinkApiError as error:
            if error.status_code in (502, 503, 504):
                raise FlinkConnectionError(str(error)) from error
            raise self._failure(error, bundle_id.removesuffix(".jar"), secrets) from None

    def _run(self, launcher: str, request: Mapping[str, Any]) -> str:
        """Call the launcher, again and again while other programs are being started."""
        deadline, (pause, longest) = time.monotonic() + self.busy_seconds, self.busy_pauses
        while True:
            try:
                return self._client.run_jar(launcher, request)
            except FlinkApiError as error:
                if _BUSY not in str(error) or time.monotonic() > deadline:
                    raise
                log.info("The JobManager starts one program at a time: %s", error)
            # Those that were sent away together do not come back together.
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(pause * 1.5, longest)

    def _checked(self, answered: str) -> str:
        """The id, if the job under it is the one that was sent.

        :raises FlinkForeignJobError: it is not.
        """
        if answered == self._job_id and self._is_ours() is not False:
            return answered
        raise FlinkForeignJobError(
            f"Flink accepted {self._job_name!r} as job {self._job_id}, but shows {self._shown(answered)}: this is not "
            "the job that was submitted, and it was left alone. If the program itself sets pipeline.name or "
            "pipeline.global-job-parameters, or makes more than one job, leave that to the task (job_name, "
            "flink_configuration)."
        )

    def _is_ours(self) -> bool | None:
        # Flink may be away just after it has accepted a job.
        return ask_blocking(
            lambda: self._client.is_job(self._job_id, self._job_name, self._identity),
            time.time() + _CHECK_SECONDS,
            max_errors=5,
        )

    def _shown(self, job_id: str) -> str:
        job = self._client.find_job(job_id) or {}
        marks = self._client.job_marks(job_id)
        shown = {key: marks.get(key) for key in self._identity}
        return f"job {job_id} named {job.get('name')!r} with the marks {shown}"

    def _taken(self, by: str) -> FlinkJobIdTaken:
        return FlinkJobIdTaken(f"Flink has used the job id {self._job_id} up, {by}.")

    def _failure(self, error: FlinkApiError, marker: str, secrets: Sequence[str]) -> FlinkError:
        job_id = self._job_id
        written = self._client.log_since(marker)
        cause = submission_cause(written, secrets)
        # A program that fails hides a refused id like any other failure.
        duplicate = isinstance(error, FlinkDuplicateJobId) or bool(_DUPLICATE.search(cause or ""))
        state = _state_of(self._client, job_id)
        if state is None and duplicate and not self._turns_up():
            return self._taken("and shows no job under it")
        state = state or _state_of(self._client, job_id)
        if state is not None and self._is_ours() is False:
            return self._taken(f"for {self._shown(job_id)}")
        # A job that is FAILED did not survive its own start.
        if state is not None and (state != "FAILED" or duplicate):
            return FlinkDuplicateJobId(f"Flink already has a job with the id {job_id} ({state}).", error.status_code)
        if lines := excerpt(written, secrets):
            log.error("::group::JobManager log of the submission\n%s\n::endgroup::", lines)
        if cause is None and state is not None:
            cause = mask(root_exception(self._client.exceptions(job_id)) or "", secrets)
        return FlinkSubmissionError(
            f"The program did not start the job {job_id}: {cause or mask(str(error), secrets)}",
        )

    def _uploaded(self, jar: Jar) -> str:
        """The id of the jar on the cluster, uploaded unless a file of this content is there."""
        for entry in self._client.jars():
            if entry["name"] == jar.upload_name:
                return str(entry["id"])
        path = self._client.upload_jar(jar.upload_name, jar.path.read_bytes())
        log.info("Uploaded %s (%d KiB).", jar.path.name, jar.path.stat().st_size // 1024)
        return path.rpartition("/")[2]

    def _delete(self, bundle_id: str) -> None:
        try:
            self._client.delete_jar(bundle_id)
        except FlinkError as error:
            # The job runs without it; but it may hold credentials, so somebody should know.
            log.warning("The uploaded program %s could not be deleted: %s", bundle_id, error)

    def _turns_up(self) -> bool:
        deadline = time.monotonic() + self.settle_seconds
        while time.monotonic() < deadline:
            try:
                if _state_of(self._client, self._job_id) is not None:
                    return True
            except (FlinkConnectionError, FlinkApiError) as error:
                log.debug("Flink does not answer yet: %s", error)
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


def delete_left_bundles(client: FlinkRestClient) -> None:
    """Delete bundles that killed workers left on the cluster, because they hold credentials.

    These are the bundles of jobs that Flink knows, which have their files from elsewhere, and of submissions that must
    have ended long ago. One that cannot be deleted does no harm to the job: it is told in the log.
    """
    try:
        for jar_id, name in _left_bundles(client):
            client.delete_jar(jar_id)
            log.info("Deleted the bundle %s, which an earlier submission has left on the cluster.", name)
    except FlinkError as error:
        log.warning("Bundles that earlier submissions may have left could not be deleted: %s", error)


def _left_bundles(client: FlinkRestClient) -> Iterator[tuple[str, str]]:
    jars = client.jars()
    # The cluster's clock, as far as it shows: this host's may be another.
    newest = max((int(jar["uploaded"]) for jar in jars), default=0)
    for jar in jars:
        if match := _BUNDLE.fullmatch(jar["name"]):
            old = newest - int(jar["uploaded"]) > _SUBMISSION_MILLISECONDS
            if old or _state_of(client, match[1]) is not None:
                yield str(jar["id"]), str(jar["name"])


def _state_of(client: FlinkRestClient, job_id: str) -> str | None:
    try:
        return str(client.job(job_id)["state"])
    except FlinkJobNotFound:
        return None
