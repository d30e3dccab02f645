"""Windows read several at a time and handed on in order, within a byte budget."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from exporter.loki.proof import Job, Whole

#: Memory of an entry beside its text: a str, an int, an id, and their places in the columns (measured on CPython 3.11).
ENTRY_OVERHEAD_BYTES = 200


def size_of(whole: Whole) -> int:
    """Estimate of the memory in bytes that a read window holds."""
    return whole.body_bytes + ENTRY_OVERHEAD_BYTES * whole.count


@dataclass(slots=True)
class _Slot:
    job: Job
    task: asyncio.Task[Whole | list[Job]] | None = None

    @property
    def running(self) -> bool:
        return self.task is not None and not self.task.done()

    def held_bytes(self, reserve_bytes: int) -> int:
        if self.task is None:
            return 0
        if self.task.done() and not self.task.cancelled() and self.task.exception() is None:
            result = self.task.result()
            return size_of(result) if isinstance(result, Whole) else 0
        return reserve_bytes


class OrderedFetch:
    """Reads jobs ahead. ``reserve_bytes`` stands for a window under way whose size is not known yet."""

    def __init__(
        self,
        read: Callable[[Job], Awaitable[Whole | list[Job]]],
        *,
        concurrency: Callable[[], int],
        budget_bytes: int,
        reserve_bytes: int,
    ) -> None:
        self._read, self._concurrency = read, concurrency
        self._budget_bytes, self._reserve_bytes = budget_bytes, reserve_bytes

    async def run(self, jobs: Iterator[Job]) -> AsyncGenerator[Whole, None]:
        """Yield the windows in the order of ``jobs``, those that were cut as their parts. The iterator is asked late, so
        that its windows can follow what was learnt. Raises what ``read`` raises.
        """
        slots: deque[_Slot] = deque()
        try:
            while self._fill(slots, jobs):
                task = slots[0].task
                assert task is not None
                result = await asyncio.shield(task)
                slots.popleft()
                if isinstance(result, Whole):
                    yield result
                else:
                    slots.extendleft(_Slot(job) for job in reversed(result))
        finally:
            await _cancel([slot.task for slot in slots if slot.task is not None])

    def _fill(self, slots: deque[_Slot], jobs: Iterator[Job]) -> bool:
        """Start what may run, the first one always. Tells whether anything is left."""
        running = sum(slot.running for slot in slots)
        held_bytes = sum(slot.held_bytes(self._reserve_bytes) for slot in slots)
        allowed = max(1, self._concurrency())
        position = 0
        while True:
            first = position == 0
            may_start = first or (running < allowed and held_bytes + self._reserve_bytes <= self._budget_bytes)
            if position == len(slots):
                job = next(jobs, None) if may_start else None
                if job is None:
                    return bool(slots)
                slots.append(_Slot(job))
            slot = slots[position]
            if slot.task is None and may_start:
                slot.task = asyncio.ensure_future(self._as_coroutine(slot.job))
                running += 1
                held_bytes += self._reserve_bytes
            position += 1

    async def _as_coroutine(self, job: Job) -> Whole | list[Job]:
        return await self._read(job)


async def _cancel(tasks: list[asyncio.Task[Whole | list[Job]]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError, Exception):
            await task
