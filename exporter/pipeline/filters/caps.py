"""Rate caps: at most so many events of a stream per second of *event* time."""

from __future__ import annotations

from exporter.domain.windows import NS_PER_SECOND

#: Ids remembered by one cap, some 100 bytes each; the seconds longest untouched are forgotten first.
MAX_IDS = 100_000


class RateCap:
    """Admits the first ``per_second`` events of each stream and second of event time. Not thread-safe.

    It remembers the ids that it admitted instead of counting them, so an event that is processed again (a refused commit,
    a batch halved because of one bad line) gets the same answer. Only a new process begins the second under way anew.
    """

    def __init__(self, per_second: int, max_ids: int = MAX_IDS) -> None:
        self._per_second = per_second
        self._max_ids = max(max_ids, per_second)
        self._admitted: dict[tuple[bytes, int], set[bytes]] = {}
        self._ids = 0

    def admits(self, stream: bytes, time_ns: int, event_id: bytes) -> bool:
        """Tell whether this event is within the rate."""
        cell = (stream, time_ns // NS_PER_SECOND)
        ids = self._admitted.get(cell)
        if ids is None:
            ids = self._admitted[cell] = set()
        if event_id in ids:
            return True
        if len(ids) >= self._per_second:
            return False
        ids.add(event_id)
        self._ids += 1
        while self._ids > self._max_ids:
            oldest = next(iter(self._admitted))
            if oldest == cell:  # keep the second under way: put it last
                self._admitted[cell] = self._admitted.pop(cell)
                oldest = next(iter(self._admitted))
            self._ids -= len(self._admitted.pop(oldest))
        return True
