"""Dead letters: written durably before anything is committed, and not without limit."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from connectors.base import Rejection
from exporter.bus.base import BusRecord, DeadLetter, DeadLetters, Lane
from exporter.domain.events import event_id_of
from exporter.ops import metrics

#: Events over which the share of refused ones is taken (documented at ``max_dead_letter_ratio``).
WINDOW_EVENTS = 1000


class RejectionGuard:
    """Share of refused events among the target's last 1,000. After a bad deployment on the target's side everything is
    refused; a topic must not be emptied into the dead letters then.
    """

    def __init__(self, max_ratio: float) -> None:
        self._allowed = max_ratio * WINDOW_EVENTS
        self._runs: deque[tuple[int, int]] = deque()  # (events, refused among them)
        self._events = self._refused = 0

    def admits(self, refused: int) -> bool:
        """Tell whether so many more may be dead-lettered."""
        return self._refused + refused <= self._allowed or self._allowed >= WINDOW_EVENTS

    def note(self, stored: int, refused: int) -> None:
        """Count events that were stored or dead-lettered."""
        self._runs.append((stored + refused, refused))
        self._events += stored + refused
        self._refused += refused
        while self._events - self._runs[0][0] >= WINDOW_EVENTS:
            events, gone = self._runs.popleft()
            self._events -= events
            self._refused -= gone

    def reset(self) -> None:
        """Forget the past: the target was mended."""
        self._runs.clear()
        self._events = self._refused = 0


def _id_of(value: bytes) -> str:
    try:
        return event_id_of(value)
    except ValueError:  # refused perhaps just because it is no canonical event
        return ""


def build_letters(
    target: str, lane: Lane, records: Sequence[BusRecord], rejected: Sequence[Rejection], now_ns: int
) -> list[DeadLetter]:
    """Return the dead letters of a batch's rejections; their indices count within ``records``."""
    letters = []
    for rejection in rejected:
        record = records[rejection.index]
        letters.append(
            DeadLetter(
                target=target,
                tenant=lane.tenant,
                partition=lane.partition,
                offset=record.offset,
                event_id=_id_of(record.value),
                reason=rejection.reason,
                code=rejection.code,
                failed_ns=now_ns,
                key=record.key,
                value=b"" if rejection.withheld else record.value,
            )
        )
    return letters


async def store_letters(store: DeadLetters, letters: Sequence[DeadLetter]) -> None:
    """Append in a worker thread; durable when it returns. Raises what the store raises, then nothing may be committed."""
    await asyncio.to_thread(store.append, letters)
    for letter in letters:
        metrics.DEAD_LETTERS.labels(letter.target, letter.code).inc()
