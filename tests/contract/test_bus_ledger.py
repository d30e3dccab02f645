"""The ledger on the bus (``Bus.ledger``, ``Bus.append_receipts``), on SQLite and on a real Kafka."""

from __future__ import annotations

import time

import pytest

from exporter.bus.base import RECEIPTS, Bus, Commit
from exporter.errors import Fenced
from tests.support.buses import batch
from tests.support.fixtures import MakeBus


def record(part: int, number: int) -> bytes:
    return b'{"part":%d,"n":%d}' % (part, number)


def fill(bus: Bus, commits: int, receipts: int) -> None:
    """Commits of three shards and receipts, in turn."""
    writers = [bus.open_shard(shard, "w") for shard in range(3)]
    for number in range(max(commits, receipts)):
        for shard, writer in enumerate(writers):
            if number < commits:
                writer.commit(Commit([batch([number])], {"chain": b"%d" % number}, record(shard, number)))
        if number < receipts:
            bus.append_receipts([record(RECEIPTS, number)], {"receipts/soc/w": b"%d" % number})
    for writer in writers:
        writer.close()


def test_every_part_is_read_in_the_order_it_was_written(buses: MakeBus) -> None:
    bus = buses()
    bus.prepare(["acme"], ["soc"])
    assert list(bus.ledger()) == []
    assert list(bus.ledger(RECEIPTS, last=3)) == []
    fill(bus, 20, 30)
    parts: dict[int, list[bytes]] = {}
    for part, value in buses().ledger():
        parts.setdefault(part, []).append(value)
    expected = {shard: [record(shard, n) for n in range(20)] for shard in range(3)}
    assert parts == expected | {RECEIPTS: [record(RECEIPTS, n) for n in range(30)]}
    for part, values in parts.items():
        assert [(part, value) for value in values] == list(bus.ledger(part))
    assert list(bus.ledger(3)) == []
    recent = [value for part, value in bus.ledger(since_ms=time.time_ns() // 1_000_000 - 60_000) if part == 1]
    assert recent == parts[1]
    assert len(list(bus.ledger(since_ms=time.time_ns() // 1_000_000 + 3_600_000))) in {0, 90}  # SQLite gives all


def test_the_end_of_a_part_is_found_behind_others(buses: MakeBus) -> None:
    """Shard 0 shares its place with the receipts on Kafka."""
    bus = buses()
    bus.prepare(["acme"], ["soc"])
    fill(bus, 5, 0)
    bus.append_receipts([record(RECEIPTS, n) for n in range(400)])
    assert [value for _, value in bus.ledger(0, last=2)] == [record(0, 3), record(0, 4)]
    assert [value for _, value in bus.ledger(2, last=50)] == [record(2, n) for n in range(5)]
    assert [value for _, value in bus.ledger(RECEIPTS, last=3)] == [record(RECEIPTS, n) for n in (397, 398, 399)]


def test_heads_stand_apart_from_the_shards_checkpoints(buses: MakeBus) -> None:
    bus = buses()
    bus.prepare(["acme"], ["soc"])
    fill(bus, 2, 2)
    bus.append_receipts([], {"receipts/soc/x": b"7"})
    heads = {k: v for k, v in bus.all_checkpoints(RECEIPTS).items() if k.startswith("receipts/")}
    assert heads == {"receipts/soc/w": b"1", "receipts/soc/x": b"7"}
    assert bus.all_checkpoints(1) == {"chain": b"1"}
    bus.append_receipts([record(RECEIPTS, 2)], {"receipts/soc/w": None})
    assert "receipts/soc/w" not in bus.all_checkpoints(RECEIPTS)
    assert bus.open_shard(1, "w").checkpoints() == {"chain": b"1"}
    assert bus.open_shard(0, "w").checkpoints()["chain"] == b"1"


def test_more_receipts_than_one_page(buses: MakeBus) -> None:
    bus = buses()
    bus.prepare(["acme"], ["soc"])
    bus.append_receipts([record(RECEIPTS, n) for n in range(1000)])
    bus.append_receipts([])
    assert [value for _, value in bus.ledger()] == [record(RECEIPTS, n) for n in range(1000)]


def test_an_aborted_commit_leaves_no_record(buses: MakeBus) -> None:
    bus = buses()
    bus.prepare(["acme"], ["soc"])
    zombie = bus.open_shard(1, "zombie")
    zombie.commit(Commit(ledger=record(1, 0)))
    owner = bus.open_shard(1, "owner")
    with pytest.raises(Fenced):
        zombie.commit(Commit(ledger=record(1, 1)))
    owner.commit(Commit(ledger=record(1, 2)))
    assert [value for _, value in bus.ledger(1)] == [record(1, 0), record(1, 2)]
    zombie.close()
    owner.close()
