"""Tokens that end: one is kept, replaced in time, and forgotten when the service refuses it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from connectors.base import TargetError
from exporter.domain.clock import Clock

#: A token is replaced this long before it ends, or in the last quarter of its life if that is shorter.
EARLY_SECONDS = 300.0
#: While the old token is still good, a failed replacement is tried again no sooner than this.
AGAIN_SECONDS = 30.0


class Token(NamedTuple):
    text: str
    #: Seconds since the epoch.
    expires_on: float

    def __repr__(self) -> str:
        return f"Token(expires_on={self.expires_on})"


class TokenSource:
    """The token of one target. Used by the client, in one event loop."""

    def __init__(self, fetch: Callable[[], Awaitable[Token]], clock: Clock) -> None:
        """``fetch`` raises TargetError."""
        self._fetch, self._clock = fetch, clock
        self._token: Token | None = None
        self._renew_at = 0.0
        self._lock = asyncio.Lock()

    async def token(self) -> str:
        """Return a token that is good for a while. Raises TargetError when there is none."""
        if self._token is None or self._now() >= self._renew_at:
            async with self._lock:
                if self._token is None or self._now() >= self._renew_at:
                    await self._renew()
        assert self._token is not None
        return self._token.text

    def drop(self, token: str) -> None:
        """Forget a token that the service refused, unless it was replaced already."""
        if self._token is not None and self._token.text == token:
            self._token = None

    async def _renew(self) -> None:
        try:
            fresh = await self._fetch()
        except TargetError:
            if self._token is None or self._now() >= self._token.expires_on - AGAIN_SECONDS:
                self._token = None
                raise
            self._renew_at = self._now() + AGAIN_SECONDS
            return
        life = max(0.0, fresh.expires_on - self._now())
        self._token, self._renew_at = fresh, fresh.expires_on - min(EARLY_SECONDS, life / 4)

    def _now(self) -> float:
        return self._clock.now_ns() / 1e9
