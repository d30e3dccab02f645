"""The checkpoint: small keyed records that are written in the same transaction as the events they speak of.

A shard's checkpoint is a map from key to value (a compacted Kafka partition or a SQLite table). One commit writes only
the records that it changes, so its cost follows the events in it and not the state kept:

======================== ===========================================================================================
``live/<tenant>``        :class:`LiveCheckpoint`: frontier, sealed frontier, trouble
``near/<tenant>/<end>``  :class:`NearCell`: event ids of one recent second, so that a re-read repeats nothing;
                         deleted when the second leaves the near horizon
``hour/<tenant>/<start>`` :class:`HourSummary`: per minute the number and the order-free fingerprint of events,
                         which later passes compare with Loki
``chain``                 sequence and hash of the shard's last ledger record
======================== ===========================================================================================

Formats are versioned; an unknown version raises :class:`CheckpointError` instead of being guessed at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from exporter.domain.ids import EVENT_ID_BYTES, add_fingerprints, fingerprint
from exporter.domain.windows import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_SECOND

FORMAT_VERSION = 1
CHAIN_KEY = "chain"


class CheckpointError(ValueError):
    """A checkpoint record cannot be read: foreign format or newer version. The shard must not start."""


def live_key(tenant: str) -> str:
    return f"live/{tenant}"


def near_key(tenant: str, cell_end_ns: int) -> str:
    return f"near/{tenant}/{cell_end_ns}"


def hour_key(tenant: str, hour_start_ns: int) -> str:
    return f"hour/{tenant}/{hour_start_ns}"


def _load(raw: bytes, what: str) -> dict[str, Any]:
    try:
        record = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise CheckpointError(f"{what}: not readable; restore the checkpoint topic or table from a backup") from None
    if not isinstance(record, dict) or record.get("v") != FORMAT_VERSION:
        raise CheckpointError(
            f"{what}: format version is not {FORMAT_VERSION}; run the release that wrote it, or newer"
        )
    return record


@dataclass(frozen=True, slots=True)
class Trouble:
    """A window that is not proven complete (``suspect``), cannot be read (``blocked``) or has events held back by
    redaction (``held``), with its reason and how many events it concerns (0: unknown).
    """

    state: str
    start_ns: int
    end_ns: int
    reason: str
    count: int = 0


@dataclass(frozen=True, slots=True)
class LiveCheckpoint:
    """Where a tenant's live reading stands.

    Everything before ``frontier_ns`` (and from ``origin_ns`` on) was read once and is on the bus; everything before
    ``sealed_ns`` is proven complete. ``selector`` is the LogQL selector that this holds for: another selector starts
    anew. ``sequence`` counts commits of this tenant.
    """

    tenant: str
    selector: str
    origin_ns: int
    frontier_ns: int
    sealed_ns: int
    sequence: int = 0
    events: int = 0
    late: int = 0
    held: int = 0
    troubles: tuple[Trouble, ...] = ()
    worker: str = ""
    written_ns: int = 0
    near_from_ns: int = 0  # from here to the frontier every exported id is in a near cell, and an absent cell is empty
    filtered: int = 0  # taken out by the tenant's filters; not among ``events``

    def encode(self) -> bytes:
        return orjson.dumps(
            {
                "v": FORMAT_VERSION,
                "tenant": self.tenant,
                "selector": self.selector,
                "origin_ns": self.origin_ns,
                "frontier_ns": self.frontier_ns,
                "sealed_ns": self.sealed_ns,
                "sequence": self.sequence,
                "events": self.events,
                "late": self.late,
                "held": self.held,
                "filtered": self.filtered,
                "troubles": [[t.state, t.start_ns, t.end_ns, t.reason, t.count] for t in self.troubles],
                "worker": self.worker,
                "written_ns": self.written_ns,
                "near_from_ns": self.near_from_ns,
            }
        )

    @classmethod
    def decode(cls, raw: bytes) -> LiveCheckpoint:
        """Raises CheckpointError."""
        record = _load(raw, "live checkpoint")
        record.pop("v")
        try:
            troubles = tuple(Trouble(*t) for t in record.pop("troubles"))
            return cls(**record, troubles=troubles)
        except (KeyError, TypeError):
            raise CheckpointError("live checkpoint: fields are missing or foreign") from None


def cell_end_of(time_ns: int) -> int:
    """Return the end (inclusive) of the right-closed second ``(end-1s, end]`` that holds this nanosecond. Right-closed,
    because Loki's range vectors are, so one metric query answers a count per cell (loki ``pkg/logql/range_vector.go``).
    """
    return -(-time_ns // NS_PER_SECOND) * NS_PER_SECOND


@dataclass(slots=True, repr=False)
class NearCell:
    """Event ids exported from one recent right-closed second, and Loki's own count when it was last read.

    The count is only a change detector: Loki counts retried pushes twice and its counts move when chunks are flushed, so
    it is compared with the last count, never with the number of ids.
    """

    end_ns: int
    loki_count: int = -1  # -1: not asked yet
    ids: bytes = b""  # EVENT_ID_BYTES each, concatenated; a set of objects would cost six times the memory

    def __len__(self) -> int:
        return len(self.ids) // EVENT_ID_BYTES

    def id_set(self) -> set[bytes]:
        """Return the ids as a set, built only while a cell is read again."""
        n = EVENT_ID_BYTES
        return {self.ids[i : i + n] for i in range(0, len(self.ids), n)}

    def encode(self) -> bytes:
        return bytes([FORMAT_VERSION]) + self.loki_count.to_bytes(8, "big", signed=True) + self.ids

    @classmethod
    def decode(cls, end_ns: int, raw: bytes) -> NearCell:
        """Raises CheckpointError."""
        if len(raw) < 9 or raw[0] != FORMAT_VERSION or (len(raw) - 9) % EVENT_ID_BYTES:
            raise CheckpointError("near cell: not readable; run the release that wrote it, or newer")
        return cls(end_ns, int.from_bytes(raw[1:9], "big", signed=True), raw[9:])

    def __repr__(self) -> str:
        return f"NearCell(end_ns={self.end_ns}, {len(self)} ids, loki_count={self.loki_count})"


@dataclass(slots=True)
class HourSummary:
    """Number and fingerprint of the exported events of one epoch-aligned hour, per minute ``[start, start+60s)``."""

    start_ns: int
    minutes: dict[int, tuple[int, int]] = field(default_factory=dict)  # minute 0..59 → (count, fingerprint)

    def add(self, times_ns: list[int], event_ids: list[bytes]) -> None:
        """Add events that are new in this hour; all times must lie in it."""
        by_minute: dict[int, list[bytes]] = {}
        for time_ns, event_id in zip(times_ns, event_ids, strict=True):
            by_minute.setdefault((time_ns - self.start_ns) // NS_PER_MINUTE, []).append(event_id)
        for minute, ids in by_minute.items():
            count, print_ = self.minutes.get(minute, (0, 0))
            self.minutes[minute] = (count + len(ids), add_fingerprints(print_, fingerprint(ids)))

    @property
    def count(self) -> int:
        return sum(count for count, _ in self.minutes.values())

    def encode(self) -> bytes:
        return orjson.dumps(
            {
                "v": FORMAT_VERSION,
                "start_ns": self.start_ns,
                "minutes": {str(m): [c, f"{p:032x}"] for m, (c, p) in sorted(self.minutes.items())},
            }
        )

    @classmethod
    def decode(cls, raw: bytes) -> HourSummary:
        """Raises CheckpointError."""
        record = _load(raw, "hour summary")
        return cls(record["start_ns"], {int(m): (c, int(p, 16)) for m, (c, p) in record["minutes"].items()})


def hour_start_of(time_ns: int) -> int:
    return time_ns // NS_PER_HOUR * NS_PER_HOUR
