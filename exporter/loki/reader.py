"""Live reading of one tenant: windows in order, late lines beside them, and the checkpoint that goes with each.

The worker takes units in order and commits each with its records; state advances as if every earlier unit had been
committed. When a commit fails the worker throws the reader away and builds a new one from the committed records.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace

import structlog

from exporter.domain.checkpoints import LiveCheckpoint, PassMarks, Trouble, live_key
from exporter.domain.clock import Clock
from exporter.domain.entries import EntryBatch, StreamEntries
from exporter.domain.windows import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_MS, NS_PER_SECOND, Window
from exporter.errors import ExporterError, SplitWindow, TenantStopped
from exporter.loki.client import LokiClient
from exporter.loki.found import without
from exporter.loki.gathering import Whole
from exporter.loki.hours import Hours
from exporter.loki.limits import TenantLimits
from exporter.loki.near import NearCells, late_windows
from exporter.loki.ordered import OrderedFetch, size_of
from exporter.loki.pace import Pace
from exporter.loki.passes.memory import Memory
from exporter.loki.passes.passes import Passes
from exporter.loki.passes.schedule import started
from exporter.loki.patience import Patience
from exporter.loki.proof import Job, Prover
from exporter.loki.source import Source
from exporter.loki.start import find_earliest, parse_start
from exporter.loki.troubles import merged
from exporter.ops import metrics
from exporter.ops.budget import ByteBudget
from exporter.settings.model import LokiSettings, TenantSettings

#: Windows that end this close to the live edge are read without a count of their own: lines arrive while we read, so the
#: count would differ for good reasons; the near cells prove them a cycle later.
_HOT_NS = 10 * NS_PER_SECOND
#: While catching up, late lines are looked for this often.
_LATE_EVERY_SECONDS = 10.0
#: A tenant's limits are asked for again this often.
_LIMITS_EVERY_SECONDS = 600.0
_LIMITS_RETRY_SECONDS = 60.0
#: Entries this young may be in ingesters only. Loki asks these for 3 hours (query_ingesters_within); many times that here.
_UNFLUSHED_NS = 24 * NS_PER_HOUR
#: Share of a page's entries that a window of late seconds may hold.
_LATE_SHARE = 0.45
#: Share of the room for ids that the near cells take; the rest is kept for the passes over history.
_NEAR_SHARE = 0.6
#: The passes of the live reading; what the others found is applied to the checkpoint by themselves.
_FIRST, _NEAR = "hot", "near"

_log = structlog.get_logger(__name__)


@dataclass(slots=True, repr=False)
class ReadUnit:
    """What is committed together: new entries (each once, per stream in time order; none when only the frontier moves),
    the checkpoint after them, and further records (``None`` deletes). ``loki_count`` (-1: not asked) and
    ``fingerprint`` are of the window as read; ``size_bytes`` estimates the memory that the batch holds.
    """

    batch: EntryBatch
    window: Window
    live: LiveCheckpoint
    records: dict[str, bytes | None]
    loki_count: int
    fingerprint: int
    size_bytes: int
    pass_name: str  # hot: read the first time; near: late lines of the last minutes; warm, cold, seal, drift: see docs/completeness.md

    def __repr__(self) -> str:
        return f"ReadUnit({self.window}, {self.batch!r})"


class TenantReader:
    """Reads one tenant. Build, :meth:`restore`, then iterate :meth:`units`; one use only.

    ``near_bytes`` bounds the ids kept to tell late lines from exported ones; ``read_ahead`` is shared by all tenants of the process and bounds
    what is read but not taken yet.
    """

    def __init__(
        self,
        tenant: str,
        settings: TenantSettings,
        loki: LokiSettings,
        client: LokiClient,
        *,
        clock: Clock,
        identity_key: bytes = b"",
        near_bytes: int,
        read_ahead: ByteBudget,
    ) -> None:
        self._tenant, self._settings, self._loki, self._clock = tenant, settings, loki, clock
        self._client = client
        self._org_id = settings.org_id or tenant
        self._source = Source(client, tenant, self._org_id, settings.selector, identity_key)
        self._limits = TenantLimits()
        self._prover = Prover(self._source, loki, self._limits)
        self._patience = Patience(tenant, clock)
        self._pace = Pace(loki.page_bytes)
        self._near_bytes, self._read_ahead = int(near_bytes * _NEAR_SHARE), read_ahead
        self._limits_due = float("-inf")
        self._earlier: LiveCheckpoint | None = None  # of another selector: its totals go on
        self._live: LiveCheckpoint | None = None
        self._near = NearCells(tenant, self._near_bytes, 0)
        self._hours = Hours(tenant)
        self._memory = Memory(tenant, near_bytes - self._near_bytes)
        background = Source(client.in_background(), tenant, self._org_id, settings.selector, identity_key)
        self._passes = Passes(background, loki, clock, self._hours, self._memory, read_ahead)
        self._records: dict[str, bytes | None] = {}  # to be written with the next unit

    async def restore(self, records: Mapping[str, bytes]) -> None:
        """Take over the tenant's records of the shard's checkpoint. Without a live record, or when it is of another
        selector, reading begins at the configured start. Raises CheckpointError, TenantStopped.
        """
        raw = records.get(live_key(self._tenant))
        live = None if raw is None else LiveCheckpoint.decode(raw)
        if live is not None and live.selector == self._settings.selector:
            self._live = replace(live, passes=started(live.passes, self._clock.now_ns()))
            self._near = NearCells(self._tenant, self._near_bytes, live.near_from_ns or live.frontier_ns)
            self._near.restore(records)
            self._hours.restore(records)
            self._memory.restore(records)
            return
        self._earlier = live
        self._records = {key: None for key in records if key != live_key(self._tenant)}
        try:
            origin_ns = parse_start(self._settings.start, self._clock.now_ns())
        except ValueError:
            raise TenantStopped("the tenant's start is not a time", hint="use earliest, now or RFC 3339") from None
        if origin_ns is not None:
            self._begin_at(origin_ns)

    async def units(self, until_ns: int | None = None) -> AsyncGenerator[ReadUnit, None]:
        """Yield what is read, for ever at the live edge, or until the frontier reached ``until_ns``, late lines were looked for
        once more and every pass that is due was made. Raises TenantStopped; everything that may pass is waited for.
        """
        try:
            async with aclosing(self._units(until_ns)) as units:
                async for unit in units:
                    yield unit
        finally:
            await self._passes.stop()

    async def _units(self, until_ns: int | None) -> AsyncGenerator[ReadUnit, None]:
        await self._refresh_limits()
        if self._live is None:
            self._begin_at(await self._earliest())
        goal_ns = None if until_ns is None else -(-until_ns // NS_PER_MS) * NS_PER_MS
        while True:
            started = self._clock.monotonic()
            target_ns = self._edge_ns() if goal_ns is None else min(goal_ns, self._edge_ns())
            for part in (self._read_to(target_ns, all_counted=goal_ns is not None), self._read_late()):
                async with aclosing(part) as units:
                    async for unit in units:
                        yield unit
            done = goal_ns is not None and self._frontier_ns >= goal_ns
            while (late := await self._found_by_passes(wait=done)) is not None:
                yield late
            if done:
                return
            await self._refresh_limits()
            if self._frontier_ns >= target_ns:
                spent = self._clock.monotonic() - started
                await self._clock.sleep(max(0.0, self._loki.poll_interval_seconds - spent))

    # --- where to begin ---------------------------------------------------------------------------------------------------

    @property
    def _frontier_ns(self) -> int:
        assert self._live is not None
        return self._live.frontier_ns

    def _edge_ns(self) -> int:
        """The live edge: how far may be read now."""
        edge_ns = self._clock.now_ns() - int(self._loki.hot_delay_seconds * NS_PER_SECOND)
        return edge_ns // NS_PER_MS * NS_PER_MS

    def _horizon_ns(self) -> int:
        """From here on late lines are looked for every cycle."""
        horizon_ns = self._clock.now_ns() - self._loki.near_horizon_seconds * NS_PER_SECOND
        return horizon_ns // NS_PER_SECOND * NS_PER_SECOND

    def _begin_at(self, origin_ns: int) -> None:
        fresh = LiveCheckpoint(
            self._tenant, self._settings.selector, origin_ns, origin_ns, origin_ns, near_from_ns=origin_ns,
            passes=started(PassMarks(), self._clock.now_ns()),
        )  # fmt: skip
        if (old := self._earlier) is not None:
            fresh = replace(
                fresh,
                sequence=old.sequence,
                events=old.events,
                late=old.late,
                held=old.held,
                filtered=old.filtered,
                troubles=old.troubles,
            )
        self._live = fresh
        self._near = NearCells(self._tenant, self._near_bytes, origin_ns)

    async def _earliest(self) -> int:
        """Find the oldest data. Without any, begin a horizon ago: lines under way now may carry stamps before now."""
        found = await find_earliest(self._has_data, self._clock.now_ns(), self._limits)
        origin_ns = self._horizon_ns() if found is None else found
        origin_ns = min(origin_ns, self._clock.now_ns()) // NS_PER_MS * NS_PER_MS
        _log.info("loki_start_found", tenant=self._tenant, empty=found is None, origin_ns=origin_ns)
        return origin_ns

    async def _has_data(self, window: Window) -> bool:
        """Ask the index, and beside it the ingesters: a single binary's index knows nothing that is not flushed."""
        return await self._patience.run(lambda: self._ask_for_data(window), passes=(SplitWindow,))

    async def _ask_for_data(self, window: Window) -> bool:
        indexed = await self._client.has_data(self._org_id, self._settings.selector, window, tenant=self._tenant)
        if indexed:
            return True
        if indexed is not None:  # this Loki offers its index, so only what may be unflushed is left to ask for
            unflushed_ns = max(window.start_ns, self._clock.now_ns() - _UNFLUSHED_NS)
            if unflushed_ns >= window.end_ns:
                return False
            window = Window(unflushed_ns, window.end_ns)
        return (await self._source.page(window, 1)).returned > 0

    async def _refresh_limits(self) -> None:
        """Ask for the tenant's limits when due. They help but nothing hangs on them, so no failure holds up reading."""
        now = self._clock.monotonic()
        if now < self._limits_due:
            return
        try:
            self._limits = await self._client.limits(self._org_id, tenant=self._tenant)
        except ExporterError as error:
            _log.info("loki_limits_unknown", tenant=self._tenant, reason=error.message)
            self._limits_due = now + _LIMITS_RETRY_SECONDS
            return
        self._prover.use_limits(self._limits)
        self._passes.use_limits(self._limits)
        self._limits_due = now + _LIMITS_EVERY_SECONDS

    # --- forward ----------------------------------------------------------------------------------------------------------

    async def _read_to(self, target_ns: int, *, all_counted: bool) -> AsyncGenerator[ReadUnit, None]:
        """Read from the frontier to the target, or as far as one comes until late lines are due."""
        async with aclosing(self._fetch(self._next_jobs(target_ns, all_counted=all_counted))) as wholes:
            async for whole in wholes:
                yield self._advance(whole)

    def _next_jobs(self, target_ns: int, *, all_counted: bool) -> Iterator[Job]:
        deadline = self._clock.monotonic() + _LATE_EVERY_SECONDS
        start_ns = self._frontier_ns
        while start_ns < target_ns and self._clock.monotonic() <= deadline:
            end_ns = min(self._pace.next_end(start_ns, self._prover.page_entries), target_ns)
            if start_ns < (horizon_ns := self._horizon_ns()) < end_ns:
                end_ns = horizon_ns  # so that long windows over silence never become a matter of single seconds
            hot = not all_counted and end_ns > target_ns - _HOT_NS
            yield Job(Window(start_ns, end_ns), counted=not hot)
            start_ns = end_ns

    def _fetch(self, jobs: Iterator[Job], *, forward: bool = True) -> AsyncGenerator[Whole, None]:
        async def read(job: Job) -> Whole | list[Job]:
            result = await self._patience.run(lambda: self._prover.attempt(job))
            if forward and isinstance(result, Whole):
                self._pace.observe(result.window, result.weight, result.body_bytes)
            return result

        fetch = OrderedFetch(
            read,
            concurrency=lambda: self._client.share.limit_of(self._org_id),
            budget=self._read_ahead,
            reserve_bytes=2 * self._loki.page_bytes,
        )
        return fetch.run(jobs)

    def _advance(self, whole: Whole) -> ReadUnit:
        """Account for a window read the first time."""
        streams = [stream for stream in whole.streams if len(stream)]
        if whole.loki_count >= 0 and whole.window.end_ns <= self._horizon_ns():
            self._near.expire(whole.window.end_ns)
            self._passes.exported(whole.window, streams)
        else:
            self._near.keep(streams)
        return self._unit(whole, streams, self._hours.add(streams), _FIRST)

    # --- late lines -------------------------------------------------------------------------------------------------------

    async def _read_late(self) -> AsyncGenerator[ReadUnit, None]:
        """Look for lines that came after their second had been read."""
        span = self._near.checkable(self._frontier_ns)
        if span is not None:
            first, last = span
            counts = await self._patience.run(lambda: self._source.cells(first, last))
            changed = self._near.changed(counts, first, last)
            windows = late_windows(changed, counts, int(self._prover.page_entries * _LATE_SHARE))
            jobs = (Job(window, expected=sum(counts.get(end, 0) for end in ends)) for window, ends in windows)
            async with aclosing(self._fetch(jobs, forward=False)) as wholes:
                async for whole in wholes:
                    known = self._near.known(whole.window)
                    streams = [new for stream in whole.streams if len(new := without(stream, known))]
                    if streams or whole.troubles:
                        self._near.keep(streams)
                        yield self._unit(whole, streams, self._hours.add(streams), _NEAR)
            self._near.saw(counts, changed)
        # Whole minutes leave together, so that what is kept of each for the passes is written once.
        self._near.expire(min(self._horizon_ns(), self._frontier_ns) // NS_PER_MINUTE * NS_PER_MINUTE)
        self._hours.forget(self._near.from_ns)

    async def _found_by_passes(self, *, wait: bool) -> ReadUnit | None:
        """Return what a pass over history found next, None when nothing is ready (with ``wait``: when nothing is due)."""
        assert self._live is not None
        found = await self._passes.next(self._live, self._near.from_ns, wait=wait)
        if found is None:
            return None
        self._live = found.live
        return self._unit(found.whole, found.whole.streams, found.fingerprint, found.name)

    # --- units ------------------------------------------------------------------------------------------------------------

    def _unit(self, whole: Whole, streams: list[StreamEntries], print_: int, pass_name: str) -> ReadUnit:
        assert self._live is not None
        late = pass_name != _FIRST
        batch = EntryBatch(self._tenant, streams, late=late)
        count = batch.count
        for minute_ns, ids in self._near.left().items():
            self._memory.add(minute_ns, ids)
        self._live = replace(
            self._live,
            frontier_ns=self._live.frontier_ns if late else whole.window.end_ns,
            late=self._live.late + (count if late else 0),
            troubles=merged(self._live.troubles, whole.window, whole.troubles)
            if pass_name in {_FIRST, _NEAR}
            else self._live.troubles,
            near_from_ns=self._near.from_ns,
        )
        metrics.LOKI_ENTRIES.labels(self._tenant, str(late).lower()).inc(count)
        if whole.troubles:
            _log_troubles(self._tenant, whole.troubles)
        records = self._records | self._near.records() | self._hours.records() | self._memory.records()
        self._records = {}
        return ReadUnit(batch, whole.window, self._live, records, whole.loki_count, print_, size_of(whole), pass_name)


def _log_troubles(tenant: str, troubles: list[Trouble]) -> None:
    for trouble in troubles:
        _log.error("loki_window_unproven", tenant=tenant, state=trouble.state, start_ns=trouble.start_ns,
                   end_ns=trouble.end_ns, reason=trouble.reason, count=trouble.count)  # fmt: skip
