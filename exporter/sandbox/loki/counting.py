"""Counting samples as Loki's merge of sample iterators does (loki ``pkg/iter/sample_iterator.go``, ``pkg/util/sample.go``)."""

from __future__ import annotations

from itertools import chain

from exporter.sandbox.loki.pieces import Piece
from exporter.sandbox.loki.push import byte_length


def count_samples(pieces: list[Piece], *, in_bytes: bool) -> int:
    """Count samples as Loki's merge does: at a nanosecond that several sources hold, a line counts as often as the first
    source holds it. Only time and line are compared (the labels are grouped away by ``sum``), so equal lines of
    different streams, or with different metadata, fall together when they sit in different sources.
    """
    total = sum(sum(map(byte_length, p.lines)) if in_bytes else len(p) for p in pieces)
    # In the store, chunks of one stream are merged with each other, streams are not.
    groups: dict[tuple[int, str], list[Piece]] = {}
    for piece in pieces:
        groups.setdefault((piece.source, piece.stream.name if piece.source < 0 else ""), []).append(piece)
    stored = [group for (source, _), group in groups.items() if source < 0 and len(group) > 1]
    for group in stored:
        total -= _surplus([[p] for p in group], in_bytes=in_bytes)
    sources = [group for (source, _), group in groups.items() if source >= 0]
    in_store = [p for p in pieces if p.source < 0]
    if in_store:
        sources.append(in_store)
    return total - _surplus(sources, in_bytes=in_bytes) if len(sources) > 1 else total


def _surplus(sources: list[list[Piece]], *, in_bytes: bool) -> int:
    """How much of the plain sum falls away because a later source repeats what an earlier one holds."""
    seen: set[int] = set()
    shared: set[int] = set()
    for pieces in sources:
        times = set(chain.from_iterable(p.times for p in pieces))
        shared |= times & seen
        seen |= times
    if not shared:
        return 0
    known: set[tuple[int, str]] = set()
    surplus = 0
    for pieces in sources:
        here = [(t, line) for p in pieces for t, line, _ in p.rows() if t in shared]
        surplus += sum((byte_length(line) if in_bytes else 1) for t, line in here if (t, line) in known)
        known.update(here)
    return surplus
