"""The connector: lanes to files, in worker threads."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from connectors.base import Batch, Capabilities, ConnectorContext, DeliveryResult, Rejection, TargetError
from connectors.file.lane import LaneFiles, Rotation, known_lanes, target_error
from connectors.file.retention import Retention, sweep
from connectors.file.settings import FileSettings

log = structlog.get_logger()

#: Three syncs a batch are cheap beside this much data, and a batch is small beside the memory bound.
MAX_BATCH_BYTES = 8 * 1024 * 1024
MAX_BATCH_RECORDS = 50_000
#: How often idle lanes are looked at for files that are old enough to be finished.
AGE_CHECK_SECONDS = 10.0
#: How often old files are looked for; lists every folder of the target.
SWEEP_SECONDS = 60.0


class FileConnector:
    """See ``connectors.base.Connector``. Delivering a batch again stores it once."""

    capabilities = Capabilities(
        max_batch_bytes=MAX_BATCH_BYTES, max_batch_records=MAX_BATCH_RECORDS, max_in_flight=8, idempotent=True
    )

    def __init__(
        self, settings: FileSettings, context: ConnectorContext, *, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._directory, self._state_dir, self._target = settings.directory, Path(context.state_dir), context.target
        self._rotation = Rotation(settings.rotate_bytes, settings.rotate_seconds)
        self._retention = Retention(settings.retain_days, settings.retain_bytes)
        self._swept_ns = 0
        self._lanes: dict[tuple[str, int], LaneFiles] = {}
        self._now_ns = now_ns
        self._ageing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Create the directory and prove that it can be written and synced."""
        await asyncio.to_thread(self._prove)
        # Files that a crash left unfinished are finished with ours, even when their lanes get no more events.
        for tenant, partition in await asyncio.to_thread(known_lanes, self._state_dir):
            self._lane(tenant, partition)
        if self._ageing is None:
            self._ageing = asyncio.create_task(self._finish_old_files())

    async def deliver(self, batch: Batch) -> DeliveryResult:
        """Append the batch to its lane's file; what is there already is skipped."""
        rejected = tuple(
            Rejection(index, "not_one_line", "the event holds a line feed and would be two lines")
            for index, record in enumerate(batch.records)
            if b"\n" in record.value
        )
        refused = {rejection.index for rejection in rejected}
        records = batch.records if not refused else [r for i, r in enumerate(batch.records) if i not in refused]
        if not records:
            return DeliveryResult(rejected=rejected)
        lane = self._lane(batch.tenant, batch.partition)
        written = await asyncio.to_thread(lane.append, records, self._rotation, self._now_ns())
        return DeliveryResult(
            rejected=rejected,
            receipt={"file": written.file, "start": written.start, "end": written.end, "skipped": written.skipped},
        )

    async def close(self) -> None:
        """Finish all files."""
        ageing, self._ageing = self._ageing, None
        if ageing is not None:
            ageing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ageing
        await asyncio.to_thread(self._finish, None)
        self._lanes.clear()

    def _lane(self, tenant: str, partition: int) -> LaneFiles:
        key = (tenant, partition)
        if key not in self._lanes:
            self._lanes[key] = LaneFiles(self._directory, self._state_dir, tenant, partition)
        return self._lanes[key]

    async def _finish_old_files(self) -> None:
        while True:
            await asyncio.sleep(AGE_CHECK_SECONDS)
            await asyncio.to_thread(self._finish, self._rotation)
            await asyncio.to_thread(self._sweep)

    def _finish(self, rotation: Rotation | None) -> None:
        for lane in list(self._lanes.values()):
            with contextlib.suppress(TargetError):  # an unfinished file is complete all the same; it is finished later
                lane.finish(rotation, self._now_ns())

    def _sweep(self) -> None:
        """Delete what need not be kept; what cannot be deleted now is looked at again later."""
        now_ns = self._now_ns()
        if self._retention.keeps_all or now_ns - self._swept_ns < SWEEP_SECONDS * 1e9:
            return
        self._swept_ns = now_ns
        tenants = [tenant for tenant, _ in list(self._lanes)]
        try:
            count, freed = sweep(self._directory, tenants, self._retention, now_ns)
        except OSError as error:
            log.warning("files_not_deleted", target=self._target, reason=str(target_error(error, self._directory)))
        else:
            if count:
                log.info("old_files_deleted", target=self._target, files=count, bytes=freed)

    def _prove(self) -> None:
        probe = self._directory / f".probe-{os.getpid()}"
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, b"\0")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
                probe.unlink()
        except OSError as error:
            raise target_error(error, self._directory) from None
