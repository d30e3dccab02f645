"""The bus in memory: obeys the port as far as delivery needs it, with hand-over and faults on request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from exporter.bus.base import (
    NO_HEADS,
    RECEIPTS,
    BusRecord,
    DeadLetter,
    Lane,
    LaneRecords,
    LedgerRecord,
    OnRevoke,
    TargetPosition,
)
from exporter.errors import BusUnavailable, Finding


class MemoryDeadLetters:
    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []
        self.outcomes: dict[int, str] = {}
        self.failures = 0  # this many appends fail

    def append(self, letters: Sequence[DeadLetter]) -> None:
        if self.failures:
            self.failures -= 1
            raise BusUnavailable("no room for dead letters")
        for letter in letters:
            fields = {name: getattr(letter, name) for name in DeadLetter.__slots__}
            self.letters.append(DeadLetter(**{**fields, "number": len(self.letters) + 1}))

    def list(self, target: str) -> Iterator[DeadLetter]:
        return iter([x for x in self.letters if x.target == target and x.number not in self.outcomes])

    def resolve(self, target: str, numbers: Sequence[int], outcome: str) -> None:
        self.outcomes.update(dict.fromkeys(numbers, outcome))

    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for letter in self.letters:
            if letter.number not in self.outcomes:
                counts[letter.target] = counts.get(letter.target, 0) + 1
        return counts


class MemoryReader:
    """Lanes are those of the bus that were not taken away with :meth:`MemoryBus.take_away`."""

    def __init__(self, bus: MemoryBus, target: str, tenants: Sequence[str], on_revoke: OnRevoke) -> None:
        self._bus, self._target, self._tenants, self._on_revoke = bus, target, tenants, on_revoke
        self._next: dict[Lane, int] = {}
        self._paused: frozenset[Lane] = frozenset()
        self._thread = threading.get_ident()
        self.closed = False

    def _mine(self) -> frozenset[Lane]:
        assert threading.get_ident() == self._thread, "the reader belongs to one thread"
        assert not self.closed
        return frozenset(
            lane for lane in self._bus.lanes if lane.tenant in self._tenants and lane not in self._bus.elsewhere
        )

    def poll(self, max_bytes: int, timeout_seconds: float) -> list[LaneRecords]:
        self._hand_over()
        with self._bus.lock:
            self._bus.polls += 1
            if self._bus.poll_failures:
                self._bus.poll_failures -= 1
                raise BusUnavailable("the bus is away", retry_after_seconds=0.01)
        deadline = time.monotonic() + timeout_seconds
        while True:
            found, room = [], max_bytes
            for lane in sorted(self._mine() - self._paused):
                records, room = self._read(lane, room)
                if records:
                    found.append(LaneRecords(lane, records, self._next[lane]))
            if found or time.monotonic() >= deadline:
                return found
            time.sleep(0.002)

    def _read(self, lane: Lane, room: int) -> tuple[list[BusRecord], int]:
        log = self._bus.lanes[lane]
        start = self._next.setdefault(lane, self._bus.committed.get((self._target, lane), 0))
        records = []
        for record in log[self._bus.index(lane, start) :]:
            if room <= 0:
                break
            records.append(record)
            room -= len(record.value)
        if records:
            self._next[lane] = records[-1].offset + 1
        return records, room

    def _hand_over(self) -> None:
        with self._bus.lock:
            going, self._bus.going = self._bus.going, frozenset()
        going &= self._mine()
        if going:
            positions = self._on_revoke(going)
            self.commit({lane: position for lane, position in positions.items() if lane in going})
            for lane in going:
                self._next.pop(lane, None)
            self._paused -= going
            self._bus.elsewhere |= going
            self._bus.handed_over.set()

    def pause(self, lanes: frozenset[Lane]) -> None:
        assert lanes <= self._mine()
        self._paused |= lanes
        self._bus.paused = self._paused

    def resume(self, lanes: frozenset[Lane]) -> None:
        self._paused -= lanes
        self._bus.paused = self._paused

    def commit(self, positions: Mapping[Lane, int]) -> None:
        for lane, position in positions.items():
            if lane in self._mine():
                self._bus.note_commit(self._target, lane, position)

    def lag(self) -> dict[Lane, int]:
        return {lane: self._bus.lag_of(self._target, lane) for lane in self._mine()}

    def assigned(self) -> frozenset[Lane]:
        return self._mine()

    def close(self) -> None:
        self.closed = True


class MemoryBus:
    """``on_commit`` is called with (target, lane, position) before a position counts; a test checks there what must hold."""

    shard_count = 1

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lanes: dict[Lane, list[BusRecord]] = {}
        self.committed: dict[tuple[str, Lane], int] = {}
        self.commits = 0
        self.receipts: list[bytes] = []
        self.heads: dict[str, bytes] = {}
        self.letters = MemoryDeadLetters()
        self.elsewhere: frozenset[Lane] = frozenset()
        self.going: frozenset[Lane] = frozenset()
        self.paused: frozenset[Lane] = frozenset()
        self.handed_over = threading.Event()
        self.polls = 0
        self.poll_failures = 0
        self.receipt_failures = 0
        self.on_commit: Callable[[str, Lane, int], None] = lambda *_: None

    def append(self, lane: Lane, values: Sequence[bytes], *, gap: int = 0) -> None:
        """Add committed events; ``gap`` offsets before them hold no event, as transaction markers do."""
        log = self.lanes.setdefault(lane, [])
        offset = (log[-1].offset + 1 if log else 0) + gap
        now_ms = time.time_ns() // 1_000_000
        log.extend([BusRecord(offset + i, b"stream", value, now_ms) for i, value in enumerate(values)])

    def index(self, lane: Lane, offset: int) -> int:
        return sum(1 for record in self.lanes[lane] if record.offset < offset) if offset else 0

    def lag_of(self, target: str, lane: Lane) -> int:
        position = self.committed.get((target, lane), 0)
        return sum(1 for record in self.lanes[lane] if record.offset >= position)

    def note_commit(self, target: str, lane: Lane, position: int) -> None:
        assert position >= self.committed.get((target, lane), 0), "positions never go back"
        self.on_commit(target, lane, position)
        self.committed[target, lane] = position
        self.commits += 1

    def take_away(self, lanes: frozenset[Lane]) -> None:
        """Let the reader's next poll hand these lanes to somebody else; ``handed_over`` is set then."""
        self.handed_over.clear()
        with self.lock:
            self.going = lanes

    def give_back(self, lanes: frozenset[Lane]) -> None:
        self.elsewhere -= lanes

    # --- the port -----------------------------------------------------------------------------------------------------

    def prepare(self, tenants: Sequence[str], targets: Sequence[str]) -> None:
        return None

    def check(self) -> list[Finding]:
        return []

    def membership(self, worker: str):
        raise AssertionError("delivery needs no membership and writes no shard")

    def open_shard(self, shard: int, worker: str):
        raise AssertionError("delivery needs no membership and writes no shard")

    def reader(self, target: str, tenants: Sequence[str], worker: str, on_revoke: OnRevoke) -> MemoryReader:
        self.last_reader = MemoryReader(self, target, tenants, on_revoke)
        return self.last_reader

    def go_back(self, lane: Lane) -> None:
        """Break the contract: hand the lane out from its start again."""
        self.last_reader._next[lane] = 0

    def dead_letters(self) -> MemoryDeadLetters:
        return self.letters

    def append_receipts(self, records: Sequence[bytes], heads: Mapping[str, bytes | None] = NO_HEADS) -> None:
        if self.receipt_failures:
            self.receipt_failures -= 1
            raise BusUnavailable("no room for receipts", retry_after_seconds=0.01)
        self.receipts.extend(records)
        self.heads |= {key: value for key, value in heads.items() if value is not None}
        for key in [key for key, value in heads.items() if value is None]:
            self.heads.pop(key, None)

    def ledger(self, part: int | None = None, *, last: int | None = None, since_ms: int = 0) -> Iterator[LedgerRecord]:
        receipts = self.receipts[-last:] if last else self.receipts
        return iter([LedgerRecord(RECEIPTS, record) for record in receipts])

    def all_checkpoints(self, part: int | None = None) -> dict[str, bytes]:
        return dict(self.heads)

    def positions(self, targets: Sequence[str], tenants: Sequence[str]) -> list[TargetPosition]:
        return [
            TargetPosition(target, lane, self.committed.get((target, lane), 0), log[-1].offset + 1 if log else 0)
            for target in targets
            for lane, log in self.lanes.items()
            if lane.tenant in tenants
        ]

    def close(self) -> None:
        return None
