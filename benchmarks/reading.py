"""Reading a Loki: lines per second and CPU per entry of ``TenantReader``, everything it does included.

``python -m benchmarks.reading [--lines 200000] [--url URL --tenant T]``. Without a URL the stand-in runs in a process of its
own and is filled first. ``logcli`` read the same window out of a real Loki at 36,000 lines/s on such a machine (design,
"Speed budget").
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import orjson

from exporter.domain.clock import SystemClock
from exporter.loki.client import LokiClient
from exporter.loki.reader import TenantReader
from exporter.ops.budget import ByteBudget
from exporter.ops.log import configure
from exporter.sandbox.generator import LogGenerator, push_document
from exporter.settings.model import LokiSettings, TenantSettings

TENANT = "bench"
LOGCLI_LINES_PER_SECOND = 36_000
#: History: twenty minutes that ended a quarter of an hour ago, so that nothing is late or hot.
AGE_SECONDS, SPAN_SECONDS = 2100, 1200
_PUSH = 5000


@contextmanager
def stand_in() -> Iterator[str]:
    """Run the stand-in Loki; yields its address."""
    command = [sys.executable, "-m", "exporter.sandbox.loki", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield orjson.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()


def fill(url: str, lines: int) -> None:
    start_ns = time.time_ns() - AGE_SECONDS * 10**9
    entries = LogGenerator(7, tenant=TENANT, pii_share=0.3).entries(lines, start_ns, SPAN_SECONDS * 10**9 // lines)
    with httpx.Client(base_url=url, headers={"X-Scope-OrgID": TENANT}, timeout=60) as client:
        chunk = []
        for entry in entries:
            chunk.append(entry)
            if len(chunk) == _PUSH:
                client.post("/loki/api/v1/push", json=push_document(chunk)).raise_for_status()
                chunk = []
        if chunk:
            client.post("/loki/api/v1/push", json=push_document(chunk)).raise_for_status()


async def read(url: str, tenant: str) -> tuple[int, float, float]:
    """Return entries, CPU seconds and wall seconds."""
    settings, clock = LokiSettings(url=url), SystemClock()
    async with LokiClient(settings, clock=clock) as client:
        tenant_settings = TenantSettings(selector='{job=~".+"}')
        reader = TenantReader(tenant, tenant_settings, settings, client, clock=clock, near_bytes=5_000_000, read_ahead=ByteBudget(64_000_000))
        await reader.restore({})
        cpu, wall, entries = time.process_time(), time.perf_counter(), 0
        async for unit in reader.units(time.time_ns() - 10**9):
            entries += unit.batch.count
        return entries, time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--url")
    parser.add_argument("--tenant", default=TENANT)
    arguments = parser.parse_args()
    configure("error")
    if arguments.url:
        report(*asyncio.run(read(arguments.url, arguments.tenant)))
        return
    with stand_in() as url:
        fill(url, arguments.lines)
        entries, cpu, wall = asyncio.run(read(url, TENANT))
        assert entries == arguments.lines, f"{entries} of {arguments.lines} entries were read"
        report(entries, cpu, wall)


def report(entries: int, cpu: float, wall: float) -> None:
    print(
        f"{entries:,} entries: {entries / wall:,.0f} lines/s wall ({entries / wall / LOGCLI_LINES_PER_SECOND:.1f} x logcli), "
        f"{cpu / entries * 1e6:.2f} µs CPU per entry (decode, ids, proofs, HTTP)"
    )


if __name__ == "__main__":
    main()
