"""One lane's deliveries, strictly in order: take a batch, deliver it until every record is settled, take the next."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate, islice
from operator import attrgetter
from typing import Any

import structlog

from connectors.base import (
    Batch,
    BatchTooLarge,
    Connector,
    DeliveryResult,
    Record,
    Rejection,
    TargetError,
    TargetSettings,
    TargetThrottled,
)
from exporter.bus.base import BusRecord, DeadLetters, Lane
from exporter.delivery.buffer import HeldBytes, LaneBuffer, held_size, value_bytes
from exporter.delivery.gate import PROBE_RECORDS, Gate, Pass
from exporter.delivery.offsets import OffsetLedger
from exporter.delivery.receipts import build_burial, build_receipt
from exporter.delivery.rejections import build_letters, store_letters
from exporter.delivery.retry import RetryPolicy
from exporter.delivery.stats import DeliveryStats
from exporter.domain.clock import Clock
from exporter.ops import metrics
from exporter.ops.log import RateLimited, describe

log = structlog.get_logger()

_VALUE = attrgetter("value")


@dataclass(slots=True)
class LaneParts:
    """What the lanes of one target share."""

    target: str
    settings: TargetSettings
    connector: Connector
    gate: Gate
    dead_letters: DeadLetters
    retry: RetryPolicy
    clock: Clock
    held: HeldBytes
    stats: DeliveryStats
    #: Set once the connector is open.
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    #: Set when the run ends: what fails now is not tried again.
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    #: Receipts not yet in the ledger; appended by lanes, taken by the polling thread.
    receipts: deque[Mapping[str, Any]] = field(default_factory=deque)
    limited: RateLimited = field(default_factory=RateLimited)


class LaneWorker:
    """Delivers one lane. ``ledger.position`` tells how far its offsets may be committed at any instant."""

    def __init__(self, lane: Lane, parts: LaneParts) -> None:
        self.lane = lane
        self.ledger = OffsetLedger()
        self.state = "idle"
        self._parts = parts
        self._buffer = LaneBuffer(parts.settings.batch_linger_seconds, parts.clock)
        self._failures = 0
        self._retry_after: float | None = None
        self._stopping = False

    # --- from the engine ----------------------------------------------------------------------------------------------

    def receive(self, records: list[BusRecord], next_offset: int) -> None:
        """Take over what the poller read; its bytes are counted as held already."""
        self.ledger.receive([record.offset for record in records], next_offset)
        if records:
            self._buffer.put(records)

    def finish(self) -> None:
        """Deliver what is here without waiting for more; :meth:`run` returns then."""
        self._buffer.finish()

    def stop_after_this(self) -> None:
        """End after the delivery under way; what else is here is left to the lane's next owner."""
        self._stopping = True
        self._buffer.finish()

    async def run(self) -> None:
        """Work until :meth:`finish` or cancellation. Whatever ends it, only settled offsets are below the position."""
        parts = self._parts
        await parts.opened.wait()
        while True:
            self.state = "idle"
            # Half of the share: about a third of what is held are Python's own bytes.
            half = parts.held.share_bytes // 2
            bound = min(parts.gate.size.max_bytes, half)
            pending = await self._buffer.take(bound, parts.gate.size.max_records, half)
            if not pending:
                return
            while pending:
                done = await self._deliver_some(pending)
                if done is None:
                    return
                pending = done

    # --- one delivery -------------------------------------------------------------------------------------------------

    async def _deliver_some(self, pending: list[BusRecord]) -> list[BusRecord] | None:
        """Deliver the head of ``pending`` once; return what is still to deliver, None to give up (the run ends)."""
        parts = self._parts
        if self._stopping or (parts.ending.is_set() and (self._failures or not parts.gate.breakers.closed)):
            return None
        if self._failures:
            self.state = "waiting"
            await self._pause()
        self.state = "waiting"
        async with parts.gate.delivery() as permit:
            self.state = "delivering"
            count = self._fitting(pending, PROBE_RECORDS if permit.probe else len(pending))
            head, rest = pending[:count], pending[count:]
            left, rejected = await self._attempt(head, permit)
        if rejected:
            self.state = "dead letters"
            if not await self._bury(head, rejected):
                return None
        return left + rest

    def _fitting(self, pending: list[BusRecord], most: int) -> int:
        """Return how many records of the head make one batch (the bound may have shrunk since they were taken)."""
        sums = list(accumulate(map(len, map(_VALUE, islice(pending, most)))))
        return max(1, bisect_right(sums, self._parts.gate.size.max_bytes))

    async def _attempt(self, head: list[BusRecord], permit: Pass) -> tuple[list[BusRecord], list[Rejection]]:
        """Call the connector; return the records to deliver again, in order, and those to bury."""
        parts = self._parts
        batch = Batch(self.lane.tenant, self.lane.partition, _records_of(head), value_bytes(head))
        started = parts.clock.monotonic()
        try:
            result = await parts.connector.deliver(batch)
            _check(result, len(head))
        except BatchTooLarge as error:
            self._count(type(error).__name__)
            return self._split(batch, head, error)
        except TargetError as error:
            self._failed(error, permit)
            return head, []
        except Exception as error:  # noqa: BLE001 - a connector's bug: this lane waits, other tenants go on
            self._failures += 1
            self._count("fault")
            self._say("connector_fault", error)
            return head, []
        metrics.DELIVERY_SECONDS.labels(parts.target).observe(parts.clock.monotonic() - started)
        return self._settle(head, result, permit)

    def _split(
        self, batch: Batch, head: list[BusRecord], error: BatchTooLarge
    ) -> tuple[list[BusRecord], list[Rejection]]:
        if len(head) > 1:
            self._parts.gate.size.too_large(batch.size_bytes)
            return head, []
        return [], [Rejection(0, error.code, f"larger than the target takes: {batch.size_bytes} bytes")]

    def _failed(self, error: TargetError, permit: Pass) -> None:
        self._count(type(error).__name__)
        self._parts.stats.last_error = str(error)
        paused = permit.failed(error)
        # While a breaker is open it does the waiting; the lane's own pause would come on top of it.
        self._failures = 0 if paused and not self._parts.ending.is_set() else self._failures + 1
        self._retry_after = error.retry_after_seconds
        self._say("target_paused" if paused else "delivery_failed", error)

    def _settle(
        self, head: list[BusRecord], result: DeliveryResult, permit: Pass
    ) -> tuple[list[BusRecord], list[Rejection]]:
        parts = self._parts
        unsettled = {rejection.index for rejection in result.rejected}.union(result.retry)
        stored = head if not unsettled else [r for i, r in enumerate(head) if i not in unsettled]
        refuse = bool(result.rejected) and not parts.gate.guard.admits(len(result.rejected))
        if refuse:
            parts.gate.pause_for_rejections()
            self._say("target_paused_for_rejections", None)
        elif stored or result.rejected:
            if permit.probe and not result.rejected:
                parts.gate.guard.reset()
            permit.succeeded(slow_down=result.slow_down)
            self._failures = 0
            parts.stats.last_error = ""
        else:  # everything is to be sent again: no progress, so wait as after a failure
            if result.slow_down:
                parts.gate.limit.overloaded()
            self._failures += 1
            self._retry_after = None
        self._count("partial" if unsettled else "ok")
        if stored:
            self._stored(stored, result)
        if refuse:
            return [r for i, r in enumerate(head) if i in unsettled], []
        return [head[i] for i in sorted(result.retry)], sorted(result.rejected, key=lambda r: r.index)

    def _stored(self, stored: list[BusRecord], result: DeliveryResult) -> None:
        parts, stats = self._parts, self._parts.stats
        now_ns = parts.clock.now_ns()
        # The receipt first: whoever sees the new position must find its receipt.
        parts.receipts.append(
            build_receipt(parts.target, self.lane, stored, result.receipt, result.possible_duplicates, now_ns)
        )
        self.ledger.settle([record.offset for record in stored])
        parts.held.add(self.lane, -held_size(stored))
        parts.gate.guard.note(len(stored), 0)
        size = value_bytes(stored)
        stats.delivered += len(stored)
        stats.delivered_bytes += size
        stats.possible_duplicates += result.possible_duplicates
        stats.last_stored_ns = now_ns
        metrics.DELIVERED_EVENTS.labels(parts.target, self.lane.tenant).inc(len(stored))
        metrics.DELIVERED_BYTES.labels(parts.target, self.lane.tenant).inc(size)
        if result.possible_duplicates:
            metrics.POSSIBLE_DUPLICATES.labels(parts.target).inc(result.possible_duplicates)
        # One observation a batch, of its oldest record: one per event would cost more than the delivery.
        metrics.END_TO_END_SECONDS.labels(parts.target).observe(max(0.0, now_ns / 1e9 - stored[0].append_time_ms / 1e3))

    async def _bury(self, head: list[BusRecord], rejected: list[Rejection]) -> bool:
        """Write dead letters durably, however long that takes; nothing of the lane goes on before. Return False when the
        run ends first: they are then delivered, and refused, again.
        """
        parts = self._parts
        letters = build_letters(parts.target, self.lane, head, rejected, parts.clock.now_ns())
        attempt = 0
        while True:
            try:
                await store_letters(parts.dead_letters, letters)
            except Exception as error:  # noqa: BLE001 - whatever it is, the letters are not stored
                attempt += 1
                self._say("dead_letters_not_written", error)
                if self._stopping or parts.ending.is_set():
                    return False
                await self._wait(parts.retry.pause(attempt))
            else:
                break
        buried = [head[rejection.index] for rejection in rejected]
        parts.receipts.append(build_burial(parts.target, self.lane, letters, parts.clock.now_ns()))
        self.ledger.settle([record.offset for record in buried])
        parts.held.add(self.lane, -held_size(buried))
        parts.gate.guard.note(0, len(buried))
        parts.stats.dead_letters += len(buried)
        return True

    # --- small things -------------------------------------------------------------------------------------------------

    async def _pause(self) -> None:
        await self._wait(self._parts.retry.pause(self._failures, self._retry_after))

    async def _wait(self, seconds: float) -> None:
        """Wait, but no longer than until the run ends."""
        waits = {
            asyncio.ensure_future(self._parts.clock.sleep(seconds)),
            asyncio.ensure_future(self._parts.ending.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _count(self, outcome: str) -> None:
        metrics.DELIVERIES.labels(self._parts.target, outcome).inc()

    def _say(self, event: str, error: BaseException | None) -> None:
        suppressed = self._parts.limited.ready(event)
        if suppressed is not None:
            say = log.info if isinstance(error, TargetThrottled) else log.warning
            fields = describe(error) if error is not None else {}
            lane = f"{self.lane.tenant}/{self.lane.partition}"
            say(event, target=self._parts.target, lane=lane, suppressed=suppressed, **fields)


#: The rest of a record that stands in its canonical form.
_CANONICAL = (None,)


def _records_of(head: list[BusRecord]) -> list[Record]:
    """Return what a connector gets of the bus's records."""
    # tuple.__new__ skips the constructor of the named tuple: a third of the cost for every event.
    return [tuple.__new__(Record, record[:3] + _CANONICAL) for record in head]


def _check(result: DeliveryResult, count: int) -> None:
    """Raise ValueError when a connector marks records that it was not given, or one twice."""
    marked = [rejection.index for rejection in result.rejected] + list(result.retry)
    if len(set(marked)) != len(marked) or any(not 0 <= index < count for index in marked):
        raise ValueError("the connector's result names records that are not in the batch, or one of them twice")
