"""What is kept of exported event ids so that a later read of a minute repeats nothing, in a bounded room.

A minute is kept as *tags* (the first bytes of every id) or, when it holds too many events for that, as *buckets* (number and
fingerprint of the ids by their first bits). Neither decides alone: :mod:`exporter.loki.passes.difference` believes an outcome only
when count and fingerprint of the minute agree with it.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from exporter.domain.checkpoints import CheckpointError, hour_start_of, ids_key
from exporter.domain.entries import StreamEntries
from exporter.domain.ids import add_fingerprints, fingerprint
from exporter.domain.windows import NS_PER_HOUR, NS_PER_MINUTE

#: Bytes of an id that are kept as its tag: among 10,000 events of a minute a new one is taken for known once in 400,000 times, which
#: the fingerprint then shows.
TAG_BYTES = 4
#: Buckets of a minute are counted by so many first bits of an id: as many as there is room for. New lines are told apart by sums
#: while at most three fall into one bucket: with 16 buckets about ten new lines of a minute, with 1024 several hundred.
_LEAST_BITS, _MOST_BITS = 4, 10
#: A minute may take this share of the room as tags: an hour and a quarter, until the first pass, fits.
_MINUTES_IN_ROOM = 80
#: Memory of a record beside its bytes (measured on CPython 3.11: key, value and dict entry).
_RECORD_OVERHEAD_BYTES = 200
_VERSION = 1
_BLOCK = struct.Struct(">BBI")  # minute of the hour, form, bytes that follow
_BUCKET = struct.Struct(">HI16s")  # bucket, count, fingerprint
_TAGS = 0  # as form; any other is the number of bits of buckets


@dataclass(slots=True)
class Kept:
    """What is kept of one minute: ``tags`` concatenated, or (``bits`` above 0) ``buckets`` by number."""

    tags: bytes = b""
    buckets: dict[int, tuple[int, int]] = field(default_factory=dict)
    bits: int = 0

    @property
    def count(self) -> int:
        """How many events it speaks of."""
        return len(self.tags) // TAG_BYTES + sum(count for count, _ in self.buckets.values())

    @property
    def size_bytes(self) -> int:
        return len(self.tags) + len(self.buckets) * _BUCKET.size


def by_bucket(ids: Iterable[bytes], bits: int) -> dict[int, list[bytes]]:
    """Group ids by their first bits."""
    groups: dict[int, list[bytes]] = {}
    shift = 16 - bits
    for event_id in ids:
        groups.setdefault((event_id[0] << 8 | event_id[1]) >> shift, []).append(event_id)
    return groups


def ids_by_minute(streams: Iterable[StreamEntries]) -> dict[int, list[bytes]]:
    """Group the ids of entries (in time order per stream) by the start of their minute."""
    minutes: dict[int, list[bytes]] = {}
    for stream in streams:
        times, position = stream.times_ns, 0
        while position < len(times):
            minute_ns = times[position] // NS_PER_MINUTE * NS_PER_MINUTE
            behind = bisect_left(times, minute_ns + NS_PER_MINUTE, position)
            minutes.setdefault(minute_ns, []).extend(stream.event_ids[position:behind])
            position = behind
    return minutes


class Memory:
    """The ``ids/`` records of one tenant, at most about ``max_bytes``; the oldest minutes are given up first."""

    def __init__(self, tenant: str, max_bytes: int) -> None:
        self._tenant, self._max_bytes = tenant, max_bytes
        self._minutes: dict[int, Kept] = {}
        self._homes: dict[int, int] = {}  # minute → start of the record it stands in
        self._dirty: set[int] = set()
        self._bytes = 0

    def restore(self, records: Mapping[str, bytes]) -> None:
        """Take over the tenant's ``ids/`` records. Raises CheckpointError."""
        prefix = ids_key(self._tenant, 0)[:-1]
        for key, raw in records.items():
            if key.startswith(prefix):
                start_ns = int(key[len(prefix) :])
                for minute_ns, kept in _decode(start_ns, raw):
                    self._keep(minute_ns, kept, start_ns)

    @property
    def size_bytes(self) -> int:
        """Memory of what is kept, its records included."""
        return self._bytes + _RECORD_OVERHEAD_BYTES * len(self._homes)

    def get(self, minute_ns: int, count: int) -> Kept | None:
        """Return what is kept of a minute, None unless it speaks of exactly ``count`` events."""
        kept = self._minutes.get(minute_ns)
        return kept if kept is not None and kept.count == count else None

    def add(self, minute_ns: int, ids: Sequence[bytes], likely: int = 0) -> None:
        """Add exported ids of one minute. ``likely``: how many the minute will probably hold when this is a part of it."""
        kept = self._minutes.get(minute_ns)
        room = self._max_bytes // _MINUTES_IN_ROOM
        most = room // TAG_BYTES
        if kept is None:
            as_buckets = max(likely, len(ids)) > most
            kept = Kept(bits=_bits_of(room) if as_buckets else 0)
        else:
            self._bytes -= kept.size_bytes
        if kept.bits:
            for number, part in by_bucket(ids, kept.bits).items():
                count, print_ = kept.buckets.get(number, (0, 0))
                kept.buckets[number] = (count + len(part), add_fingerprints(print_, fingerprint(part)))
        elif len(kept.tags) // TAG_BYTES + len(ids) <= 2 * most:
            kept.tags += b"".join([event_id[:TAG_BYTES] for event_id in ids])
        else:  # more came than the first part let expect; tags cannot become buckets
            kept.tags = b""
        self._keep(minute_ns, kept, self._homes.get(minute_ns, minute_ns))
        self._dirty.add(self._homes[minute_ns])
        self._make_room()

    def merge(self, hour_ns: int) -> None:
        """Keep an hour's minutes in one record, as the pass over it is done and changes become rare."""
        for minute_ns in range(hour_ns, hour_ns + NS_PER_HOUR, NS_PER_MINUTE):
            home = self._homes.get(minute_ns)
            if home is not None and home != hour_ns:
                self._homes[minute_ns] = hour_ns
                self._dirty |= {home, hour_ns}

    def drop(self, before_ns: int) -> None:
        """Let go of the minutes before ``before_ns``: they are sealed."""
        for minute_ns in [minute for minute in self._minutes if minute < before_ns]:
            self._forget(minute_ns)

    def records(self) -> dict[str, bytes | None]:
        """Return the records that changed since the last call."""
        parts: dict[int, list[tuple[int, Kept]]] = {home: [] for home in self._dirty}
        for minute_ns, home in self._homes.items():
            if home in parts and (kept := self._minutes[minute_ns]).size_bytes:
                parts[home].append((minute_ns, kept))
        self._dirty.clear()
        return {ids_key(self._tenant, home): _encode(part) if part else None for home, part in parts.items()}

    def _keep(self, minute_ns: int, kept: Kept, home: int) -> None:
        self._minutes[minute_ns] = kept
        self._homes[minute_ns] = home
        self._bytes += kept.size_bytes

    def _forget(self, minute_ns: int) -> None:
        self._bytes -= self._minutes.pop(minute_ns).size_bytes
        self._dirty.add(self._homes.pop(minute_ns))

    def _make_room(self) -> None:
        """Give up an eighth at once, oldest first, so that this happens rarely."""
        if self.size_bytes <= self._max_bytes:
            return
        for minute_ns in sorted(self._minutes):
            if self.size_bytes * 8 <= self._max_bytes * 7:
                break
            self._forget(minute_ns)


