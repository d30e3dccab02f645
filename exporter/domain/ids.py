"""Stable names: event ids, stream ids, and the order-free fingerprint of a set of events.

``event_id = BLAKE2b-128(key; tenant, labels, time, line, metadata)``. It depends on nothing else (guarantee G8), so a
replay reproduces it. The optional key (``identity_key_file`` of the configuration) keeps a reader of the SIEM from guessing a redacted line by hashing
candidates; without one the id is a plain digest. Every part is length-prefixed, so no two different entries feed the
same bytes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence

import orjson

EVENT_ID_BYTES = 16
_FINGERPRINT_MASK = (1 << 128) - 1
_HEADER = struct.Struct(">qI")  # time in ns (signed), byte length of the line


def _canonical(pairs: Mapping[str, str]) -> bytes:
    """Encode a string map independent of its order. Falls back to pairs of bytes where JSON cannot hold a lone
    surrogate (labels are written by Loki without UTF-8 repair).
    """
    try:
        return orjson.dumps(pairs, option=orjson.OPT_SORT_KEYS)
    except (TypeError, orjson.JSONEncodeError):
        parts = []
        for key in sorted(pairs):
            for text in (key, pairs[key]):
                raw = text.encode("utf-8", "surrogatepass")
                parts.append(len(raw).to_bytes(4, "big") + raw)
        return b"\x00" + b"".join(parts)


class StreamHasher:
    """Event ids of one stream. Build once per stream and page; the tenant and labels are hashed only once."""

    __slots__ = ("_base", "stream_id")

    def __init__(self, tenant: str, labels: Mapping[str, str], key: bytes = b"") -> None:
        head = tenant.encode() + b"\x00" + _canonical(labels)
        self._base = hashlib.blake2b(head + len(head).to_bytes(4, "big"), digest_size=EVENT_ID_BYTES, key=key)
        #: 16 hex digits that name the stream without showing its labels; the Kafka key, so one stream keeps its order.
        self.stream_id: str = self._base.hexdigest()[:16]

    def event_ids(
        self, times_ns: Sequence[int], lines: Sequence[str], metadata: Sequence[Mapping[str, str]] | None
    ) -> list[bytes]:
        """Return one 16-byte id per entry, in order."""
        copy, pack = self._base.copy, _HEADER.pack
        ids: list[bytes] = []
        append = ids.append
        for index, line in enumerate(lines):
            try:
                raw = line.encode()
            except UnicodeEncodeError:
                raw = line.encode("utf-8", "surrogatepass")
            state = copy()
            state.update(pack(times_ns[index], len(raw)) + raw)
            if metadata is not None and (extra := metadata[index]):
                state.update(_canonical(extra))
            append(state.digest())
        return ids


def fingerprint(event_ids: Iterable[bytes]) -> int:
    """Return the order-free fingerprint of a set: the sum of its ids modulo 2**128. Adding two disjoint sets adds their
    fingerprints, so windows can be merged and compared without keeping ids.
    """
    total = 0
    from_bytes = int.from_bytes
    for event_id in event_ids:
        total += from_bytes(event_id, "big")
    return total & _FINGERPRINT_MASK


def add_fingerprints(left: int, right: int) -> int:
    """Merge the fingerprints of two disjoint sets."""
    return (left + right) & _FINGERPRINT_MASK
