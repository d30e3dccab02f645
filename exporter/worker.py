"""The shard loop: read → process → commit, the only place with a transaction boundary.

``ShardWorker.run`` follows the take-over order that correctness rests on: claim and fence (``Bus.open_shard``) → ask
whether we still are the rightful owner → read the checkpoint → read Loki. Each tenant of the shard is read by a task of its
own, so that a tenant in trouble stops alone; one committer writes what they produce. A commit holds events, checkpoint
records and a ledger record. Whatever goes wrong with a commit, nothing is carried over: the shard is opened again and reading goes on
from the last committed checkpoint.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from exporter.bus.base import Bus, Commit, ShardWriter
from exporter.commits import Item, Pending, account, compose, hold_oversized
from exporter.custody.alarm import report
from exporter.custody.chains import Head, check_end
from exporter.custody.ledger import decode_chain, encode_chain
from exporter.domain.checkpoints import CHAIN_KEY, LiveCheckpoint, is_of, live_key
from exporter.domain.clock import Clock
from exporter.domain.events import EncodedBatch
from exporter.errors import BusUnavailable, CommitAborted, ExporterError, Fenced, TenantStopped
from exporter.loki.client import LokiClient
from exporter.loki.reader import ReadUnit, TenantReader
from exporter.ops import metrics
from exporter.ops.budget import ByteBudget
from exporter.ops.log import RateLimited, describe
from exporter.pipeline import Pipeline
from exporter.processing import processed
from exporter.settings.model import Settings

log = structlog.get_logger()

#: A commit waits this long for more units, so that a shard of many quiet tenants does not commit for each of them.
COMMIT_LINGER_SECONDS = 0.1
#: A commit is closed at this size: large enough that the fixed cost of a transaction vanishes, small enough for a broker's
#: request limits and for the memory bound.
COMMIT_MAX_BYTES = 8_000_000
#: Frontier moves without events are written at most this often; losing one only means asking Loki for silence again.
IDLE_COMMIT_SECONDS = 5.0
#: A tenant that needs a human is tried again this often, so that it goes on by itself once the human has acted.
STOPPED_TENANT_RETRY_SECONDS = 30.0
#: Ledger records looked at when a shard is taken over: some seconds of its past, read in a moment.
LEDGER_LAST_RECORDS = 64
#: A refused commit is tried this often with the same writer before the shard is opened anew.
COMMIT_ATTEMPTS = 8
#: Memory of a batch while it is processed, as a multiple of the raw text: columns, block copy and encoded events.
PROCESSING_FACTOR = 3


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What a shard worker needs; built once per process by ``exporter.app``."""

    settings: Settings
    bus: Bus
    client: LokiClient
    pipelines: Mapping[str, Pipeline]
    clock: Clock
    #: Bounds what is processed and not committed; ``read_ahead`` what is read and not processed.
    budget: ByteBudget
    read_ahead: ByteBudget
    near_bytes_per_tenant: int
    worker: str
    identity_key: bytes = b""
    #: Told after every commit, and once with True when a tenant is read up to the end of a drain.
    on_progress: Callable[[LiveCheckpoint, bool], None] = lambda _live, _done: None
    #: Told with the reason when a tenant cannot be read without a human.
    on_stopped: Callable[[str, str], None] = lambda _tenant, _reason: None


class ShardWorker:
    """Runs one owned shard until stopped. ``owns`` is the membership's answer after the fence."""

    def __init__(
        self, shard: int, tenants: Sequence[str], parts: WorkerParts, owns: Callable[[int], bool], until_ns: int | None
    ) -> None:
        self._shard, self._tenants, self._parts, self._owns, self._until_ns = (
            shard,
            tuple(tenants),
            parts,
            owns,
            until_ns,
        )
        self._stop = asyncio.Event()
        self._log = log.bind(shard=shard)

    def stop(self) -> None:
        """Finish what is read, commit it, and let go."""
        self._stop.set()

    async def run(self) -> None:
        """Own the shard until :meth:`stop`, loss of ownership, or (with ``until_ns``) until all is read."""
        delay = 0.2
        while not self._stop.is_set():
            try:
                if await self._own():
                    return
                delay = 0.2
            except (CommitAborted, BusUnavailable, Fenced) as error:
                self._log.warning("shard_fenced" if isinstance(error, Fenced) else "shard_reopens", **describe(error))
            except Exception as error:  # noqa: BLE001 - needs a human; meanwhile other shards of the process go on
                self._log.error("shard_failed", **describe(error))
            delay = min(delay * 2, 10.0)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), delay * random.uniform(0.5, 1.0))  # noqa: S311

    async def _own(self) -> bool:
        """Open, run one session, close. True when the work is done or the shard is not ours."""
        if not await asyncio.to_thread(self._owns, self._shard):
            return True  # opening would fence the rightful owner
        writer = await asyncio.to_thread(self._parts.bus.open_shard, self._shard, self._parts.worker)
        try:
            if not await asyncio.to_thread(self._owns, self._shard):
                return True
            records = await asyncio.to_thread(writer.checkpoints)
            noted = await asyncio.to_thread(self._check_ledger, records)
            session = _Session(
                self._shard, self._tenants, self._parts, writer, records, self._until_ns, self._stop, noted
            )
            await session.run()
            return True
        finally:
            await asyncio.to_thread(writer.close)

    def _check_ledger(self, records: dict[str, bytes]) -> str:
        """Look whether the shard's ledger ends as its checkpoint says; return what its next record is to note. A break is an
        alarm and no reason to stop: Loki deletes what is not read in time.
        """
        head = Head(*decode_chain(records[CHAIN_KEY])) if CHAIN_KEY in records else None
        last = [record.value for record in self._parts.bus.ledger(self._shard, last=LEDGER_LAST_RECORDS)]
        breaks, go_on = check_end(self._shard, last, head)
        if go_on is not None:
            records[CHAIN_KEY] = encode_chain(*go_on)
        return report(f"shard {self._shard}", breaks)


