"""Several endpoints: sick ones are put aside, asked for their health, tried, and only then trusted again."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from connectors.base import TargetUnavailable
from connectors.splunk_hec.endpoints import ASIDE_SECONDS, LONGEST_ASIDE_SECONDS, EndpointPool, Health
from connectors.testing import deliver_fully, make_batch
from exporter.sandbox.hec import Fault, StandInHec
from tests.support.delivery import until
from tests.support.events import events
from tests.support.hec import TOKEN, hec_connector


class Naps:
    """Pauses that end when the test says so."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._wake = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self._wake.wait()
        self._wake.clear()

    async def end(self) -> None:
        self._wake.set()
        for _ in range(5):
            await asyncio.sleep(0)


def pool_of(count, healthy, naps):
    async def is_healthy(endpoint):
        return healthy[endpoint.url]

    return EndpointPool([f"http://h{n}" for n in range(count)], is_healthy, sleep=naps)


async def test_a_sick_endpoint_comes_back_by_health_and_on_trial():
    naps, healthy = Naps(), {"http://h0": False, "http://h1": True}
    pool = pool_of(2, healthy, naps)
    sick, other = pool.endpoints
    pool.failed(sick)
    pool.failed(sick)  # requests that were under way fail as well
    assert [pool.pick([]) for _ in range(3)] == [other] * 3
    await naps.end()
    await naps.end()
    assert naps.asked == [ASIDE_SECONDS, 2 * ASIDE_SECONDS, 4 * ASIDE_SECONDS]
    healthy["http://h0"] = True
    await naps.end()
    assert sick.health is Health.TRIAL
    assert pool.pick([]) is sick
    sick.under_way = 1
    other.under_way = 5
    assert pool.pick([]) is other  # one request on trial is enough
    pool.succeeded(sick)
    sick.under_way = 0
    assert (sick.health, sick.failures) == (Health.GOOD, 0)
    assert pool.pick([]) is sick
    await pool.close()


async def test_a_failed_trial_is_a_longer_pause_up_to_a_limit():
    naps, healthy = Naps(), {"http://h0": True, "http://h1": True}
    pool = pool_of(2, healthy, naps)
    for _ in range(6):
        pool.failed(pool.endpoints[0])
        await naps.end()
    assert naps.asked == [15, 30, 60, LONGEST_ASIDE_SECONDS, LONGEST_ASIDE_SECONDS, LONGEST_ASIDE_SECONDS]
    await pool.close()


async def test_turns_are_taken_and_with_none_left_the_sick_are_asked():
    naps = Naps()
    pool = pool_of(3, {}, naps)
    assert [pool.pick([]).url[-1] for _ in range(6)] == ["0", "1", "2", "0", "1", "2"]
    for endpoint in pool.endpoints:
        pool.failed(endpoint)
    assert pool.pick([]) in pool.endpoints
    await pool.close()
    assert all(e.health is Health.GOOD for e in pool.endpoints)


async def test_a_single_endpoint_is_never_put_aside():
    pool = pool_of(1, {}, Naps())
    pool.failed(pool.endpoints[0])
    assert pool.endpoints[0].health is Health.GOOD


@asynccontextmanager
async def two(tmp_path, **keys):
    hecs = [StandInHec(TOKEN, **keys) for _ in range(2)]
    for hec in hecs:
        await hec.start()
    connector = hec_connector(tmp_path, *hecs)
    try:
        await connector.open()
        yield hecs, connector
    finally:
        await connector.close()
        for hec in hecs:
            await hec.stop()


@pytest.mark.parametrize("code", [9, 18, 20, 23, 26, 27])
async def test_another_takes_what_one_is_too_busy_for(tmp_path, code):
    async with two(tmp_path) as (hecs, connector):
        for hec in hecs:
            hec.health = 18
        hecs[0].faults.append(Fault(code=code, times=100))
        for start in range(0, 60, 10):
            result = await connector.deliver(make_batch(events(10, start=start), start=start))
            assert (result.retry, result.possible_duplicates) == ((), 0)
        assert (len(hecs[0].accepted), len(hecs[1].accepted)) == (0, 60)
        assert hecs[0].faults[0].times == 99  # put aside after the first


async def test_busy_with_a_number_goes_on_in_order_wherever(tmp_path):
    """F.6, 5: no stall with one dead, and the rest of a request in order."""
    async with two(tmp_path) as (hecs, connector):
        await hecs[1].stop()
        hecs[0].faults.append(Fault(code=9, event=7, skip=1))
        for start in range(0, 40, 10):
            refused, duplicates = await deliver_fully(connector, make_batch(events(10, start=start), start=start))
            assert (refused, duplicates) == ([], 0)
        assert hecs[0].accepted == [f"{n:032x}" for n in range(40)]


async def test_the_sick_one_returns(tmp_path):
    async with two(tmp_path) as (hecs, connector):
        hecs[0].health = 23
        hecs[0].faults.append(Fault(code=23))
        await deliver_fully(connector, make_batch(events(4)))
        await deliver_fully(connector, make_batch(events(4, start=4)))
        assert len(hecs[1].accepted) == 8
        hecs[0].health = 17
        await until(lambda: connector._client._pool.endpoints[0].health is Health.TRIAL)
        for start in range(8, 40, 4):
            await deliver_fully(connector, make_batch(events(4, start=start), start=start))
        assert len(hecs[0].accepted) >= 12


async def test_all_of_them_away(tmp_path):
    async with two(tmp_path) as (hecs, connector):
        for hec in hecs:
            await hec.stop()
        for _ in range(3):
            with pytest.raises(TargetUnavailable):
                await connector.deliver(make_batch(events(3)))
