"""The questions that the proof of a window asks Loki, for one tenant's selector."""

from __future__ import annotations

from exporter.domain.entries import StreamEntries
from exporter.domain.windows import NS_PER_HOUR, NS_PER_MS, Window
from exporter.errors import RetryLater, ShrinkPage, SplitWindow
from exporter.loki.client import LokiClient
from exporter.loki.decode import Page
from exporter.loki.found import entries_of
from exporter.loki.splitting import split_evenly


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

    async def hours(self, first_ns: int, last_ns: int) -> dict[int, int]:
        """Loki's counts by start of the right-closed hours ``(start, start+1h]`` that start at ``first_ns`` … ``last_ns``."""
        ends = (first_ns + NS_PER_HOUR, last_ns + NS_PER_HOUR)
        counts = await self.client.count_cells(self.org_id, self.selector, *ends, seconds=3600, tenant=self.tenant)
        return {end - NS_PER_HOUR: count for end, count in counts.items()}

    async def deletes(self) -> list[Window]:
        return await self.client.delete_requests(self.org_id, tenant=self.tenant) or []

    async def series(self, window: Window) -> list[dict[str, str]]:
        return await self.client.series(self.org_id, self.selector, window, tenant=self.tenant)
