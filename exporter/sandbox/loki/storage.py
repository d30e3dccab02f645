"""What a Loki cell holds: streams, each ingester's memory, the store's chunks; and an independent record of every
accepted entry.

Entries are columns sorted by time. Lines are ``str`` with ``surrogateescape``, so bytes that are not UTF-8 survive until
an answer in JSON destroys them, as in the real one.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple, Protocol

from exporter.domain.ids import StreamHasher
from exporter.sandbox.loki.logql import Query

_SURROGATES = re.compile("[\ud800-\udfff]")

Metadata = Mapping[str, str]
#: What a push hands in: time in ns, line, structured metadata.
PushedEntry = tuple[int, str, Metadata | None]


def identity(line: str, metadata: Metadata | None, *, with_metadata: bool) -> tuple[str, ...]:
    """What makes two entries of one stream and nanosecond the same (loki ``pkg/iter/entry_iterator.go``)."""
    if metadata and with_metadata:
        return (line, *(part for pair in sorted(metadata.items()) for part in pair))
    return (line,)


@dataclass(slots=True, repr=False)
class Columns:
    """Entries of one stream in one place, by time; entries of one nanosecond in the order they were written.

    ``blocks`` numbers the block each entry was written to; ``repeats`` tells that some entry is held twice. ``head_bytes``:
    lines and metadata of the newest block; while it is 0 Loki takes that block for empty (``headBlock.IsEmpty``).
    """

    times: list[int] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    metadata: list[Metadata | None] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    repeats: bool = False
    has_metadata: bool = False
    head_bytes: int = 0
    block: int = 0
    block_fill: int = 0

    def span(self, start_ns: int, end_ns: int) -> tuple[int, int]:
        """Return the index range of the half-open window."""
        times = self.times
        if not times or times[-1] < start_ns or times[0] >= end_ns:
            return 0, 0
        return bisect_left(times, start_ns), bisect_left(times, end_ns)

    def positions_at(self, time_ns: int) -> range:
        """Return the indices of the entries of one nanosecond."""
        low = bisect_left(self.times, time_ns)
        return range(low, bisect_right(self.times, time_ns, low))

    def add(self, time_ns: int, line: str, metadata: Metadata | None, block_bytes: int) -> None:
        """Insert one entry after those of its nanosecond."""
        at = bisect_right(self.times, time_ns)
        self.times.insert(at, time_ns)
        self.lines.insert(at, line)
        self.metadata.insert(at, metadata)
        self.blocks.insert(at, self.block)
        self.has_metadata = self.has_metadata or bool(metadata)
        self.head_bytes += len(line) + (len(metadata) if metadata else 0)
        self.block_fill += len(line)
        if self.block_fill >= block_bytes:
            self.cut_block()

    def extend(self, entries: Sequence[PushedEntry], block_bytes: int) -> None:
        """Append entries that are newer than all here and strictly rising."""
        for time_ns, line, metadata in entries:
            self.times.append(time_ns)
            self.lines.append(line)
            self.metadata.append(metadata)
            self.blocks.append(self.block)
            if metadata:
                self.has_metadata = True
                self.head_bytes += len(metadata)
            self.head_bytes += len(line)
            self.block_fill += len(line)
            if self.block_fill >= block_bytes:
                self.cut_block()

    def cut_block(self) -> None:
        """Start a new block: duplicates of what is here are no longer recognised."""
        self.block += 1
        self.block_fill = self.head_bytes = 0

    def keep(self, positions: Sequence[int]) -> None:
        """Drop all entries but these."""
        self.times = [self.times[i] for i in positions]
        self.lines = [self.lines[i] for i in positions]
        self.metadata = [self.metadata[i] for i in positions]
        self.blocks = [self.blocks[i] for i in positions]


@dataclass(slots=True, repr=False)
class Stream:
    """One stream of one tenant. ``memory`` has a place for each ingester (``None``: not an owner of the stream)."""

    labels: dict[str, str]
    name: str
    owners: tuple[int, ...]
    memory: list[Columns | None]
    chunks: list[Columns] = field(default_factory=list)
    highest_ns: int = -1
    last: tuple[int, tuple[str, ...]] | None = None

    def places(self) -> Iterator[Columns]:
        """Every place that holds entries of the stream."""
        for columns in self.memory:
            if columns is not None:
                yield columns
        yield from self.chunks


def repaired(text: str) -> str:
    """Return the text as a reader of Loki's JSON sees it: every byte that is not UTF-8 as U+FFFD."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def _repaired_map(pairs: Mapping[str, str]) -> dict[str, str]:
    return {repaired(name): repaired(value) for name, value in pairs.items()}


class TruthEntry(NamedTuple):
    """One accepted entry, as a complete reader must return it."""

    labels: Mapping[str, str]
    time_ns: int
    line: str
    metadata: Metadata | None

    def __repr__(self) -> str:
        return f"TruthEntry(time_ns={self.time_ns})"  # never the line: a failing test would print it


