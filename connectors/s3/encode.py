"""Events → bytes of objects, grouped by the time partition they belong to; and back, to see what an object holds."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from isal import isal_zlib
from isal.isal_zlib import IsalError

from connectors.base import Record, Rejection, heads_of
from connectors.s3.names import Lane, Layout
from exporter.domain.events import HEAD_ID, HEAD_TIME, time_ns_of

#: isal level 1 compresses log events as well as zlib's level 1 and three times as fast; higher levels cost more than they save.
GZIP_LEVEL = 1
#: A larger object under one of our names is not ours: batches end at 16 MiB and one event at 8 MiB.
MAX_PLAIN_BYTES = 128 * 1024 * 1024
_TIME_START = len(HEAD_ID) + 32 + len(HEAD_TIME)
#: A time between 2001 and 2286 has 19 digits.
_TIME_END = _TIME_START + 19
#: Events that are looked at or compressed together.
_PIECE = 512

Groups = dict[str, list[int]]


class NotAnObject(ValueError):
    """The bytes are not what we write: cut, changed, or somebody else's."""


def group(records: Sequence[Record], lane: Lane, layout: Layout) -> tuple[Groups, list[Rejection]]:
    """Return the indices of records by path, in order, and what cannot be an object's line.

    The common case, all events in one hour, is found without looking at each time by itself.
    """
    values = heads_of(records)
    if (
        not _holds_line_feed([record.value for record in records])
        and (path := _one_path(values, lane, layout)) is not None
    ):
        return {path: list(range(len(values)))}, []
    groups: Groups = {}
    paths: dict[int, str] = {}
    rejected = []
    for index, (record, value) in enumerate(zip(records, values, strict=True)):
        if b"\n" in record.value:
            rejected.append(Rejection(index, "not_one_line", "the event holds a line feed and would be two lines"))
            continue
        try:
            if not value.startswith(HEAD_ID):
                raise ValueError("not a canonical event")
            slot = layout.slot_of(time_ns_of(value))
            if slot not in paths:
                paths[slot] = layout.path(lane, slot)
        except ValueError:
            rejected.append(
                Rejection(index, "not_canonical", "no canonical event with a usable time; it was not stored")
            )
            continue
        groups.setdefault(paths[slot], []).append(index)
    return groups, rejected


def _holds_line_feed(values: Sequence[bytes]) -> bool:
    # One search over some events together is several times as fast as one in each.
    return any(b"\n" in b"".join(values[i : i + _PIECE]) for i in range(0, len(values), _PIECE))


def _one_path(values: Sequence[bytes], lane: Lane, layout: Layout) -> str | None:
    """Return the path when all events surely have the same one.

    Compared as text: what lies between two texts begins as both of them do, and numbers of equally many digits sort as
    text. So the least and the greatest speak for all.
    """
    if not (min(values).startswith(HEAD_ID) and max(values).startswith(HEAD_ID)):
        return None
    if {value[_TIME_END : _TIME_END + 1] for value in values} != {b","}:
        return None
    times = [value[_TIME_START - len(HEAD_TIME) : _TIME_END] for value in values]
    least, most = min(times), max(times)
    if not (least.startswith(HEAD_TIME) and most.startswith(HEAD_TIME)):
        return None
    least, most = least[len(HEAD_TIME) :], most[len(HEAD_TIME) :]
    if not (least.isdigit() and most.isdigit()):
        return None
    slot = layout.slot_of(int(least))
    return layout.path(lane, slot) if slot == layout.slot_of(int(most)) else None


def encode(values: Sequence[bytes]) -> bytes:
    """Return the object of these events: one a line, gzip, without a time in its header, so that the same events are
    always the same bytes.
    """
    machine = isal_zlib.compressobj(GZIP_LEVEL, wbits=16 + zlib.MAX_WBITS)
    # By pieces that stay in the processor's cache; one join of a whole batch would cost more than it saves.
    parts = [machine.compress(b"\n".join(values[i : i + _PIECE]) + b"\n") for i in range(0, len(values), _PIECE)]
    return b"".join([*parts, machine.flush()])


def decode(body: bytes) -> list[bytes]:
    """Return the events of an object. Raises NotAnObject."""
    machine = isal_zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        data: bytes = machine.decompress(body, MAX_PLAIN_BYTES)
    except (IsalError, EOFError):  # type: ignore[misc]  # isal's stub calls the class an instance
        raise NotAnObject("no gzip") from None
    if not machine.eof or machine.unused_data or not data.endswith(b"\n"):
        raise NotAnObject("not one whole gzip member that ends with a line feed")
    return data[:-1].split(b"\n")
