"""The way to the connector: breakers, the adaptive limit and the learned size of a batch, shared by a target's lanes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from connectors.base import Capabilities, TargetError, TargetSettings, TargetThrottled, TargetUnavailable
from exporter.delivery.breaker import Breakers, Failure
from exporter.delivery.concurrency import AdaptiveLimit
from exporter.delivery.rejections import RejectionGuard
from exporter.delivery.retry import RetryPolicy
from exporter.domain.clock import Clock
from exporter.ops import metrics

#: Records in the batch that probes whether a target is back: enough to mean something, few to lose time on.
PROBE_RECORDS = 10
#: How long a smaller batch size is kept after the target refused a larger one; then the configured size is tried again.
SMALLER_BATCH_SECONDS = 600.0


class BatchSize:
    """Bounds of a batch: the user's, under the connector's, and for a while less after a "too large"."""

    def __init__(self, settings: TargetSettings, capabilities: Capabilities, clock: Clock) -> None:
        ceiling = capabilities.max_batch_bytes
        self._configured = min(settings.batch_max_bytes or ceiling, ceiling)
        most = capabilities.max_batch_records
        self.max_records = min(settings.batch_max_records or most, most)
        self._learned = self._configured
        self._until = 0.0
        self._clock = clock

    @property
    def max_bytes(self) -> int:
        if self._learned < self._configured and self._clock.monotonic() >= self._until:
            self._learned = self._configured
        return self._learned

    def too_large(self, size_bytes: int) -> None:
        """Note that a batch of several records was refused for its size."""
        self._learned = max(1, min(self._learned, size_bytes // 2))
        self._until = self._clock.monotonic() + SMALLER_BATCH_SECONDS


class Pass:
    """The right to make one delivery."""

    __slots__ = ("_gate", "probe")

    def __init__(self, gate: Gate, *, probe: bool) -> None:
        self._gate = gate
        self.probe = probe

    def succeeded(self, *, slow_down: bool) -> None:
        """The target stored something, or refused single events in an orderly way."""
        self._gate.breakers.succeeded(probe=self.probe)
        if slow_down:
            self._gate.limit.overloaded()
        else:
            self._gate.limit.succeeded()
        self._gate.show()

    def failed(self, error: TargetError) -> bool:
        """The delivery failed; return whether the target is paused now."""
        if isinstance(error, TargetThrottled | TargetUnavailable):
            self._gate.limit.overloaded()
        self._gate.show()
        return self._gate.breakers.failed(error, probe=self.probe)


class Gate:
    """One per target and run."""

    def __init__(
        self, target: str, settings: TargetSettings, capabilities: Capabilities, clock: Clock, retry: RetryPolicy
    ) -> None:
        self._target = target
        self.breakers = Breakers(target, clock, retry)
        self.limit = AdaptiveLimit(capabilities.max_in_flight, clock)
        self.size = BatchSize(settings, capabilities, clock)
        self.guard = RejectionGuard(settings.max_dead_letter_ratio)
        self.show()

    @asynccontextmanager
    async def delivery(self) -> AsyncIterator[Pass]:
        """Wait until a delivery may be made and hold its slot for the ``async with`` block."""
        while True:
            await self.breakers.passable()
            await self.limit.acquire()
            probe = self.breakers.enter()
            if probe is not None:
                break
            self.limit.release()
        try:
            yield Pass(self, probe=probe)
        finally:
            self.limit.release()
            if probe:
                self.breakers.leave()

    def pause_for_rejections(self) -> None:
        """Too many events are refused: stop until a probe goes through."""
        self.breakers.open(Failure.REJECTIONS)

    def show(self) -> None:
        """Publish the present limit."""
        metrics.CONCURRENCY.labels(self._target).set(self.limit.limit)
