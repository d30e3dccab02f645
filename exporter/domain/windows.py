"""Half-open time windows ``[start, end)`` in integer nanoseconds since the epoch.

Loki's log queries select start inclusive and end exclusive (loki ``pkg/iter/entry_iterator.go``,
``timeRangedIterator``), so adjacent windows tile time without overlap or gap. Every reader and every proof rests on it.
"""

from __future__ import annotations

from dataclasses import dataclass

NS_PER_MS = 1_000_000
NS_PER_SECOND = 1_000_000_000
NS_PER_MINUTE = 60 * NS_PER_SECOND
NS_PER_HOUR = 3_600 * NS_PER_SECOND


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """The nanoseconds ``start_ns <= t < end_ns``. Raises ValueError when empty or reversed."""

    start_ns: int
    end_ns: int

    def __post_init__(self) -> None:
        if self.end_ns <= self.start_ns:
            raise ValueError(f"a window needs start < end, got [{self.start_ns}, {self.end_ns})")

    @property
    def duration_ns(self) -> int:
        """Length in nanoseconds, at least 1."""
        return self.end_ns - self.start_ns

    def contains(self, time_ns: int) -> bool:
        """Tell whether the nanosecond lies inside."""
        return self.start_ns <= time_ns < self.end_ns

    def split_at(self, time_ns: int) -> tuple[Window, Window]:
        """Cut into two adjacent windows; ``time_ns`` becomes the first nanosecond of the second one."""
        return Window(self.start_ns, time_ns), Window(time_ns, self.end_ns)
