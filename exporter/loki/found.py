"""Entries gathered from one or several reads, as a set: Loki may return a copy twice, and re-reads overlap on purpose."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from exporter.domain.entries import StreamEntries
from exporter.domain.ids import StreamHasher
from exporter.domain.windows import Window
from exporter.loki.decode import Page, PageStream


def entries_of(tenant: str, page: Page, key: bytes) -> list[StreamEntries]:
    """Give every entry of a page its event id; per stream each entry once and in time order."""
    return [_entries_of(tenant, stream, key) for stream in page.streams]


def _entries_of(tenant: str, stream: PageStream, key: bytes) -> StreamEntries:
    ids = StreamHasher(tenant, stream.labels, key).event_ids(stream.times_ns, stream.lines, stream.metadata)
    entries = StreamEntries(stream.labels, stream.times_ns, stream.lines, ids, stream.metadata)
    if len(set(ids)) != len(ids):
        entries = without(entries, set())
    return in_time_order(entries)


def without(entries: StreamEntries, known: set[bytes]) -> StreamEntries:
    """Return the entries whose ids are neither in ``known`` nor repeated; ``known`` grows by them."""
    keep: list[int] = []
    for index, event_id in enumerate(entries.event_ids):
        if event_id not in known:
            known.add(event_id)
            keep.append(index)
    return entries if len(keep) == len(entries) else pick(entries, keep)


def in_time_order(entries: StreamEntries) -> StreamEntries:
    """Return the entries sorted by time; ties keep their order."""
    times = entries.times_ns
    if times == sorted(times):
        return entries
    return pick(entries, sorted(range(len(times)), key=times.__getitem__))


def pick(entries: StreamEntries, indexes: Sequence[int]) -> StreamEntries:
    """Return the entries at these places."""
    metadata = entries.metadata
    return StreamEntries(
        entries.labels,
        [entries.times_ns[i] for i in indexes],
        [entries.lines[i] for i in indexes],
        [entries.event_ids[i] for i in indexes],
        None if metadata is None else [metadata[i] for i in indexes],
    )


class Found:
    """The union of several reads of one window."""

    def __init__(self, streams: Iterable[StreamEntries] = ()) -> None:
        self._parts: dict[tuple[tuple[str, str], ...], list[StreamEntries]] = {}
        self._ids: set[bytes] = set()
        self._times: list[int] | None = None
        self.add(streams)

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, streams: Iterable[StreamEntries]) -> None:
        """Add what is not there yet."""
        for stream in streams:
            new = without(stream, self._ids)
            if len(new):
                self._parts.setdefault(tuple(sorted(stream.labels.items())), []).append(new)
                self._times = None

    def count_in(self, window: Window) -> int:
        """Count the entries inside the window."""
        if self._times is None:
            self._times = sorted(t for parts in self._parts.values() for part in parts for t in part.times_ns)
        return bisect_left(self._times, window.end_ns) - bisect_left(self._times, window.start_ns)

    def streams(self) -> list[StreamEntries]:
        """Return one :class:`StreamEntries` a stream, in time order."""
        return [in_time_order(_joined(parts)) for parts in self._parts.values()]


def _joined(parts: list[StreamEntries]) -> StreamEntries:
    if len(parts) == 1:
        return parts[0]
    joined = StreamEntries(parts[0].labels, [], [], [])
    metadata: list[Mapping[str, str]] = []
    for part in parts:
        joined.times_ns += part.times_ns
        joined.lines += part.lines
        joined.event_ids += part.event_ids
        metadata += part.metadata if part.metadata is not None else [{}] * len(part)
    joined.metadata = metadata if any(metadata) else None
    return joined
