"""Reading a window so that it is proven whole, or saying that it is not. The rules of the reader live here.

A page counts when Loki answered it completely without warnings, no source can have been cut at the limit (fewer entries
than the limit were returned *and* sent by all ingesters together), and Loki's own count of the window equals our unique
entries. The count is needed because an ingester whose message passes the gRPC limit vanishes from an otherwise perfect
answer; a page too small for that needs none. Otherwise the window is cut: in time to one nanosecond, then as
:mod:`exporter.loki.ties` says; where counts differ :mod:`exporter.loki.differing` finds out why. Never is a page continued from its last timestamp. Facts: the 16 findings on reading Loki
in ``docs/`` (silent short pages, lost ingester messages, counts that differ without an error).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from exporter.domain.windows import NS_PER_HOUR, NS_PER_MS, Window
from exporter.errors import ExporterError, RetryLater, ShrinkPage, SplitWindow
from exporter.loki.decode import Page
from exporter.loki.differing import Settler
from exporter.loki.gathering import SHRUNK_MAX, Gatherer, Gathering, PageBounds, Whole, refused, shrunk, times_of
from exporter.loki.limits import TenantLimits
from exporter.loki.source import Source
from exporter.loki.splitting import split_cut_page, split_evenly, split_hours
from exporter.settings.model import LokiSettings

_First = TypeVar("_First")
_Second = TypeVar("_Second")

#: Share of ``page_bytes`` that a page sized by the mean entry aims at; entries are never even.
_FILL = 0.6
#: Good pages after which a shrunken page size doubles again.
_GROW_AFTER = 4
#: Entries of one message of an ingester (loki ``pkg/ingester/instance.go``, ``queryBatchSize``).
_BATCH_ENTRIES = 128


@dataclass(frozen=True, slots=True)
class Job:
    """A window to read. ``counted`` off: its proof comes later, from the near cells. ``expected``: Loki's count of it,
    when already known. ``limit``: entries a page may hold at most here (0: what is usual at present).
    """

    window: Window
    counted: bool = True
    expected: int | None = None
    limit: int = 0


class Prover:
    """Reads windows of one source and judges the answers."""

    def __init__(self, source: Source, settings: LokiSettings, limits: TenantLimits) -> None:
        self._source, self._settings = source, settings
        self._gatherer = Gatherer(source, PageBounds.of(settings, limits))
        self._settler = Settler(source, self._gatherer)
        self._limit = self._bounds.max_entries
        self._good_pages = 0
        self._largest = 0  # characters of the largest line seen since the page shrank, fading

    def use_limits(self, limits: TenantLimits) -> None:
        """Take over the tenant's limits, which may change while we run."""
        self._gatherer.bounds = PageBounds.of(self._settings, limits)

    @property
    def _bounds(self) -> PageBounds:
        return self._gatherer.bounds

    @property
    def page_entries(self) -> int:
        """Entries a page may hold at present."""
        return min(self._limit, self._bounds.max_entries)

    async def attempt(self, job: Job) -> Whole | list[Job]:
        """Read a window: whole, or the smaller windows it has to be read in. Raises RetryLater, BadAnswer and
        TenantStopped; SplitWindow and ShrinkPage end here.
        """
        limit = min(job.limit or self._bounds.max_entries, self.page_entries)
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
        refused(self._source, "bytes" if shrink else "heavy")
        fitting = await self._fitting_entries(job.window)
        if fitting is not None and fitting < limit:
            self._limit, self._good_pages = fitting, 0
            return [replace(job, limit=fitting)]
        if shrink and limit > 1:
            return [replace(job, limit=self._shrink(limit))]
        # A silent close may mean too many bytes as well as too much work: less of both.
        return _jobs(split_evenly(job.window, 2), job, shrunk(limit) if limit > SHRUNK_MAX else limit)

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
            refused(self._source, "limit")
            parts = 2 if count is None else count * 2 // limit + 1
            return _jobs(split_cut_page(job.window, times_of(page), parts), job, limit)
        if page.returned and job.window.duration_ns > NS_PER_HOUR:
            return _jobs(split_hours(job.window), job, limit)
        self._good(limit, page)
        gathering = Gathering(body_bytes=page.body_bytes, weight=max(page.returned, page.lines_sent))
        streams = self._source.entries(page)
        unique = sum(len(stream) for stream in streams)
        # More than a count from before the read: lines came meanwhile, so the next cycle sees the count changed.
        newer = job.expected is not None and unique > job.expected
        if count is None or count == unique or newer:
            return gathering.whole(job.window, -1 if count is None else count, streams=streams)
        gathering.found.add(streams)
        return await self._settler.settle(job.window, gathering, count, limit)

    async def _page_and_count(self, job: Job, limit: int) -> tuple[Page, int | None]:
        if not job.counted:
            return await self._source.page(job.window, limit), None
        if job.expected is not None:
            return await self._source.page(job.window, limit), job.expected
        return await _both(self._source.page(job.window, limit), self._source.count(job.window))

    def _shrink(self, limit: int) -> int:
        self._limit, self._good_pages = shrunk(limit), 0
        return self._limit

    def _good(self, limit: int, page: Page) -> None:
        """Let a shrunken page grow again, unless the entries just seen are so large that it would fail once more."""
        if self._limit >= self._bounds.max_entries or limit < self._limit:
            return
        self._good_pages += 1
        largest = max((len(line) for stream in page.streams for line in stream.lines), default=0)
        self._largest = max(largest, self._largest // 2)
        batch = min(self._limit * 2, _BATCH_ENTRIES)
        fits = self._limit * 2 * page.body_bytes < max(1, page.returned) * _FILL * self._settings.page_bytes
        fits = fits and batch * self._largest < self._settings.ingester_message_bytes
        if self._good_pages >= _GROW_AFTER and fits:
            self._limit, self._good_pages = min(self._bounds.max_entries, self._limit * 2), 0

    # --- at most a millisecond ------------------------------------------------------------------------------------------

    async def _dense(self, job: Job, limit: int) -> Whole:
        """Read a window that counts cannot divide any more, in as many parts as needed."""
        gathering = Gathering()
        await self._gatherer.gather(job.window, limit, gathering)
        unique = len(gathering.found)
        if job.window.duration_ns % NS_PER_MS or not job.counted:
            return gathering.whole(job.window, -1)
        count = await self._source.count(job.window)
        if count == unique:
            return gathering.whole(job.window, count)
        return await self._settler.settle(job.window, gathering, count, limit)


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
