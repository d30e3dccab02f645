"""A bound on bytes held in memory, shared by the tasks of one event loop."""

from __future__ import annotations

import asyncio
from collections import deque


class ByteBudget:
    """First come, first served. An item larger than the whole budget passes when nothing else is held, so it can never
    block for ever; memory is then bounded by that one item.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def used_bytes(self) -> int:
        return self._used

    def _fits(self, size_bytes: int) -> bool:
        return self._used == 0 or self._used + size_bytes <= self._limit

    def try_acquire(self, size_bytes: int) -> bool:
        """Take the bytes if they fit and nobody waits."""
        if self._waiting or not self._fits(size_bytes):
            return False
        self._used += size_bytes
        return True

    def overdraw(self, size_bytes: int) -> None:
        """Take the bytes whether they fit or not; for whoever must go on to be able to give back what it holds."""
        self._used += size_bytes

    async def acquire(self, size_bytes: int) -> None:
        """Wait until the bytes fit."""
        if not self._waiting and self._fits(size_bytes):
            self._used += size_bytes
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size_bytes, future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.release(size_bytes)  # granted and cancelled in the same turn
            raise

    def release(self, size_bytes: int) -> None:
        """Give bytes back."""
        self._used -= size_bytes
        while self._waiting:
            size, future = self._waiting[0]
            if future.done():
                self._waiting.popleft()
            elif self._fits(size):
                self._waiting.popleft()
                self._used += size
                future.set_result(None)
            else:
                return
