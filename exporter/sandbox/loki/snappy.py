"""Snappy block format, decoder only: agents push protobuf compressed with it.

Format: google/snappy ``format_description.txt``. A varint of the plain length, then literals and copies.
"""

from __future__ import annotations


def decompress(data: bytes, max_bytes: int = 256 * 1_048_576) -> bytes:
    """Return the plain bytes. Raises ValueError for broken input or more than ``max_bytes``."""
    length, position = _varint(data)
    if length > max_bytes:
        raise ValueError("snappy: plain length too large")
    out = bytearray()
    end = len(data)
    while position < end:
        tag = data[position]
        position += 1
        if tag & 3 == 0:
            size, position = _literal_size(data, tag, position)
            out += data[position : position + size]
            position += size
            if position > end:
                raise ValueError("snappy: literal beyond the end")
        else:
            size, offset, position = _copy(data, tag, position)
            _append_copy(out, size, offset)
        if len(out) > length:
            raise ValueError("snappy: longer than declared")
    if len(out) != length:
        raise ValueError("snappy: shorter than declared")
    return bytes(out)


def _varint(data: bytes) -> tuple[int, int]:
    value = 0
    for position in range(min(5, len(data))):
        value |= (data[position] & 0x7F) << (7 * position)
        if data[position] < 0x80:
            return value, position + 1
    raise ValueError("snappy: bad length")


def _literal_size(data: bytes, tag: int, position: int) -> tuple[int, int]:
    size = tag >> 2
    if size < 60:
        return size + 1, position
    width = size - 59  # 60..63: the size follows in 1..4 bytes
    if position + width > len(data):
        raise ValueError("snappy: size beyond the end")
    return int.from_bytes(data[position : position + width], "little") + 1, position + width


def _copy(data: bytes, tag: int, position: int) -> tuple[int, int, int]:
    """Return size, offset and the next position of a copy with a 1-, 2- or 4-byte offset."""
    width = (0, 1, 2, 4)[tag & 3]
    if position + width > len(data):
        raise ValueError("snappy: offset beyond the end")
    if width == 1:
        return 4 + ((tag >> 2) & 7), ((tag >> 5) << 8) | data[position], position + 1
    return (tag >> 2) + 1, int.from_bytes(data[position : position + width], "little"), position + width


def _append_copy(out: bytearray, size: int, offset: int) -> None:
    if not 0 < offset <= len(out):
        raise ValueError("snappy: offset before the start")
    start = len(out) - offset
    if offset >= size:
        out += out[start : start + size]
    else:  # the copy overlaps what it writes: the pattern repeats
        pattern = out[start:]
        out += (pattern * (size // offset + 1))[:size]
