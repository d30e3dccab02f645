"""Which entries of a window read again are new, told exactly from what little was kept of the exported ones.

Number and fingerprint (the sum of all ids) of the exported events are known for certain. A supposition about what is new is therefore
checked, not trusted: it holds when what remains has the exported number and fingerprint. Tags and buckets make good suppositions;
without them one or two ids, whole streams, or the end or beginning of a stream are tried, which is how late lines come.
What no supposition explains stays undecided and is said so: nothing is exported twice on a guess, and nothing is dropped unsaid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from exporter.domain.entries import StreamEntries
from exporter.domain.ids import fingerprint
from exporter.loki.hours import Cell
from exporter.loki.passes.memory import TAG_BYTES, Kept, by_bucket

_MASK = (1 << 128) - 1
#: Three ids are searched for among at most so many: the search takes their square, a fifth of a second.
_TRIPLES_AMONG = 1500


@dataclass(frozen=True, slots=True)
class Difference:
    """``new``: ids not exported yet. ``gone``: exported events that Loki does not show. ``decided`` off: it cannot be told which
    entries are new, ``new`` is empty then.
    """

    new: frozenset[bytes]
    gone: int = 0
    decided: bool = True


_UNDECIDED = Difference(frozenset(), 0, decided=False)


def difference(cell: Cell, kept: Kept | None, streams: Sequence[StreamEntries]) -> Difference:
    """Compare what a cell holds now with what was exported of it. ``streams`` hold each entry once."""
    ids = [event_id for stream in streams for event_id in stream.event_ids]
    surplus, excess = len(ids) - cell.count, (fingerprint(ids) - cell.fingerprint) & _MASK
    if surplus == 0 and excess == 0:
        return Difference(frozenset())
    if cell.count == 0:
        return Difference(frozenset(ids))
    if kept is not None and kept.tags:
        found = _by_tags(cell, kept, ids)
        if found is not None:
            return found
    if surplus <= 0:
        return _fewer(kept, ids)
    new = None if kept is None or not kept.bits else _by_buckets(kept, ids)
    if new is None or fingerprint(new) != excess or len(new) != surplus:
        new = _by_sums(ids, surplus, excess) or _by_streams(cell, streams, surplus, excess)
    return _UNDECIDED if new is None else Difference(frozenset(new))


def _by_tags(cell: Cell, kept: Kept, ids: list[bytes]) -> Difference | None:
    tags = Counter(kept.tags[i : i + TAG_BYTES] for i in range(0, len(kept.tags), TAG_BYTES))
    new = [event_id for event_id in ids if event_id[:TAG_BYTES] not in tags]
    rest = [event_id for event_id in ids if event_id[:TAG_BYTES] in tags]
    shown = Counter(event_id[:TAG_BYTES] for event_id in rest)
    gone = (tags - shown).total()
    if len(rest) + gone == cell.count:
        # With lines gone their ids are not at hand, so the fingerprint cannot be checked; the number is.
        exact = gone > 0 or fingerprint(rest) == cell.fingerprint
        return Difference(frozenset(new), gone) if exact else None
    hidden = len(rest) + gone - cell.count  # new ids that happen to have an exported one's tag
    if gone or hidden < 0:
        return None
    found = _by_sums(rest, hidden, (fingerprint(rest) - cell.fingerprint) & _MASK)
    return None if found is None else Difference(frozenset([*new, *found]))


def _fewer(kept: Kept | None, ids: list[bytes]) -> Difference:
    """Lines are gone. Whether others came meanwhile, only tags or buckets can tell."""
    if kept is None or not kept.bits:
        return _UNDECIDED
    gone = 0
    new: list[bytes] = []
    groups = by_bucket(ids, kept.bits)
    for number in groups.keys() | kept.buckets.keys():
        count, print_ = kept.buckets.get(number, (0, 0))
        here = groups.get(number, [])
        if len(here) < count:
            gone += count - len(here)
        elif (len(here), fingerprint(here)) != (count, print_):
            found = _by_sums(here, len(here) - count, (fingerprint(here) - print_) & _MASK)
            if found is None:
                return _UNDECIDED
            new += found
    return Difference(frozenset(new), gone)


def _by_buckets(kept: Kept, ids: list[bytes]) -> list[bytes] | None:
    groups = by_bucket(ids, kept.bits)
    new: list[bytes] = []
    for number, here in groups.items():
        count, print_ = kept.buckets.get(number, (0, 0))
        if count == 0:
            new += here
            continue
        found = _by_sums(here, len(here) - count, (fingerprint(here) - print_) & _MASK)
        if found is None:
            return None
        new += found
    return new


def _by_sums(ids: Sequence[bytes], number: int, total: int) -> list[bytes] | None:
    """Find ``number`` (at most three) ids whose sum is ``total``; none for another number."""
    if number == 0:
        return [] if total == 0 else None
    if not 0 < number <= 3 or (number == 3 and len(ids) > _TRIPLES_AMONG):
        return None
    values = {int.from_bytes(event_id, "big"): event_id for event_id in ids}
    found = _sum_of(list(values), values.keys(), number, total)
    return None if found is None else [values[value] for value in found]


def _sum_of(order: Sequence[int], values: Iterable[int], number: int, total: int) -> list[int] | None:
    known = values if isinstance(values, (set, dict)) else set(values)
    if number == 1:
        return [total] if total in known else None
    for position, value in enumerate(order):
        rest = (total - value) & _MASK
        if number == 2:
            if rest != value and rest in known:
                return [value, rest]
        elif (pair := _sum_of(order[position + 1 :], known, 2, rest)) is not None and value not in pair:
            return [value, *pair]
    return None


def _by_streams(cell: Cell, streams: Sequence[StreamEntries], surplus: int, excess: int) -> list[bytes] | None:
    """Try what an agent that was away leaves: one or two whole streams, all streams but one or two, the end or beginning of one."""
    sums = [(len(stream), fingerprint(stream.event_ids)) for stream in streams]
    chosen = _streams_of(sums, surplus, excess)
    if chosen is None and (others := _streams_of(sums, cell.count, cell.fingerprint)) is not None:
        chosen = [index for index in range(len(streams)) if index not in others]
    if chosen is not None:
        return [event_id for index in chosen for event_id in streams[index].event_ids]
    for stream in streams:
        if len(stream) > surplus and (part := _end_of(stream.event_ids, surplus, excess)) is not None:
            return part
    return _streams_and_end(streams, sums, surplus, excess)


def _streams_of(sums: Sequence[tuple[int, int]], number: int, total: int) -> list[int] | None:
    """Find one or two streams with that many entries and that sum together."""
    places = {pair: index for index, pair in enumerate(sums)}
    if (number, total) in places:
        return [places[number, total]]
    for index, (count, print_) in enumerate(sums):
        other = places.get((number - count, (total - print_) & _MASK))
        if other is not None and other != index:
            return [index, other]
    return None


def _end_of(ids: Sequence[bytes], number: int, total: int) -> list[bytes] | None:
    for part in (ids[len(ids) - number :], ids[:number]):
        if fingerprint(part) == total:
            return list(part)
    return None


def _streams_and_end(
    streams: Sequence[StreamEntries], sums: Sequence[tuple[int, int]], surplus: int, excess: int
) -> list[bytes] | None:
    """One whole stream and the end of another, as when two streams of an agent stop at different moments."""
    places = {pair: index for index, pair in enumerate(sums)}
    for at, stream in enumerate(streams):
        for number, print_ in _ends(stream.event_ids):
            other = places.get((surplus - number, (excess - print_) & _MASK))
            if other is not None and other != at:
                return [*streams[other].event_ids, *stream.event_ids[len(stream) - number :]]
    return None


def _ends(ids: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Number and fingerprint of every end of a stream."""
    values = (int.from_bytes(event_id, "big") for event_id in reversed(ids))
    return ((number, total & _MASK) for number, total in enumerate(accumulate(values), 1))
