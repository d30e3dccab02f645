"""Events → bytes of objects, grouped by the time partition they belong to; and back, to see what an object holds."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from isal import igzip, isal_zlib
from isal.isal_zlib import IsalError

from connectors.base import Record, Rejection
from connectors.s3.names import Lane, Layout
from exporter.domain.events import HEAD_ID, HEAD_TIME, time_ns_of

#: isal level 1 compresses log events as well as zlib's level 1 and three times as fast; higher levels cost more than they save.
GZIP_LEVEL = 1
#: A larger object under one of our names is not ours: batches end at 16 MiB and one event at 8 MiB.
MAX_PLAIN_BYTES = 128 * 1024 * 1024
_TIME_START = len(HEAD_ID) + 32 + len(HEAD_TIME)
#: A time between 2001 and 2286 has this many digits.
_DIGITS = 19
_COMMA = 44

Groups = dict[str, list[int]]


class NotAnObject(ValueError):
    """The bytes are not what we write: cut, changed, or somebody else's."""


def group(records: Sequence[Record], lane: Lane, layout: Layout) -> tuple[Groups, list[Rejection]]:
    """Return the indices of records by path, in order, and what cannot be an object's line.

    The common case, all events in one hour, is found without looking at each time by itself.
    """
    values = [record.value for record in records]
    if not any(b"\n" in value for value in values) and (path := _one_path(values, lane, layout)) is not None:
        return {path: list(range(len(values)))}, []
    groups: Groups = {}
    paths: dict[int, str] = {}
    rejected = []
    for index, value in enumerate(values):
        if b"\n" in value:
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


def _one_path(values: Sequence[bytes], lane: Lane, layout: Layout) -> str | None:
    """Return the path when all events surely have the same one.

    Compared as text, which is right for numbers of equally many digits.
    """
    head, end = len(HEAD_ID), _TIME_START + _DIGITS
    if any(len(value) <= end or value[end] != _COMMA for value in values):
        return None
    if {value[:head] for value in values} != {HEAD_ID} or {value[head + 32 : _TIME_START] for value in values} != {
        HEAD_TIME
    }:
        return None
    times = [value[_TIME_START:end] for value in values]
    least, most = min(times), max(times)
    if not (least.isdigit() and most.isdigit()) or least[0] == ord("0"):
        return None
    slot = layout.slot_of(int(least))
    return layout.path(lane, slot) if slot == layout.slot_of(int(most)) else None


def encode(values: Sequence[bytes]) -> bytes:
    """Return the object of these events: one a line, gzip, without a time in its header, so that the same events are
    always the same bytes.
    """
    data: bytes = igzip.compress(b"\n".join(values) + b"\n", GZIP_LEVEL, mtime=0)
    return data


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
