"""Bus in memory → engine → webhook connector → strict receiver, under every fault at once."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from exporter.bus.base import Lane
from tests.support.delivery import build_engine, deliver_all
from tests.support.events import event, events
from tests.support.memory_bus import MemoryBus
from tests.support.webhook import Fault, receiver_and_connector

FAULTS = st.one_of(
    st.builds(Fault, st.sampled_from([401, 404, 408, 429])),
    st.builds(Fault, st.sampled_from([500, 502, 503, 504]), store=st.booleans()),
    st.builds(Fault, cut=st.just(True), store=st.booleans()),
    st.builds(Fault, body=st.just("<html>")),
)


@given(
    lanes=st.lists(st.integers(1, 60), min_size=1, max_size=3),
    bad=st.sets(st.integers(0, 59), max_size=4),
    faults=st.lists(FAULTS, max_size=8),
    body=st.sampled_from(["array", "ndjson", "single"]),
    batch_records=st.integers(1, 25),
)
@settings(
    max_examples=20,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each example takes a second: shrinking would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_nothing_is_lost_and_duplicates_are_counted(lanes, bad, faults, body, batch_records):
    bus, numbers = MemoryBus(), []
    for partition, count in enumerate(lanes):
        bus.append(Lane("acme", partition), events(count, start=100 * partition))
        numbers += range(100 * partition, 100 * partition + count)
    keys = {"batch_linger_seconds": 0.0, "retry_max_seconds": 0.02, "max_dead_letter_ratio": 1.0}
    async with receiver_and_connector(body=body, batch_max_records=batch_records, **keys) as (receiver, connector):
        receiver.bad = {f"{n:032x}" for n in bad}
        for fault in faults:
            fault.times = 1  # an example may be run again
        receiver.faults.extend(faults)
        engine = build_engine(bus, connector, target_settings=connector._settings)
        await deliver_all(engine)
        good = [event(n) for n in numbers if n not in bad]
        assert set(receiver.events) == set(good)
        assert {x.event_id for x in bus.letters.letters} == {f"{n:032x}" for n in numbers if n in bad}
        assert len(receiver.events) - len(good) <= engine.snapshot()["possible_duplicates"]
        if len(receiver.events) == len(good):
            for partition in range(len(lanes)):
                lane = [e for e in receiver.events if int(e[13:45], 16) // 100 == partition]
                assert lane == sorted(lane)
        assert not receiver._server.failures
