"""What stands between the engine and a connector whose target has a schema of its own: mapping and exit scan.

The engine, the dead letters and a redrive know canonical events only; what the connector gets is the target's. For
``canonical`` there is no such thing in between: those bytes passed the same scan when they were encoded (see
``docs/reference/schemas.md`` for what a second one would cost).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import structlog

from connectors.base import Batch, Capabilities, Connector, DeliveryResult, Guard, Record, Rejection
from connectors.schemas import SchemaEncoder
from exporter.domain.events import event_id_of

log = structlog.get_logger()

#: Events mapped at a stretch, about 2 ms, before other lanes have their turn.
BLOCK_EVENTS = 256


class OutgoingConnector:
    """A connector (see ``connectors.base.Connector``) that maps, scans, and hands on. ``guards`` by tenant."""

    def __init__(self, target: str, inner: Connector, encoder: SchemaEncoder, guards: Mapping[str, Guard]) -> None:
        self._target, self._inner, self._encoder, self._guards = target, inner, encoder, guards

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    async def open(self) -> None:
        await self._inner.open()

    async def close(self) -> None:
        await self._inner.close()

    async def deliver(self, batch: Batch) -> DeliveryResult:
        """Deliver what can be mapped and came clean; the rest is rejected, each by itself."""
        places: list[int] = []
        records: list[Record] = []
        rejected: list[Rejection] = []
        for start in range(0, len(batch.records), BLOCK_EVENTS):
            if start:
                await asyncio.sleep(0)
            self._block(batch, start, places, records, rejected)
        if not records:
            return DeliveryResult(rejected=tuple(rejected))
        size = sum(len(record.value) for record in records)
        result = await self._inner.deliver(replace(batch, records=records, size_bytes=size))
        rejected += [replace(rejection, index=places[rejection.index]) for rejection in result.rejected]
        rejected.sort(key=lambda rejection: rejection.index)
        return replace(result, rejected=tuple(rejected), retry=tuple(places[index] for index in result.retry))

    def _block(
        self, batch: Batch, start: int, places: list[int], records: list[Record], rejected: list[Rejection]
    ) -> None:
        block = batch.records[start : start + BLOCK_EVENTS]
        mapped: list[Record] = []
        at: list[int] = []
        bodies = self._encoder.encode([record.value for record in block])
        for index, (record, body) in enumerate(zip(block, bodies, strict=True), start):
            if body is None:
                reason = f"not a canonical event that schema {self._encoder.name} can hold; it was not sent"
                rejected.append(Rejection(index, "schema", reason))
            else:
                mapped.append(record._replace(value=body, canonical=record.value))
                at.append(index)
        hits = set(
            self._guards[batch.tenant].hits([record.value for record in mapped], [record.head for record in mapped])
        )
        for number, (index, record) in enumerate(zip(at, mapped, strict=True)):
            if number in hits:
                rejected.append(self._held(batch, index, record))
            else:
                records.append(record)
                places.append(index)

    def _held(self, batch: Batch, index: int, record: Record) -> Rejection:
        event_id = event_id_of(record.head)
        log.error("exit_scan_hit", target=self._target, tenant=batch.tenant, event_id=event_id)
        reason = f"the exit scan found in schema {self._encoder.name} what the tenant's rules remove; it was not sent"
        return Rejection(index, "exit_scan", reason, withheld=True)
