"""What the passes over history cost beside the live reading, on quiet history: questions and CPU of reader and stand-in together.

``python -m benchmarks.passes [--hours 6]``. A clock moved by hand plays the hours in seconds: the tenant is read live, a line every
few seconds, once with passes and once with bounds so far away that none is due. Wanted: at most 15 % more.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Mapping
from contextlib import aclosing

from exporter.domain.clock import ManualClock
from exporter.domain.windows import NS_PER_HOUR, NS_PER_SECOND
from exporter.loki.client import LokiClient
from exporter.loki.reader import TenantReader
from exporter.ops.budget import ByteBudget
from exporter.ops.log import configure
from exporter.sandbox.loki import StandInLoki
from exporter.settings.model import LokiSettings, TenantSettings
from tests.support.in_process import InProcess

WANTED = 0.15
START_NS = 1_760_000_400 * NS_PER_SECOND // NS_PER_HOUR * NS_PER_HOUR
#: The live edge is read this often here: rarer than by default (1 s), which makes the passes look dearer, not cheaper.
POLL_SECONDS = 10.0
_NEVER: Mapping[str, float] = {
    "warm_after_seconds": 1e9,
    "cold_after_seconds": 1e9,
    "seal_after_seconds": 1e9,
    "drift_every_seconds": 1e9,
    "recheck_every_seconds": 1e9,
}


async def live(hours: int, lines_a_minute: int, passes: Mapping[str, float]) -> tuple[int, float, int]:
    """Read ``hours`` hours as they come; return questions, CPU seconds, entries."""
    clock = ManualClock(START_NS)
    loki = StandInLoki(clock=clock)
    transport = InProcess(loki)
    settings = LokiSettings(url="http://loki.bench", poll_interval_seconds=POLL_SECONDS, passes=dict(passes))
    client = LokiClient(settings, clock=clock, transport=transport)
    tenant = TenantSettings(selector='{job=~".+"}', start="now")
    reader = TenantReader(
        "bench", tenant, settings, client, clock=clock, near_bytes=5_000_000, read_ahead=ByteBudget(64_000_000)
    )
    await reader.restore({})
    pushed_ns, flushed_ns, entries = START_NS, START_NS, 0
    cpu = time.process_time()
    async with aclosing(reader.units()) as units:
        async for unit in units:
            entries += unit.batch.count
            now_ns = clock.now_ns()
            if now_ns >= START_NS + hours * NS_PER_HOUR:
                break
            due = int((now_ns - pushed_ns) * lines_a_minute / 60e9)
            if due:
                step_ns = (now_ns - pushed_ns) // due
                loki.push(
                    "bench", {"job": "a"}, [(pushed_ns + n * step_ns, f"line {pushed_ns + n}") for n in range(due)]
                )
                pushed_ns = now_ns
            if now_ns - flushed_ns > 2 * NS_PER_HOUR:
                loki.flush()
                flushed_ns = now_ns
    return transport.requests, time.process_time() - cpu, entries


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=6)
    parser.add_argument("--lines-a-minute", type=int, default=60)
    arguments = parser.parse_args()
    configure("error")
    # Bounds of a tenth of Loki's, so that every pass is made within the time played, the seal too.
    shrunk = {
        "warm_after_seconds": 450,
        "cold_after_seconds": 1440,
        "seal_after_seconds": 61_000,
        "drift_every_seconds": 8640,
    }
    results = {}
    for name, passes in (("live alone", _NEVER), ("with passes", shrunk)):
        runs = [asyncio.run(live(arguments.hours, arguments.lines_a_minute, passes)) for _ in range(2)]
        questions, entries, cpu = runs[0][0], runs[0][2], min(run[1] for run in runs)
        results[name] = (questions, cpu)
        print(f"{name}: {entries:,} entries in {arguments.hours} h, {questions:,} questions, {cpu:.2f} s CPU")
    (questions, cpu), (more_questions, more_cpu) = results.values()
    print(
        f"the passes add {more_questions / questions - 1:.1%} questions and {more_cpu / cpu - 1:.1%} CPU "
        f"(wanted: at most {WANTED:.0%}), at a tenth of the usual bounds and a poll of {POLL_SECONDS:.0f} s"
    )


if __name__ == "__main__":
    main()
