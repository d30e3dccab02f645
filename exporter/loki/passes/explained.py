"""Why exported lines may be gone from Loki: a delete request or its retention. Anything else is suspect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.domain.windows import Window


@dataclass(frozen=True, slots=True)
class Explanations:
    """What is known at the time of a round: the windows of delete requests, and before which time some or all lines may have
    expired (0: none expire).
    """

    deletes: Sequence[Window]
    some_expired_ns: int

    def deletes_of(self, window: Window) -> int:
        """Return how many delete requests touch the window."""
        return sum(d.start_ns < window.end_ns and d.end_ns > window.start_ns for d in self.deletes)

    def explain(self, window: Window) -> str:
        """Return why lines of the window may be gone; empty when nothing explains it."""
        if self.deletes_of(window):
            return "a delete request covers the window"
        if window.start_ns < self.some_expired_ns:
            return "the window is older than a retention period of Loki"
        return ""
