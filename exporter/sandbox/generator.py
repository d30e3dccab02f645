"""Seeded log generator: the lines of ``exporter.sandbox.loglines`` pushed as a log agent does. It pushes to any Loki at a steady rate, some entries seconds after their stamp, and repeats a
push that failed, as agents do.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import httpx
import orjson
from isal import igzip

from exporter.domain.clock import Clock, SystemClock
from exporter.sandbox.loglines import Generated, LogGenerator, Planted, push_document

__all__ = ["Agent", "Generated", "LogGenerator", "Planted", "Report", "push_document", "run"]

#: Time between two pushes of a tenant; agents batch for about a second, a demo looks smoother with less.
_TICK_SECONDS = 0.2
_ATTEMPTS = 8
_FIRST_PAUSE_SECONDS = 0.2


@dataclass(slots=True)
class Report:
    """What was pushed so far; may be read while :func:`run` goes on."""

    accepted: Counter[str] = field(default_factory=Counter)
    late: int = 0
    refused: int = 0
    planted: list[Planted] = field(default_factory=list, repr=False)


@dataclass(slots=True)
class Agent:
    """Pushes the entries of several tenants."""

    client: httpx.AsyncClient
    generators: Mapping[str, LogGenerator]
    rng: random.Random
    late_share: float
    late_seconds: tuple[float, float]
    clock: Clock = field(default_factory=SystemClock)
    report: Report = field(default_factory=Report)
    #: Entries held back: when to push, tie breaker, tenant, entry.
    held: list[tuple[float, int, str, Generated]] = field(default_factory=list)
    _made: int = 0

    async def run(self, rate_per_second: float, seconds: float) -> Report:
        """Push for that long, then push what is still held back at its time."""
        began = self.clock.monotonic()
        made = 0
        while (passed := self.clock.monotonic() - began) < seconds:
            due = int(min(passed, seconds) * rate_per_second) - made
            made += due
            await self._push_all(self._batches(due))
            await self.clock.sleep(max(0.0, _TICK_SECONDS - (self.clock.monotonic() - began - passed)))
        await self._push_all(self._batches(int(seconds * rate_per_second) - made))
        while self.held:
            await self.clock.sleep(max(0.0, self.held[0][0] - self.clock.monotonic()))
            await self._push_all(self._overdue())
        return self.report

    def _batches(self, count: int) -> dict[str, list[Generated]]:
        """Make new entries, hold the late ones back, add those that are due now."""
        batches = self._overdue()
        names = list(self.generators)
        now_ns, now = self.clock.now_ns(), self.clock.monotonic()
        for index in range(count):
            tenant = names[self._made % len(names)]
            self._made += 1
            # Spread over the tick that lies behind, so that stamps rise.
            entry = self.generators[tenant].entry(now_ns - (count - index) * int(_TICK_SECONDS * 1e9) // max(1, count))
            self.report.planted.extend(entry.planted)
            if self.rng.random() < self.late_share:
                self.report.late += 1
                heapq.heappush(self.held, (now + self.rng.uniform(*self.late_seconds), self._made, tenant, entry))
            else:
                batches.setdefault(tenant, []).append(entry)
        return batches

    def _overdue(self) -> dict[str, list[Generated]]:
        batches: dict[str, list[Generated]] = {}
        now = self.clock.monotonic()
        while self.held and self.held[0][0] <= now:
            _, _, tenant, entry = heapq.heappop(self.held)
            batches.setdefault(tenant, []).append(entry)
        return batches

    async def _push_all(self, batches: Mapping[str, Sequence[Generated]]) -> None:
        await asyncio.gather(*(self._push(tenant, entries) for tenant, entries in batches.items()))

    async def _push(self, tenant: str, entries: Sequence[Generated]) -> None:
        """Push once, and again while Loki says that it did not take it. A 4xx other than 429 is final: entries were too
        old, too long or the like.
        """
        body = igzip.compress(orjson.dumps(push_document(entries)), compresslevel=1)
        headers = {"X-Scope-OrgID": tenant, "Content-Type": "application/json", "Content-Encoding": "gzip"}
        for attempt in range(_ATTEMPTS):
            status = 0
            with contextlib.suppress(httpx.TransportError):
                answer = await self.client.post("/loki/api/v1/push", content=body, headers=headers)
                status = answer.status_code
            if 200 <= status < 300:
                self.report.accepted[tenant] += len(entries)
                return
            if 400 <= status < 500 and status != 429:
                break
            await self.clock.sleep(_FIRST_PAUSE_SECONDS * 2**attempt)
        self.report.refused += len(entries)


async def run(
    url: str,
    tenants: Sequence[str],
    rate_per_second: float,
    seconds: float,
    seed: int,
    *,
    late_share: float = 0.05,
    late_seconds: tuple[float, float] = (1.0, 30.0),
    pii_share: float = 0.3,
    report: Report | None = None,
    clock: Clock | None = None,
) -> Report:
    """Push to ``url`` (a base URL) for that long, ``rate_per_second`` lines over all tenants together; ``late_share`` of
    them are pushed ``late_seconds`` after their stamp, the last ones after the end. ``report``: where to count, for
    callers that look on. Returns the report; never raises for an unreachable Loki, which counts as ``refused``.
    """
    generators = {tenant: LogGenerator(seed, tenant=tenant, pii_share=pii_share) for tenant in tenants}
    async with httpx.AsyncClient(base_url=url, timeout=30.0) as client:
        agent = Agent(
            client,
            generators,
            random.Random(seed),
            late_share,
            late_seconds,
            clock if clock is not None else SystemClock(),
            report if report is not None else Report(),
        )
        return await agent.run(rate_per_second, seconds)
