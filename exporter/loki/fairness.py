"""Who may ask Loki next: a bound over all tenants of the process and one per tenant, first come first served.

A tenant that is throttled gets fewer places and wins them back one by one (additive increase, multiplicative decrease).
What runs in the background (the passes over history) takes only places that nobody waits for, one per tenant and a quarter of all,
and none of its tenant's own: the live reading never finds them taken.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

#: Successful requests after which a throttled tenant gets one place back.
_RECOVER_AFTER = 50


@dataclass(slots=True)
class _Share:
    limit: int
    busy: int = 0
    streak: int = 0


class FairShare:
    """Concurrency limiter of one Loki client."""

    def __init__(self, total: int, per_tenant: int) -> None:
        self._free = total
        self._background_free = max(1, total // 4)
        self._background_busy: set[str] = set()
        self._background_waiting: deque[tuple[str, asyncio.Future[None]]] = deque()
        self._per_tenant = min(per_tenant, total)
        self._shares: dict[str, _Share] = {}
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()

    def limit_of(self, tenant: str) -> int:
        """Requests the tenant may have under way at present."""
        return self._share(tenant).limit

    @asynccontextmanager
    async def background_place(self, tenant: str) -> AsyncIterator[None]:
        """Hold one place that the live reading leaves."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._background_waiting.append((tenant, place))
        self._wake_background()
        try:
            await place
            yield
        finally:
            if place.done() and not place.cancelled():
                self._background_busy.remove(tenant)
                self._background_free += 1
                self._free += 1
                self._wake()
            else:
                self._background_waiting.remove((tenant, place))

    @asynccontextmanager
    async def place(self, tenant: str) -> AsyncIterator[None]:
        """Hold one place for the duration of a request."""
        await self._acquire(tenant)
        try:
            yield
        finally:
            self._release(tenant)

    def throttled(self, tenant: str) -> None:
        """Halve the tenant's places (at least 1 stays)."""
        share = self._share(tenant)
        share.limit, share.streak = max(1, share.limit // 2), 0

    def succeeded(self, tenant: str) -> None:
        """Count towards recovery."""
        share = self._share(tenant)
        share.streak += 1
        if share.limit < self._per_tenant and share.streak >= _RECOVER_AFTER:
            share.limit, share.streak = share.limit + 1, 0
            self._wake()

    def _share(self, tenant: str) -> _Share:
        return self._shares.setdefault(tenant, _Share(self._per_tenant))

    def _may_run(self, tenant: str) -> bool:
        share = self._share(tenant)
        return self._free > 0 and share.busy < share.limit

    def _take(self, tenant: str) -> None:
        self._free -= 1
        self._share(tenant).busy += 1

    async def _acquire(self, tenant: str) -> None:
        # Whoever waits and could run was woken at once, so a newcomer that may run overtakes nobody.
        if self._may_run(tenant):
            self._take(tenant)
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((tenant, place))
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._release(tenant)  # given to us in the moment we were cancelled
            else:
                self._waiting.remove((tenant, place))
            raise

    def _release(self, tenant: str) -> None:
        self._free += 1
        self._share(tenant).busy -= 1
        self._wake()

    def _wake(self) -> None:
        """Give free places to those who wait longest and whose tenant has one left, what is left over to the background."""
        if self._waiting and self._free > 0:
            self._wake_live()
        self._wake_background()

    def _wake_background(self) -> None:
        kept: deque[tuple[str, asyncio.Future[None]]] = deque()
        for tenant, place in self._background_waiting:
            idle = self._free > 0 and self._background_free > 0 and tenant not in self._background_busy
            if idle and not place.done() and not any(self._may_run(t) for t, _ in self._waiting):
                self._free -= 1
                self._background_free -= 1
                self._background_busy.add(tenant)
                place.set_result(None)
            else:
                kept.append((tenant, place))
        self._background_waiting = kept

    def _wake_live(self) -> None:
        kept: deque[tuple[str, asyncio.Future[None]]] = deque()
        for tenant, place in self._waiting:
            if self._may_run(tenant) and not place.done():
                self._take(tenant)
                place.set_result(None)
            else:
                kept.append((tenant, place))
        self._waiting = kept
