"""Ledgers for tests: commits of a shard and receipts of several runs, as the service writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exporter.bus.base import RECEIPTS, Bus, BusRecord, Commit, DeadLetter, Lane
from exporter.custody.ledger import LedgerEntry, account_of, build_record, encode_chain
from exporter.custody.receipts import ReceiptLog
from exporter.custody.records import GENESIS
from exporter.delivery.receipts import build_burial, build_receipt
from exporter.domain.checkpoints import CHAIN_KEY
from exporter.domain.events import EncodedBatch, event_id_of, time_ns_of
from exporter.domain.tenants import shard_of
from tests.support.events import BASE_NS, events

SECOND_NS = 1_000_000_000


def entry(values: Sequence[bytes], tenant: str = "acme", pass_name: str = "hot") -> LedgerEntry:
    times = [time_ns_of(value) for value in values] or [BASE_NS]
    number = len(values)
    return LedgerEntry(
        tenant,
        pass_name,
        min(times),
        max(times) + 1,
        number,
        number,
        0,
        {},
        number,
        "0" * 32,
        "p1",
        **account_of(values),
    )


class Commits:
    """One shard's chain."""

    def __init__(self, shard: int = 0) -> None:
        self.shard, self.sequence, self.digest = shard, 0, GENESIS

    def commit(self, *entries: LedgerEntry, noted: str = "") -> bytes:
        self.sequence += 1
        record, self.digest = build_record(
            shard=self.shard,
            sequence=self.sequence,
            previous=self.digest,
            worker="w",
            at_ns=BASE_NS + self.sequence * SECOND_NS,
            entries=entries,
            noted=noted,
        )
        return record


def receipt(number: int, *, target: str = "soc", partition: int = 0, values: Sequence[bytes] = ()) -> dict[str, Any]:
    """The receipt of ten events (or of these), in the lane's offset order."""
    stored = [BusRecord(number * 10 + i, b"k", v, 0) for i, v in enumerate(values or events(10, start=number * 10))]
    at_ns = BASE_NS + number * SECOND_NS
    return build_receipt(target, Lane("acme", partition), stored, {"id": number}, 0, at_ns)


class Store:
    """What the bus does with receipts."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.heads: dict[str, bytes] = {}

    def begin(self, writer: str, target: str = "soc") -> ReceiptLog:
        log = ReceiptLog(target, writer)
        self.breaks = log.begin(self.heads, self.records)
        return log

    def write(
        self, log: ReceiptLog, *numbers: int, records: int | None = None, heads: bool = True, **options: Any
    ) -> None:
        """Append receipts; ``records``: only so many get there, ``heads``: whether the ends do. Then the writer knows nothing of it."""
        log.seal([receipt(number, **options) for number in numbers])
        self.records += log.pending[:records]
        if not heads or records is not None:
            return
        for key, value in log.heads().items():
            if value is None:
                self.heads.pop(key, None)
            else:
                self.heads[key] = value
        log.written()


def ledger_of(shards: int = 2, commits: int = 4, runs: int = 3, receipts: int = 3) -> list[tuple[int, bytes]]:
    """A sound ledger: (part, record) in order."""
    chains = [Commits(shard) for shard in range(shards)]
    made = [(c.shard, c.commit(entry(events(20, start=n * 20)))) for n in range(commits) for c in chains]
    store = Store()
    for run in range(runs):
        log = store.begin(f"w{run}")
        for number in range(receipts):
            store.write(log, run * receipts + number)
    return made + [(RECEIPTS, record) for record in store.records]


def fill_bus(bus: Bus, values: Sequence[bytes], objects: Sequence[Any] = ()) -> None:
    """Two commits of twenty events of acme; the target archive took all but one, which it refused."""
    shard = shard_of("acme", bus.shard_count)
    commits, writer = Commits(shard), bus.open_shard(shard, "w")
    for part in (values[:20], values[20:]):
        record = commits.commit(entry(part))
        batch = EncodedBatch("acme", "p", keys=[b"k"] * 20, values=list(part))
        writer.commit(Commit([batch], {CHAIN_KEY: encode_chain(commits.sequence, commits.digest)}, record))
    writer.close()
    lane = Lane("acme", 0)
    stored = [r for lane_records in bus.events("acme", {}) for r in lane_records.records]
    refused = stored[7]
    letter = DeadLetter("archive", "acme", 0, 7, event_id_of(refused.value), "no", "400", BASE_NS, b"k", refused.value)
    bus.dead_letters().append([letter])
    log = ReceiptLog("archive", "w1")
    log.begin(bus.all_checkpoints(RECEIPTS), [])
    kept = [r for r in stored[:20] if r is not refused]
    log.seal(
        [
            build_receipt("archive", lane, kept, {"objects": objects}, 2, BASE_NS + SECOND_NS),
            build_burial("archive", lane, [letter], BASE_NS + SECOND_NS),
            build_receipt("archive", lane, stored[20:], {"id": "x" * 500}, 0, BASE_NS + 2 * SECOND_NS),
        ]
    )
    bus.append_receipts(log.pending, log.heads())
