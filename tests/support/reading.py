"""Reading a Loki (in the process or over HTTP) with a TenantReader, and keeping what it committed."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field

import httpx

from exporter.domain.checkpoints import live_key
from exporter.domain.clock import Clock, ManualClock
from exporter.loki.client import LokiClient
from exporter.loki.reader import ReadUnit, TenantReader
from exporter.ops.budget import ByteBudget
from exporter.settings.model import LokiSettings, TenantSettings

#: A whole hour, so that windows and hours are easy to name.
NOW_NS = 1_760_000_400_000_000_000 // 3_600_000_000_000 * 3_600_000_000_000
SECOND = 1_000_000_000
SELECTOR = '{job=~".+"}'


@dataclass
class Bus:
    """What a worker would have committed."""

    records: dict[str, bytes] = field(default_factory=dict)
    units: list[ReadUnit] = field(default_factory=list)
    entries: list[tuple] = field(default_factory=list)
    ids: list[bytes] = field(default_factory=list)
    late: int = 0

    def commit(self, unit: ReadUnit) -> None:
        self.units.append(unit)
        self.records[live_key(unit.live.tenant)] = unit.live.encode()
        for key, value in unit.records.items():
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value
        for stream in unit.batch.streams:
            assert stream.times_ns == sorted(stream.times_ns)
            labels = tuple(sorted(stream.labels.items()))
            metadata = stream.metadata or [{}] * len(stream)
            for time_ns, line, extra in zip(stream.times_ns, stream.lines, metadata, strict=True):
                self.entries.append((labels, time_ns, line, tuple(sorted(extra.items()))))
            self.ids += stream.event_ids
            self.late += len(stream) if unit.batch.late else 0

    def holds(self, truth: set[tuple]) -> tuple[int, int, int]:
        """Missing, invented, repeated: (0, 0, 0) is what guarantee G1 asks for. Numbers only, so that a failing test
        shows no text.
        """
        mine = set(self.entries)
        return len(truth - mine), len(mine - truth), len(self.ids) - len(set(self.ids))


def reader_of(
    client: LokiClient, settings: LokiSettings, clock: Clock, *, near_bytes: int = 8 << 20, **tenant: object
) -> TenantReader:
    tenant_settings = TenantSettings(**({"selector": SELECTOR} | tenant))
    return TenantReader(
        "acme", tenant_settings, settings, client, clock=clock, near_bytes=near_bytes, read_ahead=ByteBudget(24 << 20)
    )


async def drain(
    transport: httpx.AsyncBaseTransport | None,
    *,
    bus: Bus | None = None,
    clock: Clock | None = None,
    until_ns: int = NOW_NS,
    stop_after: int | None = None,
    loki: dict[str, object] | None = None,
    near_bytes: int = 8 << 20,
    **tenant: object,
) -> Bus:
    """Read up to ``until_ns`` (or only ``stop_after`` units, as if the worker died then)."""
    bus = bus or Bus()
    clock = clock or ManualClock(NOW_NS + 2 * SECOND)
    settings = LokiSettings(**({"url": "http://loki.test"} | (loki or {})))
    async with LokiClient(settings, clock=clock, transport=transport) as client:
        reader = reader_of(client, settings, clock, near_bytes=near_bytes, **tenant)
        await reader.restore(bus.records)
        async with aclosing(reader.units(until_ns)) as units:
            seen = 0
            async for unit in units:
                if seen == stop_after:
                    break  # this unit was read ahead and never committed
                bus.commit(unit)
                seen += 1
    return bus
