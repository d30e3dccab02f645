"""Dead letters once more: for ``loki-siem dlq redrive``, after the target or the events' reason was mended."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from connectors.base import (
    REDRIVE_PARTITION,
    Batch,
    BatchTooLarge,
    Capabilities,
    Connector,
    DeliveryResult,
    Record,
    TargetThrottled,
    TargetUnavailable,
)
from exporter.bus.base import Bus, DeadLetter
from exporter.custody.receipts import ReceiptLog
from exporter.delivery.receipts import build_redriven, open_log, write_pending
from exporter.delivery.retry import RetryPolicy
from exporter.domain.clock import Clock, SystemClock

#: Tries of one batch before a redrive gives up; a human waits for it, and the letters stay.
TRIES = 5


async def redrive(
    target: str,
    connector: Connector,
    bus: Bus,
    *,
    numbers: Collection[int] | None = None,
    clock: Clock | None = None,
    retry: RetryPolicy | None = None,
) -> dict[str, int]:
    """Deliver open dead letters of a target (all, or those with these numbers) in the order they came, and mark what the
    target stored as ``redriven``. What it refuses again stays open.

    The connector must be open; the caller closes it. Returns counts ``redriven``, ``refused``, ``possible_duplicates``.
    Raises TargetError when the target cannot be used (what was stored until then is marked), BusUnavailable.
    """
    log = await asyncio.to_thread(open_log, bus, target, "redrive")
    work = _Redrive(target, connector, bus, log, clock or SystemClock(), retry or RetryPolicy(max_seconds=10.0))
    wanted = None if numbers is None else frozenset(numbers)
    letters = await asyncio.to_thread(
        lambda: [x for x in bus.dead_letters().list(target) if wanted is None or x.number in wanted]
    )
    whole = [letter for letter in letters if letter.value]  # one without a body was withheld by the exit scan
    work.counts["refused"] += len(letters) - len(whole)
    for batch in _batches(whole, connector.capabilities):
        await work.deliver(batch)
    return work.counts


def _batches(letters: Sequence[DeadLetter], capabilities: Capabilities) -> Iterator[list[DeadLetter]]:
    """Cut into batches of one tenant, in order, within the connector's bounds."""
    for _, run in groupby(letters, key=lambda letter: letter.tenant):
        batch: list[DeadLetter] = []
        size = 0
        for letter in run:
            size += len(letter.value)
            if batch and (size > capabilities.max_batch_bytes or len(batch) >= capabilities.max_batch_records):
                yield batch
                batch, size = [], len(letter.value)
            batch.append(letter)
        yield batch


class _Redrive:
    def __init__(
        self, target: str, connector: Connector, bus: Bus, log: ReceiptLog, clock: Clock, retry: RetryPolicy
    ) -> None:
        self._target, self._connector, self._bus, self._log = target, connector, bus, log
        self._clock, self._retry = clock, retry
        self.counts = {"redriven": 0, "refused": 0, "possible_duplicates": 0}

    async def deliver(self, letters: list[DeadLetter]) -> None:
        """Deliver one batch until each of its letters is stored or refused."""
        failures = 0
        while letters:
            try:
                result = await self._connector.deliver(_batch(letters))
            except BatchTooLarge:
                if len(letters) == 1:
                    self.counts["refused"] += 1
                    return
                half = len(letters) // 2
                await self.deliver(letters[:half])
                letters = letters[half:]
                continue
            except (TargetThrottled, TargetUnavailable) as error:
                failures += 1
                if failures >= TRIES:
                    raise
                await self._clock.sleep(self._retry.pause(failures, error.retry_after_seconds))
                continue
            left = await self._settle(letters, result)
            failures = failures + 1 if len(left) == len(letters) else 0
            if failures >= TRIES:
                raise TargetUnavailable("the target took nothing", hint="look at its state and try again")
            letters = left

    async def _settle(self, letters: list[DeadLetter], result: DeliveryResult) -> list[DeadLetter]:
        """Mark what is stored; return what is to be sent again."""
        refused = {rejection.index for rejection in result.rejected}
        stored = [x for i, x in enumerate(letters) if i not in refused and i not in result.retry]
        if stored:
            await asyncio.to_thread(self._note, stored, result)
        self.counts["redriven"] += len(stored)
        self.counts["refused"] += len(refused)
        self.counts["possible_duplicates"] += result.possible_duplicates
        return [letters[i] for i in sorted(result.retry)]

    def _note(self, stored: list[DeadLetter], result: DeliveryResult) -> None:
        """Write the receipt, then resolve the letters: whoever finds one resolved must find its receipt."""
        now_ns = self._clock.now_ns()
        self._log.seal([build_redriven(self._target, stored, result.receipt, result.possible_duplicates, now_ns)])
        write_pending(self._bus, self._log)
        self._bus.dead_letters().resolve(self._target, [letter.number for letter in stored], "redriven")


def _batch(letters: Sequence[DeadLetter]) -> Batch:
    """Return a batch whose offsets are the letters' numbers (see ``REDRIVE_PARTITION``)."""
    records = [Record(letter.number, letter.key, letter.value) for letter in letters]
    return Batch(letters[0].tenant, REDRIVE_PARTITION, records, sum(len(r.value) for r in records))
