"""The port that reader workers and delivery engines use, and its contract.

Contract, tested on every implementation:

* **Atomic.** One :class:`Commit` (events, checkpoint records, ledger record) becomes visible as a whole or not at all.
* **Fenced.** :meth:`Bus.open_shard` takes the shard over: after it returns, every commit of an earlier writer of that
  shard raises :class:`exporter.errors.Fenced`, and only then are checkpoints read. So the order at take-over is
  claim → fence → checkpoint → read Loki.
* **Ordered.** Events of one key stay in commit order and in one lane. A lane is one partition of one tenant.
* **Durable.** What ``commit`` returned for survives a crash of every process.
* **Committed only.** Readers never see events of an open or aborted commit.

All methods block and are called from worker threads, never from the event loop. None of them may be given unredacted
text. Errors: :class:`BusUnavailable` (nothing happened, try later), :class:`CommitAborted` (nothing was written: rewind),
:class:`EventTooLarge` (nothing was written: hold the named events back and commit the others), :class:`Fenced` (reopen; also
when the outcome of a commit is unknown: the checkpoint read after reopening tells), :class:`ConfigurationError` (needs a human).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, Protocol

from exporter.domain.events import EncodedBatch
from exporter.errors import CommitAborted, Finding

#: Largest value of one event on any bus. A line of 3 MB with all its bytes escaped and kept twice stays below it; beyond,
#: brokers and targets refuse.
MAX_EVENT_BYTES = 8 * 1024 * 1024


#: The part of the ledger, and of the checkpoints, that delivery writes; a shard's are the part of its number.
RECEIPTS = -1
NO_HEADS: Mapping[str, bytes | None] = MappingProxyType({})


class LedgerRecord(NamedTuple):
    """One record of the ledger and the part that it belongs to: the number of a shard, or :data:`RECEIPTS`."""

    part: int
    value: bytes


class Lane(NamedTuple):
    """One partition of one tenant's events: the unit of order, offsets and hand-over on the delivery side."""

    tenant: str
    partition: int


@dataclass(slots=True)
class Commit:
    """What is written together. A checkpoint value of ``None`` deletes its key."""

    batches: Sequence[EncodedBatch] = ()
    checkpoints: Mapping[str, bytes | None] = field(default_factory=dict)
    ledger: bytes | None = None


class EventTooLarge(CommitAborted):
    """Events of the commit are larger than :data:`MAX_EVENT_BYTES`; nothing was written. ``positions`` names them as
    ``(index of the batch, index in the batch)``, so that the worker can hold back exactly these.
    """

    def __init__(self, positions: Sequence[tuple[int, int]]) -> None:
        self.positions = tuple(positions)
        super().__init__(
            f"{len(self.positions)} events are larger than {MAX_EVENT_BYTES} bytes",
            hint="hold them back; the others can go",
        )


def check_event_sizes(commit: Commit) -> None:
    """Raise EventTooLarge before anything is written. Called by every implementation's commit."""
    large = [
        (number, index)
        for number, batch in enumerate(commit.batches)
        if max(map(len, batch.values), default=0) > MAX_EVENT_BYTES
        for index, value in enumerate(batch.values)
        if len(value) > MAX_EVENT_BYTES
    ]
    if large:
        raise EventTooLarge(large)


class ShardWriter(Protocol):
    """The fenced owner of one shard. Used by one thread at a time."""

    @property
    def shard(self) -> int: ...

    def checkpoints(self) -> dict[str, bytes]:
        """Return all live checkpoint records of the shard as they were after the fence. Called once, after opening."""
        ...

    def commit(self, commit: Commit) -> None:
        """Write atomically. Raises CommitAborted, EventTooLarge, BusUnavailable, Fenced."""
        ...

    def close(self) -> None:
        """Abort what is open and let go. Never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Assignment:
    """What changed since the last poll. ``lost`` shards are already owned by another worker: commit nothing."""

    gained: frozenset[int] = frozenset()
    revoked: frozenset[int] = frozenset()
    lost: frozenset[int] = frozenset()


class Membership(Protocol):
    """Which shards this worker should run. It gives liveness and distribution; safety comes from the fence."""

    def poll(self, timeout_seconds: float) -> Assignment:
        """Report changes and keep the membership alive; call at least every few seconds. Shards in ``revoked`` must be
        closed and then given back with :meth:`released`; until then (or a deadline) no other worker gets them.
        """
        ...

    def owns(self, shard: int) -> bool:
        """Tell whether this worker still is the rightful owner (checked between fencing and reading)."""
        ...

    def released(self, shard: int) -> None:
        """Say that the shard's writer is closed."""
        ...

    def close(self) -> None:
        """Leave at once so that others need not wait for a time-out."""
        ...


class BusRecord(NamedTuple):
    """One committed event. ``append_time_ms``: when the bus took it."""

    offset: int
    key: bytes
    value: bytes
    append_time_ms: int


@dataclass(slots=True, repr=False)
class LaneRecords:
    """Records of one lane in offset order. ``next_offset`` is the position after all of them (gaps are normal: Kafka's
    transaction markers occupy offsets).
    """

    lane: Lane
    records: list[BusRecord]
    next_offset: int

    def __repr__(self) -> str:
        return f"LaneRecords({self.lane}, {len(self.records)} records, next_offset={self.next_offset})"


