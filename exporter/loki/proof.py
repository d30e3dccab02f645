"""Reading a window so that it is proven whole, or saying that it is not. The rules of the reader live here.

A page counts when Loki answered it completely without warnings, no source can have been cut at the limit (fewer entries
than the limit were returned *and* sent by all ingesters together), and Loki's own count of the window equals our unique
entries. The count is needed because an ingester whose message passes the gRPC limit vanishes from an otherwise perfect
answer; a page too small for that needs none. Otherwise the window is cut: in time to one nanosecond, then as
:mod:`exporter.loki.ties` says. Never is a page continued from its last timestamp. Facts: the 16 findings on reading Loki
in ``docs/`` (silent short pages, lost ingester messages, counts that differ without an error).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

from exporter.domain.checkpoints import Trouble
from exporter.domain.entries import StreamEntries
from exporter.domain.windows import NS_PER_HOUR, NS_PER_MS, Window
from exporter.errors import ExporterError, RetryLater, ShrinkPage, SplitWindow
from exporter.loki.client import LokiClient
from exporter.loki.decode import Page
from exporter.loki.found import Found, entries_of
from exporter.loki.limits import TenantLimits
from exporter.loki.splitting import can_split, split_cut_page, split_evenly, split_hours
from exporter.loki.ties import Answer, read_tie
from exporter.ops import metrics
from exporter.settings.model import LokiSettings

#: A message holds labels, structured metadata and framing beside the lines, which Loki's byte count leaves out: lines may
#: fill this fraction of it.
_MESSAGE_MARGIN = 2

_First = TypeVar("_First")
_Second = TypeVar("_Second")

#: Reads of a window whose count keeps differing, before it is called suspect.
_MAX_READS = 4
#: A page that is too large is asked again with this fraction of its entries, and at most so many: batches inside Loki hold
#: 128 entries whatever the limit, and each failure takes long, as Loki's frontend tries it five times (18 s measured).
_SHRINK, _SHRUNK_MAX = 4, 64
#: Share of ``page_bytes`` that a page sized by the mean entry aims at; entries are never even.
_FILL = 0.6
#: Good pages after which a shrunken page size doubles again.
_GROW_AFTER = 4
#: Entries of one message of an ingester (loki ``pkg/ingester/instance.go``, ``queryBatchSize``).
_BATCH_ENTRIES = 128
#: Questions spent at most on one window whose count differs: enough for all its entries in small pages, even scattered,
#: and an end where Loki's counts are nonsense.
_REPAIR_QUESTIONS, _REPAIR_QUESTIONS_A_PAGE = 64, 16
#: Tries of one nanosecond that Loki cannot answer in time, before it is called blocked.
_MAX_NANOSECOND_TRIES = 3


@dataclass(frozen=True, slots=True)
class Job:
    """A window to read. ``counted`` off: its proof comes later, from the near cells. ``expected``: Loki's count of it,
    when already known. ``limit``: entries a page may hold at most here (0: what is usual at present).
    """

    window: Window
    counted: bool = True
    expected: int | None = None
    limit: int = 0


@dataclass(slots=True, repr=False)
class Whole:
    """A window as read. ``loki_count`` is -1 when not asked. ``weight``: entries that counted towards the limit (with
    replicas and repetitions). ``reason`` says why a count that differs was accepted
    (``dup_surplus``, ``meta_collapse``); ``troubles`` what could not be proven.
    """

    window: Window
    streams: list[StreamEntries]
    loki_count: int
    body_bytes: int
    weight: int
    reason: str = ""
    troubles: list[Trouble] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(len(stream) for stream in self.streams)


@dataclass(slots=True, repr=False)
class _Gathering:
    """What a window gave so far when one page was not enough."""

    found: Found = field(default_factory=Found)
    body_bytes: int = 0
    weight: int = 0
    troubles: list[Trouble] = field(default_factory=list)
    questions_left: int = 0
    small_pages: bool = False  # some part was judged by reading it in small pages
    window: Window | None = None  # what the pages so far were asked for as one

    def take(self, page: Page) -> None:
        """Account for one more page."""
        self.body_bytes += page.body_bytes
        self.weight += max(page.returned, page.lines_sent)


class Source:
    """One tenant's selector at Loki: the questions the proof asks, with everything that stays the same filled in."""

    def __init__(self, client: LokiClient, tenant: str, org_id: str, selector: str, key: bytes) -> None:
        self.client, self.tenant, self.org_id, self.selector = client, tenant, org_id, selector
        self._key = key

    async def page(
        self, window: Window, limit: int, *, selector: str | None = None, filters: str = "", direction: str = "forward"
    ) -> Page:
        return await self.client.query_range(
            self.org_id, selector or self.selector, window, limit,
            filters=filters, direction=direction, tenant=self.tenant,
        )  # fmt: skip

    def entries(self, page: Page) -> list[StreamEntries]:
        return entries_of(self.tenant, page, self._key)

    async def count(self, window: Window) -> int:
        """Loki's own count; a window too heavy for one query is counted in parts."""
        try:
            return await self.client.count(self.org_id, self.selector, window, tenant=self.tenant)
        except (SplitWindow, ShrinkPage) as error:
            if window.duration_ns <= NS_PER_MS:
                raise RetryLater("Loki cannot count one millisecond in time") from error
        return sum([await self.count(part) for part in split_evenly(window, 2)])

    async def line_bytes(self, window: Window) -> int:
        return await self.client.line_bytes(self.org_id, self.selector, window, tenant=self.tenant)

    async def cells(self, first_end_ns: int, last_end_ns: int) -> dict[int, int]:
        return await self.client.count_cells(self.org_id, self.selector, first_end_ns, last_end_ns, tenant=self.tenant)

    async def series(self, window: Window) -> list[dict[str, str]]:
        return await self.client.series(self.org_id, self.selector, window, tenant=self.tenant)