def _bits_of(room_bytes: int) -> int:
    """Return how many bits make buckets that fit the room of a minute."""
    return min(_MOST_BITS, max(_LEAST_BITS, (room_bytes // _BUCKET.size).bit_length() - 1))


def _encode(parts: Sequence[tuple[int, Kept]]) -> bytes:
    out = [bytes([_VERSION])]
    for minute_ns, kept in sorted(parts, key=lambda part: part[0]):
        minute = (minute_ns - hour_start_of(minute_ns)) // NS_PER_MINUTE
        form, body = (kept.bits, _encode_buckets(kept)) if kept.bits else (_TAGS, kept.tags)
        out += [_BLOCK.pack(minute, form, len(body)), body]
    return b"".join(out)


def _encode_buckets(kept: Kept) -> bytes:
    return b"".join(
        _BUCKET.pack(number, count, print_.to_bytes(16, "big"))
        for number, (count, print_) in sorted(kept.buckets.items())
    )


def _decode(start_ns: int, raw: bytes) -> list[tuple[int, Kept]]:
    if raw[:1] != bytes([_VERSION]):
        raise CheckpointError("kept ids: format version is unknown; run the release that wrote it, or newer")
    hour_ns, at, found = hour_start_of(start_ns), 1, []
    try:
        while at < len(raw):
            minute, form, size = _BLOCK.unpack_from(raw, at)
            at += _BLOCK.size
            body = raw[at : at + size]
            at += size
            kept = Kept(tags=body)
            if form != _TAGS:
                buckets = {n: (count, int.from_bytes(p, "big")) for n, count, p in _BUCKET.iter_unpack(body)}
                kept = Kept(buckets=buckets, bits=form)
            found.append((hour_ns + minute * NS_PER_MINUTE, kept))
    except struct.error:
        raise CheckpointError("kept ids: not readable; run the release that wrote it, or newer") from None
    return found
