"""How long the next window should be, so that its page stays well below Loki's limits."""

from __future__ import annotations

from bisect import bisect_right

from exporter.domain.windows import NS_PER_HOUR, NS_PER_MS, Window

#: Window lengths in ms. Each divides an hour and windows end at multiples of theirs, so none crosses an hour.
_LADDER_MS = (
    1, 2, 4, 5, 8, 10, 20, 25, 40, 50, 100, 125, 200, 250, 500,
    1000, 2000, 3000, 4000, 5000, 6000, 10_000, 12_000, 15_000, 20_000, 30_000,
    60_000, 120_000, 180_000, 240_000, 300_000, 360_000, 600_000, 720_000, 900_000, 1_200_000, 1_800_000, 3_600_000,
)  # fmt: skip
_LADDER_NS = tuple(ms * NS_PER_MS for ms in _LADDER_MS)
#: Over long emptiness windows grow to a day; one that turns out to hold entries is cut at its hours and read again.
_EMPTY_LADDER_NS = (*_LADDER_NS, *(hours * NS_PER_HOUR for hours in (2, 3, 4, 6, 8, 12, 24)))
_FIRST_NS = 60_000 * NS_PER_MS
#: Share of a page's entries and bytes aimed at: less than half, as load is never even within a window.
_ENTRIES_SHARE, _BYTES_SHARE = 0.45, 0.6
#: A window is at most this much longer than the last one: an estimate from little data must not overshoot by far.
_GROWTH = 4
#: Weight of the newest window in the running estimates.
_NEWEST = 0.5


class Pace:
    """Learns from the windows read and proposes the end of the next one."""

    def __init__(self, page_bytes: int) -> None:
        self._page_bytes = page_bytes
        self._per_ns: float | None = None  # entries that count towards the limit; None: nothing known yet
        self._entry_bytes = 0.0
        self._last_ns = _FIRST_NS // _GROWTH

    def next_end(self, start_ns: int, page_entries: int) -> int:
        """Return the end in ns of a window that starts at ``start_ns``."""
        ladder = _EMPTY_LADDER_NS if self._per_ns == 0 and self._last_ns >= NS_PER_HOUR else _LADDER_NS
        wanted = float(self._last_ns * _GROWTH)
        if self._per_ns:
            goal = page_entries * _ENTRIES_SHARE
            if self._entry_bytes:
                goal = min(goal, self._page_bytes * _BYTES_SHARE / self._entry_bytes)
            wanted = min(wanted, max(goal, 1.0) / self._per_ns)
        duration_ns = ladder[max(0, bisect_right(ladder, wanted) - 1)]
        return (start_ns // duration_ns + 1) * duration_ns

    def observe(self, window: Window, weight: int, body_bytes: int) -> None:
        """Learn from a window that was read: ``weight`` entries counted towards the limit."""
        per_ns = weight / window.duration_ns
        # A rise counts in full at once, a fall by and by: too short a window costs little, too long a one is read twice.
        known = self._per_ns
        self._per_ns = per_ns if known is None or per_ns > known else known + (per_ns - known) * _NEWEST
        if not weight and self._per_ns * NS_PER_HOUR < 1:
            self._per_ns = 0.0
        if weight:
            entry_bytes = body_bytes / weight
            self._entry_bytes += (entry_bytes - self._entry_bytes) * (_NEWEST if self._entry_bytes else 1.0)
        self._last_ns = max(window.duration_ns, NS_PER_MS)