class Prover:
    """Reads windows of one source and judges the answers."""

    def __init__(self, source: Source, settings: LokiSettings, limits: TenantLimits) -> None:
        self._source, self._settings = source, settings
        self.use_limits(limits)
        self._limit = self._max_limit
        self._good_pages = 0
        self._largest = 0  # characters of the largest line seen since the page shrank, fading

    def use_limits(self, limits: TenantLimits) -> None:
        """Take over the tenant's limits, which may change while we run."""
        self._limits = limits
        self._max_limit = min(self._settings.page_entries, limits.max_entries)
        self._safe_limit = min(self._max_limit, limits.safe_page(self._settings.ingester_message_bytes))

    @property
    def page_entries(self) -> int:
        """Entries a page may hold at present."""
        return min(self._limit, self._max_limit)

    async def attempt(self, job: Job) -> Whole | list[Job]:
        """Read a window: whole, or the smaller windows it has to be read in. Raises RetryLater, BadAnswer and
        TenantStopped; SplitWindow and ShrinkPage end here.
        """
        limit = min(job.limit or self._max_limit, self.page_entries)
        if job.window.duration_ns <= NS_PER_MS:
            return await self._dense(job, limit)
        try:
            page, count = await self._page_and_count(job, limit)
        except (SplitWindow, ShrinkPage) as error:
            return await self._smaller(job, limit, error)
        return await self._judge(job, page, count, limit)

    async def _smaller(self, job: Job, limit: int, error: ExporterError) -> list[Job]:
        """Find a smaller question. Loki does not say how far a page went beyond its limits, and each wrong guess costs
        its retries or time-out, up to a minute; so the page is sized by the window's mean entry, which costs two cheap
        questions.
        """
        shrink = isinstance(error, ShrinkPage)
        self._refused("bytes" if shrink else "heavy")
        fitting = await self._fitting_entries(job.window)
        if fitting is not None and fitting < limit:
            self._limit, self._good_pages = fitting, 0
            return [replace(job, limit=fitting)]
        if shrink and limit > 1:
            return [replace(job, limit=self._shrink(limit))]
        # A silent close may mean too many bytes as well as too much work: less of both.
        return _jobs(split_evenly(job.window, 2), job, _shrunk(limit) if limit > _SHRUNK_MAX else limit)

    async def _fitting_entries(self, window: Window) -> int | None:
        """Return how many entries of the window's mean size fit a page; ``None`` when Loki cannot say."""
        try:
            count, line_bytes = await _both(self._source.count(window), self._source.line_bytes(window))
        except (SplitWindow, ShrinkPage, RetryLater):
            return None
        if not count or not line_bytes:
            return None
        return max(1, int(_FILL * self._settings.page_bytes * count / line_bytes))

    async def _judge(self, job: Job, page: Page, count: int | None, limit: int) -> Whole | list[Job]:
        if page.is_cut(limit):
            self._refused("limit")
            parts = 2 if count is None else count * 2 // limit + 1
            return _jobs(split_cut_page(job.window, _times_of(page), parts), job, limit)
        if page.returned and job.window.duration_ns > NS_PER_HOUR:
            return _jobs(split_hours(job.window), job, limit)
        self._good(limit, page)
        gathering = _Gathering(body_bytes=page.body_bytes, weight=max(page.returned, page.lines_sent))
        streams = self._source.entries(page)
        unique = sum(len(stream) for stream in streams)
        # More than a count from before the read: lines came meanwhile, so the next cycle sees the count changed.
        newer = job.expected is not None and unique > job.expected
        if count is None or count == unique or newer:
            return _whole(job.window, gathering, -1 if count is None else count, streams=streams)
        gathering.found.add(streams)
        return await self._settle(job.window, gathering, count, limit)

    async def _page_and_count(self, job: Job, limit: int) -> tuple[Page, int | None]:
        if not job.counted:
            return await self._source.page(job.window, limit), None
        if job.expected is not None:
            return await self._source.page(job.window, limit), job.expected
        return await _both(self._source.page(job.window, limit), self._source.count(job.window))

    def _refused(self, reason: str) -> None:
        metrics.LOKI_PAGE_REFUSED.labels(self._source.tenant, reason).inc()

    def _shrink(self, limit: int) -> int:
        self._limit, self._good_pages = _shrunk(limit), 0
        return self._limit

    def _good(self, limit: int, page: Page) -> None:
        """Let a shrunken page grow again, unless the entries just seen are so large that it would fail once more."""
        if self._limit >= self._max_limit or limit < self._limit:
            return
        self._good_pages += 1
        largest = max((len(line) for stream in page.streams for line in stream.lines), default=0)
        self._largest = max(largest, self._largest // 2)
        batch = min(self._limit * 2, _BATCH_ENTRIES)
        fits = self._limit * 2 * page.body_bytes < max(1, page.returned) * _FILL * self._settings.page_bytes
        fits = fits and batch * self._largest < self._settings.ingester_message_bytes
        if self._good_pages >= _GROW_AFTER and fits:
            self._limit, self._good_pages = min(self._max_limit, self._limit * 2), 0

    # --- at most a millisecond ------------------------------------------------------------------------------------------

    async def _dense(self, job: Job, limit: int) -> Whole:
        """Read a window that counts cannot divide any more, in as many parts as needed."""
        gathering = _Gathering()
        await self._gather(job.window, limit, gathering)
        unique = len(gathering.found)
        if job.window.duration_ns % NS_PER_MS or not job.counted:
            return _whole(job.window, gathering, -1)
        count = await self._source.count(job.window)
        if count == unique:
            return _whole(job.window, gathering, count)
        return await self._settle(job.window, gathering, count, limit)

    async def _gather(self, window: Window, limit: int, into: _Gathering) -> None:
        """Read a window by the rule of cut pages alone and add what it holds."""
        page = None
        try:
            page = await self._source.page(window, limit)
        except (ShrinkPage, SplitWindow) as error:
            if limit > (1 if isinstance(error, ShrinkPage) else _SHRUNK_MAX):
                await self._gather(window, _shrunk(limit), into)
                return
        if page is not None and not page.is_cut(limit):
            into.take(page)
            into.found.add(self._source.entries(page))
        elif can_split(window):
            for part in split_cut_page(window, [] if page is None else _times_of(page), 2):
                await self._gather(part, limit, into)
        else:
            await self._gather_tie(window, limit, into)

    async def _gather_tie(self, window: Window, limit: int, into: _Gathering) -> None:
        """Read one nanosecond that does not fit a page."""
        self._refused("tie")
        # The index knows times to the millisecond; streams that have nothing at this nanosecond cost one empty page each.
        series = await self._source.series(Window(window.start_ns, window.start_ns + NS_PER_MS))
        # A page shrunken for fat lines elsewhere would part a large tie for ever, so this starts with a full one; a page
        # that is small so that no message can be lost stays small.
        full = limit if limit <= self._safe_limit else self._max_limit
        reading = _TieReading(self._source, window, full, into)
        tie = await read_tie(self._source.selector, series, reading.ask)
        into.found.add(tie.entries)
        if tie.blocked:
            reason = "more entries on one nanosecond than Loki gives out, and no filter parts them"
            into.troubles.append(Trouble("blocked", window.start_ns, window.end_ns, reason))

    # --- counts that differ -----------------------------------------------------------------------------------------------

    async def _settle(self, window: Window, into: _Gathering, count: int, limit: int) -> Whole:
        """Find out why Loki counts other than we found. More: an ingester's message was lost (small pages bring it) or
        retried pushes are counted twice. Fewer: entries that differ in metadata only are counted once.
        """
        if self._is_safe(limit) and count > len(into.found):
            return _whole(window, into, count, "dup_surplus")
        self._refused("count")
        into.questions_left = _REPAIR_QUESTIONS + _REPAIR_QUESTIONS_A_PAGE * limit // self._safe_limit
        for _ in range(_MAX_READS - 1):
            before = len(into.found)
            if count > before:
                into.window = window
                await self._repair(window, into, count)
                if into.questions_left <= 0:
                    break
            else:
                await self._gather(window, limit, into)
            unique, counted = len(into.found), await self._source.count(window)
            if counted == unique:
                return _whole(window, into, counted)
            if counted == count and unique == before:
                if counted < unique:
                    return _whole(window, into, counted, "meta_collapse")
                if not into.small_pages or self._is_safe(self._safe_limit):
                    return _whole(window, into, counted, "dup_surplus")
                break  # one entry alone may be too large for an ingester's message, so small pages prove nothing
            count = counted
        reason = "Loki's count of the window kept changing, or its small pages never explained it"
        missing = abs(count - len(into.found))
        into.troubles.append(Trouble("suspect", window.start_ns, window.end_ns, reason, missing))
        return _whole(window, into, count)

    def _is_safe(self, limit: int) -> bool:
        return self._limits.is_safe_page(limit, self._settings.ingester_message_bytes)

    async def _repair(self, window: Window, into: _Gathering, count: int) -> None:
        """Look into the parts that hold fewer than Loki counts. A part whose lines together stay well below the limit of an
        ingester's message cannot lose one: what a page of it does not bring are repetitions. Others are read in pages too
        small to lose one.
        """
        into.questions_left -= 1
        if count <= into.found.count_in(window) or into.questions_left <= 0:
            return
        if await self._cannot_lose(window):
            if window != into.window:  # else it has just been read as it stands
                await self._gather(window, self._max_limit, into)
            return
        if window.duration_ns <= NS_PER_MS or count < self._safe_limit:
            into.small_pages = True
            await self._gather(window, self._safe_limit, into)
            return
        for part in split_evenly(window, 2):
            await self._repair(part, into, await self._source.count(part))

    async def _cannot_lose(self, window: Window) -> bool:
        try:
            line_bytes = await self._source.line_bytes(window)
        except (SplitWindow, ShrinkPage):
            return False
        return line_bytes * _MESSAGE_MARGIN < self._settings.ingester_message_bytes


class _TieReading:
    """Asks for the parts of one nanosecond with a page size of its own, shrunk where entries are fat."""

    def __init__(self, source: Source, window: Window, max_limit: int, into: _Gathering) -> None:
        self._source, self._window, self._into = source, window, into
        self._limit = self._max_limit = max_limit

    async def ask(self, selector: str, filters: str, direction: str) -> Answer:
        """One page. A part that Loki never answers becomes a ``blocked`` trouble."""
        heavy = 0
        while True:
            limit = self._limit
            try:
                page = await self._source.page(
                    self._window, limit, selector=selector, filters=filters, direction=direction
                )
            except ShrinkPage:
                if limit == 1:
                    break
                self._limit = _shrunk(limit)
            except SplitWindow:
                heavy += 1
                if heavy == _MAX_NANOSECOND_TRIES:
                    break
            else:
                self._limit = min(self._max_limit, limit * 2)
                self._into.take(page)
                return Answer(self._source.entries(page), page.is_cut(limit))
        reason = "Loki does not answer for one nanosecond, not even entry by entry"
        self._into.troubles.append(Trouble("blocked", self._window.start_ns, self._window.end_ns, reason))
        return Answer([], cut=False)


def _shrunk(limit: int) -> int:
    return max(1, min(limit // _SHRINK, _SHRUNK_MAX))


def _whole(
    window: Window,
    gathering: _Gathering,
    count: int,
    reason: str = "",
    streams: list[StreamEntries] | None = None,
) -> Whole:
    entries = gathering.found.streams() if streams is None else streams
    return Whole(window, entries, count, gathering.body_bytes, gathering.weight, reason, gathering.troubles)


def _times_of(page: Page) -> list[int]:
    return [time_ns for stream in page.streams for time_ns in stream.times_ns]


def _jobs(windows: Iterable[Window], job: Job, limit: int) -> list[Job]:
    return [Job(window, job.counted, None, limit) for window in windows]


async def _both(first: Awaitable[_First], second: Awaitable[_Second]) -> tuple[_First, _Second]:
    """Await two requests at once. The error of one cancels the other."""
    other = asyncio.ensure_future(second)
    try:
        return await first, await other
    finally:
        if not other.done():
            other.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await other
