"""How often and how long a request to Loki is repeated, in one place.

Out of reach, throttled, too slow: without end, with full jitter; Loki keeps the data meanwhile. An answer outside the
protocol: a few times (a proxy restarting), then a human has to look.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from exporter.domain.clock import Clock
from exporter.errors import BadAnswer, ExporterError, RetryLater, ShrinkPage, SplitWindow, TenantStopped

_Result = TypeVar("_Result")

#: Full jitter up to this; Loki's own canary waits longer after a 429, but our concurrency is lowered as well.
_MAX_WAIT_SECONDS = 30.0
_FIRST_WAIT_SECONDS = 0.25
_MAX_BAD_ANSWERS = 5
_LOG_EVERY_SECONDS = 10.0

#: SplitWindow and ShrinkPage arrive here only from questions that cannot be made smaller.
_PASSING = (RetryLater, BadAnswer, SplitWindow, ShrinkPage)

_log = structlog.get_logger(__name__)


class Patience:
    """Repeats what fails for a while. One per tenant, so that its log stays within one line in ten seconds."""

    def __init__(self, tenant: str, clock: Clock) -> None:
        self._tenant, self._clock = tenant, clock
        self._next_log = float("-inf")
        self._wait = wait_random_exponential(multiplier=_FIRST_WAIT_SECONDS, max=_MAX_WAIT_SECONDS)

    async def run(
        self, attempt: Callable[[], Awaitable[_Result]], *, passes: tuple[type[ExporterError], ...] = ()
    ) -> _Result:
        """Return what ``attempt`` returns. Raises TenantStopped, at once or after too many bad answers, and the errors
        of ``passes``, which the caller handles.
        """
        bad_answers = 0

        async def once() -> _Result:
            nonlocal bad_answers
            try:
                return await attempt()
            except BadAnswer as error:
                bad_answers += 1
                if bad_answers >= _MAX_BAD_ANSWERS:
                    raise TenantStopped(f"{error.message}, {bad_answers} times", hint=error.hint) from None
                raise

        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, _PASSING) and not isinstance(error, passes)),
            wait=self._seconds,
            sleep=self._clock.sleep,
            before_sleep=self._tell,
            reraise=True,
        )
        return await retrying(once)

    def _seconds(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after_seconds if isinstance(error, RetryLater) else None
        return max(self._wait(state), asked or 0.0)

    def _tell(self, state: RetryCallState) -> None:
        now = self._clock.monotonic()
        error = state.outcome.exception() if state.outcome else None
        if now < self._next_log or not isinstance(error, ExporterError):
            return
        self._next_log = now + _LOG_EVERY_SECONDS
        _log.warning(
            "loki_retry",
            tenant=self._tenant,
            error=type(error).__name__,
            reason=error.message,
            attempt=state.attempt_number,
        )
