"""A tenant's newest lines from Loki, for comparing policies on them. A sample, with no claim to be whole."""

from __future__ import annotations

from exporter.domain.clock import SystemClock
from exporter.domain.entries import EntryBatch
from exporter.domain.windows import NS_PER_SECOND, Window
from exporter.errors import SplitWindow
from exporter.loki.client import LokiClient
from exporter.loki.found import entries_of
from exporter.settings.model import Settings

#: Lines asked for at once, below every limit that Loki is shipped with; halved where the answer is too large.
PAGE_ENTRIES = 1000


async def read_recent(settings: Settings, tenant: str, seconds: int, limit: int, key: bytes) -> list[EntryBatch]:
    """Return at most ``limit`` lines of the last ``seconds``, oldest first, a batch for each answer. Where an answer ends
    within one nanosecond, the rest of that nanosecond is left out. Raises the errors of the Loki client.
    """
    clock, own = SystemClock(), settings.tenants[tenant]
    end_ns = clock.now_ns()
    start_ns, page_entries = end_ns - seconds * NS_PER_SECOND, PAGE_ENTRIES
    batches: list[EntryBatch] = []
    async with LokiClient(settings.loki, clock=clock) as client:
        while limit > 0 and start_ns < end_ns:
            asked = min(limit, page_entries)
            window = Window(start_ns, end_ns)
            try:
                page = await client.query_range(
                    own.org_id or tenant, own.selector, window, asked, direction="backward", tenant=tenant
                )
            except SplitWindow:
                if page_entries == 1:
                    raise
                page_entries //= 2
                continue
            if page.streams:
                end_ns = min(min(stream.times_ns) for stream in page.streams)
                batches.append(EntryBatch(tenant, entries_of(tenant, page, key)))
                limit -= page.returned
            if not page.streams or not page.is_cut(asked):
                break
    return batches[::-1]
