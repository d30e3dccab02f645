"""How often an event may be stored more than once: requests that were sent and never properly answered."""

from __future__ import annotations

from collections.abc import Sequence

#: Unanswered requests remembered per lane; beyond it (hours of time-outs) the count of duplicates is a lower bound.
MAX_REQUESTS = 1000

LaneName = tuple[str, int]


class UnsureRequests:
    """Per lane, the last offsets of requests whose outcome is unknown. What is sent again at or below such an offset may
    be stored twice.
    """

    def __init__(self) -> None:
        self._last_offsets: dict[LaneName, list[int]] = {}

    def note(self, lane: LaneName, last_offset: int) -> None:
        """A request up to this offset may be stored or not."""
        known = self._last_offsets.setdefault(lane, [])
        if len(known) < MAX_REQUESTS:
            known.append(last_offset)

    def stored(self, lane: LaneName, offsets: Sequence[int]) -> int:
        """Return how many copies the target may hold beyond one each, now that these offsets are stored, and forget
        requests that lie below them.
        """
        known = self._last_offsets.get(lane)
        if not known or not offsets:
            return 0
        copies = sum(sum(1 for offset in offsets if offset <= last) for last in known)
        left = [last for last in known if last > offsets[-1]]
        if left:
            self._last_offsets[lane] = left
        else:
            del self._last_offsets[lane]
        return copies
