"""Keeping to the quota of a data collection rule: requests and bytes a minute.

Over it Azure answers 429 to everyone who writes to the rule. The quota is the rule's, not ours: each process keeps to its
``quota_share``, and whatever else writes to the same rule is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from exporter.domain.clock import Clock

#: Azure Monitor service limits, Logs Ingestion API, per DCR and minute. Bytes are counted before compression, the larger of
#: what Microsoft may count.
REQUESTS_A_MINUTE = 12_000
BYTES_A_MINUTE = 2_000_000_000
#: Part of a minute's quota that may be used at once. The rest is spread evenly, so that no minute, wherever it starts,
#: holds more than the quota.
BURST = 0.05


@dataclass(slots=True)
class _Bucket:
    """A token bucket that may be overdrawn by one user, who then waits for the debt: no request is too large for it."""

    clock: Clock
    a_minute: float
    _level: float = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self._level, self._at = self.a_minute * BURST, self.clock.monotonic()

    def take(self, amount: float) -> float:
        """Take an amount out and return the seconds to wait before it may be used."""
        now, rate = self.clock.monotonic(), self.a_minute * (1 - BURST) / 60
        self._level = min(self.a_minute * BURST, self._level + (now - self._at) * rate) - amount
        self._at = now
        return max(0.0, -self._level / rate)


class Limiter:
    """Shared by all lanes of a target in one process."""

    def __init__(self, clock: Clock, share: float) -> None:
        self._clock = clock
        self._requests = _Bucket(clock, REQUESTS_A_MINUTE * share)
        self._bytes = _Bucket(clock, BYTES_A_MINUTE * share)
        self.waited_seconds = 0.0

    async def admit(self, size_bytes: int) -> None:
        """Wait until a request of this many bytes before compression may be sent."""
        seconds = max(self._requests.take(1), self._bytes.take(size_bytes))
        if seconds:
            self.waited_seconds += seconds
            await self._clock.sleep(seconds)
