"""Slices of streams on their way through a query, and what ingesters and querier do with them: limit, merge, send.

Sources: loki ``pkg/ingester/instance.go`` (``sendBatches``), ``pkg/iter/entry_iterator.go``.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from exporter.sandbox.loki.logql import Query
from exporter.sandbox.loki.push import byte_length
from exporter.sandbox.loki.storage import Columns, Hidden, Metadata, Stream, identity

#: Entries of one message from an ingester to the querier, all streams together (loki ``pkg/ingester/ingester.go``).
BATCH_ENTRIES = 128
#: Protobuf bytes of an entry beside its line and metadata: timestamp, tags, lengths.
_ENTRY_OVERHEAD_BYTES = 20

_Row = tuple[int, str, Metadata | None]


@dataclass(slots=True, repr=False)
class Piece:
    """Entries of one stream from one source, oldest first. ``source`` is the ingester's number, or -1 for the store."""

    stream: Stream
    source: int
    times: list[int]
    lines: list[str]
    metadata: list[Metadata | None] | None
    repeats: bool

    def __len__(self) -> int:
        return len(self.times)

    def part(self, low: int, high: int) -> Piece:
        """Return a slice."""
        metadata = None if self.metadata is None else self.metadata[low:high]
        return Piece(self.stream, self.source, self.times[low:high], self.lines[low:high], metadata, self.repeats)

    def rows(self) -> Iterator[tuple[int, str, Metadata | None]]:
        """Iterate over the entries."""
        return zip(self.times, self.lines, self.metadata or [None] * len(self.times), strict=True)


def piece_of(
    stream: Stream, source: int, columns: Columns, query: Query, start: int, end: int, hidden: Sequence[Hidden]
) -> Piece | None:
    """Return what one place holds of a stream in the window, after line filters and deletes; None for nothing."""
    low, high = columns.span(start, end)
    hidden = [h for h in hidden if h.query.selects(stream.labels)]
    if low == high:
        return None
    times, lines = columns.times[low:high], columns.lines[low:high]
    metadata = columns.metadata[low:high] if columns.has_metadata else None
    unseen = source >= 0 and not columns.head_bytes and columns.block in columns.blocks[low:high]
    if query.filters or hidden or unseen:
        # A block that so far holds nothing but empty lines is taken for empty (seen on a real one).
        keep = [i for i in range(len(lines)) if not (unseen and columns.blocks[low + i] == columns.block)]
        for passes in query.filters:
            keep = [i for i in keep if passes(lines[i])]
        for delete in hidden:
            keep = [i for i in keep if not (delete.covers(times[i]) and delete.query.keeps(lines[i]))]
        times, lines = [times[i] for i in keep], [lines[i] for i in keep]
        metadata = None if metadata is None else [metadata[i] for i in keep]
    return Piece(stream, source, times, lines, metadata, columns.repeats) if times else None


def without_lost_chunks(pieces: list[Piece], lost: int) -> list[Piece]:
    """Leave out chunks that could not be fetched: the first ones of the store, or of memory when the store has none."""
    in_store = [p for p in pieces if p.source < 0]
    victims = (in_store or pieces)[:lost]
    return [p for p in pieces if not any(p is v for v in victims)]


def by_stream(pieces: Iterable[Piece]) -> Iterable[list[Piece]]:
    """Group pieces by stream, streams in order of appearance."""
    groups: dict[str, list[Piece]] = {}
    for piece in pieces:
        groups.setdefault(piece.stream.name, []).append(piece)
    return groups.values()


def in_order(group: list[Piece]) -> Piece:
    """Join pieces of one stream; entries of one nanosecond stay in the order of the pieces."""
    return group[0] if len(group) == 1 else _from_rows(group[0], sorted(_rows(group), key=lambda row: row[0]))


def unique(piece: Piece, with_metadata: bool) -> Piece:
    """Drop repeated entries; the first copy stays."""
    found: dict[tuple[int, tuple[str, ...]], _Row] = {}
    for row in piece.rows():
        found.setdefault((row[0], identity(row[1], row[2], with_metadata=with_metadata)), row)
    return _from_rows(piece, list(found.values()))


def _rows(group: list[Piece]) -> Iterator[_Row]:
    return chain.from_iterable(p.rows() for p in group)


def _from_rows(like: Piece, rows: list[_Row]) -> Piece:
    metadata = [row[2] for row in rows]
    has_metadata = any(metadata)
    return Piece(
        like.stream,
        like.source,
        [row[0] for row in rows],
        [row[1] for row in rows],
        metadata if has_metadata else None,
        repeats=False,
    )


def entries_before_overflow(pieces: list[Piece], forward: bool, most: int) -> int | None:
    """How many entries an ingester sends before a batch passes the message limit; None when none does."""
    longest = max((max(map(len, p.lines)) for p in pieces), default=0)
    extra = 0 if all(p.metadata is None for p in pieces) else most // BATCH_ENTRIES
    if (longest * 4 + extra + _ENTRY_OVERHEAD_BYTES) * BATCH_ENTRIES < most:
        return None  # a character has at most 4 bytes
    sizes: list[tuple[int, int]] = []
    for piece in pieces:
        for time_ns, line, metadata in piece.rows():
            size = byte_length(line) + _ENTRY_OVERHEAD_BYTES
            size += sum(len(k) + len(v) + 4 for k, v in metadata.items()) if metadata else 0
            sizes.append((time_ns if forward else -time_ns, size))
    sizes.sort(key=lambda pair: pair[0])
    for start in range(0, len(sizes), BATCH_ENTRIES):
        if sum(size for _, size in sizes[start : start + BATCH_ENTRIES]) > most:
            return start
    return None


def head(pieces: list[Piece], count: int, *, forward: bool) -> list[Piece]:
    """Return the first ``count`` entries in the query's direction, in a stable order of streams."""
    order = sorted(
        ((time_ns if forward else -time_ns, index) for index, piece in enumerate(pieces) for time_ns in piece.times),
        key=lambda pair: pair[0],
    )[:count]
    taken = Counter(index for _, index in order)
    return [
        p.part(0, taken[i]) if forward else p.part(len(p) - taken[i], len(p)) for i, p in enumerate(pieces) if taken[i]
    ]


def first_entries(pieces: list[Piece], limit: int, turn: int, *, forward: bool) -> list[Piece]:
    """Return the ``limit`` oldest (or newest) entries. Which ones of the nanosecond at the cut come along is
    arbitrary in Loki and changes between equal calls; here ``turn`` says with which stream to begin.
    """
    if sum(map(len, pieces)) <= limit:
        return pieces
    ends = (p.times[:limit] if forward else p.times[-limit:] for p in pieces)
    times = sorted(chain.from_iterable(ends))
    cut = times[limit - 1] if forward else times[-limit]
    spare = limit - (bisect_left(times, cut) if forward else len(times) - bisect_right(times, cut))
    turn %= len(pieces)
    taken: list[Piece] = []
    for piece in pieces[turn:] + pieces[:turn]:
        low, high = bisect_left(piece.times, cut), bisect_right(piece.times, cut)
        ties = min(high - low, spare)
        spare -= ties
        part = piece.part(0, low + ties) if forward else piece.part(high - ties, len(piece))
        if part.times:
            taken.append(part)
    return taken
