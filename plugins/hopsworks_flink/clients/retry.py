"""Asking Flink again while it is away."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from hopsworks_flink.clients.flink.http import is_transient
from hopsworks_flink.exceptions import FlinkError

T = TypeVar("T")
log = logging.getLogger(__name__)


class Patience:
    """Asks again while Flink is away: a JobManager restarts, a proxy answers 503, a connection breaks.

    One object follows one wait: an answer resets the count of errors in a row. Only for what may be asked twice.

    :param max_errors: so many in a row are borne; the next one is raised.
    :param first_pause: seconds after the first error; doubled with each further one.
    :param longest_pause: seconds.
    """

    def __init__(self, max_errors: int = 10, first_pause: float = 1.0, longest_pause: float = 30.0) -> None:
        self.max_errors = max_errors
        self.first_pause = first_pause
        self.longest_pause = longest_pause
        self.errors = 0

    async def ask(self, question: Callable[[], Awaitable[T]], deadline: float) -> T:
        """The answer to a question, without blocking the event loop.

        :param question: a call of the client, e.g. ``lambda: flink.job_state(job_id)``.
        :param deadline: epoch seconds; one last try is made then.
        :raises FlinkError: an answer that will stay as it is, one error too many, or the last one at the deadline.
        """
        while True:
            try:
                answer = await question()
            except FlinkError as error:
                await asyncio.sleep(self.bear(error, deadline))
            else:
                self.answered()
                return answer

    def ask_blocking(self, question: Callable[[], T], deadline: float) -> T:
        """As :meth:`ask`, for a worker."""
        while True:
            try:
                answer = question()
            except FlinkError as error:
                time.sleep(self.bear(error, deadline))
            else:
                self.answered()
                return answer

    def bear(self, error: FlinkError, deadline: float) -> float:
        """Seconds to wait after an error; raises the error if it cannot be borne.

        A part of the pause is left to chance, so that many waits do not come back at once.
        """
        left = deadline - time.time()
        self.errors += 1
        if not is_transient(error) or self.errors > self.max_errors or left <= 0:
            raise error
        if self.errors == 1:
            log.warning("%s Asking again.", error)
        longest = min(self.longest_pause, self.first_pause * 2 ** min(self.errors - 1, 20))
        return min(left, longest * random.uniform(0.5, 1.0))

    def answered(self) -> None:
        """Flink answered: the next error is a first one."""
        if self.errors:
            log.info("Flink answers again after %d error(s).", self.errors)
        self.errors = 0
