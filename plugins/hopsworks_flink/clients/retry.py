"""Asking again while Flink or Hopsworks is away: a JobManager restarts, a proxy answers 503, a connection breaks."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_exception, wait_exponential

from hopsworks_flink.clients.flink.http import is_transient
from hopsworks_flink.exceptions import FlinkError, HopsworksConnectionError

T = TypeVar("T")
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
log = logging.getLogger(__name__)


async def ask(question: Callable[[], Awaitable[T]], deadline: float, **options: Any) -> T:
    """The answer to a question that may be asked twice, without blocking the event loop.

    :param question: a call of the client, e.g. ``lambda: client.job(job_id)``.
    :param deadline: epoch seconds; one last try is made then.
    :param options: ``max_errors`` in a row are tolerated, the next one is raised (default: 10); ``first_pause`` seconds
        after the first error, doubled with each further one, up to ``longest_pause``.
    :raises HopsworksFlinkError: an error that would stay, one error too many, or the last one at the deadline.
    """

    async def asked() -> T:
        return await question()

    retrying = AsyncRetrying(**_options(deadline, **options))
    answer: T = await retrying(asked)
    _tell_recovery(retrying.statistics)
    return answer


def ask_blocking(question: Callable[[], T], deadline: float, **options: Any) -> T:
    """As :func:`ask`, for a worker."""
    retrying = Retrying(**_options(deadline, **options))
    answer = retrying(question)
    _tell_recovery(retrying.statistics)
    return answer


def _options(
    deadline: float, max_errors: int = 10, first_pause: float | None = None, longest_pause: float = LONGEST_PAUSE
) -> dict[str, Any]:
    growing = wait_exponential(multiplier=FIRST_PAUSE if first_pause is None else first_pause, max=longest_pause)

    def pause(state: RetryCallState) -> float:
        # A part is left to chance, so that many waits do not come back at once.
        return max(0.0, min(deadline - time.time(), growing(state) * random.uniform(0.5, 1.0)))  # noqa: S311

    return {
        "retry": retry_if_exception(_will_pass),
        "stop": lambda state: state.attempt_number > max_errors or time.time() >= deadline,
        "wait": pause,
        "before_sleep": _tell_first_error,
        "reraise": True,
    }


def _will_pass(error: BaseException) -> bool:
    return isinstance(error, HopsworksConnectionError) or (isinstance(error, FlinkError) and is_transient(error))


def _tell_first_error(state: RetryCallState) -> None:
    if state.attempt_number == 1 and state.outcome:
        log.warning("%s Asking again.", state.outcome.exception())


def _tell_recovery(statistics: dict[str, Any]) -> None:
    if errors := statistics["attempt_number"] - 1:
        log.info("Answered again after %d error(s).", errors)
