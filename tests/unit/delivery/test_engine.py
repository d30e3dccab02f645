"""The engine against a scripted connector and the bus in memory."""

from __future__ import annotations

import asyncio
import hashlib

import orjson
import pytest

from connectors.base import (
    BatchTooLarge,
    Capabilities,
    DeliveryResult,
    TargetMisconfigured,
    TargetThrottled,
    TargetUnauthorized,
    TargetUnavailable,
)
from exporter.bus.base import Lane
from exporter.errors import ExporterError
from tests.support.delivery import LANE, ScriptedConnector, build_engine, deliver_all, reject, settings, until
from tests.support.events import events, number_of
from tests.support.memory_bus import MemoryBus


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus()


async def test_everything_is_delivered_in_order_and_committed(bus):
    lanes = [Lane("acme", p) for p in range(3)]
    for lane in lanes:
        bus.append(lane, events(250, start=1000 * lane.partition), gap=2)
    connector = ScriptedConnector()
    engine = build_engine(bus, connector)
    await deliver_all(engine)
    for lane in lanes:
        assert connector.stored[lane] == list(range(1000 * lane.partition, 1000 * lane.partition + 250))
        assert bus.committed["soc", lane] == 252
    assert (connector.opened, connector.closed) == (1, 1)
    assert engine.snapshot()["delivered"] == 750


async def test_batches_keep_to_bytes_and_records(bus):
    bus.append(LANE, events(300, padding=900))
    sizes = []

    async def script(batch, _):
        sizes.append((batch.size_bytes, len(batch.records)))

    capabilities = Capabilities(max_batch_bytes=20_000, max_batch_records=50)
    await deliver_all(build_engine(bus, ScriptedConnector(script, capabilities)))
    assert max(size for size, _ in sizes) <= 20_000
    sizes.clear()
    bus.append(LANE, events(300, start=300))
    await deliver_all(
        build_engine(bus, ScriptedConnector(script, capabilities), target_settings=settings(batch_max_records=7))
    )
    assert max(count for _, count in sizes) == 7


async def test_one_bad_event_costs_one_event(bus):
    """G6."""
    bus.append(LANE, events(1000))

    async def script(batch, _):
        numbers = [number_of(r.value) for r in batch.records]
        if 500 not in numbers:
            return None
        bad = numbers.index(500)
        return DeliveryResult(rejected=reject(bad), retry=tuple(range(bad + 1, len(numbers))))

    connector = ScriptedConnector(script)
    await deliver_all(build_engine(bus, connector))
    assert connector.stored[LANE] == [n for n in range(1000) if n != 500]
    (letter,) = bus.letters.letters
    assert (letter.offset, letter.event_id, letter.code) == (500, f"{500:032x}", "bad")
    assert bus.committed["soc", LANE] == 1000


async def test_scattered_retries_come_before_what_follows(bus):
    bus.append(LANE, events(200))

    async def script(batch, call):
        return DeliveryResult(retry=(4, 7)) if call == 1 else None

    connector = ScriptedConnector(script)
    await deliver_all(build_engine(bus, connector))
    stored = connector.stored[LANE]
    assert stored[:100] == [n for n in range(100) if n not in {4, 7}] + [4, 7]
    assert sorted(stored) == list(range(200))


async def test_dead_letters_are_durable_before_the_commit_and_their_failure_stops_the_lane(bus):
    bus.append(LANE, events(10))
    bus.letters.failures = 2

    def check(_target, _lane, position):
        assert position <= 3 or [x.offset for x in bus.letters.letters] == [3]

    bus.on_commit = check

    async def script(batch, _):
        bad = [i for i, r in enumerate(batch.records) if number_of(r.value) == 3]
        return (
            DeliveryResult(rejected=reject(*bad), retry=tuple(range(bad[0] + 1, len(batch.records)))) if bad else None
        )

    connector = ScriptedConnector(script)
    await deliver_all(build_engine(bus, connector))
    assert connector.stored[LANE] == [n for n in range(10) if n != 3]
    assert bus.letters.failures == 0


@pytest.mark.parametrize(
    "kind", [TargetUnavailable, TargetThrottled, TargetUnauthorized, TargetMisconfigured, RuntimeError]
)
async def test_every_failure_is_tried_again(bus, kind):
    bus.append(LANE, events(300))

    async def script(batch, call):
        if call in {1, 2, 3, 4, 5, 8}:
            raise kind("scripted")

    connector = ScriptedConnector(script)
    await deliver_all(build_engine(bus, connector))
    assert connector.stored[LANE] == list(range(300))
    assert not bus.letters.letters


async def test_a_probe_is_one_small_batch(bus):
    bus.append(LANE, events(300))

    async def script(batch, call):
        if call == 1:
            raise TargetUnauthorized("no")

    connector = ScriptedConnector(script)
    await deliver_all(build_engine(bus, connector))
    assert [count for _, _, count in connector.batches[:3]] == [100, 10, 90]


