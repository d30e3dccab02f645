"""The delivery engine of one target: what ``app`` builds and runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from connectors.base import Connector, TargetSettings
from exporter.bus.base import Bus
from exporter.delivery.buffer import HeldBytes
from exporter.delivery.gate import Gate
from exporter.delivery.lane import LaneParts
from exporter.delivery.retry import RetryPolicy
from exporter.delivery.run import TargetRun
from exporter.delivery.stats import DeliveryStats
from exporter.domain.clock import Clock


class TargetEngine:
    """Delivers the events of ``tenants`` from the bus to one target, in order within each lane.

    ``memory_bytes`` bounds the records held, whatever the backlog and however long the target is down.
    """

    def __init__(
        self,
        target: str,
        settings: TargetSettings,
        connector: Connector,
        bus: Bus,
        tenants: Sequence[str],
        *,
        worker: str,
        clock: Clock,
        memory_bytes: int,
        drain_deadline_seconds: float,
    ) -> None:
        self._target, self._settings, self._connector, self._bus = target, settings, connector, bus
        self._tenants, self._worker, self._clock = tuple(tenants), worker, clock
        self._memory_bytes, self._deadline_seconds = memory_bytes, drain_deadline_seconds
        self._stats = DeliveryStats()
        self._held = HeldBytes()
        self._run: TargetRun | None = None
        self._gate: Gate | None = None

    async def run(self, stop: asyncio.Event, finish: asyncio.Event | None = None) -> None:
        """Deliver until ``stop``: then what is read is delivered and committed within the deadline, and the connector
        closed. With ``finish`` set, return by itself once everything on the bus is delivered. A target that is down
        never ends it; a bus that cannot go on does (``ExporterError``), and the caller runs it again.
        """
        retry = RetryPolicy(self._settings.retry_max_seconds)
        self._gate = gate = Gate(self._target, self._settings, self._connector.capabilities, self._clock, retry)
        parts = LaneParts(
            target=self._target,
            settings=self._settings,
            connector=self._connector,
            gate=gate,
            dead_letters=self._bus.dead_letters(),
            retry=retry,
            clock=self._clock,
            held=self._held,
            stats=self._stats,
        )
        self._run = TargetRun(
            parts,
            self._connector,
            self._bus,
            self._tenants,
            worker=self._worker,
            clock=self._clock,
            memory_bytes=self._memory_bytes,
            drain_deadline_seconds=self._deadline_seconds,
        )
        try:
            await self._run.run(stop, finish)
        finally:
            self._run = None

    def snapshot(self) -> dict[str, Any]:
        """Return the present state for ``status`` and the supervisor: plain JSON values, no payload."""
        stats, run, gate = self._stats, self._run, self._gate
        lag = dict(run.poller.lag) if run is not None else {}
        committed = run.poller.committed() if run is not None else {}
        lanes = run.lanes.copy() if run is not None else {}
        return {
            "running": run is not None,
            "delivered": stats.delivered,
            "delivered_bytes": stats.delivered_bytes,
            "dead_letters": stats.dead_letters,
            "possible_duplicates": stats.possible_duplicates,
            "last_stored_ns": stats.last_stored_ns,
            "last_error": stats.last_error,
            "held_bytes": self._held.total,
            "lag": sum(lag.values()),
            "breakers": dict(gate.breakers.states()) if gate is not None else {},
            "concurrency": gate.limit.limit if gate is not None else 0,
            "under_way": gate.limit.in_use if gate is not None else 0,
            "lanes": {
                f"{lane.tenant}/{lane.partition}": {
                    "position": committed.get(lane),
                    "lag": lag.get(lane),
                    "state": lanes[lane].state if lane in lanes else "idle",
                }
                for lane in sorted(set(lag) | set(committed) | set(lanes))
            },
        }
