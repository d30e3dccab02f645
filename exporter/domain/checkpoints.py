"""The checkpoint: small keyed records that are written in the same transaction as the events they speak of.

A shard's checkpoint is a map from key to value (a compacted Kafka partition or a SQLite table). One commit writes only
the records that it changes, so its cost follows the events in it and not the state kept:

======================== ===========================================================================================
``live/<tenant>``        :class:`LiveCheckpoint`: frontier, sealed frontier, trouble
``near/<tenant>/<end>``  :class:`NearCell`: event ids of one recent second, so that a re-read repeats nothing;
                         deleted when the second leaves the near horizon
``hour/<tenant>/<start>`` :class:`HourSummary`: per minute the number and the order-free fingerprint of events,
                         which later passes compare with Loki
``day/<tenant>/<start>`` ``exporter.domain.sealed.DaySummary``: the same per hour, once all hours of a day are sealed
``ids/<tenant>/<start>`` what tells new lines of a minute (or of an hour's minutes) from exported ones
                         (``exporter.loki.passes.memory``)
``chain``                 sequence and hash of the shard's last ledger record
======================== ===========================================================================================

Formats are versioned; an unknown version raises :class:`CheckpointError` instead of being guessed at.
"""

from __future__ import annotations

import struct
from dataclasses import asdict, dataclass, field
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


def day_key(tenant: str, day_start_ns: int) -> str:
    return f"day/{tenant}/{day_start_ns}"


def ids_key(tenant: str, start_ns: int) -> str:
    return f"ids/{tenant}/{start_ns}"


def is_of(tenant: str, key: str) -> bool:
    """Tell whether a record belongs to the tenant: what its reader is given when it starts."""
    kind, _, rest = key.partition("/")
    return rest == tenant if kind == "live" else rest.rpartition("/")[0] == tenant


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
class PassMarks:
    """How far the passes after the live reading came; all in ns, 0: not begun.

    Everything before ``warm_ns``, ``cold_ns``, ``seal_ns`` went through that pass, whatever it found. ``drift_ns`` and
    ``recheck_ns`` are the places of the rounds over unsealed and over sealed history, ``…_at_ns`` the times up to which these
    rounds have done their share.
    """

    warm_ns: int = 0
    cold_ns: int = 0
    seal_ns: int = 0
    drift_ns: int = 0
    drift_at_ns: int = 0
    recheck_ns: int = 0
    recheck_at_ns: int = 0


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
    passes: PassMarks = PassMarks()

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
                "passes": asdict(self.passes),
            }
        )

    @classmethod
    def decode(cls, raw: bytes) -> LiveCheckpoint:
        """Raises CheckpointError."""
        record = _load(raw, "live checkpoint")
        record.pop("v")
        try:
            troubles = tuple(Trouble(*t) for t in record.pop("troubles"))
            passes = PassMarks(**record.pop("passes", {}))  # releases before the passes wrote none
            return cls(**record, troubles=troubles, passes=passes)
        except (KeyError, TypeError):
            raise CheckpointError("live checkpoint: fields are missing or foreign") from None


