"""Bus in memory → engine → Sentinel connector → strict stand-in, under every fault at once."""

from __future__ import annotations

from dataclasses import replace

import orjson
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from exporter.bus.base import Lane
from exporter.sandbox.logs_ingestion import Fault
from tests.support.delivery import LANE, build_engine, deliver_all
from tests.support.events import events
from tests.support.memory_bus import MemoryBus
from tests.support.sentinel import ids, logs_and_connector
from tests.support.sentinel import settings as settings_of

FAULTS = st.one_of(
    st.builds(Fault, status=st.sampled_from([401, 403, 404, 429])),
    st.builds(Fault, status=st.just(400), code=st.just("InvalidStream")),
    st.builds(Fault, status=st.sampled_from([500, 502, 503, 504]), store=st.booleans(), html=st.booleans()),
    st.builds(Fault, status=st.just(408), code=st.just("TimeoutExpired"), store=st.booleans()),
    st.builds(Fault, cut=st.just(True), store=st.booleans()),
    st.builds(Fault, body=st.sampled_from(["<html>", '{"error":']), store=st.booleans()),
)
FAST = {"batch_linger_seconds": 0.0, "retry_max_seconds": 0.02}


@given(
    lanes=st.lists(st.integers(1, 60), min_size=1, max_size=3),
    bad=st.sets(st.integers(0, 59), max_size=4),
    faults=st.lists(FAULTS, max_size=8),
    batch_records=st.integers(1, 25),
)
@settings(
    max_examples=20,
    deadline=None,
    phases=[
        Phase.explicit,
        Phase.reuse,
        Phase.generate,
    ],  # each example takes up to a second: shrinking would take minutes
    suppress_health_check=[HealthCheck.too_slow],
)
async def test_nothing_is_lost_and_duplicates_are_counted(lanes, bad, faults, batch_records):
    """G5, G6: whatever the target does, each good event is stored, each bad one a dead letter, and no duplicate uncounted."""
    bus, numbers = MemoryBus(), []
    for partition, count in enumerate(lanes):
        bus.append(Lane("acme", partition), events(count, start=100 * partition))
        numbers += range(100 * partition, 100 * partition + count)
    keys = {**FAST, "batch_max_records": batch_records, "max_dead_letter_ratio": 1.0}
    async with logs_and_connector(settings=keys, keep_rows=True) as (logs, connector):
        logs.table.bad_ids = set(ids(bad))
        logs.faults.extend(replace(fault) for fault in faults)  # the stand-in counts them down
        engine = build_engine(bus, connector, target_settings=settings_of(**keys))
        await deliver_all(engine)
        good = ids(n for n in numbers if n not in bad)
        assert set(logs.accepted) == set(good)
        assert {x.event_id for x in bus.letters.letters} == set(ids(n for n in numbers if n in bad))
        assert len(logs.accepted) - len(good) <= engine.snapshot()["possible_duplicates"]
        assert bus.lag_of("soc", LANE) == 0
        silent = logs.table.silent
        assert (silent.columns_dropped, silent.fields_cut, silent.cells_nulled, silent.bodies_lost) == (0, 0, 0, 0)


async def test_receipts_name_the_requests():
    """What a ledger says was delivered can be found in Azure's own log."""
    bus = MemoryBus()
    bus.append(LANE, events(100))
    async with logs_and_connector(settings=FAST) as (logs, connector):
        await deliver_all(build_engine(bus, connector, target_settings=settings_of(**FAST)))
        assert len(logs.accepted) == 100
        receipts = [orjson.loads(r) for r in bus.receipts]
        assert sum(r["count"] for r in receipts) == 100
        assert {i for r in receipts for i in r["receipt"]["request_ids"]} == set(logs.stored_by)
