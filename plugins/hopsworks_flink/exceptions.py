"""Errors of this package. No Airflow here: the pipeline compiler raises them outside Airflow as well.

Each class says by ``permanent`` whether another try can help. Operators turn permanent errors into
``AirflowFailException`` (the task is not retried); everything else fails the try and follows the task's ``retries``.
"""

from __future__ import annotations


class HopsworksFlinkError(Exception):
    """Base of all errors raised by this package."""

    #: True where a retry with the same arguments must fail again.
    permanent = False


class PipelineError(HopsworksFlinkError, ValueError):
    """A pipeline file (or another argument) is wrong; the text names the field, the value and what is allowed."""

    permanent = True


class ConfigurationError(HopsworksFlinkError):
    """A connection or an operator's argument is missing or wrong, or a file that the worker needs is not there."""

    permanent = True


class FlinkError(HopsworksFlinkError):
    """Flink answered with an error, or did not answer."""


class FlinkConnectionError(FlinkError):
    """Flink's REST endpoint could not be reached, or broke off. Worth a retry."""


class FlinkApiError(FlinkError):
    """Flink's REST API refused a call.

    :param message: what was asked and what Flink answered.
    :param status_code: HTTP status of the answer.
    """

    def __init__(self, message: str, status_code: int) -> None:
        super().__init__(message)
        self.status_code = status_code
        # 401/403: wrong credentials; a retry sends the same ones. The rest may pass (404 and 409 while restarting).
        self.permanent = status_code in (401, 403)


class FlinkJobNotFound(FlinkApiError):
    """Flink does not know a job of this id (404)."""


class FlinkDuplicateJobId(FlinkApiError):
    """Flink has already seen a job with the chosen id: it runs, or it ran and ended."""


class FlinkJobIdTaken(FlinkError):
    """Flink has seen the chosen id before, for a job that is not the one to be started: choose another id."""


class FlinkForeignJobError(FlinkError):
    """The job under the submitted id is not the one that was submitted; it was left alone."""

    # The same program would end the same way: a person has to look.
    permanent = True


class FlinkSubmissionError(FlinkError):
    """A job did not start.

    :param message: the root cause out of the JobManager's log, secrets cut out.
    :param savepoint_path: state of the job that was stopped for this one, if any; a retry starts from it.
    """

    def __init__(self, message: str, savepoint_path: str | None = None) -> None:
        super().__init__(message)
        self.savepoint_path = savepoint_path


class FlinkSavepointError(FlinkError):
    """A savepoint could not be taken; the job goes on running."""


class FlinkJobFailed(FlinkError):
    """A job ended in a state that is not success, or did not become healthy in time.

    :param message: one sentence with the root cause.
    :param job_id: 32 hex digits.
    :param state: Flink's state of the job at that moment.
    """

    def __init__(self, message: str, job_id: str, state: str) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.state = state


class FlinkDeploymentRolledBack(FlinkJobFailed):
    """A new deployment was not healthy; the previous one runs again from the state that it had left.

    :param restored_job_id: the previous deployment's new job.
    """

    # The same program would fail the same way: a person has to change something.
    permanent = True

    def __init__(self, message: str, job_id: str, state: str, restored_job_id: str) -> None:
        super().__init__(message, job_id, state)
        self.restored_job_id = restored_job_id


class FlinkRollbackFailed(FlinkJobFailed):
    """A new deployment was not healthy, and the previous one could not be brought back: nothing may be running.

    :param savepoint_path: the state to start from, if there is any.
    """

    def __init__(self, message: str, job_id: str, state: str, savepoint_path: str | None) -> None:
        super().__init__(message, job_id, state)
        self.savepoint_path = savepoint_path


class FlinkAmbiguousJobError(FlinkError):
    """More than one job of one name runs: which one is meant has to be decided by a person."""

    permanent = True


class FlinkStateError(FlinkError):
    """A deployment needs the state of an earlier job and none can be had."""

    permanent = True


class HopsworksError(HopsworksFlinkError):
    """Hopsworks answered with an error, or did not answer."""


class HopsworksConnectionError(HopsworksError):
    """Hopsworks could not be reached. Worth a retry."""


class HopsworksLoginError(HopsworksError):
    """Hopsworks refused the API key, does not know the project, or its certificate is not trusted."""

    permanent = True


class HopsworksConflictError(HopsworksError):
    """A feature group, topic or schema exists already and differs from what was asked for; the text names what."""

    permanent = True


class HopsworksNotFoundError(HopsworksError):
    """A feature group, topic or job does not exist."""

    permanent = True


class HopsworksJobFailed(HopsworksError):
    """A Hopsworks job's execution ended without success, or did not end in time.

    :param message: one sentence with the state and where to look.
    :param execution_id: number of the execution, if one was started.
    :param state: Hopsworks' state of the execution.
    """

    def __init__(self, message: str, execution_id: int | None, state: str) -> None:
        super().__init__(message)
        self.execution_id = execution_id
        self.state = state


class KafkaError(HopsworksFlinkError):
    """A Kafka broker refused a request, or did not answer."""


class KafkaSecurityError(KafkaError):
    """Broker and client do not trust each other: certificate, host name, or login; the text says which."""

    permanent = True


class KafkaConflictError(KafkaError):
    """A topic exists and differs from what was asked for, or a broker refuses what is asked; the text names what."""

    permanent = True
