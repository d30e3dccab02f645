"""Records of one lane that wait for delivery, and the bytes that a target's process holds."""

from __future__ import annotations

import asyncio
import sys
import threading
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, islice
from operator import attrgetter

from exporter.bus.base import BusRecord, Lane
from exporter.domain.clock import Clock
from exporter.ops import metrics

#: Python's own cost of a record in memory (tuples, integers, bytes headers, key), measured with tracemalloc at about 300.
RECORD_OVERHEAD_BYTES = 320


_VALUE = attrgetter("value")


def value_bytes(records: Iterable[BusRecord]) -> int:
    """Return the bytes of the events themselves."""
    return sum(map(len, map(_VALUE, records)))


def held_size(records: Sequence[BusRecord]) -> int:
    """Return the bytes of memory that records occupy, including Python's own."""
    return value_bytes(records) + RECORD_OVERHEAD_BYTES * len(records)


class HeldBytes:
    """Bytes held per lane, counted from the moment the poller has them until they are settled. Used by both threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lanes: dict[Lane, int] = {}
        self._total = 0
        #: What one lane may hold at present; set by the poller, and batches stay below it, or they would never fill.
        self.share_bytes = sys.maxsize

    @property
    def total(self) -> int:
        return self._total

    def of(self, lane: Lane) -> int:
        return self._lanes.get(lane, 0)

    def add(self, lane: Lane, size_bytes: int) -> None:
        """Count bytes in, or out with a negative number."""
        with self._lock:
            self._lanes[lane] = self._lanes.get(lane, 0) + size_bytes
            self._total += size_bytes
        metrics.HELD_BYTES.labels("delivery").inc(size_bytes)

    def drop(self, lane: Lane) -> None:
        """Forget a lane with everything it held."""
        with self._lock:
            size_bytes = self._lanes.pop(lane, 0)
            self._total -= size_bytes
        metrics.HELD_BYTES.labels("delivery").inc(-size_bytes)


class LaneBuffer:
    """A queue that is filled in polls and emptied in batches. The bound on its bytes is the poller's business.

    Records lie in one list beside the running sum of their bytes, so a batch is cut by one bisection, not record by record.
    """

    def __init__(self, linger_seconds: float, clock: Clock) -> None:
        self._linger_seconds, self._clock = linger_seconds, clock
        self._records: list[BusRecord] = []
        self._sums: list[int] = []  # bytes up to and including each record, since the buffer was last empty
        self._taken = 0  # records cut off already, and still in the lists
        self._taken_bytes = 0
        self._oldest = 0.0
        self._changed = asyncio.Event()
        self._finishing = False

    def __len__(self) -> int:
        return len(self._records) - self._taken

    def _bytes(self) -> int:
        return self._sums[-1] - self._taken_bytes if self._sums else 0

    def put(self, records: list[BusRecord]) -> None:
        """Append records in offset order."""
        if not len(self):
            self._oldest = self._clock.monotonic()
        before = self._sums[-1] if self._sums else 0
        self._records += records
        self._sums += islice(accumulate(map(len, map(_VALUE, records)), initial=before), 1, None)
        self._changed.set()

    def finish(self) -> None:
        """Wait no longer for fuller batches; :meth:`take` returns an empty list once everything is taken."""
        self._finishing = True
        self._changed.set()

    async def take(self, max_bytes: int, max_records: int, max_held: int = sys.maxsize) -> list[BusRecord]:
        """Return the next batch: full by bytes or count, or as old as the linger time. At least one record, even a larger
        one; an empty list only after :meth:`finish`.

        Nor does it wait once the buffer occupies ``max_held`` bytes of memory: the poller may then have paused the lane, and
        what it waits for would not come.
        """
        while not (len(self) or self._finishing):
            self._changed.clear()
            await self._changed.wait()
        while not (
            self._finishing
            or self._bytes() >= max_bytes
            or len(self) >= max_records
            or self._bytes() + RECORD_OVERHEAD_BYTES * len(self) >= max_held
        ):
            wait = self._oldest + self._linger_seconds - self._clock.monotonic()
            if wait <= 0:
                break
            await self._change_or(wait)
        return self._cut(max_bytes, max_records)

    async def _change_or(self, seconds: float) -> None:
        self._changed.clear()
        waits = {
            asyncio.ensure_future(self._clock.sleep(seconds)),
            asyncio.ensure_future(self._changed.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _cut(self, max_bytes: int, max_records: int) -> list[BusRecord]:
        start = self._taken
        if start == len(self._records):
            return []
        fitting = bisect_right(self._sums, self._taken_bytes + max_bytes, start)
        end = min(max(fitting, start + 1), start + max_records)
        batch = self._records[start:end]
        self._taken, self._taken_bytes = end, self._sums[end - 1]
        if end == len(self._records):
            self._records, self._sums, self._taken, self._taken_bytes = [], [], 0, 0
        elif end * 2 >= len(self._records):  # let go of what was delivered, without moving the rest for every batch
            del self._records[:end], self._sums[:end]
            self._taken = 0
        # What stays came later than what went, but when is not kept per record: its time to linger starts now.
        self._oldest = self._clock.monotonic()
        return batch
