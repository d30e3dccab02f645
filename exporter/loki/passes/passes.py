"""The passes of one tenant beside its live reading: questions run in the background, findings are applied between two windows.

State changes only in :meth:`Passes.apply`, which the reader calls in the order in which it hands out units, so that a pass's lines,
what is remembered of them and the marks stand in the same commits. Whatever was under way when a worker died is asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from exporter.domain.checkpoints import LiveCheckpoint, Trouble
from exporter.domain.clock import Clock
from exporter.domain.entries import StreamEntries
from exporter.domain.windows import NS_PER_HOUR, NS_PER_MINUTE, Window
from exporter.errors import ExporterError
from exporter.loki.gathering import Whole
from exporter.loki.hours import Hours
from exporter.loki.limits import TenantLimits
from exporter.loki.ordered import size_of
from exporter.loki.passes.explained import Explanations
from exporter.loki.passes.memory import Memory, ids_by_minute
from exporter.loki.passes.probe import Passed, Probe, Reading
from exporter.loki.passes.schedule import Bounds, Round, next_round, sealed_ns, window_of
from exporter.loki.patience import Patience
from exporter.loki.proof import Prover
from exporter.loki.source import Source
from exporter.loki.troubles import merged
from exporter.ops import metrics
from exporter.ops.budget import ByteBudget
from exporter.settings.model import LokiSettings

#: After a failure that no repetition mends, the passes rest so long; the live reading goes on.
_REST_SECONDS = 60.0

_log = structlog.get_logger(__name__)


@dataclass(slots=True, repr=False)
class Finding:
    """What a pass brought, applied: the new entries, their fingerprint, the checkpoint after them."""

    name: str
    whole: Whole
    fingerprint: int
    live: LiveCheckpoint


class Passes:
    """Runs rounds one at a time. ``budget`` is told what waits to be taken."""

    def __init__(
        self,
        source: Source,
        settings: LokiSettings,
        clock: Clock,
        hours: Hours,
        memory: Memory,
        budget: ByteBudget,
    ) -> None:
        self._source, self._settings, self._clock = source, settings, clock
        self._hours, self._memory, self._budget = hours, memory, budget
        self._limits = TenantLimits()
        self._prover = Prover(source, settings, self._limits)
        self._probe = Probe(source, self._prover, Patience(source.tenant, clock), hours, memory)
        self._findings: asyncio.Queue[Reading | Passed] = asyncio.Queue(1)
        self._task: asyncio.Task[None] | None = None
        self._rests_until = float("-inf")
        self._ends_ns: int | None = None

    def use_limits(self, limits: TenantLimits) -> None:
        """Take over the tenant's limits, which may change while we run."""
        self._limits = limits
        self._prover.use_limits(limits)

    @property
    def bounds(self) -> Bounds:
        """When hours are due, by settings and limits."""
        return Bounds.of(self._settings.passes, self._limits)

    # --- running --------------------------------------------------------------------------------------------------------

    async def next(self, live: LiveCheckpoint, free_ns: int, *, wait: bool) -> Finding | None:
        """Return the next finding, applied to what is kept; start a round when one is due. Without ``wait`` None also means
        that nothing is ready yet, and a failure is logged and rests; with it None means that nothing is due, and failures are
        raised.
        """
        while True:
            if self._task is None:
                if not wait and self._clock.monotonic() < self._rests_until:
                    return None
                if wait and self._ends_ns is None:
                    self._ends_ns = (
                        self._clock.now_ns()
                    )  # what becomes due meanwhile is left to the next run, or it never ends
                now_ns = self._ends_ns if self._ends_ns is not None else self._clock.now_ns()
                due = next_round(live.passes, live.troubles, live.origin_ns, free_ns, now_ns, self.bounds)
                if due is None:
                    return None
                self._task = asyncio.create_task(self._run(due, live), name=f"pass-{live.tenant}")
            found = await self._take(wait=wait)
            if found is not None:
                return self._apply(found, live)
            if self._task is not None and not self._task.done():
                return None
            self._end_round(wait=wait)

    async def stop(self) -> None:
        """End what is under way."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task
        while not self._findings.empty():
            self._released(self._findings.get_nowait())

    async def _run(self, due: Round, live: LiveCheckpoint) -> None:
        deletes = await self._deletes()
        now_ns, bounds = self._clock.now_ns(), self.bounds
        retention_ns = bounds.shortest_retention_ns
        findings = self._probe.look(
            due,
            origin_ns=live.origin_ns,
            visible_ns=now_ns - bounds.lookback_ns if bounds.lookback_ns else 0,
            sealed_ns=live.sealed_ns,
            troubles=live.troubles,
            explanations=Explanations(deletes, now_ns - retention_ns if retention_ns else 0),
        )
        async for found in findings:
            if isinstance(found, Reading):
                self._budget.overdraw(size_of(found.whole))
            try:
                await self._findings.put(found)
            except asyncio.CancelledError:
                self._released(found)
                raise

    async def _deletes(self) -> list[Window]:
        """Ask what was deleted; where that cannot be told, missing lines stay unexplained and are looked at again."""
        try:
            return await self._source.deletes()
        except ExporterError as error:
            _log.info("loki_deletes_unknown", tenant=self._source.tenant, reason=error.message)
            return []

    async def _take(self, *, wait: bool) -> Reading | Passed | None:
        """Return what the round found; None when it is over, or without ``wait`` when nothing is there."""
        if self._task is None:
            return None
        if wait and self._findings.empty() and not self._task.done():
            getter = asyncio.ensure_future(self._findings.get())
            try:
                await asyncio.wait({getter, self._task}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not getter.done():
                    getter.cancel()
            if getter.done() and not getter.cancelled():
                return self._released(getter.result())
        await asyncio.sleep(0)
        return None if self._findings.empty() else self._released(self._findings.get_nowait())

    def _released(self, found: Reading | Passed) -> Reading | Passed:
        if isinstance(found, Reading):
            self._budget.release(size_of(found.whole))
        return found

    def _end_round(self, *, wait: bool) -> None:
        task, self._task = self._task, None
        error = None if task is None or task.cancelled() else task.exception()
        if error is None:
            return
        if wait or not isinstance(error, ExporterError):
            raise error
        self._rests_until = self._clock.monotonic() + _REST_SECONDS
        _log.warning("loki_pass_failed", tenant=self._source.tenant, error=type(error).__name__, reason=error.message)

    # --- applying -------------------------------------------------------------------------------------------------------

    def _apply(self, found: Reading | Passed, live: LiveCheckpoint) -> Finding:
        if isinstance(found, Reading):
            return self._apply_reading(found, live)
        return self._apply_round(found, live)

    def _apply_reading(self, found: Reading, live: LiveCheckpoint) -> Finding:
        """Remember new entries as exported, and what Loki counts. The caller exports them with the records of this."""
        whole = found.whole
        print_ = self._hours.add(whole.streams)
        for verdict in found.verdicts:
            self._hours.accept(verdict.cell.window, verdict.loki_count, verdict.gone)
        for minute_ns, ids in ids_by_minute(whole.streams).items():
            self._memory.add(minute_ns, ids)
        metrics.PASS_FOUND.labels(live.tenant, found.name).inc(whole.count)
        live = replace(live, troubles=merged(live.troubles, whole.window, whole.troubles))
        return Finding(found.name, whole, print_, live)

    def _apply_round(self, passed: Passed, live: LiveCheckpoint) -> Finding:
        due = passed.round
        first, last = window_of(due.hours[0], live.origin_ns), window_of(due.hours[-1], live.origin_ns)
        window = Window(first.start_ns, last.end_ns)
        for hour, deletes in passed.deletes.items():
            self._hours.looked_into(hour, deletes)
        troubles = live.troubles
        for hidden in passed.hidden:
            reason = "Loki answers no more for this time (max_query_lookback), and it was not sealed before"
            if hidden.end_ns > live.sealed_ns:
                troubles = merged(troubles, hidden, [Trouble("suspect", hidden.start_ns, hidden.end_ns, reason)])
        sealed = sealed_ns(live.sealed_ns, due.marks, troubles)
        for hour in due.hours:
            self._memory.merge(hour)
        if sealed > live.sealed_ns:
            self._memory.drop(sealed)
            self._hours.compact(sealed)
        for outcome, number in (("unchanged", len(due.hours) - passed.changed), ("read", passed.changed)):
            metrics.PASS_HOURS.labels(live.tenant, due.name, outcome).inc(number)
        live = replace(live, passes=due.marks, sealed_ns=sealed, troubles=troubles)
        return Finding(due.name, Whole(window, [], passed.loki_count, 0, 0), 0, live)

    def exported(self, window: Window, streams: Iterable[StreamEntries]) -> None:
        """Remember what was read the first time and is not kept in near cells: history that was caught up with. What may be sealed
        at once needs no memory.
        """
        if window.end_ns + NS_PER_HOUR + self.bounds.seal_ns <= self._clock.now_ns():
            return
        for minute_ns, ids in ids_by_minute(streams).items():
            part = min(1.0, window.duration_ns / NS_PER_MINUTE)
            self._memory.add(minute_ns, ids, int(len(ids) / part))
