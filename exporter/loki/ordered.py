"""Windows read several at a time and handed on in order, within a byte budget."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from exporter.loki.gathering import Whole
from exporter.loki.proof import Job
from exporter.ops.budget import ByteBudget

#: Memory of an entry beside its text: a str, an int, an id, and their places in the columns (measured on CPython 3.11).
ENTRY_OVERHEAD_BYTES = 200
#: A window under way reserves at least this: the next page of a quiet tenant may hold a burst.
_LEAST_RESERVE_BYTES = 262_144


def size_of(whole: Whole) -> int:
    """Estimate of the memory in bytes that a read window holds."""
    return whole.body_bytes + ENTRY_OVERHEAD_BYTES * whole.count


@dataclass(slots=True)
class _Slot:
    job: Job
    task: asyncio.Task[Whole | list[Job]] | None = None
    reserved_bytes: int = 0

    @property
    def running(self) -> bool:
        return self.task is not None and not self.task.done()


class OrderedFetch:
    """Reads jobs ahead. ``budget`` bounds what all tenants of a process hold read but not handed on; a window under way
    reserves about what the last ones took (``reserve_bytes`` at most).
    """

    def __init__(
        self,
        read: Callable[[Job], Awaitable[Whole | list[Job]]],
        *,
        concurrency: Callable[[], int],
        budget: ByteBudget,
        reserve_bytes: int,
    ) -> None:
        self._read, self._concurrency, self._budget = read, concurrency, budget
        self._most_bytes = self._reserve_bytes = reserve_bytes

    async def run(self, jobs: Iterator[Job]) -> AsyncGenerator[Whole, None]:
        """Yield the windows in the order of ``jobs``, those that were cut as their parts. The iterator is asked late, so
        that its windows can follow what was learnt. Raises what ``read`` raises.
        """
        slots: deque[_Slot] = deque()
        try:
            while await self._fill(slots, jobs):
                task = slots[0].task
                assert task is not None
                result = await asyncio.shield(task)
                if isinstance(result, Whole):
                    self._account(slots[0], size_of(result))
                    yield result  # the caller takes over its memory before it comes back
                    self._release(slots.popleft())
                else:
                    self._release(slots.popleft())
                    slots.extendleft(_Slot(job) for job in reversed(result))
        finally:
            await _cancel([slot.task for slot in slots if slot.task is not None])
            for slot in slots:
                self._release(slot)

    async def _fill(self, slots: deque[_Slot], jobs: Iterator[Job]) -> bool:
        """Start what may run, the first one always. Tells whether anything is left."""
        if not slots:
            job = next(jobs, None)
            if job is None:
                return False
            slots.append(_Slot(job))
        if slots[0].task is None:
            await self._reserve_first(slots)
            self._start(slots[0])
        allowed = max(1, self._concurrency())
        running = sum(slot.running for slot in slots)
        position = 1
        while running < allowed:
            if position == len(slots):
                if not self._budget.try_acquire(self._reserve_bytes):
                    break
                job = next(jobs, None)
                if job is None:
                    self._budget.release(self._reserve_bytes)
                    break
                slots.append(_Slot(job, reserved_bytes=self._reserve_bytes))
            slot = slots[position]
            position += 1
            if slot.task is None:
                if not slot.reserved_bytes and not self._budget.try_acquire(self._reserve_bytes):
                    break
                slot.reserved_bytes = slot.reserved_bytes or self._reserve_bytes
                self._start(slot)
                running += 1
        return True

    async def _reserve_first(self, slots: deque[_Slot]) -> None:
        """What stands behind the first window cannot be handed on before it, so it may overdraw; with nothing behind it
        waits its turn among the tenants.
        """
        size_bytes = self._reserve_bytes
        if any(slot.reserved_bytes for slot in slots):
            self._budget.overdraw(size_bytes)
        else:
            await self._budget.acquire(size_bytes)
        slots[0].reserved_bytes = size_bytes

    def _start(self, slot: _Slot) -> None:
        slot.task = asyncio.ensure_future(self._as_coroutine(slot.job))

    async def _as_coroutine(self, job: Job) -> Whole | list[Job]:
        return await self._read(job)

    def _account(self, slot: _Slot, size_bytes: int) -> None:
        """Replace the reservation by the true size, and learn from it."""
        if size_bytes > slot.reserved_bytes:
            self._budget.overdraw(size_bytes - slot.reserved_bytes)
        else:
            self._budget.release(slot.reserved_bytes - size_bytes)
        slot.reserved_bytes = size_bytes
        self._reserve_bytes = min(self._most_bytes, max(2 * size_bytes, _LEAST_RESERVE_BYTES))

    def _release(self, slot: _Slot) -> None:
        self._budget.release(slot.reserved_bytes)
        slot.reserved_bytes = 0


async def _cancel(tasks: list[asyncio.Task[Whole | list[Job]]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError, Exception):
            await task
