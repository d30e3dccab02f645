"""Lines that a real Loki takes hours late and shows only after a flush: found by a pass over history, each exported once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from exporter.domain.checkpoints import LiveCheckpoint, live_key
from exporter.domain.clock import SystemClock
from exporter.domain.windows import NS_PER_HOUR, NS_PER_SECOND
from tests.support.loki_cell import MISSING, RealLoki, loki_binary, running_loki
from tests.support.reading import Bus, drain

pytestmark = [
    pytest.mark.loki,
    pytest.mark.skipif(loki_binary() is None, reason=MISSING),
    pytest.mark.timeout(240),
]

#: A pass that is not due yet.
NOT_YET = {"warm_after_seconds": 500_000, "cold_after_seconds": 500_000, "seal_after_seconds": 600_000}


@pytest.fixture(scope="module")
def loki(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealLoki]:
    with running_loki(tmp_path_factory.mktemp("loki")) as running:
        yield running


def push(loki: RealLoki, stream: str, times: list[int]) -> None:
    values = [[str(t), f"{stream} {n}"] for n, t in enumerate(times)]
    body = {"streams": [{"stream": {"job": "api", "stream": stream}, "values": values}]}
    answer = httpx.post(f"{loki.url}/loki/api/v1/push", json=body, headers={"X-Scope-OrgID": "late"}, timeout=30)
    assert answer.status_code == 204, f"the push was refused with {answer.status_code}"


async def shown(loki: RealLoki, start_ns: int, number: int) -> None:
    """Wait until the store shows that many lines of the hour."""
    deadline = time.monotonic() + 90
    parameters = {"query": 'sum(count_over_time({job="api"}[1h]))', "time": str(start_ns + NS_PER_HOUR - 1)}
    async with httpx.AsyncClient(base_url=loki.url, headers={"X-Scope-OrgID": "late"}) as client:
        while time.monotonic() < deadline:
            found = (await client.get("/loki/api/v1/query", params=parameters)).json()["data"]["result"]
            if found and int(found[0]["value"][1]) >= number:
                return
            await asyncio.sleep(0.5)
    raise AssertionError("the lines never showed")


async def read(loki: RealLoki, bus: Bus, start_ns: int, passes: dict[str, int]) -> LiveCheckpoint:
    await drain(
        None,
        bus=bus,
        clock=SystemClock(),
        until_ns=time.time_ns() - NS_PER_SECOND,
        loki={"url": loki.url, "hot_delay_seconds": 0.1, "poll_interval_seconds": 0.1, "passes": passes},
        org_id="late",
        start=datetime.fromtimestamp(start_ns / 1e9, UTC).isoformat(),
    )
    return LiveCheckpoint.decode(bus.records[live_key("acme")])


async def test_late_lines_are_found_after_a_flush_and_once(loki: RealLoki):
    start_ns = (time.time_ns() // NS_PER_HOUR - 6) * NS_PER_HOUR
    times = [start_ns + n * NS_PER_SECOND for n in range(0, 3600, 2)]
    push(loki, "on-time", times)
    loki.flush()
    await shown(loki, start_ns, 1800)
    bus = Bus()
    await read(loki, bus, start_ns, NOT_YET)
    assert (len(bus.ids), bus.late) == (1800, 0)
    push(loki, "late", times[::3])
    live = await read(loki, bus, start_ns, NOT_YET | {"warm_after_seconds": 4500})
    unflushed = len(bus.ids) - 1800  # a single binary hides what is older than about 2 h 36 min and not flushed
    loki.flush()
    await shown(loki, start_ns, 2400)
    live = await read(loki, bus, start_ns, NOT_YET | {"warm_after_seconds": 4500, "cold_after_seconds": 14_400})
    assert (len(bus.ids), len(set(bus.ids)), bus.late) == (2400, 2400, 600)
    assert unflushed == 0
    assert {unit.pass_name for unit in bus.units if unit.batch.late and unit.batch.count} == {"cold"}
    assert live.passes.cold_ns > start_ns
    assert live.troubles == ()
    await read(loki, bus, start_ns, {"seal_after_seconds": 14_400})
    assert len(bus.ids) == 2400
