"""Indexer acknowledgement of the stand-in for HEC, as probed on Splunk 10.4: ids count from zero within a channel, ``true`` is
told once, and ``false`` means all else.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

GUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


@dataclass(slots=True)
class _Channel:
    next_id: int = 0
    #: When each request that was not told yet is indexed, and of how many events it was.
    waiting: dict[int, tuple[float, int]] = field(default_factory=dict)


class Acks:
    """``delay_seconds``: how long indexing takes; ``never``: requests from now on are not indexed; ``max_pending``: requests that a
    channel remembers.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.delay_seconds = 0.0
        self.never = False
        self.max_pending = 1_000_000
        self.told = 0
        self._monotonic = monotonic
        self._channels: dict[str, _Channel] = {}

    @property
    def channels(self) -> int:
        return len(self._channels)

    def code(self, channel: str) -> int:
        """Return the code that tells how full a channel is: 0, 25 (near capacity), 27 (at capacity)."""
        pending = len(self._channels.get(channel.lower(), _Channel()).waiting)
        if pending >= self.max_pending:
            return 27
        return 25 if pending + 1 >= 0.8 * self.max_pending else 0

    def promise(self, channel: str, events: int) -> int:
        """Return the id of a request that was taken."""
        state = self._channels.setdefault(channel.lower(), _Channel())
        number, state.next_id = state.next_id, state.next_id + 1
        at = float("inf") if self.never else self._monotonic() + self.delay_seconds
        state.waiting[number] = (at, events)
        return number

    def answer(self, channel: str, body: bytes) -> dict[str, bool] | None:
        """Return the answer to a poll, None when the body is none."""
        try:
            numbers = orjson.loads(body)["acks"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return None
        if not isinstance(numbers, list) or any(type(number) is not int for number in numbers):
            return None
        state = self._channels.get(channel.lower(), _Channel())
        return {str(number): self._tell(state, number) for number in numbers}

    def _tell(self, state: _Channel, number: int) -> bool:
        at, _ = state.waiting.get(number, (float("inf"), 0))
        if at > self._monotonic():
            return False
        del state.waiting[number]
        self.told += 1
        return True

    def restart(self) -> int:
        """Forget everything; return how many of the newest events were not indexed."""
        now = self._monotonic()
        waiting = [pair for state in self._channels.values() for pair in state.waiting.values()]
        self._channels.clear()
        return sum(events for at, events in waiting if at > now)
