"""Reading a window in as many pages as it takes, by the rule of cut pages alone: in time to one nanosecond, then as
:mod:`exporter.loki.ties` says. Counts are for the callers: :mod:`exporter.loki.proof`, :mod:`exporter.loki.differing`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from exporter.domain.checkpoints import Trouble
from exporter.domain.entries import StreamEntries
from exporter.domain.windows import NS_PER_MS, Window
from exporter.errors import ShrinkPage, SplitWindow
from exporter.loki.decode import Page
from exporter.loki.found import Found
from exporter.loki.limits import TenantLimits
from exporter.loki.source import Source
from exporter.loki.splitting import can_split, split_cut_page
from exporter.loki.ties import Answer, read_tie
from exporter.ops import metrics
from exporter.settings.model import LokiSettings

#: A page that is too large is asked again with this fraction of its entries, and at most so many: batches inside Loki hold
#: 128 entries whatever the limit, and each failure takes long, as Loki's frontend tries it five times (18 s measured).
_SHRINK, SHRUNK_MAX = 4, 64
#: Tries of one nanosecond that Loki cannot answer in time, before it is called blocked.
_MAX_NANOSECOND_TRIES = 3


@dataclass(frozen=True, slots=True)
class PageBounds:
    """Entries of a page. ``max_entries``: at most; ``safe_entries``: so few that no ingester's message can pass
    ``message_bytes`` and vanish (finding 11).
    """

    limits: TenantLimits
    max_entries: int
    safe_entries: int
    message_bytes: int

    @classmethod
    def of(cls, settings: LokiSettings, limits: TenantLimits) -> PageBounds:
        """Return what the settings and the tenant's limits allow together."""
        most = min(settings.page_entries, limits.max_entries)
        safe = min(most, limits.safe_page(settings.ingester_message_bytes))
        return cls(limits, most, safe, settings.ingester_message_bytes)

    def is_safe(self, entries: int) -> bool:
        """Tell whether a page of that many entries cannot hide an ingester."""
        return self.limits.is_safe_page(entries, self.message_bytes)


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
class Gathering:
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

    def whole(self, window: Window, count: int, reason: str = "", streams: list[StreamEntries] | None = None) -> Whole:
        """Return what was gathered as the window's content; ``streams`` where one page held all of it."""
        entries = self.found.streams() if streams is None else streams
        return Whole(window, entries, count, self.body_bytes, self.weight, reason, self.troubles)


class Gatherer:
    """Reads windows of one source whole in parts. ``bounds`` follow the tenant's limits."""

    def __init__(self, source: Source, bounds: PageBounds) -> None:
        self._source, self.bounds = source, bounds

    async def gather(self, window: Window, limit: int, into: Gathering) -> None:
        """Read a window by the rule of cut pages alone and add what it holds."""
        page = None
        try:
            page = await self._source.page(window, limit)
        except (ShrinkPage, SplitWindow) as error:
            if limit > (1 if isinstance(error, ShrinkPage) else SHRUNK_MAX):
                await self.gather(window, shrunk(limit), into)
                return
        if page is not None and not page.is_cut(limit):
            into.take(page)
            into.found.add(self._source.entries(page))
        elif can_split(window):
            for part in split_cut_page(window, [] if page is None else times_of(page), 2):
                await self.gather(part, limit, into)
        else:
            await self._tie(window, limit, into)

    async def _tie(self, window: Window, limit: int, into: Gathering) -> None:
        """Read one nanosecond that does not fit a page."""
        refused(self._source, "tie")
        # The index knows times to the millisecond; streams that have nothing at this nanosecond cost one empty page each.
        series = await self._source.series(Window(window.start_ns, window.start_ns + NS_PER_MS))
        # A page shrunken for fat lines elsewhere would part a large tie for ever, so this starts with a full one; a page
        # that is small so that no message can be lost stays small.
        full = limit if limit <= self.bounds.safe_entries else self.bounds.max_entries
        reading = _TieReading(self._source, window, full, into)
        tie = await read_tie(self._source.selector, series, reading.ask)
        into.found.add(tie.entries)
        if tie.blocked:
            reason = "more entries on one nanosecond than Loki gives out, and no filter parts them"
            into.troubles.append(Trouble("blocked", window.start_ns, window.end_ns, reason))


class _TieReading:
    """Asks for the parts of one nanosecond with a page size of its own, shrunk where entries are fat."""

    def __init__(self, source: Source, window: Window, max_limit: int, into: Gathering) -> None:
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
                self._limit = shrunk(limit)
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


def shrunk(limit: int) -> int:
    """Return the size at which a page that was too large is asked again."""
    return max(1, min(limit // _SHRINK, SHRUNK_MAX))


def times_of(page: Page) -> list[int]:
    """Return the times of a page's entries, in no order."""
    return [time_ns for stream in page.streams for time_ns in stream.times_ns]


def refused(source: Source, reason: str) -> None:
    """Count a page that could not be used as it was asked for."""
    metrics.LOKI_PAGE_REFUSED.labels(source.tenant, reason).inc()