def cell_end_of(time_ns: int) -> int:
    """Return the end (inclusive) of the right-closed second ``(end-1s, end]`` that holds this nanosecond. Right-closed,
    because Loki's range vectors are, so one metric query answers a count per cell (loki ``pkg/logql/range_vector.go``).
    """
    return -(-time_ns // NS_PER_SECOND) * NS_PER_SECOND


_NEAR_VERSION = 2
_NEAR_HEAD = struct.Struct(">BqI")  # version, Loki's count, bytes of ``edge``


@dataclass(slots=True, repr=False)
class NearCell:
    """Event ids exported from one recent right-closed second, and Loki's own count when it was last read.

    The count is only a change detector: Loki counts retried pushes twice and its counts move when chunks are flushed, so
    it is compared with the last count, never with the number of ids. ``edge`` repeats the ids of entries that stand exactly on
    ``end_ns`` when that is a whole minute: they belong to the next minute of the hour records, which are half-open.
    """

    end_ns: int
    loki_count: int = -1  # -1: not asked yet
    ids: bytes = b""  # EVENT_ID_BYTES each, concatenated; a set of objects would cost six times the memory
    edge: bytes = b""

    def __len__(self) -> int:
        return len(self.ids) // EVENT_ID_BYTES

    def id_set(self) -> set[bytes]:
        """Return the ids as a set, built only while a cell is read again."""
        return set(split_ids(self.ids))

    def encode(self) -> bytes:
        return _NEAR_HEAD.pack(_NEAR_VERSION, self.loki_count, len(self.edge)) + self.edge + self.ids

    @classmethod
    def decode(cls, end_ns: int, raw: bytes) -> NearCell:
        """Raises CheckpointError."""
        if len(raw) >= 9 and raw[0] == FORMAT_VERSION:  # written before edges were told apart
            count, edge, ids = int.from_bytes(raw[1:9], "big", signed=True), b"", raw[9:]
        elif len(raw) >= _NEAR_HEAD.size and raw[0] == _NEAR_VERSION:
            _, count, edge_bytes = _NEAR_HEAD.unpack_from(raw)
            start = _NEAR_HEAD.size + edge_bytes
            edge, ids = raw[_NEAR_HEAD.size : start], raw[start:]
        else:
            edge, ids = b"", b"?"
        if len(ids) % EVENT_ID_BYTES or len(edge) % EVENT_ID_BYTES:
            raise CheckpointError("near cell: not readable; run the release that wrote it, or newer")
        return cls(end_ns, count, ids, edge)

    def __repr__(self) -> str:
        return f"NearCell(end_ns={self.end_ns}, {len(self)} ids, loki_count={self.loki_count})"


def split_ids(raw: bytes) -> list[bytes]:
    """Cut concatenated event ids apart."""
    return [raw[i : i + EVENT_ID_BYTES] for i in range(0, len(raw), EVENT_ID_BYTES)]


_HOUR_VERSION = 2
_HOUR_HEAD = struct.Struct(">BqIH")  # version, start, edge, delete requests
_MINUTE = struct.Struct(">BBI16s")  # minute, flags, count, fingerprint
_NUMBER = struct.Struct(">I")
_HAS_SEEN, _HAS_GONE = 1, 2


@dataclass(slots=True)
class HourSummary:
    """Number and fingerprint of the exported events of one epoch-aligned hour, per minute ``[start, start+60s)``.

    ``edge``: how many of them stand exactly on the hour's start (Loki's own ranges are right-closed and count these to the hour
    before). ``seen``: Loki's count of a minute where it was accepted though it differs from ours (retried pushes, deleted lines). ``gone``:
    exported events of a minute that Loki no longer shows, for a reason that was accepted. ``deletes``: delete requests for this
    hour that were looked into.
    """

    start_ns: int
    minutes: dict[int, tuple[int, int]] = field(default_factory=dict)  # minute 0..59 → (count, fingerprint)
    edge: int = 0
    seen: dict[int, int] = field(default_factory=dict)
    gone: dict[int, int] = field(default_factory=dict)
    deletes: int = 0

    def add(self, times_ns: list[int], event_ids: list[bytes]) -> None:
        """Add events that are new in this hour; all times must lie in it."""
        by_minute: dict[int, list[bytes]] = {}
        for time_ns, event_id in zip(times_ns, event_ids, strict=True):
            by_minute.setdefault((time_ns - self.start_ns) // NS_PER_MINUTE, []).append(event_id)
        self.edge += times_ns.count(self.start_ns)
        for minute, ids in by_minute.items():
            self.add_minute(minute, len(ids), fingerprint(ids))

    def add_minute(self, minute: int, number: int, print_: int) -> None:
        """Add ``number`` new events of one minute by their fingerprint. What Loki counted there before is void then."""
        count, known = self.minutes.get(minute, (0, 0))
        self.minutes[minute] = (count + number, add_fingerprints(known, print_))
        self.seen.pop(minute, None)

    @property
    def count(self) -> int:
        return sum(count for count, _ in self.minutes.values())

    @property
    def fingerprint(self) -> int:
        total = 0
        for _, print_ in self.minutes.values():
            total = add_fingerprints(total, print_)
        return total

    @property
    def expected(self) -> int:
        """What Loki should count in the hour ``[start, start+1h)``."""
        return self.count + sum(number - self.minutes.get(minute, (0, 0))[0] for minute, number in self.seen.items())

    def encode(self) -> bytes:
        parts = [_HOUR_HEAD.pack(_HOUR_VERSION, self.start_ns, self.edge, self.deletes)]
        for minute in sorted(self.minutes.keys() | self.seen.keys() | self.gone.keys()):
            count, print_ = self.minutes.get(minute, (0, 0))
            flags = (_HAS_SEEN if minute in self.seen else 0) | (_HAS_GONE if minute in self.gone else 0)
            parts.append(_MINUTE.pack(minute, flags, count, print_.to_bytes(16, "big")))
            parts += [_NUMBER.pack(numbers[minute]) for numbers in (self.seen, self.gone) if minute in numbers]
        return b"".join(parts)

    @classmethod
    def decode(cls, raw: bytes) -> HourSummary:
        """Raises CheckpointError."""
        if raw[:1] == b"{":  # as releases before the passes wrote it
            record = _load(raw, "hour summary")
            return cls(record["start_ns"], {int(m): (c, int(p, 16)) for m, (c, p) in record["minutes"].items()})
        try:
            return cls._unpack(raw)
        except struct.error:
            raise CheckpointError("hour summary: not readable; run the release that wrote it, or newer") from None

    @classmethod
    def _unpack(cls, raw: bytes) -> HourSummary:
        version, start_ns, edge, deletes = _HOUR_HEAD.unpack_from(raw)
        if version != _HOUR_VERSION:
            raise CheckpointError(f"hour summary: format version {version} is unknown; run the release that wrote it")
        hour = cls(start_ns, edge=edge, deletes=deletes)
        at = _HOUR_HEAD.size
        while at < len(raw):
            minute, flags, count, print_ = _MINUTE.unpack_from(raw, at)
            at += _MINUTE.size
            if count:
                hour.minutes[minute] = (count, int.from_bytes(print_, "big"))
            for flag, numbers in ((_HAS_SEEN, hour.seen), (_HAS_GONE, hour.gone)):
                if flags & flag:
                    numbers[minute] = _NUMBER.unpack_from(raw, at)[0]
                    at += _NUMBER.size
        return hour


def hour_start_of(time_ns: int) -> int:
    return time_ns // NS_PER_HOUR * NS_PER_HOUR
