"""How long to wait before the next try."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

#: First pause of a retry; doubled each time. Short, because most faults of a busy target are over in a second.
BASE_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off with full jitter: evenly spread between nothing and the doubled bound, so that many lanes and
    processes that failed together do not come back together. A target's ``Retry-After`` is obeyed as a minimum; no
    pause exceeds ``max_seconds`` (the target's ``retry_max_seconds``).
    """

    max_seconds: float
    base_seconds: float = BASE_SECONDS
    random: random.Random = field(default_factory=random.Random)

    def bound(self, attempt: int) -> float:
        """Return the longest pause after the ``attempt``-th failure in a row (from 1)."""
        return min(self.max_seconds, self.base_seconds * 2.0 ** min(attempt - 1, 30))

    def pause(self, attempt: int, retry_after_seconds: float | None = None) -> float:
        """Return seconds to wait after the ``attempt``-th failure in a row (from 1)."""
        jittered = self.random.uniform(0.0, self.bound(attempt))
        return min(self.max_seconds, max(jittered, retry_after_seconds or 0.0))
