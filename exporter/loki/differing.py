"""Counts that differ: what a window holds when Loki counts other than a page brought.

More: an ingester's message was lost (small pages bring it), or retried pushes are counted twice. Fewer: entries that
differ in metadata only are counted once. Nothing here trusts a number that was seen only once.
"""

from __future__ import annotations

from exporter.domain.checkpoints import Trouble
from exporter.domain.windows import NS_PER_MS, Window
from exporter.errors import ShrinkPage, SplitWindow
from exporter.loki.gathering import Gatherer, Gathering, Whole, refused
from exporter.loki.source import Source
from exporter.loki.splitting import split_evenly

#: A message holds labels, structured metadata and framing beside the lines, which Loki's byte count leaves out: lines may
#: fill this fraction of it.
_MESSAGE_MARGIN = 2
#: Reads of a window whose count keeps differing, before it is called suspect.
_MAX_READS = 4
#: Questions spent at most on one window whose count differs: enough for all its entries in small pages, even scattered,
#: and an end where Loki's counts are nonsense.
_REPAIR_QUESTIONS, _REPAIR_QUESTIONS_A_PAGE = 64, 16


class Settler:
    """Settles windows of one source whose count differs; :class:`exporter.loki.proof.Prover` calls it."""

    def __init__(self, source: Source, gatherer: Gatherer) -> None:
        self._source, self._gatherer = source, gatherer

    async def settle(self, window: Window, into: Gathering, count: int, limit: int) -> Whole:
        """Find out why Loki counts other than we found. More: an ingester's message was lost (small pages bring it) or
        retried pushes are counted twice. Fewer: entries that differ in metadata only are counted once.
        """
        bounds = self._gatherer.bounds
        if bounds.is_safe(limit) and count > len(into.found):
            return into.whole(window, count, "dup_surplus")
        refused(self._source, "count")
        into.questions_left = _REPAIR_QUESTIONS + _REPAIR_QUESTIONS_A_PAGE * limit // bounds.safe_entries
        for _ in range(_MAX_READS - 1):
            before = len(into.found)
            if count > before:
                into.window = window
                await self._repair(window, into, count)
                if into.questions_left <= 0:
                    break
            else:
                await self._gatherer.gather(window, limit, into)
            unique, counted = len(into.found), await self._source.count(window)
            if counted == unique:
                return into.whole(window, counted)
            if counted == count and unique == before:
                if counted < unique:
                    return into.whole(window, counted, "meta_collapse")
                if not into.small_pages or bounds.is_safe(bounds.safe_entries):
                    return into.whole(window, counted, "dup_surplus")
                break  # one entry alone may be too large for an ingester's message, so small pages prove nothing
            count = counted
        reason = "Loki's count of the window kept changing, or its small pages never explained it"
        missing = abs(count - len(into.found))
        into.troubles.append(Trouble("suspect", window.start_ns, window.end_ns, reason, missing))
        return into.whole(window, count)

    async def _repair(self, window: Window, into: Gathering, count: int) -> None:
        """Look into the parts that hold fewer than Loki counts. A part whose lines together stay well below the limit of an
        ingester's message cannot lose one: what a page of it does not bring are repetitions. Others are read in pages too
        small to lose one.
        """
        bounds = self._gatherer.bounds
        into.questions_left -= 1
        if count <= into.found.count_in(window) or into.questions_left <= 0:
            return
        if await self._cannot_lose(window):
            if window != into.window:  # else it has just been read as it stands
                await self._gatherer.gather(window, bounds.max_entries, into)
            return
        if window.duration_ns <= NS_PER_MS or count < bounds.safe_entries:
            into.small_pages = True
            await self._gatherer.gather(window, bounds.safe_entries, into)
            return
        for part in split_evenly(window, 2):
            await self._repair(part, into, await self._source.count(part))

    async def _cannot_lose(self, window: Window) -> bool:
        try:
            line_bytes = await self._source.line_bytes(window)
        except (SplitWindow, ShrinkPage):
            return False
        return line_bytes * _MESSAGE_MARGIN < self._gatherer.bounds.message_bytes
