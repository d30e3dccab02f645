"""How often an event may be stored more than once: requests that were sent and never properly answered."""

from __future__ import annotations

from collections.abc import Iterable

LaneName = tuple[str, int]


class UnsureCopies:
    """Per lane and offset, the requests that may have stored it. Only events that are under way stand here, so it is as
    large as they are.
    """

    def __init__(self) -> None:
        self._copies: dict[LaneName, dict[int, int]] = {}

    def note(self, lane: LaneName, offsets: Iterable[int]) -> None:
        """A request with these offsets may be stored or not."""
        copies = self._copies.setdefault(lane, {})
        for offset in offsets:
            copies[offset] = copies.get(offset, 0) + 1

    def settled(self, lane: LaneName, offsets: Iterable[int]) -> int:
        """Return how many copies the target may hold beyond one each, now that these offsets are stored for certain, and
        forget them.
        """
        copies = self._copies.get(lane)
        if not copies:
            return 0
        extra = sum(copies.pop(offset, 0) for offset in offsets)
        if not copies:
            del self._copies[lane]
        return extra
