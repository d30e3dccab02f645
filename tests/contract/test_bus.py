"""The bus port's contract (``exporter/bus/base.py``), on SQLite and on a real Kafka."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from exporter.bus.base import MAX_EVENT_BYTES, Commit, DeadLetter, EventTooLarge, Lane
from exporter.domain.events import EncodedBatch
from exporter.errors import ConfigurationError, Fenced
from tests.support import bus_child
from tests.support.buses import Member, Reading, batch, numbered, settle
from tests.support.events import event
from tests.support.fixtures import BusSettings, MakeBus

# --- writing ----------------------------------------------------------------------------------------------------------


def test_events_checkpoint_and_ledger_are_there_after_a_commit(buses: MakeBus) -> None:
    bus = buses()
    bus.prepare(["acme"], ["soc"])
    writer = bus.open_shard(0, "w")
    assert writer.checkpoints() == {}
    writer.commit(numbered(range(500)))
    writer.commit(Commit(checkpoints={"chain": b"1"}))
    writer.close()
    reading = Reading(buses().reader, "soc", ["acme"])
    assert reading.read(500) == list(range(500))
    reading.reader.close()
    assert buses().open_shard(0, "w2").checkpoints() == {"live/acme": b"500", "chain": b"1"}


def test_a_commit_with_an_event_too_large_writes_nothing(buses: MakeBus) -> None:
    bus = buses()
    bus.prepare(["acme"], ["soc"])
    writer = bus.open_shard(0, "w")
    large = event(1, padding=MAX_EVENT_BYTES)
    good, bad = batch([0]), EncodedBatch("acme", "policy", [b"k", b"k"], [event(2), large])
    with pytest.raises(EventTooLarge) as caught:
        writer.commit(Commit([good, bad], {"live/acme": b"3"}))
    assert caught.value.positions == ((1, 1),)
    writer.commit(numbered([7]))  # the writer goes on
    reading = Reading(bus.reader, "soc", ["acme"])
    assert reading.read(1) == [7]
    reading.reader.close()
    writer.close()


def test_a_fat_event_and_a_fat_checkpoint_pass(buses: MakeBus) -> None:
    """A line of 3 MB, and the ids of 200,000 entries of one second."""
    bus = buses()
    bus.prepare(["acme"], ["soc"])
    writer = bus.open_shard(0, "w")
    cell = random.Random(1).randbytes(3_200_000)
    writer.commit(Commit([batch([0, 1, 2], padding=6_000_000)], {"near/acme/1": cell}))
    writer.close()
    reading = Reading(bus.reader, "soc", ["acme"])
    assert reading.read(3) == [0, 1, 2]
    reading.reader.close()
    assert len(bus.open_shard(0, "w").checkpoints()["near/acme/1"]) == len(cell)


def test_checkpoints_are_replaced_and_deleted(buses: MakeBus) -> None:
    bus = buses()
    bus.prepare(["acme"], [])
    writer = bus.open_shard(1, "w")
    writer.commit(Commit(checkpoints={"near/acme/1": b"a", "near/acme/2": b"b", "live/acme": b"1"}))
    writer.commit(Commit(checkpoints={"near/acme/1": None, "live/acme": b"2", "never/there": None}))
    writer.close()
    assert bus.open_shard(1, "w").checkpoints() == {"near/acme/2": b"b", "live/acme": b"2"}
    assert bus.open_shard(2, "w").checkpoints() == {}
    assert bus.all_checkpoints() == {"near/acme/2": b"b", "live/acme": b"2"}


def test_a_zombie_cannot_commit_and_its_successor_sees_all_it_had_committed(buses: MakeBus) -> None:
    bus = buses()
    bus.prepare(["acme"], ["soc"])
    zombie = bus.open_shard(0, "zombie")
    zombie.commit(numbered(range(100)))
    owner = buses().open_shard(0, "owner")
    assert owner.checkpoints() == {"live/acme": b"100"}
    owner.commit(numbered(range(100, 200)))
    for _ in range(2):
        with pytest.raises(Fenced):
            zombie.commit(numbered(range(1000, 1100)))
    owner.commit(numbered(range(200, 300)))
    zombie.close()
    reading = Reading(bus.reader, "soc", ["acme"])
    assert reading.read(300) == list(range(300))
    reading.reader.close()
    owner.close()
    assert buses().open_shard(0, "later").checkpoints() == {"live/acme": b"300"}


def test_a_fenced_worker_may_open_again(buses: MakeBus) -> None:
    bus = buses()
    bus.prepare(["acme"], [])
    first, second = bus.open_shard(0, "a"), bus.open_shard(0, "b")
    with pytest.raises(Fenced):
        first.commit(numbered([0]))
    first.close()
    again = bus.open_shard(0, "a")
    again.commit(numbered([0]))
    with pytest.raises(Fenced):
        second.commit(numbered([1]))
    other = bus.open_shard(3, "c")  # another shard is not touched by any of this
    other.commit(numbered([2]))
    for writer in (second, again, other):
        writer.close()


def test_two_writers_race_for_one_shard_and_nothing_is_doubled(buses: MakeBus) -> None:
    bus = buses()
    bus.prepare(["acme"], ["soc"])
    done = threading.Event()

    def work(worker: str) -> None:
        while not done.is_set():
            try:
                writer = bus.open_shard(0, worker)
                number = int(writer.checkpoints().get("live/acme", b"0"))
                for _ in range(20):
                    if number >= 600:
                        done.set()
                        break
                    writer.commit(numbered(range(number, number + 10)))
                    number += 10
                writer.close()
            except Fenced:
                continue

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, ["a", "b"]))
    total = int(bus.all_checkpoints()["live/acme"])
    reading = Reading(bus.reader, "soc", ["acme"])
    assert reading.read(total) == list(range(total))
    reading.reader.close()


# --- membership -------------------------------------------------------------------------------------------------------


def test_workers_share_the_shards_and_take_over_from_one_that_leaves(buses: MakeBus) -> None:
    bus = buses()
    bus.prepare([], [])
    first = Member(bus.membership("a"))
    settle([first], lambda: first.owned == {0, 1, 2, 3})
    assert all(first.membership.owns(shard) for shard in range(4))
    second = Member(buses().membership("b"))
    settle([first, second], lambda: len(first.owned) == len(second.owned) == 2)
    third = Member(buses().membership("c"))
    everyone = [first, second, third]
    settle(everyone, lambda: all(m.owned for m in everyone) and sum(len(m.owned) for m in everyone) == 4)
    assert first.owned | second.owned | third.owned == {0, 1, 2, 3}
    first.membership.close()
    settle([second, third], lambda: second.owned | third.owned == {0, 1, 2, 3}, patience_seconds=8)
    third.membership.close()
    settle([second], lambda: second.owned == {0, 1, 2, 3}, patience_seconds=8)
    second.membership.close()
    assert not (first.lost | second.lost | third.lost)


def test_a_shard_is_not_handed_on_before_its_writer_is_closed(buses: MakeBus) -> None:
    bus = buses()
    bus.prepare([], [])
    first = Member(bus.membership("a"))
    settle([first], lambda: len(first.owned) == 4)
    first.release_at_once = False
    second = Member(buses().membership("b"))
    settle([first, second], lambda: bool(first.leaving))
    waiting = set(first.leaving)
    for _ in range(10):
        first.poll()
        second.poll()
    assert not second.owned & waiting
    assert not any(first.membership.owns(shard) for shard in waiting)
    first.release_at_once = True
    first.release()
    settle([first, second], lambda: len(second.owned) == 2 == len(first.owned))
    first.membership.close()
    second.membership.close()


@pytest.mark.slow
@pytest.mark.fault
def test_the_shards_of_a_killed_worker_go_to_another(buses: MakeBus, bus_settings: BusSettings) -> None:
    bus = buses()
    bus.prepare([], [])
    first = Member(bus.membership("a"))
    settle([first], lambda: len(first.owned) == 4)
    child = bus_child.start(bus_child.be_member, bus_settings)
    settle([first], lambda: len(first.owned) == 2)
    bus_child.kill(child)
    settle([first], lambda: len(first.owned) == 4)
    first.membership.close()


# --- reading ----------------------------------------------------------------------------------------------------------


def test_order_is_kept_per_key_and_a_key_has_one_lane(buses: MakeBus) -> None:
    bus = buses()
    bus.prepare(["acme"], ["soc"])
    writer = bus.open_shard(0, "w")
    for start in range(0, 3000, 250):
        writer.commit(numbered(range(start, start + 250), keys=17))
    writer.close()
    reading = Reading(bus.reader, "soc", ["acme"])
    assert reading.read(3000) == list(range(3000))
    assert len(reading.lanes) == 3
    lane_of_key: dict[bytes, Lane] = {}
    for lane, records in reading.records.items():
        assert [r.offset for r in records] == sorted({r.offset for r in records})
        last: dict[bytes, int] = {}
        for number, record in zip(reading.lanes[lane], records, strict=True):
            assert lane_of_key.setdefault(record.key, lane) == lane
            assert last.get(record.key, -1) < number
            last[record.key] = number
    reading.reader.close()


def test_reading_goes_on_at_the_committed_position(buses: MakeBus) -> None:
    bus = buses()
    bus.prepare(["acme"], ["soc", "archive"])
    writer = bus.open_shard(0, "w")
    writer.commit(numbered(range(300)))
    first = Reading(bus.reader, "soc", ["acme"])
    first.read(300)
    committed = {lane: records[len(records) // 2].offset for lane, records in first.records.items()}
    first.reader.commit(committed)
    first.reader.close()
    writer.commit(numbered(range(300, 400)))
    again = Reading(buses().reader, "soc", ["acme"])
    expected = sorted(
        number
        for lane, records in first.records.items()
        for number, record in zip(first.lanes[lane], records, strict=True)
        if record.offset >= committed[lane]
    )
    assert again.read(len(expected) + 100) == expected + list(range(300, 400))
    again.reader.close()
    other = Reading(bus.reader, "archive", ["acme"])  # another target has its own position
    assert other.read(400) == list(range(400))
    other.reader.close()
    writer.close()


def test_lag_falls_to_zero_when_all_is_delivered(buses: MakeBus) -> None:
    bus = buses()
    bus.prepare(["acme"], ["soc"])
    writer = bus.open_shard(0, "w")
    for start in range(0, 300, 100):
        writer.commit(numbered(range(start, start + 100)))
    reading = Reading(bus.reader, "soc", ["acme"])
    reading.read(300)
    assert sum(reading.reader.lag().values()) >= 300
    assert sum(p.lag for p in buses().positions(["soc"], ["acme"])) >= 300
    reading.commit()
    reading.until(lambda: not any(reading.reader.lag().values()))
    reading.until(lambda: not any(p.lag for p in bus.positions(["soc"], ["acme"])))
    positions = bus.positions(["soc", "never"], ["acme"])
    assert {p.lane for p in positions if p.target == "soc"} == {Lane("acme", p) for p in range(3)}
    assert sum(p.lag for p in positions if p.target == "never") >= 300
    writer.commit(numbered(range(300, 310)))
    reading.until(lambda: sum(reading.reader.lag().values()) >= 10)
    reading.reader.close()
    writer.close()


def test_a_poll_is_bounded_by_bytes(buses: MakeBus) -> None:
    bus = buses()
    bus.prepare(["acme"], ["soc"])
    writer = bus.open_shard(0, "w")
    for start in range(0, 2000, 500):
        writer.commit(numbered(range(start, start + 500), padding=10_000))
    writer.close()
    reading = Reading(bus.reader, "soc", ["acme"])
    largest = 0
    while reading.count < 2000:
        before = sum(len(r.value) for records in reading.records.values() for r in records)
        reading.poll(max_bytes=500_000)
        largest = max(largest, sum(len(r.value) for records in reading.records.values() for r in records) - before)
    assert reading.numbers() == list(range(2000))
    assert largest <= 500_000 + 1_100_000  # one block beyond, at most
    reading.reader.close()


def test_paused_lanes_give_nothing_and_lose_nothing(buses: MakeBus) -> None:
    bus = buses()
    bus.prepare(["acme"], ["soc"])
    writer = bus.open_shard(0, "w")
    writer.commit(numbered(range(100)))
    reading = Reading(bus.reader, "soc", ["acme"])
    reading.read(100)
    lanes = reading.reader.assigned()
    assert lanes == {Lane("acme", p) for p in range(3)}
    reading.reader.pause(lanes)
    writer.commit(numbered(range(100, 300)))
    for _ in range(3):
        assert reading.poll() == 0
    reading.reader.resume(lanes)
    assert reading.read(300) == list(range(300))
    reading.reader.close()
    writer.close()


def test_two_readers_share_the_lanes_and_hand_over_at_the_position_that_the_first_gives(buses: MakeBus) -> None:
    bus = buses()
    bus.prepare(["acme"], ["soc"])
    writer = bus.open_shard(0, "w")
    writer.commit(numbered(range(300)))
    first = Reading(bus.reader, "soc", ["acme"], "a")
    first.read(300)
    second = Reading(buses().reader, "soc", ["acme"], "b")

    def shared() -> bool:
        second.poll(timeout_seconds=0.05)
        return bool(second.reader.assigned()) and len(first.reader.assigned() | second.reader.assigned()) == 3

    first.until(shared)
    assert not first.reader.assigned() & second.reader.assigned()
    assert frozenset().union(*first.revoked) == second.reader.assigned()
    writer.commit(numbered(range(300, 600)))

    def all_read() -> bool:
        second.poll(timeout_seconds=0.05)
        return first.count + second.count >= 600

    first.until(all_read)
    assert sorted(first.numbers() + second.numbers()) == list(range(600))
    first.commit()
    first.reader.close()
    second.until(lambda: len(second.reader.assigned()) == 3)
    second.poll()
    assert sorted(first.numbers() + second.numbers()) == list(range(600))
    second.reader.close()
    writer.close()


def test_positions_of_lanes_that_are_gone_are_dropped(buses: MakeBus) -> None:
    bus = buses()
    bus.prepare(["acme"], ["soc"])
    writer = bus.open_shard(0, "w")
    writer.commit(numbered(range(300)))
    first = Reading(bus.reader, "soc", ["acme"], "a")
    first.commit_on_revoke = False
    first.read(300)
    second = Reading(buses().reader, "soc", ["acme"], "b")

    def shared() -> bool:
        second.poll(timeout_seconds=0.05)
        return bool(second.reader.assigned())

    first.until(shared)
    taken = second.reader.assigned()
    first.commit()  # of all lanes that it ever had
    at = {p.lane: p for p in bus.positions(["soc"], ["acme"])}
    assert all(at[lane].position == 0 for lane in taken)
    assert all(at[lane].position > 0 for lane in first.reader.assigned())
    first.reader.close()
    second.reader.close()
    writer.close()


def test_tenants_with_odd_names_stay_apart(buses: MakeBus) -> None:
    bus = buses()
    tenants = ["a.b", "a_b", "a__b", "a_2eb", "(a)'*!", "A.B", "a-b"]
    bus.prepare(tenants, ["soc"])
    writer = bus.open_shard(0, "w")
    batches = [batch([number], tenant=tenant) for number, tenant in enumerate(tenants)]
    writer.commit(Commit(batches))
    writer.close()
    readings = {}
    for number, tenant in enumerate(tenants):
        readings[tenant] = reading = Reading(bus.reader, f"soc{number}", [tenant])
        assert reading.read(1) == [number]
        assert {lane.tenant for lane in reading.lanes} == {tenant}
        reading.reader.close()


# --- dead letters, receipts -------------------------------------------------------------------------------------------


def _letter(number: int, target: str = "soc") -> DeadLetter:
    value = event(number, text="grüße")
    return DeadLetter(
        target, "acme", 1, number, f"{number:032x}", "refused: field too long", "400", 5 + number, b"k", value
    )


def test_dead_letters_are_listed_in_order_resolved_and_counted(buses: MakeBus) -> None:
    bus = buses()
    bus.prepare(["acme"], ["soc", "archive"])
    store = bus.dead_letters()
    store.append([_letter(number) for number in range(5)])
    store.append([_letter(5), _letter(0, "archive")])
    store.append([_letter(5)])  # refused again after a crash: still one letter
    letters = list(buses().dead_letters().list("soc"))
    assert [letter.offset for letter in letters] == list(range(6))
    assert len({letter.number for letter in letters}) == 6
    first = letters[0]
    assert (first.tenant, first.partition, first.event_id, first.code) == ("acme", 1, f"{0:032x}", "400")
    assert (first.reason, first.failed_ns, first.key) == ("refused: field too long", 5, b"k")
    assert first.value == event(0, text="grüße")
    assert store.counts() == {"archive": 1, "soc": 6}
    store.resolve("soc", [letters[1].number, letters[3].number], "redriven")
    store.resolve("soc", [letters[1].number, letters[5].number, 10_000], "discarded")
    assert [letter.offset for letter in bus.dead_letters().list("soc")] == [0, 2, 4]
    assert store.counts() == {"archive": 1, "soc": 3}
    store.append([_letter(1)])  # refused once more later: open again
    assert store.counts()["soc"] == 4
    assert list(store.list("nobody")) == []


# --- preparing --------------------------------------------------------------------------------------------------------


def test_preparing_again_and_at_once_changes_nothing(buses: MakeBus) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: buses().prepare(["acme", "other"], ["soc"]), range(4)))
    bus = buses()
    writer = bus.open_shard(0, "w")
    writer.commit(numbered(range(10)))
    writer.close()
    bus.prepare(["acme", "other", "third"], ["soc", "archive"])
    reading = Reading(bus.reader, "soc", ["acme", "other", "third"])
    assert reading.read(10) == list(range(10))
    assert len(reading.reader.assigned()) == 9
    reading.reader.close()
    assert bus.check() == []


def test_another_number_of_shards_is_found_with_its_cure(buses: MakeBus) -> None:
    buses().prepare(["acme"], ["soc"])
    wrong = buses(shard_count=5)
    with pytest.raises(ConfigurationError) as caught:
        wrong.prepare(["acme"], ["soc"])
    assert "bus.shard_count to 4" in str(caught.value) or "Set it to 4" in str(caught.value)
    assert wrong.check()
    assert buses().check() == []


def test_checking_before_the_first_start_finds_nothing_and_makes_nothing(buses: MakeBus) -> None:
    bus = buses()
    assert bus.check() == []
    assert bus.check() == []
