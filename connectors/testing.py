"""The contract suite: what every connector must pass, ours and those from outside.

It needs no test framework. Implement :class:`Harness` around your connector and a target under your control, and run each of
:data:`CHECKS`; with pytest::

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    async def test_contract(check, harness):
        await check(harness)

A failed check raises AssertionError with counts, never with event text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from connectors.base import Batch, Connector, Record, TargetError, TargetUnavailable
from exporter.domain.events import encode_head

#: A word that stands in every event of the suite; it must not show up in any message.
MARK = "contract-suite-payload"
_BASE_NS = 1_700_000_000_000_000_000


def _shows_no_payload(error: TargetError) -> None:
    assert MARK not in f"{error!s}{error!r}", "the error shows event text"


class Harness(Protocol):
    """Your connector and its target."""

    def connector(self) -> Connector:
        """Build a connector, not yet open, always towards the same target and with the same state."""
        ...

    async def stored(self, tenant: str) -> list[bytes]:
        """Return the canonical events of a tenant that the target has, in its order (order between lanes is free)."""
        ...

    async def break_target(self) -> None:
        """Let the target refuse or lose requests from now on, as in an outage."""
        ...

    async def mend_target(self) -> None: ...

    def refused_event(self) -> bytes | None:
        """Return an event that the target refuses for good, or None when it takes everything."""
        ...


def make_event(number: int, *, padding: int = 0) -> bytes:
    """Return a canonical event that holds :data:`MARK`."""
    head = encode_head(f"{number:032x}", _BASE_NS + number * 1_000_003)
    return head + b'"tenant.id":"t","message":"%b %b"}' % (MARK.encode(), b"x" * padding)


def make_batch(values: Sequence[bytes], *, tenant: str = "t", partition: int = 0, start: int = 0) -> Batch:
    """Return a batch with consecutive offsets."""
    records = [Record(start + i, b"stream", value) for i, value in enumerate(values)]
    return Batch(tenant, partition, records, sum(map(len, values)))


async def deliver_fully(connector: Connector, batch: Batch, *, tries: int = 200) -> tuple[list[int], int]:
    """Deliver as the engine does: ``retry`` again before anything else, failures again. Return the refused offsets and
    the possible duplicates. Raises AssertionError when it does not end.
    """
    refused: list[int] = []
    duplicates = 0
    records = list(batch.records)
    for _ in range(tries):
        if not records:
            return refused, duplicates
        try:
            result = await connector.deliver(
                Batch(batch.tenant, batch.partition, tuple(records), sum(len(r.value) for r in records))
            )
        except TargetUnavailable as error:
            await asyncio.sleep(min(0.05, error.retry_after_seconds or 0.0))
            continue
        marked = {rejection.index for rejection in result.rejected} | set(result.retry)
        assert len(marked) == len(result.rejected) + len(result.retry), "an index is marked twice"
        assert all(0 <= index < len(records) for index in marked), "an index is not of this batch"
        refused += [records[rejection.index].offset for rejection in result.rejected]
        duplicates += result.possible_duplicates
        records = [records[index] for index in sorted(result.retry)]
    raise AssertionError(f"{len(records)} records are left after {tries} tries")


async def check_opening_writes_nothing(harness: Harness) -> None:
    """``open`` proves that the target can be used and leaves no event there; it may be called again after ``close``."""
    connector = harness.connector()
    for _ in range(2):
        await connector.open()
        await connector.close()
    assert await harness.stored("t") == []


async def check_closing_unopened(harness: Harness) -> None:
    """``close`` never fails, also when ``open`` was not called or failed."""
    await harness.connector().close()
    await harness.break_target()
    connector = harness.connector()
    try:
        await connector.open()
    except TargetError as error:
        _shows_no_payload(error)
    await connector.close()


async def check_events_arrive_unchanged_and_in_order(harness: Harness) -> None:
    """What is stored are the same bytes, in the order of the lane."""
    values = [make_event(i, padding=i % 50) for i in range(300)]
    connector = harness.connector()
    await connector.open()
    for start in range(0, 300, 100):
        refused, _ = await deliver_fully(connector, make_batch(values[start : start + 100], start=start))
        assert not refused, f"{len(refused)} good events refused"
    await connector.close()
    assert await harness.stored("t") == values, "stored events differ from what was delivered"


async def check_largest_batch(harness: Harness) -> None:
    """A batch of the size that the capabilities name is taken."""
    connector = harness.connector()
    await connector.open()
    limit = connector.capabilities.max_batch_bytes
    count = min(connector.capabilities.max_batch_records, 2000)
    padding = max(0, min(limit, 4_000_000) // count - len(make_event(0)) - 1)
    values = [make_event(i, padding=padding) for i in range(count)]
    refused, _ = await deliver_fully(connector, make_batch(values))
    await connector.close()
    assert not refused, f"{len(refused)} of {count} events refused"
    assert len(await harness.stored("t")) == count


async def check_lanes_at_once(harness: Harness) -> None:
    """Several lanes may be under way together."""
    connector = harness.connector()
    await connector.open()
    batches = [make_batch([make_event(100 * lane + i) for i in range(50)], partition=lane) for lane in range(4)]
    await asyncio.gather(*(deliver_fully(connector, batch) for batch in batches))
    await connector.close()
    stored = await harness.stored("t")
    assert len(stored) == len(set(stored)) == 200, f"{len(stored)} stored, {len(set(stored))} distinct, 200 delivered"
    for batch in batches:
        values = {r.value for r in batch.records}
        assert [v for v in stored if v in values] == [r.value for r in batch.records], "a lane lost its order"


async def check_one_bad_event_costs_one(harness: Harness) -> None:
    """A refused event is named alone; its neighbours are stored in order."""
    bad = harness.refused_event()
    if bad is None:
        return
    values = [make_event(i) for i in range(60)]
    for position in (0, 30, 62):
        values.insert(position, bad)
    connector = harness.connector()
    await connector.open()
    refused, _ = await deliver_fully(connector, make_batch(values))
    await connector.close()
    assert sorted(refused) == [0, 30, 62], f"refused {len(refused)} events at {sorted(refused)}"
    stored = await harness.stored("t")
    assert stored == [v for v in values if v != bad], f"{len(stored)} of 60 neighbours stored, or out of order"


async def check_outage(harness: Harness) -> None:
    """While the target is away, a delivery raises TargetError without event text; afterwards nothing is lost, and what may
    be stored twice was counted (nothing, when the connector says that it is idempotent).
    """
    connector = harness.connector()
    await connector.open()
    values = [make_event(i) for i in range(40)]
    await deliver_fully(connector, make_batch(values[:20]))
    await harness.break_target()
    try:
        result = await connector.deliver(make_batch(values[20:], start=20))
    except TargetError as error:
        _shows_no_payload(error)
    else:
        assert len(result.retry) == 20, "stored or refused while the target was away"
    await harness.mend_target()
    _, duplicates = await deliver_fully(connector, make_batch(values[20:], start=20))
    await connector.close()
    stored = await harness.stored("t")
    assert set(stored) == set(values), f"{len(set(values) - set(stored))} events lost"
    extra = len(stored) - len(values)
    assert extra <= (0 if connector.capabilities.idempotent else duplicates), (
        f"{extra} duplicates, {duplicates} counted"
    )


async def check_cancelled_delivery(harness: Harness) -> None:
    """A delivery that was cancelled can be made again."""
    connector = harness.connector()
    await connector.open()
    batch = make_batch([make_event(i) for i in range(30)])
    task = asyncio.create_task(connector.deliver(batch))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    _, duplicates = await deliver_fully(connector, batch)
    await connector.close()
    stored = await harness.stored("t")
    assert len(set(stored)) == 30, f"{30 - len(set(stored))} events lost"
    allowed = 0 if connector.capabilities.idempotent else duplicates
    assert len(stored) - 30 <= allowed, f"{len(stored) - 30} duplicates, {allowed} counted"


async def check_again_after_restart(harness: Harness) -> None:
    """A batch that was stored but not committed comes again after a restart, cut differently: an idempotent connector
    stores it once, any other stores it again and loses nothing.
    """
    values = [make_event(i) for i in range(30)]
    first = harness.connector()
    await first.open()
    await deliver_fully(first, make_batch(values[:20]))
    await first.close()
    second = harness.connector()
    await second.open()
    await deliver_fully(second, make_batch(values[10:], start=10))
    await second.close()
    stored = await harness.stored("t")
    assert set(stored) == set(values), f"{len(set(values) - set(stored))} events lost"
    if second.capabilities.idempotent:
        assert len(stored) == 30, f"{len(stored) - 30} duplicates of an idempotent connector"


CHECKS: tuple[Callable[[Harness], Awaitable[None]], ...] = (
    check_opening_writes_nothing,
    check_closing_unopened,
    check_events_arrive_unchanged_and_in_order,
    check_largest_batch,
    check_lanes_at_once,
    check_one_bad_event_costs_one,
    check_outage,
    check_cancelled_delivery,
    check_again_after_restart,
)
