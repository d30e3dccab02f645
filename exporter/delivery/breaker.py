"""Circuit breakers of one target, one for each failure class, because each needs something else.

=============== ============================== ====================================================================
failure         opens                          meanwhile
=============== ============================== ====================================================================
unauthorized    at once                        a human mends the credentials (they are re-read at every probe)
misconfigured   at once                        a human mends the target or the configuration
rejections      too many events refused        a human looks why; see ``max_dead_letter_ratio``
throttled       at once with ``Retry-After``,  the target rests
                else after three in a row
outage          after three in a row           the target comes back
=============== ============================== ====================================================================

Open: nothing is delivered, lanes keep their records and the bus is paused by bytes. When the pause is over, one small
batch of one lane is the probe (half open); it closes all breakers or opens its own for longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from connectors.base import TargetError, TargetMisconfigured, TargetThrottled, TargetUnauthorized
from exporter.delivery.retry import RetryPolicy
from exporter.domain.clock import Clock
from exporter.ops import metrics

#: Failures in a row, over all lanes, after which a target counts as down. One lost connection is no outage.
FAILURES_TO_OPEN = 3
#: First pause when a human is needed: short enough to notice the mending, long enough not to lock an account.
HUMAN_BASE_SECONDS = 5.0
_GAUGE = {"closed": 0, "half_open": 1, "open": 2}


class Failure(StrEnum):
    UNAUTHORIZED = "unauthorized"
    MISCONFIGURED = "misconfigured"
    REJECTIONS = "rejections"
    THROTTLED = "throttled"
    OUTAGE = "outage"


_NEEDS_HUMAN = frozenset({Failure.UNAUTHORIZED, Failure.MISCONFIGURED, Failure.REJECTIONS})


def failure_of(error: TargetError) -> Failure:
    """Return the breaker that an error belongs to."""
    if isinstance(error, TargetUnauthorized):
        return Failure.UNAUTHORIZED
    if isinstance(error, TargetMisconfigured):
        return Failure.MISCONFIGURED
    return Failure.THROTTLED if isinstance(error, TargetThrottled) else Failure.OUTAGE


@dataclass(slots=True)
class _Breaker:
    in_a_row: int = 0
    trips: int = 0
    state: str = "closed"
    until: float = 0.0


class Breakers:
    """All breakers of one target; lives in the event loop."""

    def __init__(self, target: str, clock: Clock, retry: RetryPolicy) -> None:
        self._target, self._clock, self._retry = target, clock, retry
        self._human = RetryPolicy(retry.max_seconds, HUMAN_BASE_SECONDS, retry.random)
        self._all = {failure: _Breaker() for failure in Failure}
        self._changed = asyncio.Event()
        self._probing = False
        for failure in Failure:
            self._show(failure)

    @property
    def closed(self) -> bool:
        return all(b.state == "closed" for b in self._all.values())

    def states(self) -> Mapping[str, str]:
        """Return ``closed``, ``half_open`` or ``open`` by failure class."""
        return {str(failure): breaker.state for failure, breaker in self._all.items()}

    async def passable(self) -> None:
        """Wait until a delivery may be tried: all closed, or a probe is due and nobody probes."""
        while not self.closed:
            wait = max(b.until for b in self._all.values() if b.state != "closed") - self._clock.monotonic()
            if self._probing:
                self._changed.clear()
                await self._changed.wait()
            elif wait > 0:
                await self._clock.sleep(wait)
            else:
                return

    def enter(self) -> bool | None:
        """Return False for an ordinary delivery, True for the probe, None when neither is admitted now. Whoever got True
        calls :meth:`leave` in any case.
        """
        if self.closed:
            return False
        now = self._clock.monotonic()
        if self._probing or any(b.until > now for b in self._all.values() if b.state != "closed"):
            return None
        self._probing = True
        for failure, breaker in self._all.items():
            if breaker.state == "open":
                self._set(failure, "half_open")
        return True

    def leave(self) -> None:
        """End the probe. Breakers that it neither closed nor opened again stay due, so the next lane may probe."""
        self._probing = False
        for failure, breaker in self._all.items():
            if breaker.state == "half_open":
                self._set(failure, "open")
        self._changed.set()

    def succeeded(self, *, probe: bool) -> None:
        """Report that the target stored something. Only the probe closes breakers: a request that was under way when the
        target said "wait" proves nothing.
        """
        for failure, breaker in self._all.items():
            breaker.in_a_row = 0
            if probe and breaker.state != "closed":
                breaker.trips = 0
                self._set(failure, "closed")
        self._changed.set()

    def failed(self, error: TargetError, *, probe: bool) -> bool:
        """Report a failed delivery; return whether its breaker is open now."""
        failure = failure_of(error)
        breaker = self._all[failure]
        breaker.in_a_row += 1
        at_once = probe or failure in _NEEDS_HUMAN or (failure is Failure.THROTTLED and error.retry_after_seconds)
        if at_once or breaker.in_a_row >= FAILURES_TO_OPEN:
            self.open(failure, error.retry_after_seconds)
        return breaker.state == "open"

    def open(self, failure: Failure, retry_after_seconds: float | None = None) -> None:
        """Open one breaker, or keep it open for longer."""
        breaker, now = self._all[failure], self._clock.monotonic()
        if breaker.state == "open" and breaker.until > now:  # several lanes failed together: one trip
            breaker.until = max(breaker.until, now + min(retry_after_seconds or 0.0, self._retry.max_seconds))
            return
        breaker.trips += 1
        if failure in _NEEDS_HUMAN:
            pause = max(self._human.bound(breaker.trips), self._human.pause(1, retry_after_seconds))
        else:
            pause = self._retry.pause(breaker.trips + 1, retry_after_seconds)
        breaker.until = now + min(pause, self._retry.max_seconds)
        self._set(failure, "open")

    def _set(self, failure: Failure, state: str) -> None:
        self._all[failure].state = state
        self._show(failure)

    def _show(self, failure: Failure) -> None:
        metrics.BREAKER_STATE.labels(self._target, str(failure)).set(_GAUGE[self._all[failure].state])