class _Session:
    """One ownership of a shard: from reading the checkpoint to closing the writer."""

    def __init__(
        self,
        shard: int,
        tenants: Sequence[str],
        parts: WorkerParts,
        writer: ShardWriter,
        records: dict[str, bytes],
        until_ns: int | None,
        stop: asyncio.Event,
        noted: str,
    ) -> None:
        self._shard, self._tenants, self._parts, self._writer = shard, tenants, parts, writer
        self._noted = noted
        self._records, self._until_ns, self._stop = records, until_ns, stop
        self._queue: asyncio.Queue[Item | None] = asyncio.Queue()
        self._live: dict[str, LiveCheckpoint] = {}
        self._open_items: dict[str, int] = dict.fromkeys(tenants, 0)
        self._settled = asyncio.Condition()
        self._budgeted_bytes = 0
        self._log = log.bind(shard=shard)
        self._limit = RateLimited()

    async def run(self) -> None:
        committer = asyncio.create_task(self._commit_all(), name=f"commit-{self._shard}")
        readers = [asyncio.create_task(self._read(t), name=f"read-{t}") for t in self._tenants]
        everything_read = asyncio.create_task(_all_of(readers))
        stopper = asyncio.create_task(_set(self._stop))
        try:
            await asyncio.wait({committer, stopper, everything_read}, return_when=asyncio.FIRST_COMPLETED)
            if not committer.done():
                await _cancel(readers)
                await self._queue.put(None)
            await committer  # raises what a commit raised
        finally:
            await _cancel([everything_read, *readers, committer, stopper])
            self._release(self._budgeted_bytes)  # of items never committed; their windows are read again

    def _release(self, size_bytes: int) -> None:
        self._budgeted_bytes -= size_bytes
        self._parts.budget.release(size_bytes)

    # --- reading ------------------------------------------------------------------------------------------------------

    async def _read(self, tenant: str) -> None:
        """Read one tenant for as long as the shard is ours; trouble of this tenant never leaves this task."""
        stopped = metrics.TENANT_STOPPED.labels(tenant)
        while True:
            try:
                stopped.set(0)
                await self._read_from_checkpoint(tenant)
                return  # noqa: TRY300 - the end of a drain
            except TenantStopped as error:
                stopped.set(1)
                self._parts.on_stopped(tenant, str(error))
                self._log.error("tenant_stopped", tenant=tenant, **describe(error))
                if self._until_ns is not None:
                    return
            except Exception as error:  # noqa: BLE001 - one tenant's fault must not stop its neighbours
                level = self._log.warning if isinstance(error, ExporterError) else self._log.error
                level("tenant_restarts", tenant=tenant, **describe(error))
            async with self._settled:
                await self._settled.wait_for(lambda: self._open_items[tenant] == 0)
            await self._parts.clock.sleep(STOPPED_TENANT_RETRY_SECONDS)

    async def _read_from_checkpoint(self, tenant: str) -> None:
        parts, settings = self._parts, self._parts.settings
        reader = TenantReader(
            tenant,
            settings.tenants[tenant],
            settings.loki,
            parts.client,
            clock=parts.clock,
            identity_key=parts.identity_key,
            near_bytes=parts.near_bytes_per_tenant,
            read_ahead=parts.read_ahead,
        )
        await reader.restore(self._own_records(tenant))
        async with contextlib.aclosing(reader.units(self._until_ns)) as units:
            async for unit in units:
                await self._process(tenant, unit)
        if self._until_ns is not None:
            async with self._settled:
                await self._settled.wait_for(lambda: self._open_items[tenant] == 0)
            live = self._live.get(tenant)
            if live is not None:
                parts.on_progress(live, True)

    def _own_records(self, tenant: str) -> dict[str, bytes]:
        own = {k: v for k, v in self._records.items() if is_of(tenant, k)}
        if (raw := own.get(live_key(tenant))) is not None:
            self._live[tenant] = LiveCheckpoint.decode(raw)
        return own

    async def _process(self, tenant: str, unit: ReadUnit) -> None:
        held_bytes = unit.size_bytes * PROCESSING_FACTOR
        await self._parts.budget.acquire(held_bytes)
        self._budgeted_bytes += held_bytes
        try:
            entries_in, late = unit.batch.count, unit.batch.late
            pipeline = self._parts.pipelines[tenant]
            encoded = EncodedBatch(tenant, pipeline.policy_id)
            if entries_in:
                encoded = await processed(pipeline, unit.batch, self._parts.clock)
            hold_oversized(encoded)
            unit.batch.streams.clear()  # the raw text is not needed any more
        except BaseException:
            self._release(held_bytes)
            raise
        self._open_items[tenant] += 1
        self._queue.put_nowait(Item(unit, encoded, held_bytes, entries_in, late))

    # --- committing ---------------------------------------------------------------------------------------------------

    async def _commit_all(self) -> None:
        """Gather items and commit them until the end mark."""
        pending = Pending()
        monotonic = self._parts.clock.monotonic
        ended = False
        while not ended:
            due = pending.since + self._patience_seconds(pending) if pending.items else None
            try:
                item = await asyncio.wait_for(self._queue.get(), None if due is None else max(due - monotonic(), 0.0))
            except TimeoutError:
                await self._commit(pending)
                pending = Pending()
                continue
            if item is None:
                ended = True
            else:
                pending.add(item, monotonic())
            if pending.items and (ended or pending.size_bytes >= COMMIT_MAX_BYTES):
                await self._commit(pending)
                pending = Pending()

    def _patience_seconds(self, pending: Pending) -> float:
        """How long gathered items may wait. A drain waits for nobody: its end has to be on the bus at once."""
        return COMMIT_LINGER_SECONDS if pending.events or self._until_ns is not None else IDLE_COMMIT_SECONDS

    async def _commit(self, pending: Pending) -> None:
        commit, lives = compose(
            pending.items,
            self._live,
            shard=self._shard,
            chain=self._records.get(CHAIN_KEY),
            worker=self._parts.worker,
            now_ns=self._parts.clock.now_ns(),
            noted=self._noted,
        )
        await self._write(commit)
        self._noted = ""
        for key, value in commit.checkpoints.items():
            if value is None:
                self._records.pop(key, None)
            else:
                self._records[key] = value
        self._live.update(lives)
        for item in pending.items:
            account(item)
            self._open_items[item.encoded.tenant] -= 1
            self._release(item.held_bytes)
        for live in lives.values():
            metrics.FRONTIER.labels(live.tenant).set(live.frontier_ns / 1e9)
            metrics.SEALED_FRONTIER.labels(live.tenant).set(live.sealed_ns / 1e9)
            for state in ("suspect", "blocked", "held"):
                number = sum(t.state == state for t in live.troubles)
                metrics.TROUBLED_WINDOWS.labels(live.tenant, state).set(number)
            self._parts.on_progress(live, False)
        async with self._settled:
            self._settled.notify_all()

    async def _write(self, commit: Commit) -> None:
        """Commit, trying again with the same writer while nothing was written."""
        for attempt in range(1, COMMIT_ATTEMPTS + 1):
            started = self._parts.clock.monotonic()
            try:
                await asyncio.to_thread(self._writer.commit, commit)
            except (CommitAborted, BusUnavailable) as error:
                metrics.COMMITS.labels("aborted" if isinstance(error, CommitAborted) else "unavailable").inc()
                if (suppressed := self._limit.ready("commit")) is not None:
                    self._log.warning("commit_refused", attempt=attempt, suppressed=suppressed, **describe(error))
                if attempt == COMMIT_ATTEMPTS or self._stop.is_set():
                    raise
                await self._parts.clock.sleep(random.uniform(0.1, min(10.0, 0.2 * 2**attempt)))  # noqa: S311
            except Fenced:
                metrics.COMMITS.labels("fenced").inc()
                raise
            else:
                metrics.COMMITS.labels("committed").inc()
                metrics.COMMIT_SECONDS.observe(self._parts.clock.monotonic() - started)
                return


async def _all_of(tasks: Sequence[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks)


async def _set(event: asyncio.Event) -> None:
    await event.wait()


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