async def test_too_large_batches_are_halved_and_a_single_one_is_buried_with_its_size(bus):
    bus.append(LANE, [*events(20, padding=500), *events(1, start=20, padding=5000), *events(20, start=21, padding=500)])

    async def script(batch, _):
        if batch.size_bytes > 3000:
            raise BatchTooLarge("413", code="413")

    connector = ScriptedConnector(script)
    await deliver_all(build_engine(bus, connector))
    assert connector.stored[LANE] == [n for n in range(41) if n != 20]
    (letter,) = bus.letters.letters
    assert letter.offset == 20
    assert str(len(letter.value)) in letter.reason
    assert letter.code == "413"


async def test_receipts_come_before_positions_and_can_be_recomputed(bus):
    values = events(250)
    bus.append(LANE, values)
    bus.receipt_failures = 1

    def covered(_target, _lane, position):
        assert sum(orjson.loads(r)["count"] for r in bus.receipts) >= position

    bus.on_commit = covered
    await deliver_all(build_engine(bus, ScriptedConnector()))
    receipts = [orjson.loads(r) for r in bus.receipts]
    assert [(r["first_offset"], r["last_offset"]) for r in receipts] == [(0, 99), (100, 199), (200, 249)]
    for receipt in receipts:
        lines = values[receipt["first_offset"] : receipt["last_offset"] + 1]
        assert receipt["sha256"] == hashlib.sha256(b"".join(line + b"\n" for line in lines)).hexdigest()
        assert receipt["bytes"] == sum(map(len, lines))
        assert receipt["target"] == "soc"


async def test_a_target_that_refuses_everything_is_paused_not_emptied(bus):
    bus.append(LANE, events(2000))
    mended = False

    async def script(batch, _):
        return None if mended else DeliveryResult(rejected=reject(*range(len(batch.records))))

    connector = ScriptedConnector(script)
    engine = build_engine(bus, connector, target_settings=settings(max_dead_letter_ratio=0.3))
    stop = asyncio.Event()
    running = asyncio.create_task(engine.run(stop))
    await until(lambda: engine.snapshot()["breakers"].get("rejections") == "open")
    assert engine.snapshot()["dead_letters"] == 300
    mended = True
    await until(lambda: engine.snapshot()["delivered"] == 1700)
    assert set(engine.snapshot()["breakers"].values()) == {"closed"}
    stop.set()
    await running
    assert connector.stored[LANE] == list(range(300, 2000))


async def test_memory_is_bounded_while_the_target_is_down(bus):
    """G10."""
    for partition in range(4):
        bus.append(Lane("acme", partition), events(5000, start=5000 * partition, padding=400))
    down = True

    async def script(batch, _):
        if down:
            raise TargetUnavailable("down")

    connector = ScriptedConnector(script)
    engine = build_engine(bus, connector, memory_bytes=2_000_000)
    stop, finish = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(engine.run(stop, finish))
    await until(lambda: len(bus.paused) == 4)
    polls, most = bus.polls, 0
    for _ in range(100):
        most = max(most, engine.snapshot()["held_bytes"])
        await asyncio.sleep(0.005)
    assert most <= 2_000_000
    assert bus.polls > polls  # polling goes on, or the lanes would go to others
    assert not any(bus.committed.values())
    down = False
    finish.set()
    await running
    assert sorted(n for numbers in connector.stored.values() for n in numbers) == list(range(20_000))
    assert engine.snapshot()["held_bytes"] == 0


async def test_a_stuck_lane_leaves_the_others_their_memory(bus):
    """G7: one tenant's lane that never ends does not stop another tenant."""
    stuck, other = Lane("acme", 0), Lane("umbrella", 0)
    bus.append(stuck, events(5000, padding=400))
    bus.append(other, events(5000, padding=400, tenant="umbrella"))

    async def script(batch, _):
        if batch.tenant == "acme":
            await asyncio.Event().wait()

    connector = ScriptedConnector(script)
    engine = build_engine(
        bus, connector, tenants=("acme", "umbrella"), memory_bytes=2_000_000, drain_deadline_seconds=0.2
    )
    stop = asyncio.Event()
    running = asyncio.create_task(engine.run(stop))
    await until(lambda: len(connector.stored.get(other, ())) == 5000)
    stop.set()
    await running
    assert bus.committed["soc", other] == 5000
    assert bus.committed.get(("soc", stuck), 0) == 0


async def test_stop_drains_what_is_read_and_commits_it(bus):
    bus.append(LANE, events(95))
    connector = ScriptedConnector()
    engine = build_engine(bus, connector, target_settings=settings(batch_linger_seconds=30))
    stop = asyncio.Event()
    running = asyncio.create_task(engine.run(stop))
    await until(lambda: engine.snapshot()["held_bytes"] > 0)
    assert not connector.stored  # it lingers for a fuller batch
    stop.set()
    await running
    assert connector.stored[LANE] == list(range(95))
    assert bus.committed["soc", LANE] == 95


