"""How many deliveries a target may have under way: additive increase, multiplicative decrease."""

from __future__ import annotations

import asyncio
from collections import deque

from exporter.domain.clock import Clock

#: One decrease a second at most: failures of requests that were sent together are one sign, not many.
DECREASE_INTERVAL_SECONDS = 1.0
#: Deliveries under way at the start; a second one hides the latency of the first.
START = 2.0


class AdaptiveLimit:
    """A semaphore whose size follows the target. It grows by one per full round of successes while it is the
    bottleneck, and halves when the target throttles, times out or asks to slow down. First come, first served, so no
    lane starves.
    """

    def __init__(self, maximum: int, clock: Clock) -> None:
        self._maximum = max(1, maximum)
        self._limit = min(START, float(self._maximum))
        self._in_use = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._clock = clock
        self._decreased_at = float("-inf")

    @property
    def limit(self) -> int:
        return int(self._limit)

    @property
    def in_use(self) -> int:
        return self._in_use

    async def acquire(self) -> None:
        """Wait for a slot."""
        if self._in_use < self.limit and not self._waiting:
            self._in_use += 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.release()  # granted and cancelled in the same turn
            raise

    def release(self) -> None:
        """Give a slot back."""
        self._in_use -= 1
        self._grant()

    def _grant(self) -> None:
        while self._waiting and self._in_use < self.limit:
            future = self._waiting.popleft()
            if not future.done():
                self._in_use += 1
                future.set_result(None)

    def succeeded(self) -> None:
        """Report a success; call while the slot is still held. Grows only when the limit was in the way."""
        if self._in_use >= self.limit:
            self._limit = min(float(self._maximum), self._limit + 1.0 / self._limit)
            self._grant()

    def overloaded(self) -> None:
        """Report that the target was asked too much."""
        now = self._clock.monotonic()
        if now - self._decreased_at >= DECREASE_INTERVAL_SECONDS:
            self._decreased_at = now
            self._limit = max(1.0, self._limit / 2)
