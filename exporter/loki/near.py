"""The near cells: what was exported of the last minutes, second by second, to find late lines and repeat nothing.

Agents push a line seconds after its stamp, so a window read a second behind now misses many. Every cycle one count query
over the near horizon is compared with the counts seen before; a second that changed is read again, and what is new goes
out at once. The first comparison of a second, with the number of our own ids, is also the proof of the window that was
read hot without a count.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping

from exporter.domain.checkpoints import NearCell, cell_end_of, near_key, split_ids
from exporter.domain.entries import StreamEntries
from exporter.domain.ids import EVENT_ID_BYTES
from exporter.domain.windows import NS_PER_MINUTE, NS_PER_SECOND, Window


class NearCells:
    """The cells of one tenant.

    From ``from_ns`` up to the frontier every exported id is in a cell, and a cell that is absent is an empty one. Reading
    older than the horizon keeps no ids and moves ``from_ns`` along.
    """

    def __init__(self, tenant: str, max_bytes: int, from_ns: int) -> None:
        self._tenant, self._max_bytes = tenant, max_bytes
        self.from_ns = from_ns
        self._cells: dict[int, NearCell] = {}
        self._counts: dict[int, int] = {}  # Loki's count as last seen; also of empty cells
        self._dirty: set[int] = set()
        self._bytes = 0
        self._leaving: dict[int, list[bytes]] = {}  # minute → ids of cells that were let go

    def restore(self, records: Mapping[str, bytes]) -> None:
        """Take over the tenant's ``near/`` records. Raises CheckpointError."""
        prefix = near_key(self._tenant, 0)[:-1]
        for key, raw in records.items():
            if not key.startswith(prefix):
                continue
            cell = NearCell.decode(int(key[len(prefix) :]), raw)
            self._cells[cell.end_ns] = cell
            self._bytes += len(cell.ids)
            if cell.loki_count >= 0:
                self._counts[cell.end_ns] = cell.loki_count
        for end in [end for end in self._cells if end < self.from_ns]:
            self._drop(end)

    def keep(self, streams: Iterable[StreamEntries]) -> None:
        """Remember exported entries. When memory runs short the oldest cells go: late lines for them are left to the far
        passes.
        """
        added: dict[int, list[bytes]] = {}
        edges: dict[int, bytes] = {}
        for stream in streams:
            times, ids, position = stream.times_ns, stream.event_ids, 0
            while position < len(times):
                end = cell_end_of(times[position])
                behind = bisect_right(times, end, position)
                added.setdefault(end, []).extend(ids[position:behind])
                if end % NS_PER_MINUTE == 0 and (first := bisect_left(times, end, position, behind)) < behind:
                    edges[end] = edges.get(end, b"") + b"".join(ids[first:behind])
                position = behind
        for end, new in added.items():
            cell = self._cells.setdefault(end, NearCell(end))
            cell.ids += b"".join(new)
            self._bytes += len(new) * EVENT_ID_BYTES
            cell.edge += edges.get(end, b"")
            self._dirty.add(end)
        if self._bytes > self._max_bytes:
            self._shed()

    def known(self, window: Window) -> set[bytes]:
        """Return the ids exported of the cells that the window touches."""
        first, last = cell_end_of(window.start_ns), cell_end_of(window.end_ns - 1)
        ids: set[bytes] = set()
        for end in range(first, last + 1, NS_PER_SECOND):
            cell = self._cells.get(end)
            if cell is not None:
                ids |= cell.id_set()
        return ids

    def checkable(self, frontier_ns: int) -> tuple[int, int] | None:
        """Return the ends of the first and last cell that lie wholly between ``from_ns`` and the frontier."""
        first = cell_end_of(self.from_ns - 1) + NS_PER_SECOND
        last = (frontier_ns - 1) // NS_PER_SECOND * NS_PER_SECOND
        return (first, last) if first <= last else None

    def changed(self, counts: Mapping[int, int], first: int, last: int) -> list[int]:
        """Compare Loki's counts with those seen before (the first time: with our own ids) and return the ends of the
        cells that must be read again, in order.
        """
        changed = []
        for end in range(first, last + 1, NS_PER_SECOND):
            count = counts.get(end, 0)
            seen = self._counts.get(end)
            if seen is None:
                cell = self._cells.get(end)
                seen = len(cell) if cell is not None else 0
            if count == seen:
                self._counts[end] = count
            else:
                changed.append(end)
        return changed

    def saw(self, counts: Mapping[int, int], ends: Iterable[int]) -> None:
        """Remember the counts, asked before the reads, of cells that were read again."""
        for end in ends:
            self._counts[end] = counts.get(end, 0)

    def expire(self, before_ns: int) -> None:
        """Let go of the cells that end before ``before_ns``."""
        if before_ns > self.from_ns:
            self.from_ns = before_ns
            for end in [end for end in self._cells.keys() | self._counts.keys() if end < before_ns]:
                self._drop(end)

    def left(self) -> dict[int, list[bytes]]:
        """Return the ids, by the start of their half-open minute, of cells that were let go since the last call: the far passes'
        memory takes them over in the same commit.
        """
        leaving, self._leaving = self._leaving, {}
        return leaving

    def records(self) -> dict[str, bytes | None]:
        """Return the checkpoint records that changed since the last call. A count alone is not written: after a restart
        the comparison with our ids replaces it, at the cost of one read.
        """
        records: dict[str, bytes | None] = {}
        for end in self._dirty:
            cell = self._cells.get(end)
            if cell is not None:
                cell.loki_count = self._counts.get(end, -1)
            records[near_key(self._tenant, end)] = None if cell is None else cell.encode()
        self._dirty.clear()
        return records

    def _drop(self, end: int) -> None:
        self._counts.pop(end, None)
        cell = self._cells.pop(end, None)
        if cell is not None:
            self._bytes -= len(cell.ids)
            self._dirty.add(end)
            on_edge = split_ids(cell.edge)
            if on_edge:
                self._leaving.setdefault(end, []).extend(on_edge)
            edge = set(on_edge)
            others = [event_id for event_id in split_ids(cell.ids) if event_id not in edge]
            if others:
                self._leaving.setdefault((end - 1) // NS_PER_MINUTE * NS_PER_MINUTE, []).extend(others)

    def _shed(self) -> None:
        """Halve what is kept, oldest first, so that this happens rarely."""
        for end in sorted(self._cells):
            if self._bytes * 2 <= self._max_bytes:
                break
            self.from_ns = max(self.from_ns, end + 1)
            self._drop(end)
        for end in [end for end in self._counts if end < self.from_ns]:
            self._drop(end)


def late_windows(ends: list[int], counts: Mapping[int, int], max_entries: int) -> list[tuple[Window, list[int]]]:
    """Merge neighbouring cells into windows that should fit a page; each with the cells in it."""
    groups: list[tuple[list[int], int]] = []
    for end in ends:
        count = counts.get(end, 0)
        if groups and groups[-1][0][-1] == end - NS_PER_SECOND and groups[-1][1] + count <= max_entries:
            groups[-1] = ([*groups[-1][0], end], groups[-1][1] + count)
        else:
            groups.append(([end], count))
    return [(Window(cells[0] - NS_PER_SECOND + 1, cells[-1] + 1), cells) for cells, _ in groups]
