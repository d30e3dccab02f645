"""Where a tenant's first run begins."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from exporter.domain.windows import NS_PER_HOUR, NS_PER_MS, NS_PER_SECOND, Window
from exporter.errors import SplitWindow
from exporter.loki.limits import TenantLimits

#: How far back ``earliest`` looks where Loki sets no lookback; older data need an explicit RFC 3339 start.
_MAX_AGE_NS = 10 * 366 * 24 * NS_PER_HOUR
#: Longest range asked at once: 30 days, one hour less than Loki's default max_query_length (721h).
_MAX_RANGE_NS = 720 * NS_PER_HOUR
_FRACTION = re.compile(r"\.(\d{1,9})\d*")

HasData = Callable[[Window], Awaitable[bool]]


def parse_start(start: str, now_ns: int) -> int | None:
    """Return the first nanosecond to read (whole milliseconds), ``None`` for ``earliest``. Raises ValueError."""
    if start == "earliest":
        return None
    time_ns = now_ns if start == "now" else _rfc3339_ns(start)
    return time_ns // NS_PER_MS * NS_PER_MS


def _rfc3339_ns(text: str) -> int:
    fraction = _FRACTION.search(text)
    moment = datetime.fromisoformat(_FRACTION.sub("", text))
    if moment.tzinfo is None:
        raise ValueError("the start time needs a zone; write it like 2026-01-31T00:00:00Z")
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    nanoseconds = int(fraction[1].ljust(9, "0")) if fraction else 0
    return int(seconds) * NS_PER_SECOND + nanoseconds


async def find_earliest(has_data: HasData, now_ns: int, limits: TenantLimits) -> int | None:
    """Return the start of the hour that holds the oldest data, ``None`` when there are none.

    Asks range by range from the oldest on (an empty range says nothing about older ones), then halves the first that has
    data: about 130 cheap questions of the index where Loki keeps data for ever, once in a tenant's life.
    """
    lookback_ns = int(limits.max_query_lookback_seconds * NS_PER_SECOND) or _MAX_AGE_NS
    range_ns = min(int(limits.max_query_length_seconds * NS_PER_SECOND) or _MAX_RANGE_NS, _MAX_RANGE_NS)
    range_ns = max(range_ns // NS_PER_HOUR, 1) * NS_PER_HOUR
    end_ns = (now_ns // NS_PER_HOUR + 1) * NS_PER_HOUR
    start_ns = max(0, now_ns - lookback_ns) // NS_PER_HOUR * NS_PER_HOUR
    while start_ns < end_ns:
        window = Window(start_ns, min(start_ns + range_ns, end_ns))
        if await _ask(has_data, window):
            return max(await _oldest_hour(has_data, window), now_ns - lookback_ns)
        start_ns = window.end_ns
    return None


async def _oldest_hour(has_data: HasData, window: Window) -> int:
    """Halve a window that has data down to an hour. When neither half admits to them, the whole stays."""
    while window.duration_ns > NS_PER_HOUR:
        hours = window.duration_ns // NS_PER_HOUR
        first, second = window.split_at(window.start_ns + hours // 2 * NS_PER_HOUR)
        if await _ask(has_data, first):
            window = first
        elif await _ask(has_data, second):
            window = second
        else:
            break
    return window.start_ns


async def _ask(has_data: HasData, window: Window) -> bool:
    try:
        return await has_data(window)
    except SplitWindow:
        if window.duration_ns <= NS_PER_HOUR:
            return True  # too heavy to look at, so certainly not empty
    first, second = window.split_at(window.start_ns + max(window.duration_ns // NS_PER_HOUR // 2, 1) * NS_PER_HOUR)
    return await _ask(has_data, first) or await _ask(has_data, second)
