"""What is known of one lane's objects under one path, so that an event that stands there is never written again.

Objects of a lane under a path are disjoint runs of its events, in order, each named by its first offset. What may hold an
event that is handed in is therefore the object with the greatest first offset up to the event's, and no event of a batch
may be written past the next object's beginning. A shelf is filled by one listing when it is first used, and again when the
lane may have been in other hands meanwhile.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter

from connectors.s3.names import Lane

#: Objects kept before the present one; what is handed in from further back leads to a new listing.
_KEPT = 8
#: Shelves kept; one of an hour that is over is not asked for again, and a shelf that is dropped costs one listing.
MAX_SHELVES = 4096


@dataclass(slots=True)
class Known:
    """An object. ``end`` is its last offset once it was written or read by us; ``foreign`` when it was read and holds none
    of our events at its offsets (another bus wrote it, before this one was made anew).
    """

    first: int
    key: str
    end: int | None = None
    foreign: bool = False


_ORDER = attrgetter("first", "key")


@dataclass(slots=True)
class Shelf:
    """Kept per lane and path."""

    objects: list[Known] = field(default_factory=list)
    #: The listing must be repeated from the last known key on.
    stale: bool = True
    #: Offsets below this one are not covered by what is kept.
    floor: int = 0
    #: Writes without an answer (first, last, key), only where the store ignores conditions.
    unsure: list[tuple[int, int, str]] = field(default_factory=list)

    def needs_listing(self, first: int) -> bool:
        return self.stale or first < self.floor

    def listing_after(self, first: int) -> str:
        """Return the key after which to list; forgets everything when the event lies before what is kept."""
        if first < self.floor:
            self.objects.clear()
            self.floor = 0
            self.stale = True  # until the listing has come
        return self.objects[-1].key if self.objects else ""

    def listed(self, found: Iterable[tuple[int, str]]) -> None:
        for first, key in found:
            self.add(Known(first, key))
        self.stale = False

    def add(self, known: Known) -> None:
        if self.find(known.key) is None:
            insort(self.objects, known, key=_ORDER)

    def find(self, key: str) -> Known | None:
        return next((known for known in reversed(self.objects) if known.key == key), None)

    def may_hold(self, offset: int) -> Known | None:
        """Return the object that may hold an event, if any, and must be read before the event is written."""
        for known in self._upto(offset):
            if known.foreign:
                continue
            return known if known.end is None or known.end >= offset else None
        return None

    def next_first(self, offset: int) -> int | None:
        """Return where the next object begins that may be ours."""
        at = bisect_right(self.objects, offset, key=attrgetter("first"))
        return next((known.first for known in self.objects[at:] if not known.foreign), None)

    def prune(self, offset: int) -> None:
        """Drop what lies far before an offset."""
        excess = bisect_left(self.objects, offset, key=attrgetter("first")) - _KEPT
        if excess > 0:
            del self.objects[:excess]
            self.floor = self.objects[0].first

    def _upto(self, offset: int) -> Iterator[Known]:
        at = bisect_right(self.objects, offset, key=attrgetter("first"))
        return reversed(self.objects[:at])


class Shelves:
    """The shelves of a target, the least recently used dropped."""

    def __init__(self) -> None:
        self._shelves: OrderedDict[tuple[Lane, str], Shelf] = OrderedDict()
        self._expected: dict[Lane, int] = {}

    def of(self, lane: Lane, path: str) -> Shelf:
        shelf = self._shelves.setdefault((lane, path), Shelf())
        self._shelves.move_to_end((lane, path))
        if len(self._shelves) > MAX_SHELVES:
            self._shelves.popitem(last=False)
        return shelf

    def begin(self, lane: Lane, first: int) -> None:
        """Note that a batch begins at this offset. Unless it follows the last one, or is that one again, others may have
        had the lane since: its shelves are looked at again, which costs one listing each after a gap in the offsets.
        """
        if first != self._expected.get(lane):
            for (owner, _), shelf in self._shelves.items():
                shelf.stale = shelf.stale or owner == lane
        self._expected[lane] = first

    def done(self, lane: Lane, first_left: int | None, last: int) -> None:
        """Note what comes next: the first event that is left, else the one after the last. Nothing else will do: what was left
        may have been written by others, in an object that reaches beyond this batch.
        """
        self._expected[lane] = last + 1 if first_left is None else first_left
