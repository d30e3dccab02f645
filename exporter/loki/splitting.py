"""Cutting windows into smaller ones that tile them exactly.

While a window is longer than a millisecond its length stays a whole number of them, because LogQL cannot count anything
finer (finding 12). Below that, cuts are made at nanoseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from exporter.domain.windows import NS_PER_HOUR, NS_PER_MS, Window

#: Parts at most made of one window at a time; a burst is cut again where it sits.
_MAX_PARTS = 16


def can_split(window: Window) -> bool:
    return window.duration_ns > 1


def grain_of(window: Window) -> int:
    """Return the unit in ns that cuts keep to, counted from the window's start."""
    return NS_PER_MS if window.duration_ns > NS_PER_MS else 1


def split_evenly(window: Window, parts: int) -> list[Window]:
    """Cut into ``parts`` (at least 2, fewer when the window is short) nearly equal windows."""
    grain = grain_of(window)
    units = -(-window.duration_ns // grain)
    parts = max(2, min(parts, units, _MAX_PARTS))
    return split_at(window, (window.start_ns + units * i // parts * grain for i in range(1, parts)))


def split_at(window: Window, cuts: Iterable[int]) -> list[Window]:
    """Cut at the given nanoseconds; those outside the window or doubled are ignored."""
    inside = sorted({cut for cut in cuts if window.start_ns < cut < window.end_ns})
    edges = [window.start_ns, *inside, window.end_ns]
    return [Window(start, end) for start, end in pairwise(edges)]


def split_hours(window: Window) -> list[Window]:
    """Cut at every whole hour: Loki splits its queries there (loki ``split_queries_by_interval``)."""
    first = -(-window.start_ns // NS_PER_HOUR) * NS_PER_HOUR
    return split_at(window, range(first, window.end_ns, NS_PER_HOUR))


def split_cut_page(window: Window, times_ns: Sequence[int], expected_parts: int) -> list[Window]:
    """Cut a window whose page reached the limit. When one unit of time (a millisecond, or a nanosecond below that) holds
    most of what came, it is isolated at once; bisection would need some forty pages to get there.
    """
    grain = grain_of(window)
    if times_ns:
        units = Counter((time_ns - window.start_ns) // grain for time_ns in times_ns)
        unit, entries = units.most_common(1)[0]
        if entries * 2 > len(times_ns):
            start_ns = window.start_ns + unit * grain
            isolated = split_at(window, (start_ns, start_ns + grain))
            if len(isolated) > 1:
                return isolated
    return split_evenly(window, expected_parts)
