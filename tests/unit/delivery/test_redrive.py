from __future__ import annotations

import random

import pytest

from connectors.base import (
    REDRIVE_PARTITION,
    BatchTooLarge,
    Capabilities,
    DeliveryResult,
    TargetMisconfigured,
    TargetUnavailable,
)
from exporter.bus.base import DeadLetter, Lane
from exporter.custody.chains import Chains
from exporter.delivery.redrive import redrive
from exporter.delivery.retry import RetryPolicy
from exporter.domain.clock import ManualClock
from tests.support.delivery import ScriptedConnector, reject
from tests.support.events import event, number_of
from tests.support.memory_bus import MemoryBus

REDRIVEN = Lane("acme", REDRIVE_PARTITION)


def letter(number, target="soc", tenant="acme"):
    return DeadLetter(target, tenant, number % 3, 1000 - number, f"{number:032x}", "r", "c", 1, b"k", event(number))


@pytest.fixture
def bus() -> MemoryBus:
    bus = MemoryBus()
    bus.letters.append([letter(n) for n in range(1, 26)] + [letter(26, target="other"), letter(27, tenant="umbrella")])
    return bus


async def run(bus, connector, **keys):
    return await redrive(
        "soc", connector, bus, clock=ManualClock(0), retry=RetryPolicy(1.0, random=random.Random(1)), **keys
    )


async def test_all_in_order_and_marked(bus):
    connector = ScriptedConnector(capabilities=Capabilities(10**6, 10))
    assert await run(bus, connector) == {"redriven": 26, "refused": 0, "possible_duplicates": 0}
    assert connector.stored[REDRIVEN] == list(range(1, 26))
    assert connector.stored[Lane("umbrella", REDRIVE_PARTITION)] == [27]
    assert bus.letters.counts() == {"other": 1}
    assert max(count for _, _, count in connector.batches) == 10
    assert await run(bus, connector) == {"redriven": 0, "refused": 0, "possible_duplicates": 0}


async def test_the_ledger_has_a_receipt_of_what_was_redriven(bus):
    async def script(batch, _):
        return DeliveryResult(rejected=reject(0), receipt={"id": "x"}) if batch.records[0].offset == 3 else None

    await run(bus, ScriptedConnector(script), numbers=[3, 5])
    chains = Chains(whole=True)
    records = [chains.add(raw) for raw in bus.receipts]
    assert chains.breaks == []
    assert [r["letters"] for r in records] == [[[2, 995, f"{5:032x}"]]]
    assert records[0]["receipt"] == {"id": "x"}
    await run(bus, ScriptedConnector(), numbers=[3])
    assert len(bus.receipts) == 2


async def test_only_the_chosen_ones(bus):
    connector = ScriptedConnector()
    assert (await run(bus, connector, numbers=[3, 5]))["redriven"] == 2
    assert connector.stored[REDRIVEN] == [3, 5]


async def test_what_is_refused_again_stays(bus):
    async def script(batch, _):
        for index, record in enumerate(batch.records):
            if number_of(record.value) == 7:
                return DeliveryResult(rejected=reject(index), retry=tuple(range(index + 1, len(batch.records))))
        return None

    connector = ScriptedConnector(script)
    assert await run(bus, connector) == {"redriven": 25, "refused": 1, "possible_duplicates": 0}
    assert [x.number for x in bus.letters.list("soc")] == [7]


async def test_failures_are_tried_again_but_not_for_ever(bus):
    async def flaky(batch, call):
        if call in {1, 2, 4}:
            raise TargetUnavailable("x")

    connector = ScriptedConnector(flaky)
    assert (await run(bus, connector))["redriven"] == 26

    async def down(batch, call):
        if call > 1:
            raise TargetUnavailable("x")

    bus.letters.append([letter(n) for n in range(30, 50)])
    connector = ScriptedConnector(down, Capabilities(10**6, 10))
    with pytest.raises(TargetUnavailable):
        await run(bus, connector)
    assert bus.letters.counts()["soc"] == 10  # the first batch is marked

    async def wrong(batch, call):
        raise TargetMisconfigured("x")

    with pytest.raises(TargetMisconfigured):
        await run(bus, ScriptedConnector(wrong))


async def test_too_large_is_halved_down_to_one(bus):
    async def script(batch, _):
        if len(batch.records) > 4 or any(number_of(r.value) == 9 for r in batch.records):
            raise BatchTooLarge("x")

    connector = ScriptedConnector(script)
    assert await run(bus, connector) == {"redriven": 25, "refused": 1, "possible_duplicates": 0}
    assert connector.stored[REDRIVEN] == [n for n in range(1, 26) if n != 9]


async def test_a_target_that_takes_nothing_ends_it(bus):
    async def script(batch, _):
        return DeliveryResult(retry=tuple(range(len(batch.records))))

    with pytest.raises(TargetUnavailable, match="nothing"):
        await run(bus, ScriptedConnector(script))
