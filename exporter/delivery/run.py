"""One run of a target: lanes in the event loop beside the polling thread, and the order in which they stop.

Stopping: read nothing more → deliver what is here → last receipts and positions → close the connector, all within one
deadline; the durable steps keep a share of it so that a slow target cannot starve them.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from connectors.base import Connector, TargetError
from exporter.bus.base import Bus, Lane, LaneRecords
from exporter.delivery.lane import LaneParts, LaneWorker
from exporter.delivery.poller import Poller
from exporter.domain.clock import Clock
from exporter.errors import BusUnavailable, ExporterError
from exporter.ops.log import describe

log = structlog.get_logger()

#: Share of the drain deadline kept for the last commit and for closing the connector.
DURABLE_SHARE = 0.25
#: A revoked lane gets this long to end its delivery; Kafka and the SQLite leases allow about ten seconds for a hand-over.
REVOKE_SECONDS = 5.0
#: How often the end of a drain, or of a ``finish``, is looked for.
WATCH_SECONDS = 0.1
FINISH_SECONDS = 0.25


class TargetRun:
    """From opening to closing; built for every :meth:`TargetEngine.run`. Implements the poller's ``PollerSide``."""

    def __init__(
        self,
        parts: LaneParts,
        connector: Connector,
        bus: Bus,
        tenants: Sequence[str],
        *,
        worker: str,
        clock: Clock,
        memory_bytes: int,
        drain_deadline_seconds: float,
    ) -> None:
        self._parts, self._connector, self._bus, self._clock = parts, connector, bus, clock
        self._tenants = tuple(tenants)
        self._deadline_seconds = drain_deadline_seconds
        self.poller = Poller(parts.target, self._tenants, worker, bus, self, parts.held, memory_bytes)
        self.lanes: dict[Lane, LaneWorker] = {}
        self._tasks: dict[Lane, asyncio.Task[None]] = {}
        self._loop = asyncio.get_running_loop()
        self._thread_ended = asyncio.Event()
        self._lane_failure: BaseException | None = None

    # --- the run ------------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event, finish: asyncio.Event | None) -> None:
        """Run until ``stop`` (or until all is delivered once ``finish`` is set). Raises what broke the bus's reader."""
        threading.Thread(target=self._thread, name=f"poll-{self._parts.target}", daemon=True).start()
        opener: asyncio.Task[object] = asyncio.create_task(self._open_connector())
        waits: set[asyncio.Task[object]] = {
            asyncio.create_task(stop.wait()),
            asyncio.create_task(self._thread_ended.wait()),
            asyncio.create_task(self._until_delivered(finish)),
            opener,
        }
        try:
            while True:
                done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                if done != {opener} or opener.exception() is not None:
                    break
                waits = waits - {opener}
        finally:
            for wait in (*waits, opener):
                wait.cancel()
            await self._end()
            errors = await asyncio.gather(*waits, opener, return_exceptions=True)
        for error in (self.poller.failure, self._lane_failure, *errors):
            if isinstance(error, BaseException) and not isinstance(error, asyncio.CancelledError):
                raise error

    def _thread(self) -> None:
        try:
            self.poller.run(self._clock.monotonic)
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits
                self._loop.call_soon_threadsafe(self._thread_ended.set)

    async def _open_connector(self) -> None:
        """Open, again and again while the target cannot be used; its breakers show why."""
        while True:
            async with self._parts.gate.delivery() as permit:
                try:
                    await self._connector.open()
                except TargetError as error:
                    self._parts.stats.last_error = str(error)
                    permit.failed(error)
                    failure = error
                else:
                    permit.succeeded(slow_down=False)
                    self._parts.stats.last_error = ""
                    self._parts.opened.set()
                    return
            if (suppressed := self._parts.limited.ready("target_not_open")) is not None:
                log.warning("target_not_open", target=self._parts.target, suppressed=suppressed, **describe(failure))
            if self._parts.gate.breakers.closed:
                await self._clock.sleep(self._parts.retry.pause(1, failure.retry_after_seconds))

    async def _until_delivered(self, finish: asyncio.Event | None) -> None:
        """Return when everything that was on the bus at ``finish`` is delivered and committed, by whomever."""
        await (finish or asyncio.Event()).wait()
        goal: dict[Lane, int] | None = None
        looks = 0
        while True:
            self.poller.commit_soon()
            try:
                found = await asyncio.to_thread(self._bus.positions, [self._parts.target], self._tenants)
            except BusUnavailable as error:
                log.warning("positions_unavailable", target=self._parts.target, **describe(error))
            else:
                if goal is None:
                    goal = {p.lane: p.end for p in found}
                    # A look that had begun may end after this; the second one from now has seen the goal.
                    looks = self.poller.looks + 2
                empty = self.poller.looks >= looks
                if all(p.position >= goal.get(p.lane, 0) or (empty and self._is_done(p.lane)) for p in found):
                    return
            await self._clock.sleep(FINISH_SECONDS)

    def _is_done(self, lane: Lane) -> bool:
        """Tell whether a lane of ours is empty by the reader's own count: its end may lie above the last event, behind
        transaction markers that are never delivered.
        """
        worker = self.lanes.get(lane)
        busy = worker is not None and worker.ledger.open_count > 0
        return lane in self.poller.assigned and self.poller.lag.get(lane) == 0 and not busy

    # --- the end ------------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        end = self._clock.monotonic() + self._deadline_seconds
        self._parts.ending.set()
        self.poller.be_quiet()
        for worker in self.lanes.values():
            worker.finish()
        await self._drain(end - DURABLE_SHARE * self._deadline_seconds)
        self.poller.stop()
        floor = DURABLE_SHARE * self._deadline_seconds / 2
        if not await self._within(self._thread_ended.wait(), max(floor, end - floor - self._clock.monotonic())):
            log.error("bus_hangs", target=self._parts.target)
        await self._cancel(list(self._tasks))  # lanes that the last poll began
        for lane in self.lanes:
            self._parts.held.drop(lane)
        self.lanes.clear()
        if not await self._within(self._connector.close(), max(floor, end - self._clock.monotonic())):
            log.warning("connector_close_late", target=self._parts.target)

    async def _drain(self, until: float) -> None:
        """Wait for the lanes until the deadline; those that only wait for a target that is down are stopped at once."""
        while self._tasks and (left := until - self._clock.monotonic()) > 0:
            if not self._parts.opened.is_set():
                break
            if not self._parts.gate.breakers.closed:
                for lane, task in self._tasks.items():
                    if self.lanes[lane].state == "waiting":
                        task.cancel()
            await asyncio.wait(list(self._tasks.values()), timeout=min(left, WATCH_SECONDS))
        await self._cancel(list(self._tasks))

    async def _cancel(self, lanes: Sequence[Lane]) -> None:
        tasks = [self._tasks[lane] for lane in lanes if lane in self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _within(self, work: Coroutine[Any, Any, object], seconds: float) -> bool:
        """Await with a time limit; False when it was exceeded or failed."""
        try:
            await asyncio.wait_for(work, seconds)
        except TimeoutError:
            return False
        except Exception as error:  # noqa: BLE001 - closing must not hide what ended the run
            log.warning("close_failed", target=self._parts.target, **describe(error))
        return True

    # --- PollerSide: called in the polling thread ---------------------------------------------------------------------

    def hand_over(self, batches: list[LaneRecords]) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._receive, batches)

    def positions(self) -> dict[Lane, int]:
        return {
            lane: worker.ledger.position
            for lane, worker in self.lanes.copy().items()
            if worker.ledger.position is not None
        }

    def take_receipts(self) -> list[Mapping[str, Any]]:
        receipts = []
        with contextlib.suppress(IndexError):
            while True:
                receipts.append(self._parts.receipts.popleft())
        return receipts

    def revoke(self, lanes: frozenset[Lane]) -> dict[Lane, int]:
        coroutine = self._stop_lanes(lanes)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            coroutine.close()
            return {}
        try:
            return future.result(REVOKE_SECONDS + 1.0)
        except (TimeoutError, asyncio.CancelledError):
            return {}

    # --- lanes: in the event loop -------------------------------------------------------------------------------------

    def _receive(self, batches: list[LaneRecords]) -> None:
        for batch in batches:
            worker = self.lanes.get(batch.lane)
            if worker is None:
                worker = self.lanes[batch.lane] = LaneWorker(batch.lane, self._parts)
                if self._parts.ending.is_set():
                    worker.finish()
                task = asyncio.create_task(worker.run(), name=f"lane-{batch.lane.tenant}-{batch.lane.partition}")
                self._tasks[batch.lane] = task
                task.add_done_callback(partial(self._lane_ended, batch.lane))
            try:
                worker.receive(batch.records, batch.next_offset)
            except ExporterError as error:
                self._fail(error)

    def _lane_ended(self, lane: Lane, task: asyncio.Task[None]) -> None:
        self._tasks.pop(lane, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """End this run; the caller starts another one from the committed positions."""
        self._lane_failure = error
        self.poller.stop()

    async def _stop_lanes(self, lanes: frozenset[Lane]) -> dict[Lane, int]:
        """End the deliveries under way, forget the rest, and return the positions."""
        workers = {lane: self.lanes[lane] for lane in lanes if lane in self.lanes}
        busy = {"delivering", "dead letters"}
        running = [self._tasks[lane] for lane, w in workers.items() if w.state in busy and lane in self._tasks]
        for worker in workers.values():
            worker.stop_after_this()
        if running:
            await asyncio.wait(running, timeout=min(REVOKE_SECONDS, self._deadline_seconds))
        await self._cancel(list(workers))
        positions = {}
        for lane, worker in workers.items():
            if worker.ledger.position is not None:
                positions[lane] = worker.ledger.position
            self.lanes.pop(lane, None)
            self._parts.held.drop(lane)
        return positions