async def test_a_hung_target_does_not_outlast_the_deadline(bus):
    bus.append(LANE, events(300))

    async def script(batch, call):
        if call > 1:
            await asyncio.Event().wait()

    connector = ScriptedConnector(script)
    engine = build_engine(bus, connector, drain_deadline_seconds=0.3)
    stop = asyncio.Event()
    running = asyncio.create_task(engine.run(stop))
    await until(lambda: connector.calls == 2)
    stop.set()
    await asyncio.wait_for(running, 10)
    assert bus.committed["soc", LANE] == 100
    assert connector.closed == 1


async def test_a_target_that_is_down_is_not_waited_for_at_stop(bus):
    bus.append(LANE, events(300))

    async def script(batch, _):
        raise TargetUnauthorized("no")

    engine = build_engine(
        bus, ScriptedConnector(script), target_settings=settings(retry_max_seconds=600), drain_deadline_seconds=600
    )
    stop = asyncio.Event()
    running = asyncio.create_task(engine.run(stop))
    await until(lambda: engine.snapshot()["breakers"].get("unauthorized") == "open")
    stop.set()
    await asyncio.wait_for(running, 10)
    assert not any(bus.committed.values())


async def test_a_target_down_at_the_start_is_opened_later(bus):
    bus.append(LANE, events(10))
    connector = ScriptedConnector()
    connector.open_errors = [TargetUnavailable("down"), TargetUnauthorized("no"), TargetMisconfigured("no")]
    await deliver_all(build_engine(bus, connector))
    assert connector.stored[LANE] == list(range(10))
    assert connector.opened == 4


async def test_revocation_in_the_middle_commits_what_is_stored_and_carries_nothing_over(bus):
    bus.append(LANE, events(500))
    other = Lane("acme", 1)
    bus.append(other, events(10, start=1000))
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def script(batch, call):
        if batch.partition == 0 and batch.first_offset == 200 and not go_on.is_set():
            inside.set()
            await go_on.wait()

    connector = ScriptedConnector(script)
    engine = build_engine(bus, connector)
    stop, finish = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(engine.run(stop, finish))
    await inside.wait()
    bus.take_away(frozenset({LANE}))
    await until(lambda: engine._run.lanes[LANE]._stopping)
    go_on.set()
    await asyncio.to_thread(bus.handed_over.wait)
    assert bus.committed["soc", LANE] == 300  # the delivery under way was finished, nothing after it was begun
    assert connector.stored[LANE] == list(range(300))
    assert sum(orjson.loads(r)["count"] for r in bus.receipts if orjson.loads(r)["partition"] == 0) == 300
    await until(lambda: engine.snapshot()["held_bytes"] == 0)
    bus.give_back(frozenset({LANE}))
    finish.set()
    await running
    assert connector.stored[LANE] == list(range(500))


async def test_a_bus_that_is_away_for_a_while_changes_nothing(bus):
    bus.append(LANE, events(300))
    bus.poll_failures = 3
    connector = ScriptedConnector()
    await deliver_all(build_engine(bus, connector))
    assert connector.stored[LANE] == list(range(300))


async def test_a_bus_that_goes_back_ends_the_run(bus):
    bus.append(LANE, events(10))
    engine = build_engine(bus, ScriptedConnector())
    running = asyncio.create_task(engine.run(asyncio.Event()))
    await until(lambda: engine.snapshot()["delivered"] == 10)
    bus.go_back(LANE)
    with pytest.raises(ExporterError, match="again"):
        await running
    assert engine.snapshot()["held_bytes"] == 0


async def test_a_connector_that_names_foreign_records_is_not_believed(bus):
    bus.append(LANE, events(10))

    async def script(batch, call):
        return DeliveryResult(rejected=reject(99)) if call == 1 else None

    connector = ScriptedConnector(script)
    await deliver_all(build_engine(bus, connector))
    assert not bus.letters.letters
    assert bus.committed["soc", LANE] == 10


async def test_concurrency_follows_the_target(bus):
    lanes = [Lane("acme", p) for p in range(8)]
    for lane in lanes:
        bus.append(lane, events(2000, start=10_000 * lane.partition))

    async def script(batch, _):
        await asyncio.sleep(0.001)

    connector = ScriptedConnector(script)
    engine = build_engine(bus, connector)
    await deliver_all(engine)
    assert 2 < connector.most_under_way <= 8
    assert engine.snapshot()["concurrency"] > 2


async def test_nothing_raw_in_the_snapshot_and_it_is_json(bus):
    bus.append(LANE, events(10))
    engine = build_engine(bus, ScriptedConnector())
    orjson.dumps(engine.snapshot())
    await deliver_all(engine)
    snapshot = orjson.loads(orjson.dumps(engine.snapshot()))
    assert snapshot["dead_letters"] == 0
    assert snapshot["running"] is False
