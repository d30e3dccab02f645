"""Which of several HEC endpoints is asked: the least busy healthy one; a sick one only after its health says so.

An endpoint that gave no answer, or said that it is full or going down, is put aside. When its time is up its
``/services/collector/health`` is asked; once that says 200 it gets one request on trial, and only when that was taken its
share. With a single endpoint nothing is put aside: the engine's own breaker paces it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

#: The first time an endpoint is put aside, and the longest: doubled each time it fails again.
ASIDE_SECONDS, LONGEST_ASIDE_SECONDS = 15.0, 120.0


class Health(Enum):
    GOOD = auto()
    TRIAL = auto()
    ASIDE = auto()


@dataclass(slots=True, eq=False)
class Endpoint:
    """One address. ``acks``: whether the token wants acknowledgement there, None until it was asked."""

    url: str
    acks: bool | None = None
    health: Health = Health.GOOD
    under_way: int = 0
    #: Number of the request that was sent there last, for taking turns.
    turn: int = 0
    failures: int = 0
    watch: asyncio.Task[None] | None = field(default=None, repr=False)


class EndpointPool:
    """``is_healthy`` asks the health address and never raises."""

    def __init__(
        self,
        urls: Sequence[str],
        is_healthy: Callable[[Endpoint], Awaitable[bool]],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.endpoints = [Endpoint(url.rstrip("/")) for url in urls]
        self._is_healthy, self._sleep = is_healthy, sleep
        self._turn = 0

    def __len__(self) -> int:
        return len(self.endpoints)

    def pick(self, tried: Sequence[Endpoint]) -> Endpoint:
        """Return the endpoint for a request that was tried at these already. There is always one left to try."""
        self._turn += 1
        endpoint = min((e for e in self.endpoints if e not in tried), key=_preference)
        endpoint.turn = self._turn
        return endpoint

    def succeeded(self, endpoint: Endpoint) -> None:
        """It took a request, or refused an event in an orderly way."""
        if endpoint.health is not Health.ASIDE:  # an old request that ends now says nothing of the present
            endpoint.health, endpoint.failures = Health.GOOD, 0

    def failed(self, endpoint: Endpoint) -> None:
        """Put it aside until it is healthy."""
        if len(self.endpoints) == 1 or endpoint.health is Health.ASIDE:
            return
        endpoint.health = Health.ASIDE
        endpoint.failures += 1
        endpoint.watch = asyncio.create_task(self._until_healthy(endpoint))

    async def close(self) -> None:
        """Stop watching, and forget who was sick."""
        for endpoint in self.endpoints:
            if endpoint.watch is not None:
                endpoint.watch.cancel()
                await asyncio.gather(endpoint.watch, return_exceptions=True)
            endpoint.watch, endpoint.health, endpoint.failures, endpoint.acks = None, Health.GOOD, 0, None

    async def _until_healthy(self, endpoint: Endpoint) -> None:
        while True:
            # The exponent is bounded: 2.0 ** 1100 raises.
            doubled = ASIDE_SECONDS * 2.0 ** min(endpoint.failures - 1, 8)
            await self._sleep(min(doubled, LONGEST_ASIDE_SECONDS))
            if await self._is_healthy(endpoint):
                endpoint.health = Health.TRIAL
                return
            endpoint.failures += 1


def _preference(endpoint: Endpoint) -> tuple[int, int, int]:
    """A trial is one request: busy with it, the endpoint comes after the good ones. Those aside come last."""
    if endpoint.health is Health.GOOD:
        rank = 1
    elif endpoint.health is Health.TRIAL:
        rank = 0 if not endpoint.under_way else 2
    else:
        rank = 3
    return rank, endpoint.under_way, endpoint.turn
