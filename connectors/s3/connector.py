"""The connector: a batch becomes one object for each hour of its events (or whatever time the prefix names).

Where an object ends follows from the batch, so its size is set by ``batch_max_bytes``, ``batch_max_records`` and
``batch_linger_seconds``. After a crash the same events can come cut otherwise; ``writer`` then writes what is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from connectors.base import (
    REDRIVE_PARTITION,
    Batch,
    Capabilities,
    ConnectorContext,
    DeliveryResult,
    Record,
    TargetError,
    TargetMisconfigured,
)
from connectors.s3.client import ObjectStore, S3Client
from connectors.s3.encode import group
from connectors.s3.names import Lane, Layout
from connectors.s3.settings import S3Settings
from connectors.s3.shelf import Shelves
from connectors.s3.writer import PathWriter, Progress

log = structlog.get_logger()

#: About 4 MB compressed: large enough for the tools that read archives, small enough for eight lanes in 256 MB.
MAX_BATCH_BYTES = 16 * 1024 * 1024
MAX_BATCH_RECORDS = 100_000
#: Objects of one batch written at once; more than a few only when late events spread over many hours.
MAX_PATHS_AT_ONCE = 4


class S3Connector:
    """See ``connectors.base.Connector``. Delivering a batch again stores it once, where the store honours conditions."""

    def __init__(self, settings: S3Settings, context: ConnectorContext, *, store: ObjectStore | None = None) -> None:
        self._settings, self._target = settings, context.target
        self._store = store or S3Client(settings, context.target, context.user_agent)
        self._layout = Layout(settings.prefix)
        self._writer = PathWriter(self._store, settings.prefix)
        self._shelves = Shelves()
        self.capabilities = Capabilities(
            max_batch_bytes=MAX_BATCH_BYTES,
            max_batch_records=MAX_BATCH_RECORDS,
            max_in_flight=8,
            idempotent=settings.conditional_writes == "required",
        )

    async def open(self) -> None:
        """Prove bucket, credentials, permissions and conditional writes, by one small object outside of all events."""
        honours = await self._store.open()
        if not honours and self._settings.conditional_writes == "required":
            await self._store.close()
            raise TargetMisconfigured(
                f"S3 bucket {self._settings.bucket}: the store ignores If-None-Match, so a retry could store events twice",
                hint="use a store that honours it, or accept that with conditional_writes: preferred",
                code="no_conditional_writes",
            )
        if not honours:
            log.warning("s3_without_conditional_writes", target=self._target)
        self._writer.conditional = honours

    async def close(self) -> None:
        """Let go of the connections; nothing waits here."""
        await self._store.close()
        self._shelves = Shelves()

    async def deliver(self, batch: Batch) -> DeliveryResult:
        """Store the batch. When some of its objects could not be written, their events are to be handed in again."""
        lane = Lane.of(batch.tenant, batch.partition)
        # Letters are picked by hand, so runs of their numbers say nothing: each is an object of its own.
        single = batch.partition == REDRIVE_PARTITION
        # Even 16 MB are looked through in some 20 ms: not worth a thread, which would hold the interpreter just as long.
        groups, rejected = group(batch.records, lane, self._layout)
        self._shelves.begin(lane, batch.first_offset)
        places = asyncio.Semaphore(MAX_PATHS_AT_ONCE)
        progresses = [Progress(_picked(batch.records, indices)) for indices in groups.values()]

        async def write(path: str, progress: Progress) -> None:
            async with places:
                await self._writer.write(lane, path, self._shelves.of(lane, path), progress, single=single)

        outcomes = await asyncio.gather(
            *(write(path, progress) for path, progress in zip(groups, progresses, strict=True)), return_exceptions=True
        )
        failures = [outcome for outcome in outcomes if outcome is not None]
        retry = _left(batch, progresses)
        if failures:
            failure = _first_of(failures)
            if len(retry) + len(rejected) == len(batch.records) or not isinstance(failure, TargetError):
                raise failure
            # A part is settled; the engine hands the rest in again and meets the error then.
        self._shelves.done(lane, batch.records[retry[0]].offset if retry else None, batch.last_offset)
        return DeliveryResult(
            rejected=tuple(rejected),
            retry=retry,
            receipt={
                "bucket": self._settings.bucket,
                "objects": [item for progress in progresses for item in progress.objects],
                "skipped": sum(progress.skipped for progress in progresses),
            },
            possible_duplicates=sum(progress.duplicates for progress in progresses),
        )


def _picked(records: Sequence[Record], indices: Sequence[int]) -> Sequence[Record]:
    return records if len(indices) == len(records) else [records[i] for i in indices]


def _left(batch: Batch, progresses: Sequence[Progress]) -> tuple[int, ...]:
    """Return the indices of what no object holds."""
    offsets = {record.offset for progress in progresses for record in progress.left}
    return tuple(i for i, record in enumerate(batch.records) if record.offset in offsets) if offsets else ()


def _first_of(failures: Sequence[BaseException]) -> BaseException:
    """Return what to raise: a fault of ours before an error of the target."""
    return next((failure for failure in failures if not isinstance(failure, TargetError)), failures[0])
