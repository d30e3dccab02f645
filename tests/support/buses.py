"""What bus tests do again and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from exporter.bus import create_bus
from exporter.bus.base import BusRecord, Commit, EventReader, Lane, Membership
from exporter.domain.events import EncodedBatch
from exporter.settings.model import KafkaBus, SqliteBus
from tests.support.events import event, number_of

#: Longest wait for something that must happen; a wait ends as soon as it has happened.
PATIENCE_SECONDS = 40.0


def batch(numbers: Iterable[int], *, tenant: str = "acme", keys: int = 5, padding: int = 0) -> EncodedBatch:
    """Return numbered events spread over streams by ``number % keys``."""
    wanted = list(numbers)
    values = [event(number, tenant=tenant, padding=padding) for number in wanted]
    return EncodedBatch(tenant, "policy", [b"%016x" % (number % keys) for number in wanted], values)


def numbered(numbers: Iterable[int], **options: int | str) -> Commit:
    """Return a commit of numbered events with a checkpoint that says what comes next."""
    wanted = list(numbers)
    made = batch(wanted, **options)  # type: ignore[arg-type]
    return Commit([made], {f"live/{made.tenant}": b"%d" % (wanted[-1] + 1)}, b'{"kind":"commit"}')


class Reading:
    """A reader with what it has seen. ``lanes`` holds record numbers by lane in the order they came."""

    def __init__(
        self, make: Callable[..., EventReader], target: str, tenants: Sequence[str], worker: str = "w"
    ) -> None:
        self.lanes: dict[Lane, list[int]] = {}
        self.records: dict[Lane, list[BusRecord]] = {}
        self.next: dict[Lane, int] = {}
        self.revoked: list[frozenset[Lane]] = []
        self.commit_on_revoke = True
        self.reader = make(target, tenants, worker, self._on_revoke)

    def _on_revoke(self, lanes: frozenset[Lane]) -> Mapping[Lane, int]:
        self.revoked.append(lanes)
        return {lane: self.next[lane] for lane in lanes if lane in self.next} if self.commit_on_revoke else {}

    @property
    def count(self) -> int:
        return sum(map(len, self.lanes.values()))

    def numbers(self) -> list[int]:
        return sorted(number for lane in self.lanes.values() for number in lane)

    def poll(self, max_bytes: int = 1_000_000, timeout_seconds: float = 0.2) -> int:
        got = 0
        for found in self.reader.poll(max_bytes, timeout_seconds):
            self.lanes.setdefault(found.lane, []).extend(number_of(record.value) for record in found.records)
            self.records.setdefault(found.lane, []).extend(found.records)
            self.next[found.lane] = found.next_offset
            got += len(found.records)
        return got

    def until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not done():
            assert time.monotonic() < deadline, (
                f"still not after {PATIENCE_SECONDS} s: {self.count} records, {self.reader.assigned()}"
            )
            self.poll()

    def read(self, count: int) -> list[int]:
        """Read until so many records came in all, and look once more whether there are too many."""
        self.until(lambda: self.count >= count)
        self.poll(timeout_seconds=0.3)
        return self.numbers()

    def commit(self) -> None:
        self.reader.commit(self.next)


class Member:
    """A worker's membership with what it owns; revoked shards are released at once unless told otherwise."""

    def __init__(self, membership: Membership) -> None:
        self.membership = membership
        self.owned: set[int] = set()
        self.leaving: set[int] = set()
        self.lost: set[int] = set()
        self.release_at_once = True

    def poll(self) -> None:
        change = self.membership.poll(0.1)
        self.owned |= change.gained
        self.owned -= change.revoked | change.lost
        self.lost |= change.lost
        self.leaving |= change.revoked
        if self.release_at_once:
            self.release()

    def release(self) -> None:
        for shard in self.leaving:
            self.membership.released(shard)
        self.leaving.clear()


def settle(members: Sequence[Member], done: Callable[[], bool], patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Poll all members until it is so."""
    deadline = time.monotonic() + patience_seconds
    while not done():
        assert time.monotonic() < deadline, f"still not: {[(m.owned, m.leaving) for m in members]}"
        for member in members:
            member.poll()


def verify(settings: SqliteBus | KafkaBus) -> int:
    """Take the shard over, as the next worker would, and compare checkpoint and topic. Return the number of events."""
    bus = create_bus(settings)
    writer = bus.open_shard(0, "verifier")
    total = int(writer.checkpoints().get("live/acme", b"0"))
    writer.close()
    reading = Reading(bus.reader, "proof", ["acme"])
    numbers = reading.read(total)
    reading.reader.close()
    bus.close()
    doubled, lost = len(numbers) - len(set(numbers)), len(set(range(total)) - set(numbers))
    assert (doubled, lost, len(numbers)) == (0, 0, total)
    return total
