"""Sealed history in little room: a day of hours in one checkpoint record of at most 0.8 KB, so that a year of a thousand tenants
stays below half a gigabyte. Minutes are given up then; a later doubt is settled over the whole hour.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from exporter.domain.checkpoints import CheckpointError, HourSummary
from exporter.domain.ids import add_fingerprints
from exporter.domain.windows import NS_PER_HOUR

NS_PER_DAY = 24 * NS_PER_HOUR
_VERSION = 1
_HEAD = struct.Struct(">Bq")  # version, start
_HOUR = struct.Struct(">BIQ16sQI")  # hour, edge, count, fingerprint, Loki's count, gone


@dataclass(frozen=True, slots=True)
class SealedHour:
    """An hour of a day record; the fields are those of HourSummary over the whole hour. ``seen``: Loki's count as accepted."""

    edge: int = 0
    count: int = 0
    fingerprint: int = 0
    seen: int = 0
    gone: int = 0


@dataclass(slots=True)
class DaySummary:
    """The sealed hours of one epoch-aligned day that hold anything, by hour 0..23."""

    start_ns: int
    hours: dict[int, SealedHour] = field(default_factory=dict)

    def take(self, hour: HourSummary) -> None:
        """Take over an hour's record."""
        number = (hour.start_ns - self.start_ns) // NS_PER_HOUR
        gone = sum(hour.gone.values())
        self.hours[number] = SealedHour(hour.edge, hour.count, hour.fingerprint, hour.expected, gone)

    def add(self, number: int, count: int, print_: int, edge: int) -> None:
        """Add events found after all; Loki's count is then ours until it is asked again."""
        old = self.hours.get(number, SealedHour())
        total = add_fingerprints(old.fingerprint, print_)
        self.hours[number] = SealedHour(old.edge + edge, old.count + count, total, old.count + count, old.gone)

    def encode(self) -> bytes:
        parts = [_HEAD.pack(_VERSION, self.start_ns)]
        for number, hour in sorted(self.hours.items()):
            print_ = hour.fingerprint.to_bytes(16, "big")
            parts.append(_HOUR.pack(number, hour.edge, hour.count, print_, hour.seen, hour.gone))
        return b"".join(parts)

    @classmethod
    def decode(cls, raw: bytes) -> DaySummary:
        """Raises CheckpointError."""
        try:
            version, start_ns = _HEAD.unpack_from(raw)
            if version != _VERSION:
                raise CheckpointError(
                    f"day summary: format version {version} is unknown; run the release that wrote it"
                )
            day = cls(start_ns)
            for number, edge, count, print_, seen, gone in _HOUR.iter_unpack(raw[_HEAD.size :]):
                day.hours[number] = SealedHour(edge, count, int.from_bytes(print_, "big"), seen, gone)
        except struct.error:
            raise CheckpointError("day summary: not readable; run the release that wrote it, or newer") from None
        return day
