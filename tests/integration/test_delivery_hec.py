"""Bus in memory → engine → HEC connector → strict stand-in, under every fault at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from exporter.bus.base import Lane
from exporter.sandbox.hec import Fault
from tests.support.delivery import LANE, build_engine, deliver_all, until
from tests.support.events import events
from tests.support.hec import hec_and_connector
from tests.support.memory_bus import MemoryBus

FAULTS = st.one_of(
    st.builds(Fault, code=st.sampled_from([1, 4, 8, 9, 10, 18, 23, 26])),
    st.builds(Fault, code=st.sampled_from([9]), event=st.integers(0, 60)),
    st.builds(Fault, status=st.sampled_from([401, 404, 429])),
    st.builds(Fault, status=st.sampled_from([500, 502, 503, 504]), store=st.booleans()),
    st.builds(Fault, cut=st.just(True), store=st.booleans()),
    st.builds(Fault, body=st.sampled_from(["", "<html>", '{"code":'])),
    st.builds(Fault, code=st.sampled_from([24, 25])),
)


ACK_FAULTS = st.one_of(
    st.builds(Fault, status=st.sampled_from([401, 429, 500, 503]), store=st.booleans()),
    st.builds(Fault, code=st.sampled_from([19, 20])),
    st.builds(Fault, cut=st.just(True), store=st.booleans()),
    st.builds(Fault, body=st.sampled_from(["", "<html>", '{"acks":'])),
)


def ids(numbers):
    return [f"{n:032x}" for n in numbers]


def hec_settings(**keys):
    return {"batch_linger_seconds": 0.0, "retry_max_seconds": 0.02, **keys}


@given(
    lanes=st.lists(st.integers(1, 60), min_size=1, max_size=3),
    bad=st.sets(st.integers(0, 59), max_size=4),
    code=st.sampled_from([6, 12, 13, 15]),
    named=st.booleans(),
    faults=st.lists(FAULTS, max_size=8),
    ack_faults=st.none() | st.lists(ACK_FAULTS, max_size=4),
    batch_records=st.integers(1, 25),
)
@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each example takes a second: shrinking would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_nothing_is_lost_and_duplicates_are_counted(
    tmp_path, lanes, bad, code, named, faults, ack_faults, batch_records
):
    """G5, G6: whatever the target does, each good event is stored, each bad one a dead letter, and no duplicate uncounted."""
    bus, numbers = MemoryBus(), []
    for partition, count in enumerate(lanes):
        bus.append(Lane("acme", partition), events(count, start=100 * partition))
        numbers += range(100 * partition, 100 * partition + count)
    keys = hec_settings(batch_max_records=batch_records, max_dead_letter_ratio=1.0, ack_timeout_seconds=1.0)
    async with hec_and_connector(tmp_path, settings=keys, use_ack=ack_faults is not None) as (hec, connector):
        hec.ack_faults.extend(replace(fault) for fault in ack_faults or ())
        hec.rules.bad_ids = dict.fromkeys(ids(bad), code)
        hec.number_offset = 0 if named else None
        hec.faults.extend(replace(fault) for fault in faults)  # the stand-in counts them down
        engine = build_engine(bus, connector, target_settings=connector._settings)
        await deliver_all(engine)
        good = ids(n for n in numbers if n not in bad)
        dead = {x.event_id for x in bus.letters.letters}
        assert set(hec.accepted) == set(good)
        assert dead == set(ids(n for n in numbers if n in bad))
        assert len(hec.accepted) - len(good) <= engine.snapshot()["possible_duplicates"]
        assert bus.lag_of("soc", LANE) == 0
        if len(hec.accepted) == len(good):  # without repetitions the order of each lane can be seen
            for partition in range(len(lanes)):
                lane = [i for i in hec.accepted if int(i, 16) // 100 == partition]
                assert lane == sorted(lane)
        assert not hec._server.failures


async def test_an_indexer_that_restarts_with_acknowledgements_open_loses_nothing(tmp_path):
    """Events that were taken and died with the indexer are delivered again; each one that was not lost is counted."""
    bus = MemoryBus()
    for partition in range(4):
        bus.append(Lane("acme", partition), events(50, start=100 * partition))
    keys = hec_settings(batch_max_records=5, ack_timeout_seconds=2.0)
    async with hec_and_connector(tmp_path, settings=keys, use_ack=True) as (hec, connector):
        hec.acks.delay_seconds = 0.05
        engine = build_engine(bus, connector, target_settings=connector._settings)
        running = asyncio.create_task(deliver_all(engine))
        lost = 0
        for stored in (10, 40, 90):
            await until(lambda: len(hec.accepted) >= stored)  # noqa: B023 - awaited in this turn
            lost += len(hec.restart(lose=True))
        await asyncio.wait_for(running, 30)
        numbers = [100 * partition + n for partition in range(4) for n in range(50)]
        assert lost
        assert set(hec.accepted) == set(ids(numbers))
        assert len(hec.accepted) - len(numbers) <= engine.snapshot()["possible_duplicates"]


async def test_one_bad_event_among_a_thousand(tmp_path):
    """G6."""
    bus = MemoryBus()
    bus.append(LANE, events(1000))
    async with hec_and_connector(tmp_path, settings=hec_settings()) as (hec, connector):
        hec.rules.bad_ids = {ids([421])[0]: 6}
        await deliver_all(build_engine(bus, connector, target_settings=connector._settings))
        assert hec.accepted == ids(n for n in range(1000) if n != 421)
        assert [(x.offset, x.code) for x in bus.letters.letters] == [(421, "hec_6")]
        assert hec.stats.requests == 3  # the probe, the batch, its tail
    receipts = [orjson.loads(r) for r in bus.receipts]
    assert sum(r.get("count", 0) for r in receipts) == 999
    assert [r["letters"][0][0] for r in receipts if r["kind"] == "dead_letters"] == [421]
    assert bus.committed["soc", LANE] == 1000


async def test_a_hung_server_does_not_outlast_the_deadline(tmp_path):
    bus = MemoryBus()
    bus.append(LANE, events(100))
    async with hec_and_connector(tmp_path, settings=hec_settings()) as (hec, connector):
        hec.faults.append(Fault(hang=True, times=1000))
        engine = build_engine(bus, connector, target_settings=connector._settings, drain_deadline_seconds=0.5)
        stop = asyncio.Event()
        running = asyncio.create_task(engine.run(stop))
        await until(lambda: hec.stats.requests > hec.stats.probes)
        stop.set()
        await asyncio.wait_for(running, 10)
        assert not any(bus.committed.values())


@pytest.mark.parametrize("wrong", ["token", "index"])
async def test_a_wrong_configuration_pauses_until_it_is_mended(tmp_path, wrong):
    bus = MemoryBus()
    bus.append(LANE, events(50))
    async with hec_and_connector(tmp_path, settings=hec_settings()) as (hec, connector):
        right = (hec.token, hec.rules.indexes)
        if wrong == "token":
            hec.token = "another"
        else:
            hec.rules.indexes = frozenset({"elsewhere"})
        engine = build_engine(bus, connector, target_settings=connector._settings)
        stop, finish = asyncio.Event(), asyncio.Event()
        running = asyncio.create_task(engine.run(stop, finish))
        expected = "unauthorized" if wrong == "token" else "misconfigured"
        await until(lambda: engine.snapshot()["breakers"].get(expected) == "open")
        assert "HEC code" in engine.snapshot()["last_error"]
        hec.token, hec.rules.indexes = right
        finish.set()
        await running
        assert hec.accepted == ids(range(50))
        assert not bus.letters.letters
        assert engine.snapshot()["last_error"] == ""
