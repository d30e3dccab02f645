"""The log generator: the same seed gives the same lines, planted values are where it says, and an agent loses nothing."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

import httpx
import pytest

from exporter.domain.clock import ManualClock
from exporter.sandbox.generator import LogGenerator, Report, run
from exporter.sandbox.loki import Fault, StandInLoki
from exporter.sandbox.loki.storage import TruthEntry

START = 1_760_000_400_000_000_000
KINDS = {"email", "ipv4", "ipv6", "iban", "card", "bearer", "basic", "aws_key", "password"}
PLACES = {"line", "json_value", "json_key", "json_number", "logfmt_value", "access_log", "label", "metadata"}


def test_the_same_seed_gives_the_same_entries_and_another_tenant_others() -> None:
    def lines(seed: int, tenant: str) -> list[str]:
        return [e.line for e in LogGenerator(seed, tenant=tenant).entries(200, START)]

    assert lines(1, "a") == lines(1, "a")
    assert lines(1, "a") != lines(2, "a")
    assert lines(1, "a") != lines(1, "b")


def test_every_planted_value_stands_where_it_says_and_nothing_is_planted_at_share_zero() -> None:
    seen: Counter = Counter()
    for entry in LogGenerator(3).entries(5000, START):
        for planted in entry.planted:
            seen[planted.kind, planted.place] += 1
            assert planted.value not in repr(planted)
            assert planted.value in _text_at(entry, planted.place)
    assert {kind for kind, _ in seen} == KINDS
    assert {place for _, place in seen} == PLACES
    none = {p.place for e in LogGenerator(3, pii_share=0).entries(2000, START) for p in e.planted}
    assert none == {"label"}


def _text_at(entry, place: str) -> str:
    if place == "label":
        return "\n".join(entry.labels.values())
    if place == "metadata":
        return "\n".join(entry.metadata.values())
    if place == "json_key":
        return "\n".join(json.loads(entry.line)["seen_by"])
    if place == "json_number":
        return str(json.loads(entry.line)["card"])
    return entry.line


def test_streams_and_formats() -> None:
    entries = list(LogGenerator(1, tenant="acme").entries(3000, START))
    assert len({tuple(e.labels.items()) for e in entries}) == 25
    by_app = {e.labels["app"]: e.line for e in entries}
    assert json.loads(by_app["checkout"])["level"]
    assert by_app["auth"].startswith("ts=")
    assert '"GET ' in "".join(e.line for e in entries if e.labels["app"] == "gateway")


class CountingClock(ManualClock):
    """Sleeps give way to the server, so that real requests pass in made-up time."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0.001)


async def test_an_agent_pushes_everything_once_late_lines_too_and_repeats_what_failed() -> None:
    clock = CountingClock(START)
    loki = StandInLoki(clock=clock)
    await loki.start()
    loki.faults.next("push", 2, status=500)
    loki.faults.add(Fault("push", 1, after=3, close=True))
    shown = Report()
    report = await run(loki.url, ["a", "b"], 200, 3, 7, late_share=0.2, late_seconds=(1, 30), clock=clock, report=shown)
    await loki.stop()
    assert shown is report
    assert report.accepted == {"a": 300, "b": 300}
    assert report.refused == 0
    assert 80 < report.late < 160
    assert report.planted
    for tenant in "ab":
        truth = loki.truth(tenant)
        assert len(truth) == 300
        arrivals = [entry.time_ns for entry in truth if isinstance(entry, TruthEntry)]
        assert arrivals != sorted(arrivals)  # late ones came behind newer ones


async def test_an_unreachable_loki_is_counted_not_raised() -> None:
    loki = StandInLoki()
    await loki.start()
    url = loki.url
    await loki.stop()
    report = await run(url, ["a"], 50, 1, 7, late_share=0, clock=CountingClock(START))
    assert (report.accepted.total(), report.refused) == (0, 50)


@pytest.mark.slow
async def test_the_stand_in_runs_as_a_process() -> None:
    command = [sys.executable, "-m", "exporter.sandbox.loki", "--port", "0", "--ingesters", "2"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    url = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))["url"]
    assert url.startswith("http://127.0.0.1:")
    report = await run(url, ["a"], 2000, 0.5, 1, late_share=0)
    async with httpx.AsyncClient() as client:
        truth = (await client.get(f"{url}/sandbox/truth?tenant=a")).json()
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 10) == 0
    assert truth["count"] == report.accepted["a"] == 1000
