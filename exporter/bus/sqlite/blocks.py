"""Events of one lane and commit packed into one blob.

A row per event would cost more than the events' bytes; a block is written, read and deleted in one go, and the events in it keep
their own offsets. Layout, little-endian: number of events, their key lengths, their value lengths (32 bits each), then all keys,
then all values.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate

from exporter.bus.base import BusRecord

#: A reader takes whole blocks, so this bounds how far it exceeds the bytes it was asked for.
BLOCK_BYTES = 1024 * 1024
_COUNT = struct.Struct("<I")


def _lengths(parts: Sequence[bytes]) -> bytes:
    lengths = array("I", map(len, parts))
    if sys.byteorder == "big":
        lengths.byteswap()
    return lengths.tobytes()


def pack(keys: Sequence[bytes], values: Sequence[bytes]) -> bytes:
    """Return the blob of these events."""
    return b"".join([_COUNT.pack(len(keys)), _lengths(keys), _lengths(values), *keys, *values])


def unpack(data: bytes, first_offset: int, from_offset: int, append_time_ms: int) -> list[BusRecord]:
    """Return the events at and after ``from_offset``."""
    (count,) = _COUNT.unpack_from(data)
    lengths = array("I")
    lengths.frombytes(data[4 : 4 + 8 * count])
    if sys.byteorder == "big":
        lengths.byteswap()
    ends = list(accumulate(lengths, initial=4 + 8 * count))
    return [
        BusRecord(
            first_offset + i, data[ends[i] : ends[i + 1]], data[ends[count + i] : ends[count + i + 1]], append_time_ms
        )
        for i in range(max(0, from_offset - first_offset), count)
    ]


def cut(keys: Sequence[bytes], values: Sequence[bytes]) -> Iterator[tuple[Sequence[bytes], Sequence[bytes]]]:
    """Cut the events of a lane into blocks; an event larger than a block gets its own."""
    start = size = 0
    for index, value in enumerate(values):
        length = len(value)
        if index > start and size + length > BLOCK_BYTES:
            yield keys[start:index], values[start:index]
            start, size = index, 0
        size += length
    if start < len(values):
        yield keys[start:], values[start:]
