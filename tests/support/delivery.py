"""A connector under a test's control, and an engine around it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from connectors.base import Batch, Capabilities, Connector, DeliveryResult, Rejection, TargetSettings
from exporter.bus.base import Lane
from exporter.delivery.engine import TargetEngine
from exporter.domain.clock import Clock, SystemClock
from tests.support.events import number_of
from tests.support.memory_bus import MemoryBus

LANE = Lane("acme", 0)
#: ``script(batch, call number)`` returns a result, raises, or returns None: everything is stored.
Script = Callable[[Batch, int], Awaitable[DeliveryResult | None]]


class ScriptedConnector:
    """Stores in memory; a script decides about every call."""

    def __init__(self, script: Script | None = None, capabilities: Capabilities | None = None) -> None:
        self.capabilities = capabilities or Capabilities(max_batch_bytes=100_000, max_batch_records=100)
        self.script = script
        self.stored: dict[Lane, list[int]] = {}
        self.batches: list[tuple[Lane, int, int]] = []  # (lane, first offset, records)
        self.calls = 0
        self.opened = self.closed = 0
        self.under_way: dict[Lane, int] = {}
        self.most_under_way = 0
        self.open_errors: list[Exception] = []

    async def open(self) -> None:
        self.opened += 1
        if self.open_errors:
            raise self.open_errors.pop(0)

    async def deliver(self, batch: Batch) -> DeliveryResult:
        lane = Lane(batch.tenant, batch.partition)
        assert lane not in self.under_way, "one delivery at a time for a lane"
        assert [r.offset for r in batch.records] == sorted({r.offset for r in batch.records})
        self.calls += 1
        self.under_way[lane] = 1
        self.most_under_way = max(self.most_under_way, len(self.under_way))
        self.batches.append((lane, batch.first_offset, len(batch.records)))
        try:
            result = await self.script(batch, self.calls) if self.script else None
        finally:
            del self.under_way[lane]
        result = result or DeliveryResult()
        gone = {r.index for r in result.rejected} | set(result.retry)
        self.stored.setdefault(lane, []).extend(
            number_of(r.value) for i, r in enumerate(batch.records) if i not in gone
        )
        return result

    async def close(self) -> None:
        self.closed += 1


def reject(*indices: int) -> tuple[Rejection, ...]:
    return tuple(Rejection(index, "bad", "refused by the script") for index in indices)


def settings(**keys) -> TargetSettings:
    return TargetSettings(**{"kind": "scripted", "batch_linger_seconds": 0.0, "retry_max_seconds": 0.05, **keys})


def build_engine(
    bus: MemoryBus,
    connector: Connector,
    *,
    tenants: Sequence[str] = ("acme",),
    target_settings: TargetSettings | None = None,
    clock: Clock | None = None,
    memory_bytes: int = 32_000_000,
    drain_deadline_seconds: float = 5.0,
) -> TargetEngine:
    return TargetEngine(
        "soc",
        target_settings or settings(),
        connector,
        bus,
        tenants,
        worker="test",
        clock=clock or SystemClock(),
        memory_bytes=memory_bytes,
        drain_deadline_seconds=drain_deadline_seconds,
    )


async def deliver_all(engine: TargetEngine) -> None:
    """Run until everything on the bus is delivered."""
    finish = asyncio.Event()
    finish.set()
    await engine.run(asyncio.Event(), finish)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that must happen; the test's own time limit ends it."""
    while not condition():  # noqa: ASYNC110 - conditions are states of the code under test, which knows no such event
        await asyncio.sleep(0.005)
