"""Guarantee G1 over HTTP, on the stand-in Loki: several ingesters, ties, fat lines, lost messages, late pushes."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from exporter.domain.clock import SystemClock
from exporter.domain.windows import NS_PER_SECOND
from exporter.loki.client import LokiClient
from exporter.sandbox.loki import Fault, LokiLimits, StandInLoki
from exporter.settings.model import LokiSettings
from tests.support.reading import Bus, drain, reader_of


@asynccontextmanager
async def cell(**how: object) -> AsyncIterator[StandInLoki]:
    loki = StandInLoki(**how)
    await loki.start()
    try:
        yield loki
    finally:
        await loki.stop()


def truth(loki: StandInLoki) -> set[tuple]:
    return {
        (tuple(sorted(e.labels.items())), e.time_ns, e.line, tuple(sorted((e.metadata or {}).items())))
        for e in loki.truth("acme")
    }


def now_ns() -> int:
    return time.time_ns() // NS_PER_SECOND * NS_PER_SECOND


def fill(loki: StandInLoki, count: int, *, span_seconds: int, end_ns: int, seed: int = 1) -> None:
    rng = random.Random(seed)
    for stream in range(6):
        labels = {"job": "api", "app": f"app-{stream}"}
        times = sorted(end_ns - 1 - rng.randrange(span_seconds * NS_PER_SECOND) for _ in range(count // 6))
        assert not loki.push("acme", labels, [(t, f"line {stream} {n}") for n, t in enumerate(times)]).errors


async def read(loki: StandInLoki, until_ns: int, bus: Bus | None = None, **how: object) -> Bus:
    how["loki"] = {"url": loki.url, "hot_delay_seconds": 0.1, "poll_interval_seconds": 0.1} | how.pop("loki", {})
    return await drain(None, bus=bus, clock=SystemClock(), until_ns=until_ns, **how)


@pytest.mark.parametrize(
    ("ingesters", "replication", "mode"), [(3, 1, "separate"), (3, 3, "separate"), (1, 1, "single")]
)
async def test_every_line_once(ingesters: int, replication: int, mode: str):
    async with cell(ingesters=ingesters, replication=replication, mode=mode) as loki:
        loki.limits.max_entries_limit_per_query = 400
        end = now_ns() - 2 * NS_PER_SECOND
        fill(loki, 6000, span_seconds=3000, end_ns=end)
        bus = await read(loki, end)
        assert bus.holds(truth(loki)) == (0, 0, 0)
        assert bus.units[-1].live.troubles == ()


async def test_retried_pushes_short_pages_and_flush():
    async with cell(limits=LokiLimits(max_entries_limit_per_query=100)) as loki:
        end = now_ns() - 2 * NS_PER_SECOND
        for _ in range(3):
            fill(loki, 240, span_seconds=100, end_ns=end)
            loki.cut_blocks()
        bus = await read(loki, end)
        loki.flush()
        await read(loki, end + NS_PER_SECOND, bus)
        assert bus.holds(truth(loki)) == (0, 0, 0)


async def test_a_hundred_thousand_lines_on_one_nanosecond():
    async with cell(limits=LokiLimits(max_entries_limit_per_query=2000)) as loki:
        end = now_ns() - 2 * NS_PER_SECOND
        for stream in range(391):  # one stream alone is more than a page, so the filters have to part it
            labels = {"job": "burst"} | ({"pod": str(stream)} if stream else {})
            lines = 250 if stream else 2500
            entries = [(end - 7, f'{{"level":"info","n":{n * 7919},"stream":{stream}}}') for n in range(lines)]
            assert not loki.push("acme", labels, entries).errors
        assert len(loki.truth("acme")) == 100_000
        bus = await read(loki, end)
        assert bus.holds(truth(loki)) == (0, 0, 0)
        assert bus.units[-1].live.troubles == ()


async def test_fat_lines_that_make_ingesters_vanish():
    async with cell() as loki:
        end = now_ns() - 2 * NS_PER_SECOND
        fill(loki, 120, span_seconds=60, end_ns=end)
        fat = [(end - 60 * NS_PER_SECOND + n * 10**8, f"{n} " + "x" * 60_000) for n in range(300)]
        assert not loki.push("acme", {"job": "fat"}, fat).errors
        bus = await read(loki, end)
        assert bus.holds(truth(loki)) == (0, 0, 0)
        assert bus.units[-1].live.troubles == ()


async def test_an_answer_without_one_ingester_is_not_believed():
    async with cell() as loki:
        end = now_ns() - 2 * NS_PER_SECOND
        fill(loki, 300, span_seconds=2000, end_ns=end)
        loki.faults.add(Fault(kind="query_range", times=3, after=1, lost_ingesters=(0,)))
        bus = await read(loki, end)
        assert bus.holds(truth(loki)) == (0, 0, 0)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429), Fault(status=500), Fault(status=502), Fault(status=504), Fault(status=413), Fault(close=True),
        Fault(cut_after_bytes=40), Fault(status=200, body="<html></html>"), Fault(warning="partial"),
        Fault(without_stats=True), Fault(lost_chunks=1),
    ],
    ids=lambda fault: repr(fault)[:60],
)  # fmt: skip
async def test_each_fault_of_the_wire_costs_time_only(fault: Fault):
    async with cell() as loki:
        end = now_ns() - 2 * NS_PER_SECOND
        fill(loki, 300, span_seconds=500, end_ns=end)
        fault.kind = "query_range"
        loki.faults.add(fault)
        bus = await read(loki, end)
        assert bus.holds(truth(loki)) == (0, 0, 0)


async def test_lines_pushed_seconds_after_their_stamp_come_within_some_cycles():
    """The live edge: the reader runs, agents push late; each line goes out once, soon after Loki has it."""
    async with cell() as loki:
        settings = LokiSettings(url=loki.url, hot_delay_seconds=0.2, poll_interval_seconds=0.2)
        bus, rng, clock = Bus(), random.Random(4), SystemClock()
        async with LokiClient(settings, clock=clock) as client:
            reader = reader_of(client, settings, clock, start="earliest")
            await reader.restore({})
            async with aclosing(reader.units()) as units:
                cycles = 0
                async for unit in units:
                    bus.commit(unit)
                    if unit.batch.late:
                        continue
                    cycles += 1
                    if cycles <= 10:
                        stamp = time.time_ns()
                        for stream in range(3):
                            late_ns = stamp - rng.randrange(30 * NS_PER_SECOND)
                            entries = [(stamp, f"now {cycles}"), (late_ns, f"late {cycles}")]
                            loki.push("acme", {"job": f"s{stream}"}, entries)
                    elif not any(bus.holds(truth(loki))) or cycles > 30:
                        break
        assert bus.holds(truth(loki)) == (0, 0, 0)
        assert bus.late > 0