#: Called in the polling thread when lanes are taken away; must stop and return the positions to commit for them, within
#: the reader's hand-over deadline.
OnRevoke = Callable[[frozenset[Lane]], Mapping[Lane, int]]


class EventReader(Protocol):
    """Reads the committed events of a set of tenants for one target, sharing lanes with other readers of that target.
    Starts where the target's committed positions stand (first time: at the earliest record).
    """

    def poll(self, max_bytes: int, timeout_seconds: float) -> list[LaneRecords]:
        """Return what is there, at most about ``max_bytes``; an empty list when nothing came in time. Must be called
        at least every few seconds even while all lanes are paused, or the lanes go to another reader.
        """
        ...

    def pause(self, lanes: frozenset[Lane]) -> None: ...

    def resume(self, lanes: frozenset[Lane]) -> None: ...

    def commit(self, positions: Mapping[Lane, int]) -> None:
        """Store the position (next offset to deliver) of lanes durably. Positions of lanes no longer ours are dropped."""
        ...

    def lag(self) -> dict[Lane, int]:
        """Records not yet committed as delivered, per assigned lane."""
        ...

    def assigned(self) -> frozenset[Lane]: ...

    def close(self) -> None:
        """Leave at once. Commit first."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class DeadLetter:
    """An event that a target refused for good. ``value`` is the redacted canonical event; ``reason`` and ``code`` come
    from the connector and carry no event text. ``number`` is given by the store (0 before).
    """

    target: str
    tenant: str
    partition: int
    offset: int
    event_id: str
    reason: str
    code: str
    failed_ns: int
    key: bytes
    value: bytes
    number: int = 0

    def __repr__(self) -> str:
        return f"DeadLetter(target={self.target!r}, event_id={self.event_id!r}, reason={self.reason!r})"


class DeadLetters(Protocol):
    """The dead letters of all targets."""

    def append(self, letters: Sequence[DeadLetter]) -> None:
        """Durable when it returns; the offsets of these events are committed only afterwards."""
        ...

    def list(self, target: str) -> Iterator[DeadLetter]:
        """Open letters (neither re-driven nor discarded) in the order they came."""
        ...

    def resolve(self, target: str, numbers: Sequence[int], outcome: str) -> None:
        """Mark as ``redriven`` or ``discarded``."""
        ...

    def counts(self) -> dict[str, int]:
        """Open letters per target."""
        ...


@dataclass(frozen=True, slots=True)
class TargetPosition:
    """A target's committed position in a lane and the lane's end."""

    target: str
    lane: Lane
    position: int
    end: int

    @property
    def lag(self) -> int:
        return max(0, self.end - self.position)


class Bus(Protocol):
    """One configured bus. Cheap to build; touches the world only in its methods."""

    @property
    def shard_count(self) -> int: ...

    def prepare(self, tenants: Sequence[str], targets: Sequence[str]) -> None:
        """Create what is missing, verify the settings of what exists. ``targets``: all that take events of any tenant, not only
        those of this process: the SQLite bus keeps undelivered events for exactly these. Raises ConfigurationError, BusUnavailable.
        """
        ...

    def check(self) -> list[Finding]:
        """Look whether the bus is usable, changing nothing (``check --connect``)."""
        ...

    def membership(self, worker: str) -> Membership: ...

    def open_shard(self, shard: int, worker: str) -> ShardWriter:
        """Claim and fence. Raises Fenced when another worker fenced us meanwhile, BusUnavailable."""
        ...

    def reader(self, target: str, tenants: Sequence[str], worker: str, on_revoke: OnRevoke) -> EventReader: ...

    def dead_letters(self) -> DeadLetters: ...

    def append_receipts(self, records: Sequence[bytes], heads: Mapping[str, bytes | None] = NO_HEADS) -> None:
        """Append receipt records (JSON) to the ledger, then set (None: delete) checkpoint records of the part
        :data:`RECEIPTS`; durable when it returns. After an error some of the records may be there: append all again.
        """
        ...

    def ledger(self, part: int | None = None, *, last: int | None = None, since_ms: int = 0) -> Iterator[LedgerRecord]:
        """Yield the committed records of the ledger up to now, those of a part in the order they were written.

        ``part``: only this one. ``last``: only its last so many (with ``part`` alone). ``since_ms``: older ones are not asked
        for; a bus that cannot tell gives them all the same. Memory does not grow with the ledger. Raises BusUnavailable.
        """
        ...

    def all_checkpoints(self, part: int | None = None) -> dict[str, bytes]:
        """Checkpoint records of all shards, or of one part alone, for ``status`` (no fence, may be a moment old)."""
        ...

    def events(self, tenant: str, positions: Mapping[Lane, int]) -> Iterator[LaneRecords]:
        """Committed events of a tenant once more, from these positions (a lane that is missing: from its earliest record) up
        to the ends as they are now, for replays: nobody's position is read or moved, no lane is taken.
        """
        ...

    def positions(self, targets: Sequence[str], tenants: Sequence[str]) -> list[TargetPosition]: ...

    def close(self) -> None: ...
