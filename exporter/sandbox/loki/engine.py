"""Answering queries the way a Loki cell does, with its traps.

Log queries (loki ``pkg/ingester/instance.go`` ``sendBatches``, ``pkg/iter/entry_iterator.go``): every ingester stops
after ``limit`` raw entries, the querier removes duplicates *afterwards*, so a page can be short or have a gap inside
although more lies behind. Counts (``pkg/iter/sample_iterator.go``): duplicates inside one source count, between sources
they are removed by line and time alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from exporter.sandbox.loki.counting import count_samples
from exporter.sandbox.loki.limits import LokiLimits, ns
from exporter.sandbox.loki.logql import Query
from exporter.sandbox.loki.pieces import (
    BATCH_ENTRIES,
    Piece,
    by_stream,
    entries_before_overflow,
    first_entries,
    head,
    in_order,
    piece_of,
    unique,
    without_lost_chunks,
)
from exporter.sandbox.loki.storage import Stream, Tenant

#: Bounds of what is remembered between queries; both are rebuilt in no time.
_REMEMBERED_SELECTORS = 10_000
_REMEMBERED_CELLS = 100_000
#: Ranges up to this long are compared second by second instead of being counted again.
_CELL_RANGE_NS = 300 * 10**9

_Key = tuple[tuple[str, str, str], ...]
Mode = Literal["separate", "single"]


class QueryError(Exception):
    """The query fails; Loki answers this status with this text."""

    def __init__(self, status: int, text: str, delay_seconds: float = 0.0) -> None:
        super().__init__(text)
        self.delay_seconds = delay_seconds
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class Effects:
    """What is wrong with this one answer: ingesters whose messages get lost, store chunks that cannot be read (the
    first ``lost_chunks`` that the query meets; a stream's part in memory counts as one when nothing was flushed).
    """

    lost_ingesters: frozenset[int] = frozenset()
    lost_chunks: int = 0


NO_EFFECTS = Effects()


@dataclass(slots=True)
class LogResult:
    """A log answer: pieces by stream, and the statistics that give a cut source away."""

    pieces: list[Piece] = field(default_factory=list)
    lines_sent: int = 0
    batches: int = 0
    reached: int = 0
    chunks: int = 0
    duplicates: int = 0

    @property
    def count(self) -> int:
        """Entries in the answer."""
        return sum(map(len, self.pieces))


class Engine:
    """Evaluates queries over one cell. ``mode``: roles in separate processes, or one binary whose ingester merges memory
    and store before it limits.
    """

    def __init__(self, limits: LokiLimits, ingesters: int, mode: Mode) -> None:
        self._limits = limits
        self._ingesters = ingesters
        self.mode = mode
        self._turn = 0
        self._selected: dict[tuple[int, _Key], tuple[int, list[Stream]]] = {}
        self._cells: dict[tuple[int, _Key, str, int, int, bool], tuple[tuple[int, int], int]] = {}

    # --- log queries ------------------------------------------------------------------------------------------------

    def log(
        self,
        tenant: Tenant,
        query: Query,
        window: tuple[int, int],
        limit: int,
        *,
        forward: bool,
        now_ns: int,
        effects: Effects = NO_EFFECTS,
    ) -> LogResult:
        """Answer ``[start, end)``. Split at epoch-aligned hours, one after the other until the limit is reached; each
        part with the full limit (loki ``pkg/querier/queryrange/split_by_interval.go``). Raises QueryError.
        """
        self._turn += 1
        result = LogResult()
        streams = self.select(tenant, query)
        parts = list(self._splits(*window))
        for start, end in parts if forward else reversed(parts):
            self._log_part(tenant, streams, query, start, end, limit, forward, now_ns, effects, result)
            if result.count >= limit:
                break
        result.pieces = first_entries(
            [in_order(g) for g in by_stream(result.pieces)], limit, self._turn, forward=forward
        )
        return result

    def _log_part(
        self,
        tenant: Tenant,
        streams: list[Stream],
        query: Query,
        start: int,
        end: int,
        limit: int,
        forward: bool,
        now_ns: int,
        effects: Effects,
        result: LogResult,
    ) -> None:
        asked = self.ingesters_asked(end, now_ns)
        pieces = self._pieces(tenant, streams, query, (start, end), asked, now_ns, effects)
        memory: list[list[Piece]] = [[] for _ in range(self._ingesters)]
        store = [p for p in pieces if p.source < 0]
        for piece in pieces:
            if piece.source >= 0:
                memory[piece.source].append(piece)
        result.chunks += len(store)
        if self.mode == "single" and asked:
            memory, store = [self._merged(pieces)], []
        sent: list[Piece] = []
        for source, held in enumerate(memory):
            if held:
                sent += self._from_ingester(held, limit, forward, lost=source in effects.lost_ingesters, result=result)
        merged = self._merged(sent + store)
        result.duplicates += sum(map(len, sent)) + sum(map(len, store)) - sum(map(len, merged))
        result.pieces += first_entries(merged, limit, self._turn, forward=forward)

    def _from_ingester(
        self, held: list[Piece], limit: int, forward: bool, *, lost: bool, result: LogResult
    ) -> list[Piece]:
        """What one ingester sends: its first ``limit`` raw entries in batches. A batch above the message limit ends the
        stream; the querier swallows that error when roles are separate (finding 11).
        """
        pieces = first_entries(held, limit, self._turn, forward=forward)
        whole = 0 if lost else entries_before_overflow(pieces, forward, self._limits.ingester_message_bytes)
        if whole is not None and not lost and (self.mode == "single" or self._limits.message_overflow == "fails"):
            size, most = "more bytes", self._limits.ingester_message_bytes
            raise QueryError(
                500,
                f"rpc error: code = ResourceExhausted desc = trying to send message larger than max ({size} vs. {most})",
                self._limits.overflow_error_seconds,
            )
        if whole is not None:
            pieces = head(pieces, whole, forward=forward)
        count = sum(map(len, pieces))
        result.lines_sent += count
        result.batches += -(-count // BATCH_ENTRIES) + 1
        result.reached += 1
        return pieces

    def _merged(self, pieces: list[Piece]) -> list[Piece]:
        """The querier's merge: one piece a stream, without exact duplicates."""
        with_metadata = self._limits.metadata_distinguishes
        merged: list[Piece] = []
        for group in by_stream(pieces):
            first = group[0]
            same = all(
                p.times == first.times and p.lines == first.lines and p.metadata == first.metadata for p in group[1:]
            )
            merged.append(first if same and not first.repeats else unique(in_order(group), with_metadata))
        return merged

    # --- counts -----------------------------------------------------------------------------------------------------

    def count(
        self,
        tenant: Tenant,
        query: Query,
        end_ns: int,
        *,
        asked_until_ns: int,
        now_ns: int,
        effects: Effects = NO_EFFECTS,
        streams: list[Stream] | None = None,
    ) -> int:
        """Return the value of ``sum(count_over_time(…))`` or of bytes at one instant: the right-closed range
        ``(end - range, end]``. ``asked_until_ns``: end of the sub-query it belongs to, which decides whether the
        ingesters are asked.
        """
        end_ns -= query.offset_ns
        start_ns = end_ns - query.range_ns
        asked = self.ingesters_asked(asked_until_ns, now_ns)
        signature = None
        if streams is None:
            streams = self.select(tenant, query)
            if effects == NO_EFFECTS and not query.filters:
                signature = _signature(tenant, start_ns, end_ns)
        if signature == (0, tenant.epoch):
            return 0
        key = (id(tenant), _key(tenant, query), query.function, end_ns, query.range_ns, asked)
        if signature is not None and (known := self._cells.get(key)) is not None and known[0] == signature:
            return known[1]
        pieces = self._pieces(tenant, streams, query, (start_ns + 1, end_ns + 1), asked, now_ns, effects)
        value = count_samples(pieces, in_bytes=query.function == "bytes_over_time")
        if signature is not None:
            if len(self._cells) > _REMEMBERED_CELLS:
                self._cells.clear()
            self._cells[key] = (signature, value)
        return value

    # --- shared -----------------------------------------------------------------------------------------------------

    def select(self, tenant: Tenant, query: Query) -> list[Stream]:
        """Return the streams a query selects; remembered, new streams are looked at as they come."""
        key = (id(tenant), _key(tenant, query))
        seen, found = self._selected.get(key, (0, []))
        if seen < len(tenant.streams):
            found.extend(s for s in tenant.streams[seen:] if query.selects(s.labels))
            if len(self._selected) > _REMEMBERED_SELECTORS:
                self._selected.clear()
            self._selected[key] = (len(tenant.streams), found)
        return found

    def ingesters_asked(self, end_ns: int, now_ns: int) -> bool:
        """Tell whether a (sub-)query that ends there reaches the ingesters at all."""
        within = ns(self._limits.query_ingesters_within_seconds)
        return not within or end_ns > now_ns - within

    def _pieces(
        self,
        tenant: Tenant,
        streams: Iterable[Stream],
        query: Query,
        window: tuple[int, int],
        asked: bool,
        now_ns: int,
        effects: Effects,
    ) -> list[Piece]:
        """Everything of the window that can be seen now, source by source. ``asked``: the ingesters too."""
        start, end = window
        for seconds in (self._limits.retention_seconds, self._limits.max_query_lookback_seconds):
            start = max(start, now_ns - ns(seconds)) if seconds else start
        if start >= end:
            return []
        hidden = [d for d in tenant.deletes if d.start_ns < end and d.end_ns > start and d.effective_ns <= now_ns]
        found: list[Piece] = []
        for stream in streams:
            places = list(enumerate(stream.memory)) if asked else []
            for source, columns in [*places, *((-1, chunk) for chunk in stream.chunks)]:
                if columns is not None and (piece := piece_of(stream, source, columns, query, start, end, hidden)):
                    found.append(piece)
        return without_lost_chunks(found, effects.lost_chunks) if effects.lost_chunks else found

    def _splits(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        interval = ns(self._limits.split_queries_by_interval_seconds) or (1 << 62)
        while start < end:
            border = min(end, start - start % interval + interval)
            yield start, border
            start = border


def _key(tenant: Tenant, query: Query) -> _Key:
    """What a selector means here: matchers that no stream can fail (nonces such as ``nonce_17=""``) are left out."""
    return tuple(
        (m.name, m.operator, m.value)
        for m in query.matchers
        if not (m.operator == "=" and not m.value and m.name not in tenant.label_names)
    )


def _signature(tenant: Tenant, start_ns: int, end_ns: int) -> tuple[int, int] | None:
    """Numbers that move with every change in the range; the first is 0 when nothing was ever pushed there. None for
    ranges that are not made of whole seconds.
    """
    if end_ns % 10**9 or start_ns % 10**9 or end_ns - start_ns > _CELL_RANGE_NS:
        return None
    versions = tenant.cell_versions
    return sum(versions.get(cell, 0) for cell in range(start_ns // 10**9 + 1, end_ns // 10**9 + 1)), tenant.epoch
