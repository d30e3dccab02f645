"""Entries of a batch in two parts: to find the one that fails, and where an epoch of pseudonyms ends."""

from __future__ import annotations

from bisect import bisect_left

from exporter.domain.entries import StreamEntries


def halves(streams: list[StreamEntries]) -> tuple[list[StreamEntries], list[StreamEntries]]:
    """Split entries in two, in order; the second half is empty when there is only one entry."""
    if len(streams) > 1:
        middle = len(streams) // 2
        return streams[:middle], streams[middle:]
    stream = streams[0]
    if len(stream) == 1:
        return streams, []
    middle = len(stream) // 2

    return [_slice(stream, 0, middle)], [_slice(stream, middle, len(stream))]


def until(streams: list[StreamEntries], end_ns: int) -> tuple[list[StreamEntries], list[StreamEntries]]:
    """Split entries by time; they are in time order within a stream."""
    before, after = [], []
    for stream in streams:
        cut = bisect_left(stream.times_ns, end_ns)
        if cut:
            before.append(_slice(stream, 0, cut))
        if cut < len(stream):
            after.append(_slice(stream, cut, len(stream)))
    return before, after


def _slice(stream: StreamEntries, low: int, high: int) -> StreamEntries:
    if high - low == len(stream):
        return stream
    metadata = None if stream.metadata is None else stream.metadata[low:high]
    ids = stream.event_ids[low:high]
    return StreamEntries(stream.labels, stream.times_ns[low:high], stream.lines[low:high], ids, metadata)
