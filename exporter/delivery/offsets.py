"""Which offset of a lane may be committed: the highest one below which nothing is open (G5)."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.errors import ExporterError


class OffsetLedger:
    """Offsets of one lane that were handed out, in order, and which of them are settled (stored or dead-lettered).

    Only offsets that were received count, so gaps (transaction markers, compaction) are harmless. Written by the event
    loop only; ``position`` is one attribute set last, so the polling thread may read it at any time.
    """

    __slots__ = ("_end", "_first", "_open", "_settled", "position")

    def __init__(self) -> None:
        self._open: list[int] = []  # from index _first on
        self._first = 0
        self._settled: set[int] = set()
        self._end: int | None = None
        #: The next offset to deliver as it may be committed; None before anything was received.
        self.position: int | None = None

    @property
    def open_count(self) -> int:
        """Offsets received and not below ``position``."""
        return len(self._open) - self._first

    def receive(self, offsets: Sequence[int], next_offset: int) -> None:
        """Note offsets in ascending order; ``next_offset`` is the bus position after them. Raises
        ExporterError when the bus goes back, which it must not do within an assignment.
        """
        end = self._end if self._end is not None else -1
        if next_offset < end or (offsets and not end <= offsets[0] <= offsets[-1] < next_offset):
            raise ExporterError(
                "the bus handed out an offset again", hint="the target starts anew at its committed positions"
            )
        self._open += offsets
        self._end = next_offset
        self._advance()

    def settle(self, offsets: Sequence[int]) -> None:
        """Mark offsets as stored or dead-lettered: in ascending order within one call, in any order over calls."""
        last = self._first + len(offsets) - 1
        if not self._settled and self._open[self._first] == offsets[0] and self._open[last] == offsets[-1]:
            self._first = last + 1  # the usual case: exactly the head of what is open
        else:
            self._settled.update(offsets)
        self._advance()

    def _advance(self) -> None:
        open_, settled, first = self._open, self._settled, self._first
        while settled and first < len(open_) and open_[first] in settled:
            settled.remove(open_[first])
            first += 1
        if first * 2 >= len(open_):
            del open_[:first]
            first = 0
        self._first = first
        self.position = open_[first] if open_ else self._end
