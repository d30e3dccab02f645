"""Epochs: stretches of event time (UTC) within which a value keeps its pseudonym."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from exporter.domain.windows import NS_PER_SECOND

Unit = Literal["day", "month", "year"]
_START = datetime(1970, 1, 1, tzinfo=UTC)


class Epoch(NamedTuple):
    """``name`` sorts by time and tells its length: ``2026``, ``2026-11`` or ``2026-11-24``."""

    name: str
    start_ns: int
    end_ns: int


def epoch_at(time_ns: int, unit: Unit) -> Epoch:
    """Return the epoch of a time. 64 bits of nanoseconds end in 2262, so dates always hold it."""
    day = (_START + timedelta(seconds=time_ns // NS_PER_SECOND)).replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "day":
        return Epoch(day.strftime("%Y-%m-%d"), _ns(day), _ns(day + timedelta(days=1)))
    first = day.replace(day=1) if unit == "month" else day.replace(month=1, day=1)
    # 32 days lead into the next month, 366 into the next year.
    after = (first + timedelta(days=32 if unit == "month" else 366)).replace(day=1)
    after = after if unit == "month" else after.replace(month=1)
    return Epoch(first.strftime("%Y-%m" if unit == "month" else "%Y"), _ns(first), _ns(after))


def _ns(time: datetime) -> int:
    return (time - _START) // timedelta(seconds=1) * NS_PER_SECOND
