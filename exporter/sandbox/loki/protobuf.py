"""Just enough of the protobuf wire format for Loki's push request and query response.

Wire format: protobuf.dev "Encoding". Messages: loki ``pkg/push/push.proto``, ``pkg/querier/queryrange/queryrange.proto``.
"""

from __future__ import annotations

from collections.abc import Iterator

from exporter.domain.windows import NS_PER_SECOND

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield field number and value: int for varints and fixed numbers, bytes for the rest. Raises ValueError."""
    position, end = 0, len(data)
    while position < end:
        key, position = _varint(data, position)
        wire = key & 7
        value: int | bytes
        if wire == _VARINT:
            value, position = _varint(data, position)
        elif wire == _BYTES:
            size, position = _varint(data, position)
            value = data[position : position + size]
            position += size
        elif wire in {_FIXED64, _FIXED32}:
            size = 8 if wire == _FIXED64 else 4
            value = int.from_bytes(data[position : position + size], "little")
            position += size
        else:
            raise ValueError("protobuf: unknown wire type")
        if position > end:
            raise ValueError("protobuf: field beyond the end")
        yield key >> 3, value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("protobuf: bad varint")


def signed(value: int | bytes) -> int:
    """Read an int64 out of its unsigned varint. Raises ValueError for a field of another type."""
    if isinstance(value, bytes):
        raise ValueError("protobuf: a number was expected")  # noqa: TRY004 - one error type for bad input
    return value - (1 << 64) if value >= 1 << 63 else value


def raw(value: int | bytes) -> bytes:
    """Return a length-delimited field. Raises ValueError for a field of another type."""
    if isinstance(value, int):
        raise ValueError("protobuf: bytes were expected")  # noqa: TRY004 - one error type for bad input
    return value


def timestamp_ns(data: bytes) -> int:
    """Read ``google.protobuf.Timestamp``."""
    seconds = nanos = 0
    for number, value in fields(data):
        if number == 1:
            seconds = signed(value)
        elif number == 2:
            nanos = signed(value)
    return seconds * NS_PER_SECOND + nanos


def encode_varint(value: int) -> bytes:
    """Write a varint; negative numbers as int64."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_int(number: int, value: int) -> bytes:
    """Write an integer field; zero is left out, as proto3 does."""
    return encode_varint(number << 3) + encode_varint(value) if value else b""


def encode_bytes(number: int, value: bytes) -> bytes:
    """Write a length-delimited field."""
    return encode_varint(number << 3 | _BYTES) + encode_varint(len(value)) + value


def encode_timestamp(number: int, time_ns: int) -> bytes:
    """Write a ``google.protobuf.Timestamp`` field."""
    seconds, nanos = divmod(time_ns, NS_PER_SECOND)
    return encode_bytes(number, encode_int(1, seconds) + encode_int(2, nanos))