class Truth(Sequence[TruthEntry]):
    """Every entry that was accepted and is not the repetition of one, in order of acceptance; kept apart from what the
    ingesters and the store do with it later.
    """

    def __init__(self) -> None:
        self._labels: list[Mapping[str, str]] = []
        self._entries: list[PushedEntry] = []

    def record(self, labels: Mapping[str, str], entries: Sequence[PushedEntry]) -> None:
        """Add entries of one stream."""
        self._labels.extend([labels] * len(entries))
        self._entries.extend(entries)

    def event_ids(self, tenant: str, key: bytes = b"") -> list[bytes]:
        """Return the event id of every entry as an exporter that read it through JSON must give it (bytes that are not
        UTF-8 arrive there as U+FFFD).
        """
        hashers: dict[int, StreamHasher] = {}
        ids: list[bytes] = []
        for labels, (time_ns, line, metadata) in zip(self._labels, self._entries, strict=True):
            hasher = hashers.get(id(labels))
            if hasher is None:
                hasher = hashers[id(labels)] = StreamHasher(tenant, _repaired_map(labels), key)
            ids += hasher.event_ids([time_ns], [repaired(line)], [_repaired_map(metadata)] if metadata else None)
        return ids

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int | slice) -> TruthEntry | list[TruthEntry]:  # type: ignore[override]
        if isinstance(index, slice):
            return [self._at(i) for i in range(*index.indices(len(self)))]
        return self._at(index)

    def __iter__(self) -> Iterator[TruthEntry]:
        return (self._at(i) for i in range(len(self)))

    def _at(self, index: int) -> TruthEntry:
        time_ns, line, metadata = self._entries[index]
        return TruthEntry(self._labels[index], time_ns, line, metadata)

    def __repr__(self) -> str:
        return f"Truth({len(self)} entries)"


@dataclass(frozen=True, slots=True)
class Hidden:
    """A delete request: entries that queries do not show."""

    query: Query
    start_ns: int
    end_ns: int
    effective_ns: int

    def covers(self, time_ns: int) -> bool:
        """Tell whether an entry of that time is meant, if it also passes the query's filters."""
        return self.start_ns <= time_ns < self.end_ns


class Listener(Protocol):
    """Who wants to know at once what was accepted: a tailing client."""

    def offer(self, stream: Stream, entries: Sequence[PushedEntry]) -> None:
        """Take notice of accepted entries of one stream."""


class Tenant:
    """All streams of one tenant, and what is remembered about their changes."""

    def __init__(self, ingesters: int, replication: int) -> None:
        self._ingesters = ingesters
        self._replication = replication
        self.streams: list[Stream] = []
        self._by_name: dict[str, Stream] = {}
        self.label_names: set[str] = set()
        self.truth = Truth()
        self.tailers: list[Listener] = []
        #: Second ``k`` of ``(k-1s, k]`` → how often entries were added there; what a cached count is checked against.
        self.cell_versions: dict[int, int] = {}
        #: Delete requests that hide entries.
        self.deletes: list[Hidden] = []
        #: Moves whenever entries change place or vanish (flush, delete, retention).
        self.epoch = 0

    def stream(self, labels: Mapping[str, str]) -> Stream:
        """Return the stream with exactly these labels, made if need be."""
        name = label_string(labels)
        stream = self._by_name.get(name)
        if stream is None:
            # A stable hash spreads streams over the ring; Python's own differs from run to run.
            first = int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "big")
            owners = tuple((first + i) % self._ingesters for i in range(self._replication))
            memory: list[Columns | None] = [Columns() if i in owners else None for i in range(self._ingesters)]
            stream = Stream(dict(sorted(labels.items())), name, owners, memory)
            self._by_name[name] = stream
            self.streams.append(stream)
            self.label_names.update(labels)
        return stream

    def accept(self, stream: Stream, entries: Sequence[PushedEntry]) -> None:
        """Record new entries, and show them to those who tail."""
        self.truth.record(stream.labels, entries)
        for tailer in self.tailers:
            tailer.offer(stream, entries)

    def touch(self, entries: Sequence[PushedEntry]) -> None:
        """Note which right-closed seconds changed."""
        versions = self.cell_versions
        for cell in {-(-entry[0] // 1_000_000_000) for entry in entries}:
            versions[cell] = versions.get(cell, 0) + 1

    def flush(self, block_bytes: int, *, with_metadata: bool) -> None:
        """Move all memory to the store. A flushed chunk is rewritten in order of time, block by block; a repeated entry
        disappears when both copies fall into one block (loki ``pkg/chunkenc/memchunk.go`` ``reorder``).
        """
        self.epoch += 1
        for stream in self.streams:
            for index, columns in enumerate(stream.memory):
                if columns is None or not columns.times:
                    continue
                chunk = _rewritten(columns, block_bytes, with_metadata=with_metadata)
                # Replicas that hold the same entries write the same chunk, which the store keeps once.
                if not any(c.times == chunk.times and c.lines == chunk.lines for c in stream.chunks):
                    stream.chunks.append(chunk)
                stream.memory[index] = Columns()

    def trim(self, before_ns: int) -> None:
        """Retention: drop everything older."""
        for stream in self.streams:
            for place in stream.places():
                if place.times and place.times[0] < before_ns:
                    self.epoch += 1
                    place.keep(range(bisect_left(place.times, before_ns), len(place.times)))
            stream.chunks = [chunk for chunk in stream.chunks if chunk.times]


def _rewritten(columns: Columns, block_bytes: int, *, with_metadata: bool) -> Columns:
    chunk = Columns()
    seen: set[tuple[int, tuple[str, ...]]] = set()
    for time_ns, line, metadata in zip(columns.times, columns.lines, columns.metadata, strict=True):
        if columns.repeats:
            key = (time_ns, identity(line, metadata, with_metadata=with_metadata))
            if chunk.block_fill == 0:
                seen.clear()
            if key in seen:
                continue
            seen.add(key)
        chunk.add(time_ns, line, metadata, block_bytes)
    chunk.repeats = columns.repeats
    return chunk


def label_string(labels: Mapping[str, str]) -> str:
    """Write labels as Loki does, sorted by name: ``{app="a", job="b"}``."""
    return "{" + ", ".join(f"{name}={_go_quote(labels[name])}" for name in sorted(labels)) + "}"


def _go_quote(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{quoted}"'
