"""How often a record may be stored more than once: requests that were sent and never properly answered."""

from __future__ import annotations

from collections.abc import Sequence

#: Unanswered requests remembered per lane; beyond it (hours of time-outs) the count of duplicates is a lower bound.
MAX_REQUESTS = 1000

LaneName = tuple[str, int]


class UnsureRequests:
    """Per lane, first and last offset of requests whose outcome is unknown. A record that is stored later and lies within one
    may be there twice.
    """

    def __init__(self) -> None:
        self._ranges: dict[LaneName, list[tuple[int, int]]] = {}

    def note(self, lane: LaneName, first_offset: int, last_offset: int) -> None:
        """A request of this range may be stored or not."""
        known = self._ranges.setdefault(lane, [])
        if len(known) < MAX_REQUESTS:
            known.append((first_offset, last_offset))

    def concerns(self, lane: LaneName) -> bool:
        """Tell whether there is such a request in the lane."""
        return lane in self._ranges

    def stored(self, lane: LaneName, offsets: Sequence[int]) -> int:
        """Return how many copies the target may hold beyond one each, now that these offsets (in order) are stored, and
        forget requests that lie below them.
        """
        known = self._ranges.get(lane)
        if not known or not offsets:
            return 0
        copies = sum(sum(1 for offset in offsets if first <= offset <= last) for first, last in known)
        left = [(first, last) for first, last in known if last > offsets[-1]]
        if left:
            self._ranges[lane] = left
        else:
            del self._ranges[lane]
        return copies
